#!/bin/sh
# Makes (or brings up to date) the environment this project runs in. Safe to run again at any time:
# a finished environment is recognised in a fraction of a second, an interrupted one is completed.
#
#   sh setup.sh full     .venv        everything: training, export, tests   (about 2 minutes)
#   sh setup.sh light    .venv-light  what `pip install avgan` gives: no torch (under a minute)
#
#   PYTHON=python3.12    the interpreter to use (3.11 or newer)
#   VENV=folder          where the environment goes
#   EXTRAS=all           which extras to install (full: all,dev; light: none)
#   TORCH=auto|cpu|cuda  auto looks for an NVIDIA driver and takes the small CPU build without one
set -eu
cd "$(dirname "$0")"

kind=${1:-full}
case $kind in
    full)  venv=${VENV:-.venv};       extras=${EXTRAS-all,dev} ;;
    light) venv=${VENV:-.venv-light}; extras=${EXTRAS-} ;;
    *) echo "setup.sh: unknown kind '$kind'; say 'full' or 'light'" >&2; exit 2 ;;
esac
torch=${TORCH:-auto}
case $torch in
    auto|cpu|cuda) ;;
    *) echo "setup.sh: unknown TORCH '$torch'; say auto, cpu or cuda" >&2; exit 2 ;;
esac

# A finished environment carries a stamp that names what it was made from.
stamp=$venv/.avgan-setup
wanted="$extras $torch $(cat pyproject.toml constraints.txt | cksum)"
if [ -x "$venv/bin/avgan" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        # Run it: a version manager's stand-in may exist on the path without the version behind it.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "setup.sh: no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python" >&2
    return 1
}

if [ ! -x "$venv/bin/pip" ]; then
    python=$(find_python)
    echo "setup: new environment $venv ($("$python" --version))"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "setup.sh: '$python -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
fi
pip="$venv/bin/pip --disable-pip-version-check"

# Which torch? Everywhere but Linux the registry's build is the small one. On Linux without an NVIDIA
# card, keep pip's own choice when that is a CPU build already, else add PyTorch's CPU index (a "+cpu"
# version sorts above the plain one, so pip prefers it).
index=
needs_torch=no
case ",$extras," in *,all,*|*,train,*|*,export,*) needs_torch=yes ;; esac
if [ $needs_torch = yes ] && [ "$(uname -s)" = Linux ]; then
    if [ "$torch" = auto ]; then
        if nvidia-smi >/dev/null 2>&1; then torch=cuda; else torch=cpu; fi
    fi
    if [ "$torch" = cpu ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
        choice=$($pip install --dry-run --quiet --no-deps --report - -c constraints.txt torch 2>/dev/null || true)
        case $choice in
            *+cpu*) ;;
            *) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;;
        esac
    fi
fi

target=.
[ -z "$extras" ] || target=".[$extras]"
echo "setup: installing '$target' into $venv"
# shellcheck disable=SC2086  # the options are meant to be split
$pip install -qq -c constraints.txt $index -e "$target"
if [ $needs_torch = yes ] && [ "$torch" = cuda ]; then
    case $("$venv/bin/python" -c 'import torch; print(torch.__version__)') in
        *+cpu*) echo "setup: note: this pip prefers a CPU build of torch; for the GPU, install a CUDA build" \
            "into $venv (see pytorch.org)" >&2 ;;
    esac
fi
echo "$wanted" > "$stamp"
echo "setup: $venv is ready"

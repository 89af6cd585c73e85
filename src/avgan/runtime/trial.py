"""A bundle is tried before it is used: in a process of its own, with limits of memory and time.

What the rules of `package`, `bundle` and `graph` cannot tell (whether a network runs, what it costs, whether its
answers are answers) is seen by running it on silence, in batches as large as those of real work. A process that takes
too much is ended, and nothing of it is left; Ctrl-C ends it, too.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NoReturn

import numpy as np

from avgan.errors import BundleError
from avgan.runtime.bundle import MODEL_FILE, Bundle, home, open_bundle
from avgan.runtime.embedding import BATCH_STRETCHES, num_in_batch
from avgan.runtime.graph import cut
from avgan.runtime.network import (
    CODES,
    EMBEDDING,
    FEATURES,
    LOG_MEL,
    PICTURE,
    PROBABILITIES,
    STEPS,
    TAGS,
    WAVEFORM,
    Network,
)
from avgan.runtime.unknown import Rejection

CPU_S, CPU_S_PER_MB = 4, 0.4
"""The shipped model (9 MB) takes 0.6 s here: a machine ten times slower may try it, too."""
WALL_S = 120
"""On a machine that has no time for us."""
BASE_BYTES = 64 << 20
BYTES_PER_MODEL_BYTE = 8
BYTES_PER_SAMPLE = 512
"""Memory beside that of an idle interpreter, by the model's size and the window's length: one and a half times what the
shipped model takes (120 MB)."""
TOLERANCE = 1e-3

_NO_MEMORY = "bad_alloc"
"""In most of onnxruntime's messages."""
_START = f"import sys; from {__name__} import main; main(sys.argv[1])"

_tried: set[str] = set()
"""The bundles that were found good by this process, by what their cards say (which names their files' checksums)."""


def try_foreign(bundle: Bundle) -> None:
    """Try a bundle, unless it came with avgan, was tried when it was added, or before. Raises BundleError."""
    known = [Path(str(resources.files("avgan"))) / "bundles"]
    with contextlib.suppress(BundleError):  # of a user without a home
        known.append(home() / "models")
    place = bundle.path.resolve()
    if not any(place.is_relative_to(folder.resolve()) for folder in known):
        try_bundle(bundle)


def try_bundle(bundle: Bundle) -> None:
    """Try a bundle. Raises BundleError where it cannot be run, or takes more than it may."""
    key = hashlib.sha256(bundle.card.model_dump_json().encode()).hexdigest()
    if key in _tried:
        return
    path = str(bundle.path.absolute())
    paths = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    variables = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        ran = subprocess.run(
            [sys.executable, "-P", "-c", _START, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
            env=variables | threads | {"PYTHONPATH": paths, "PYTHONUTF8": "1"},
            timeout=WALL_S,
            check=False,
        )
        error = json.loads(ran.stdout)["error"]
    except OSError as problem:
        raise BundleError(f"{bundle.path}: cannot be tried ({problem.strerror or problem}); free some memory") from None
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        raise BundleError(
            f"{bundle.path}: takes more time or memory than a model of its size may; it is not used"
        ) from None
    if error:
        raise BundleError(str(error).replace(path, str(bundle.path)))
    _tried.add(key)


def main(path: str) -> NoReturn:
    """In the process of its own: say what is wrong with a bundle, or nothing."""
    error = ""
    try:
        bundle = open_bundle(path)
        _limit(bundle)
        _run(bundle)
    except BundleError as problem:
        error = str(problem)
    except Exception as problem:  # onnxruntime's own errors share no narrower base
        reason = " ".join(str(problem).split())[:200]
        error = f"{path}: cannot be run ({reason}); export it again"
        if isinstance(problem, MemoryError):
            error = _NO_MEMORY
    if _NO_MEMORY in error or "bfc_arena" in error:
        error = f"{path}: takes more memory than a model of its size may; it is not used"
    print(json.dumps({"error": error}), flush=True)
    os._exit(0)  # whatever the model's memory is in by now


def _limit(bundle: Bundle) -> None:
    with contextlib.suppress(ImportError):  # Windows has the limit of time alone
        import resource

        model_bytes = len(bundle.read(MODEL_FILE))
        num_bytes = BASE_BYTES + BYTES_PER_MODEL_BYTE * model_bytes
        card = bundle.card
        num_bytes += BYTES_PER_SAMPLE * round(card.window_s * card.sample_rate_hz)
        _lower(resource.RLIMIT_CPU, _used_s() + CPU_S + round(CPU_S_PER_MB * model_bytes / 1e6))
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, 0)
        if sys.platform == "linux":  # elsewhere what is in use is not known
            pages = int(Path("/proc/self/statm").read_text().split()[5])
            _lower(resource.RLIMIT_DATA, pages * resource.getpagesize() + num_bytes)


def _used_s() -> int:
    times = os.times()
    return round(times.user + times.system)


def _lower(kind: int, value: int) -> None:
    """Set a limit, or keep a lower one that there is."""
    import resource

    _, most = resource.getrlimit(kind)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, value))


def _run(bundle: Bundle) -> None:
    """Run the network on silence, and see that every tensor is what it should be. Raises BundleError."""
    card = bundle.card
    Rejection(bundle)
    network = Network(bundle, num_threads=1)
    content = bundle.read(MODEL_FILE)
    for name in (LOG_MEL, FEATURES):  # the others lie between parts that are run
        cut(content, (WAVEFORM,), (name,))
    num_samples, num_windows = round(card.window_s * card.sample_rate_hz), num_in_batch(card)
    embeddings = network.embed(np.zeros((num_windows, num_samples), np.float32))
    probabilities, codes, tags = network.predict(network.embed(np.zeros((1, num_samples), np.float32)))
    shapes: dict[str, tuple[np.ndarray, tuple[int, ...]]] = {
        EMBEDDING: (embeddings, (num_windows, *embeddings.shape[-1:])),
        PROBABILITIES: (probabilities, (1, len(card.labels))),
        CODES: (codes, (1, 16, 16)),
        PICTURE: (network.decode(codes), (1, 128, 128, 3)),
    }
    if card.tags is not None and tags is not None:
        shapes[TAGS] = (tags, (1, len(card.tags.names)))
    _check(bundle, shapes)
    if card.steps is not None:
        stretches = np.zeros((BATCH_STRETCHES, card.steps.num * card.steps.num_samples), np.float32)
        steps = network.steps(stretches)
        if steps.ndim != 3 or len(steps) != len(stretches) or steps.shape[2] < card.steps.num:
            raise _wrong(bundle, STEPS, steps)
        _check(bundle, {EMBEDDING: (network.summarize(steps), (len(stretches), embeddings.shape[1]))})
    if probabilities.min() < 0 or abs(float(probabilities.sum()) - 1) > TOLERANCE:
        raise BundleError(f"{bundle.path}: probabilities do not sum to 1; export it again")
    if tags is not None and not 0 <= tags.min() <= tags.max() <= 1:
        raise BundleError(f"{bundle.path}: tags lie outside [0, 1]; export it again")


def _check(bundle: Bundle, tensors: Mapping[str, tuple[np.ndarray, tuple[int, ...]]]) -> None:
    """Raise BundleError where a tensor has not the shape beside it, or is not finite."""
    for name, (tensor, shape) in tensors.items():
        if tensor.shape != shape or not np.isfinite(tensor).all():
            raise _wrong(bundle, name, tensor)


def _wrong(bundle: Bundle, name: str, tensor: np.ndarray) -> BundleError:
    return BundleError(f"{bundle.path}: {name} has the shape {tensor.shape}, or is not finite; export it again")

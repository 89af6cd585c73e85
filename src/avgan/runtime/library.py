"""The models that a user has added: checked before they are added, then found by their names.

What is added comes from somebody else. It is taken apart in a folder of its own, nothing is taken but the card and the
files that it names, each is compared with its checksum, the network is run once; only then is it moved into its place.
"""

import hashlib
import io
import os
import stat
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np

from avgan.download import Remote, download
from avgan.errors import AvganError, BundleError, DataError
from avgan.runtime.bundle import CARD_FILE, ZIP_ERRORS, Bundle, installed, open_bundle
from avgan.runtime.home import NAME, home, model_folder
from avgan.runtime.model import Model
from avgan.runtime.network import (
    CODES,
    FEATURES,
    HEARD,
    LOG_MEL,
    PICTURE,
    PROBABILITIES,
    WAVEFORM,
)

MAX_BYTES = 1 << 30
MAX_FILES = 1_000
TOLERANCE = 1e-3
LOOPBACK = {"localhost", "127.0.0.1", "::1"}

Say = Callable[[str], None]
_TENSORS = (LOG_MEL, HEARD, FEATURES, PROBABILITIES, CODES, PICTURE)


def added(complain: Say) -> list[Bundle]:
    """The bundles that were added, by name; one that cannot be read is complained of in a line."""
    found = []
    for folder in sorted((home() / "models").glob("*")):
        try:
            found.append(open_bundle(folder))
        except BundleError as error:
            complain(f"{error}; avgan models remove {folder.name}")
    return found


def add(source: str | Path, *, sha256: str = "", say: Say) -> Bundle:
    """Add a bundle: a folder, a zip file or the https address of one, which `sha256` (of the zip) may pin.

    A bundle that is there already, byte by byte, is added again without complaint. Raises BundleError where the bundle
    is not sound or another has its name, DataError where it cannot be fetched.
    """
    if "://" not in str(source):
        return _add(Path(source), sha256, str(source), say)
    path = _fetch(str(source), sha256, say)
    try:
        return _add(path, sha256, str(source), say)
    finally:  # sound or not: what is wrong once would be wrong again
        path.unlink(missing_ok=True)


def remove(name: str) -> Path:
    """Remove a bundle that was added; returns the folder where it lay. Raises BundleError where there is none."""
    folder = model_folder(name)
    if folder is None or not folder.is_dir():
        reason = "no such model was added"
        if any(bundle.card.name == name for bundle in installed()):
            reason = "this model came with avgan and stays"
        raise BundleError(f"{name}: {reason}; `avgan models` lists all")
    with _workplace() as place:  # away at once, then deleted: half a model is never found
        os.replace(folder, place / name)
    return folder


def _add(path: Path, sha256: str, name: str, say: Say) -> Bundle:
    with _workplace() as place:
        stage = place / "stage"
        stage.mkdir()
        try:
            _stage(path, sha256, stage)
            bundle = open_bundle(stage)
            for file in bundle.card.sha256:
                bundle.read(file)
            if not NAME.fullmatch(bundle.card.name):
                raise BundleError(f"{path}: called {bundle.card.name!r}, which is no plain name")
            present = _present(bundle, name)
            if present is not None:
                say(f"{bundle.card.name}: is there already, the same")
                return present
            _run(bundle)
        except AvganError as error:  # the user knows the bundle by another name
            line = str(error).replace(str(stage), name).replace(str(path), name)
            raise type(error)(line) from None
        target = home() / "models" / bundle.card.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage, target)
    return open_bundle(target)


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder beside the models, so that what is in it can be moved there at once; it is removed at the end."""
    folder = home() / "incoming"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
            yield Path(place)
    except OSError as error:
        raise BundleError(
            f"{folder.parent}: cannot be written ({error.strerror or error}); make room there, or "
            "set AVGAN_HOME to another folder"
        ) from None


def _fetch(url: str, sha256: str, say: Say) -> Path:
    """Download a zip, or the rest of it, to a place that depends on its address alone."""
    parts = urllib.parse.urlsplit(url)
    safe = parts.scheme == "https" or parts.hostname in LOOPBACK or sha256
    if parts.scheme not in ("http", "https") or not safe:
        raise BundleError(f"{url}: name an https address, or state the --sha256 of the file")
    filename = hashlib.sha256(url.encode()).hexdigest()[:16] + ".zip"
    path = home() / "incoming" / filename
    if path.is_file():  # fetched by hand
        return path
    try:
        download(Remote(url=url, filename=url, max_bytes=MAX_BYTES, sha256=sha256), path, say)
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot be written ({error.strerror}); set AVGAN_HOME to another folder"
        ) from None
    return path


def _stage(path: Path, sha256: str, stage: Path) -> None:
    """Copy the card of a bundle, and the files that it names, into the folder `stage`."""
    if path.is_dir():
        if sha256:
            raise BundleError(f"{path}: is a folder; --sha256 is that of a zip file")
        open_bundle(path)  # says what is wrong where it is none
        _copy(stage, lambda name: _read(path / name))
        return
    content = _read(path)
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise BundleError(f"{path}: has sha256 {found}, not the one stated; nothing was added")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, path)
            _copy(stage, lambda name: archive.read(_find(members, name, path)))
    except ZIP_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise BundleError(
            f"{path}: not a zip file that can be read ({reason}); copy it again"
        ) from None


def _copy(stage: Path, read: Callable[[str], bytes]) -> None:
    (stage / CARD_FILE).write_bytes(read(CARD_FILE))
    for name in open_bundle(stage).card.sha256:
        if not NAME.fullmatch(name) or name == CARD_FILE:
            raise BundleError(f"{stage}: its card names the file {name!r}, which is no plain name")
        (stage / name).write_bytes(read(name))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BundleError(f"{path}: larger than {MAX_BYTES:,} bytes, the most a bundle may be")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """What a zip holds, which is refused as a whole where it is not honest. Nothing is unpacked by its own name."""
    members = archive.infolist()
    if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_BYTES:
        raise BundleError(
            f"{path}: unpacks to more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes; no bundle does"
        )
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",) or ":" in member.filename:
            raise BundleError(f"{path}: holds the unsafe name {member.filename!r}; delete it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BundleError(f"{path}: holds the link {member.filename!r}; delete it")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{path}: packed in an unusual way; unpack it and add the folder")
    return members


def _find(members: list[zipfile.ZipInfo], name: str, path: Path) -> zipfile.ZipInfo:
    """A file at the root of a zip, or in the one folder that was zipped."""
    matches = [member for member in members if PurePosixPath(member.filename).name == name]
    if not matches:
        raise BundleError(f"{path}: no bundle there ({name} is missing)")
    return min(matches, key=lambda member: len(member.filename))


def _present(bundle: Bundle, source: str) -> Bundle | None:
    """The installed bundle of the same name, where it is the same; BundleError where it is another."""
    name = bundle.card.name
    folder = model_folder(name)
    same_name = [other for other in installed() if other.card.name == name]
    hint = "it came with avgan: name yours by its path with --model"
    if not same_name and folder is not None and folder.exists():
        hint = f"avgan models remove {name}"
        with suppress(BundleError):  # one that cannot be read is another
            same_name = [open_bundle(folder)]
        if not same_name:
            raise BundleError(f"{source}: a model {name!r} is there already and damaged; {hint}")
    if not same_name:
        return None
    if same_name[0].card != bundle.card:
        raise BundleError(f"{source}: another model is called {name!r}; {hint}")
    return same_name[0]


def _run(bundle: Bundle) -> None:
    """Run the network once on silence, and see that every tensor is what it should be."""
    card = bundle.card
    waveform = np.zeros((1, round(card.window_s * card.sample_rate_hz)), np.float32)
    session = Model(bundle, num_threads=1).network.part((WAVEFORM,), _TENSORS)
    try:
        tensors = dict(zip(_TENSORS, session.run(_TENSORS, {WAVEFORM: waveform}), strict=True))
    except Exception as error:  # onnxruntime's own errors share no narrower base
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{bundle.path}: cannot be run ({reason}); export it again") from None
    expected = {
        PROBABILITIES: (1, len(card.labels)),
        CODES: (1, 16, 16),
        PICTURE: (1, 3, 128, 128),
    }
    for name, tensor in tensors.items():
        if tensor.shape != expected.get(name, tensor.shape) or not np.isfinite(tensor).all():
            raise BundleError(
                f"{bundle.path}: {name} has the shape {tensor.shape}, or is not finite; "
                "export it again"
            )
    probabilities = tensors[PROBABILITIES]
    if probabilities.min() < 0 or abs(float(probabilities.sum()) - 1) > TOLERANCE:
        raise BundleError(f"{bundle.path}: probabilities do not sum to 1; export it again")

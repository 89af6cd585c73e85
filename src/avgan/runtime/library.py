"""The models that a user has added: checked before they are added, then found by their names.

What is added comes from somebody else. It is taken apart in a folder of its own, nothing is taken but the card and the
files that it names, each is compared with its checksum, the network is run once; only then is it moved into its place.
"""

import hashlib
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from avgan.download import Remote, download
from avgan.errors import AvganError, BundleError, DataError
from avgan.files import hold
from avgan.runtime.bundle import NAME, Bundle, home, installed, model_folder, open_bundle
from avgan.runtime.neighbours import Neighbours
from avgan.runtime.package import CARD_FILE, MAX_BYTES, MAX_FILES, checksum, open_package
from avgan.runtime.trial import try_bundle

LOOPBACK = {"localhost", "127.0.0.1", "::1"}

Say = Callable[[str], None]


def added(on_error: Say) -> list[Bundle]:
    """The bundles that were added, by name; one that cannot be read is one line to `on_error`."""
    found: list[Bundle] = []
    try:
        folders = sorted((home() / "models").glob("*"))
    except BundleError as error:
        on_error(str(error))
        return found
    for folder in folders:
        try:
            found.append(open_bundle(folder))
        except BundleError as error:
            on_error(f"{error}; avgan models remove {folder.name}")
    return found


def add(source: str | Path, *, sha256: str = "", say: Say) -> Bundle:
    """Add a bundle: a folder, a zip file or the https address of one, which `sha256` (of the zip) may pin.

    A bundle that is there already, byte by byte, is added again without complaint. Raises BundleError where the bundle
    is not sound or another has its name, DataError where it cannot be fetched.
    """
    with _alone():
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
    with _alone(), _workplace() as place:  # away at once, then deleted: half a model is never found
        os.replace(folder, place / name)
    return folder


def _add(path: Path, sha256: str, name: str, say: Say) -> Bundle:
    with _workplace() as place:
        stage = place / "stage"
        stage.mkdir()
        try:
            bundle = _stage(path, sha256, stage)
            if not NAME.fullmatch(bundle.card.name):
                raise BundleError(f"{path}: called {bundle.card.name!r}, which is no plain name")
            present = _present(bundle, name)
            if present is not None:
                say(f"{bundle.card.name}: is there already, the same")
                return present
            Neighbours.of(bundle)
            try_bundle(bundle)
        except AvganError as error:  # the user knows the bundle by another name
            line = str(error).replace(str(stage), name).replace(str(path), name)
            raise type(error)(line) from None
        target = home() / "models" / bundle.card.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage, target)
    return open_bundle(target)


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time, since two would write one download; what an earlier one that was killed left behind is removed.

    Raises BundleError where another is at work. A home that cannot be written is an error later.
    """
    with ExitStack() as held:
        with suppress(OSError):
            home().mkdir(parents=True, exist_ok=True)
            file = held.enter_context((home() / ".lock").open("w"))
            if hold(file) is False:
                raise BundleError(f"{home()}: another avgan adds or removes a model; wait for it, then run this again")
            for path in (home() / "incoming").glob("tmp*"):
                shutil.rmtree(path, ignore_errors=True)
        yield


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


def _stage(path: Path, sha256: str, stage: Path) -> Bundle:
    """The bundle at `path`: its card, and the files that it names, are copied into the folder `stage`."""
    if sha256 and path.is_dir():
        raise BundleError(f"{path}: is a folder; --sha256 is that of a zip file")
    if sha256 and (found := checksum(path)) != sha256:
        raise BundleError(f"{path}: has sha256 {found}, not the one stated; nothing was added")
    if not path.exists():
        raise BundleError(f"{path}: cannot be read (No such file or directory); check the path")
    with open_package(path) as read:
        (stage / CARD_FILE).write_bytes(read(CARD_FILE))
        bundle = open_bundle(stage)
        num_left = MAX_BYTES
        if len(bundle.card.sha256) > MAX_FILES:
            raise BundleError(f"{stage}: its card names more than {MAX_FILES:,} files; no bundle does")
        for name in bundle.card.sha256:
            if not NAME.fullmatch(name) or name == CARD_FILE:
                raise BundleError(f"{stage}: its card names the file {name!r}, which is no plain name")
            num_left -= (stage / name).write_bytes(read(name))
            if num_left < 0:
                raise BundleError(f"{stage}: more than {MAX_BYTES:,} bytes, the most a bundle may be")
            bundle.read(name)  # compares it with its checksum
    return bundle


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

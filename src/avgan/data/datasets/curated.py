"""A data set that `avgan curate` made: tar shards, a manifest, and a frozen list with one hash.

    DIR/list.json             what the set consists of, with the checksum of all else; written last
        manifest.parquet      a row a clip, those that were dropped too, with their reasons
        shards/*.tar          for each clip <id>.flac, <id>.jpg and <id>.json, its dots written as ~
        card.json, card.md    what is in it, where from, under which licences, what was left out
        losses.json           videos of which nothing came, and why
        index.html            clips to look at and listen to

The hash is that of the clips alone, with their labels and splits: two folders of one hash give comparable results,
whatever else is said of them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from avgan.data.datasets.declaration import Dataset
from avgan.data.manifest import Manifest
from avgan.errors import DataError

LIST, MANIFEST, SHARDS = "list.json", "manifest.parquet", "shards"
FORMAT = 1

_IN_SHARD = re.compile(rf"{SHARDS}/[\w.-]+\.tar/[\w.~-]+")
_NAME = re.compile(r"\w[\w.-]*")
_BY_HAND = "make one from videos with: avgan curate"


def canonical(tree: Any) -> str:
    """JSON, written in one way only."""
    return json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def hash_of(clips: Iterable[Mapping[str, Any]]) -> str:
    """The one hash of a list: that of its clips by id, whatever order they are given in."""
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: str(clip["id"])):
        digest.update(json.dumps(clip, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def seal_of(tree: Mapping[str, Any]) -> str:
    """The checksum of a list itself, but for the seal."""
    rest = {name: value for name, value in tree.items() if name != "seal"}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_of(root: Path, tree: Mapping[str, Any]) -> dict[Path, str]:
    """The checksum of each file that a list names."""
    shards = {f"{SHARDS}/{shard['name']}": shard["sha256"] for shard in tree["shards"]}
    return {root / name: sha256 for name, sha256 in {**tree["files"], **shards}.items()}


def read_list(root: Path) -> dict[str, Any]:
    """The frozen list of a data set.

    Raises:
        DataError: there is none, or not one of this format.
    """
    path = root / LIST
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{root}: no finished data set here (no {LIST}); {_BY_HAND}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy it again") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise DataError(f"{path}: not a list of format {FORMAT}; make the data set anew")
    return tree


def _matches(root: Path) -> bool:
    return (root / LIST).is_file() and (root / MANIFEST).is_file()


def _read(root: Path) -> Manifest:
    read_list(root)
    kept = Manifest.load(root / MANIFEST).select(lambda clip: clip.status == "kept")
    for clip in kept.clips:
        for path in (clip.audio_path, clip.image_path):
            if path and not _IN_SHARD.fullmatch(path):
                raise DataError(f"{root / MANIFEST}: {path!r} lies in no shard; copy it again")
    return Manifest(CURATED.name, root, kept.clips)


def _verify(manifest: Manifest) -> list[str]:
    """Every byte: of each file by its checksum in the list, of the list by its seal and its one way of writing."""
    root = manifest.root
    path = root / LIST
    try:
        tree = read_list(root)
        if path.read_bytes() != canonical(tree).encode() or tree["seal"] != seal_of(tree):
            return [f"{path}: altered, its seal is broken; copy it again"]
        if tree["hash"] != hash_of(tree["clips"]):
            return [f"{path}: its clips do not have its hash; make the data set anew"]
        return [*_problems_of_rows(manifest, tree), *_problems_of_files(root, tree)]
    except DataError as error:
        return [str(error)]
    except (KeyError, TypeError, AttributeError, ValueError):
        return [f"{path}: altered, it lacks what a list says; copy it again"]


def _problems_of_rows(manifest: Manifest, tree: Mapping[str, Any]) -> list[str]:
    """Where list and manifest disagree."""
    rows = {(clip.id, clip.label, clip.split, clip.audio_sha256, clip.image_sha256) for clip in manifest.clips}
    names = ("id", "label", "split", "audio_sha256", "image_sha256")
    listed = {tuple(clip[name] for name in names) for clip in tree["clips"]}
    problems = []
    if rows != listed or MANIFEST not in tree["files"]:
        problems.append(f"{manifest.root / MANIFEST}: not of the clips in {LIST}; copy both again")
    if sum(shard["num_clips"] for shard in tree["shards"]) != len(listed):
        problems.append(f"{manifest.root / LIST}: its shards hold other clips than it names")
    return problems


def _problems_of_files(root: Path, tree: Mapping[str, Any]) -> list[str]:
    """What is missing, altered, or too much."""
    named = [*tree["files"], *(shard["name"] for shard in tree["shards"])]
    if strange := [name for name in named if not _NAME.fullmatch(name)]:
        return [f"{root / LIST}: {strange[0]!r} is no name of a file here; copy it again"]
    sums = sums_of(root, tree)
    with ThreadPoolExecutor(max_workers=4) as pool:
        problems = list(filter(None, pool.map(_problem_of_file, sums, sums.values())))
    extra = sorted(set((root / SHARDS).glob("*.tar")) - set(sums))
    return problems + [f"{path}: not in the list; delete it" for path in extra]


def _problem_of_file(path: Path, sha256: str) -> str:
    if not path.is_file():
        return f"{path}: missing"
    if sha256_of(path) != sha256:
        return f"{path}: altered, its sha256 is not that of the list; copy or build it again"
    return ""


def key_of(clip_id: str) -> str:
    """The name of a clip's files in a shard, up to the dot: WebDataset takes what follows the first dot for the kind.

    No id holds a ~, so no two ids become one.
    """
    return clip_id.replace(".", "~")


CURATED = Dataset(
    name="curated",
    title="A data set made by avgan curate",
    story="""\
Clips cut from videos, each with its sound (two channels, 32 kHz) and the frame shown at its middle, in tar
shards that WebDataset reads too. What was dropped on the way stands in the manifest with its reason. The
split is by source and place and was fixed when the set was made; places are folds. The list names every
clip and file with its checksum, and one hash stands for all clips.
""",
    citation="@misc{curated, title = {A data set made by avgan curate}, note = {Cite its sources}}",
    licence="That of each clip, as its card.md says.",
    address="docs/data.md",
    by_hand=_BY_HAND,
    matches=_matches,
    read=_read,
    verify=_verify,
    has_pictures=True,
)

"""Verdicts and the units' tars -> the data set: shards, manifest, card, page, and last of all the frozen list.

The clips of a split are put in an order that mixes sources and scenes, the same on every machine, and packed shard by
shard. A shard takes its name when it is whole, then leaves a record; a run that was killed goes on with the first one
that has none. The same verdicts give the same bytes, however often it was killed. The layout: `data.datasets.curated`.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count, groupby, takewhile
from pathlib import Path
from typing import Any

from avgan import __version__
from avgan.curation.card import card_text, facts
from avgan.curation.page import Media, page
from avgan.curation.record import Candidate, Loss
from avgan.curation.select import Verdict
from avgan.data.datasets.curated import (
    CURATED,
    FORMAT,
    LIST,
    MANIFEST,
    SHARDS,
    canonical,
    hash_of,
    key_of,
    read_list,
    seal_of,
    sha256_of,
    sums_of,
)
from avgan.data.manifest import Clip, Manifest
from avgan.data.shards import add_member, names_in, read_member
from avgan.errors import DataError
from avgan.files import to_disk, whole, write_whole

CLIPS_PER_SHARD = 1_000  # 10 s of sound and a picture: some 0.8 GB
RECORDS = Path("work") / "written"


def write(
    verdicts: Iterable[Verdict],
    losses: Iterable[Loss],
    out: Path,
    *,
    media: Media,
    made: Mapping[str, Any],
    title: str = "",
    clips_per_shard: int = CLIPS_PER_SHARD,
) -> Path:
    """Write the data set into `out` and return it; nothing is done where the same one is there already.

    `made`: how it was made, as JSON; neither times nor places on a machine, or two runs would differ.

    Raises:
        DataError: a kept clip has no split, no media, or other media than its checksums say. Where media were tidied
            away, what is there stays as it is.
    """
    verdicts = sorted(verdicts, key=lambda verdict: verdict.candidate.id)
    losses = sorted(losses, key=lambda loss: (loss.video_id, loss.stage, loss.reason, loss.detail))
    lost = [asdict(loss) for loss in losses]
    shards = plan(verdicts, clips_per_shard)
    made = {**made, "avgan": __version__}
    of_shards = {name: [verdict.candidate.id for verdict in its_verdicts] for name, its_verdicts in shards.items()}
    task = _digest([of_shards, [_facts_of(verdict) for verdict in verdicts], lost, made, title])
    done = out / RECORDS / "done.json"
    if (out / LIST).is_file() and _read_json(done).get("task") == task:
        return out
    if num_gone := sum(not path.is_file() for path in set(media.values())):
        raise DataError(
            f"{out}: cannot be written anew: the media of {num_gone} units are gone, as --tidy leaves them; "
            "give the options of before, or name another folder"
        )
    (out / LIST).unlink(missing_ok=True)
    _clear(out, shards)
    packed = [_pack(name, its_verdicts, media, out) for name, its_verdicts in shards.items()]
    shard_of = {id: name for name, ids in of_shards.items() for id in ids}
    clips = tuple(clip_of(verdict, shard_of.get(verdict.candidate.id, "")) for verdict in verdicts)
    Manifest(CURATED.name, out, clips).save(out / MANIFEST)
    rows = [row_of(verdict) for verdict in verdicts if verdict.is_kept]
    known = facts(verdicts, losses, made, title, list_hash=hash_of(rows))
    texts = {
        "losses.json": canonical(lost),
        "card.json": canonical(known),
        "card.md": card_text(known),
        "index.html": page(known, verdicts, media),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    tree = {
        "format": FORMAT,
        "hash": hash_of(rows),
        "clips": rows,
        "shards": packed,
        "files": {name: sha256_of(out / name) for name in (MANIFEST, *texts)},
    }
    # Last: where the list is, everything is.
    write_whole(out / LIST, canonical(tree | {"seal": seal_of(tree)}))
    write_whole(done, canonical({"task": task}))
    return out


def plan(verdicts: Iterable[Verdict], clips_per_shard: int) -> dict[str, list[Verdict]]:
    """{shard: its clips} of those that are kept, split by split, each in an order by hash, which mixes them."""

    def place(verdict: Verdict) -> tuple[str, str]:
        return verdict.split, hashlib.sha256(verdict.candidate.id.encode()).hexdigest()

    kept = sorted((verdict for verdict in verdicts if verdict.is_kept), key=place)
    shards = {}
    for split, its_verdicts in groupby(kept, key=lambda verdict: verdict.split):
        if not split:
            raise DataError("a clip that is kept stands in no split; divide the clips first")
        clips = list(its_verdicts)
        for number, start in enumerate(range(0, len(clips), clips_per_shard)):
            shards[f"{split}-{number:05}.tar"] = clips[start : start + clips_per_shard]
    return shards


def _pack(name: str, verdicts: Sequence[Verdict], media: Media, out: Path) -> dict[str, Any]:
    """Write a shard unless it is there; returns its row in the list.

    Raises DataError: a clip's media are missing or altered.
    """
    target, record = out / SHARDS / name, out / RECORDS / f"{name}.json"
    more = [_more_frames(verdict.candidate, media) for verdict in verdicts]
    task = _digest([name, [_facts_of(verdict) for verdict in verdicts], more])
    known = _read_json(record)
    if known.get("plan") == task and target.is_file() and target.stat().st_size == known["packed"]["num_bytes"]:
        packed: dict[str, Any] = known["packed"]
        return packed
    record.unlink(missing_ok=True)
    with whole(target) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for verdict, frames in zip(verdicts, more, strict=True):
            for member, content in _members(verdict, frames, media):
                add_member(tar, member, content)
    packed = {"name": name, "sha256": sha256_of(target), "num_bytes": target.stat().st_size, "num_clips": len(verdicts)}
    write_whole(record, canonical({"plan": task, "packed": packed}))
    return packed


def row_of(verdict: Verdict) -> dict[str, Any]:
    """What the frozen list says of a clip: enough to find it again and to know it."""
    clip = verdict.candidate
    return {
        "id": clip.id,
        "label": verdict.label,
        "split": verdict.split,
        "video": clip.video_id,
        "source": clip.source_id,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "frame_s": clip.frame_s,
        "address": clip.address,
        "licence": clip.licence,
        "place": clip.place,
        "audio_sha256": clip.audio_sha256,
        "image_sha256": clip.image_sha256,
    }


def clip_of(verdict: Verdict, shard: str = "") -> Clip:
    """The manifest's row. A dropped clip has no files; its times are those within its video."""
    clip = verdict.candidate
    stem = f"{SHARDS}/{shard}/{key_of(clip.id)}"
    reason = f"{verdict.reason}: {verdict.detail}" if verdict.detail else verdict.reason
    return Clip(
        id=clip.id,
        source_id=clip.source_id,
        label=verdict.label,
        labels=(*clip.scenes, *clip.sounds),
        audio_path=f"{stem}.flac" if shard else "",
        image_path=f"{stem}.jpg" if shard else "",
        start_s=0.0 if shard else clip.start_s,
        end_s=round(clip.end_s - clip.start_s, 6) if shard else clip.end_s,
        fold=clip.place,
        split=verdict.split if shard else "unused",
        place=clip.place,
        address=clip.address,
        licence=clip.licence,
        audio_sha256=clip.audio_sha256,
        image_sha256=clip.image_sha256,
        status="kept" if shard else "dropped",
        reason="" if shard else reason,
    )


def _members(verdict: Verdict, frames: Sequence[str], media: Media) -> Iterator[tuple[str, bytes]]:
    """The files of a clip in a shard, by name."""
    clip = verdict.candidate
    key = key_of(clip.id)
    for kind, sha256 in (("flac", clip.audio_sha256), ("jpg", clip.image_sha256), *((kind, "") for kind in frames)):
        yield f"{key}.{kind}", _bytes_of(clip, kind, sha256, media)
    yield f"{key}.json", canonical(_facts_of(verdict)).encode()


def _more_frames(clip: Candidate, media: Media) -> list[str]:
    """What follows the id of a clip in the names of its further frames: 1.jpg, 2.jpg, ..."""
    try:
        names = names_in(media[clip.video_id])
    except (OSError, KeyError):
        return []  # said when its sound is missed
    return list(takewhile(lambda kind: f"{clip.id}.{kind}" in names, (f"{number}.jpg" for number in count(1))))


def _bytes_of(clip: Candidate, kind: str, sha256: str, media: Media) -> bytes:
    """A file of a clip from its unit, as it was when it was measured; frames beyond the first have no checksum."""
    if clip.video_id not in media:
        raise DataError(f"{clip.id}: its video {clip.video_id!r} is in no unit; run it again")
    unit = media[clip.video_id]
    problem = ""
    try:
        content = read_member(unit, f"{clip.id}.{kind}").getvalue()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            problem = "was altered"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    if problem:
        raise DataError(f"{unit}: {clip.id}.{kind} {problem}; delete the folder of this unit and run again")
    return content


def _facts_of(verdict: Verdict) -> dict[str, Any]:
    """All that is known of a clip: what lies beside its media."""
    clip = verdict.candidate
    more = {
        "scenes": [list(tag) for tag in clip.scenes],
        "sounds": [list(tag) for tag in clip.sounds],
        "music": clip.music,
        "speech": clip.speech,
        "source_label": clip.label,
        "measures": asdict(clip.measures),
    }
    dropped = {} if verdict.is_kept else {"reason": verdict.reason, "detail": verdict.detail}
    return row_of(verdict) | more | dropped


def _clear(out: Path, shards: Iterable[str]) -> None:
    """Remove what a killed run left half-written, and the shards of another plan with their records."""
    for folder in (out, out / SHARDS, out / RECORDS):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
    for path in (out / SHARDS).glob("*.tar"):
        if path.name not in shards:
            path.unlink()
            (out / RECORDS / f"{path.name}.json").unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    """A record, or an empty one where there is none that can be read."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _digest(tree: Any) -> str:
    return hashlib.sha256(canonical(tree).encode()).hexdigest()


def tidy(out: Path, media: Iterable[Path]) -> None:
    """Remove the tars of the units of a data set that is written, and whole to the byte.

    Killed in the middle it leaves some, which the next one removes.

    Raises DataError where a file of the data set is not as its list says; nothing is removed then.
    """
    there = [path for path in media if path.is_file()]
    if not there:
        return
    tree = read_list(out)
    if seal_of(tree) != tree.get("seal"):
        raise DataError(f"{out / LIST}: was altered, so no media were removed; delete it and run again")
    for path, sha256 in sums_of(out, tree).items():
        if not path.is_file() or sha256_of(path) != sha256:
            raise DataError(
                f"{path}: is not as it was written, so no media were removed; delete it and {LIST}, and run again"
            )
        to_disk(path)
    to_disk(out / LIST)
    for path in there:
        path.unlink()

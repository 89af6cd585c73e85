"""What is written: the same bytes however it came about, all that was kept, each byte accounted for, ready to train."""

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from units import Units, make_units

from avgan.curation.record import Loss
from avgan.curation.write import write
from avgan.data import acquire
from avgan.data.datasets import DATASETS, find
from avgan.data.datasets.curated import LIST, canonical, hash_of, seal_of
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Manifest
from avgan.data.pairing import pair_within
from avgan.errors import DataError

MADE = {"sources": ["films"], "clip_s": 1, "rules": {"labels": "source"}}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Units:
    return make_units(tmp_path_factory.mktemp("work"), clips_per_video=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, units: Units) -> Path:
    """Read it, do not change it."""
    return written_to(tmp_path_factory.mktemp("set") / "curated", units)


def written_to(out: Path, units: Units, **changes: Any) -> Path:
    options = {"media": units.media, "made": MADE, "title": "Films", "clips_per_shard": 5}
    return write(units.verdicts, units.losses, out, **(options | changes))


def contents(out: Path) -> dict[str, bytes]:
    """All files of a data set but the records of how it came about."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "work" not in path.relative_to(out).parts
    }


def copied(written: Path, to: Path) -> Path:
    for name, content in contents(written).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
    return to


def test_everything_is_there_and_whole(written: Path, units: Units) -> None:
    assert sorted(contents(written)) == [
        "card.json",
        "card.md",
        "index.html",
        "list.json",
        "losses.json",
        "manifest.parquet",
        "shards/test-00000.tar",
        "shards/test-00001.tar",
        "shards/train-00000.tar",
        "shards/train-00001.tar",
        "shards/train-00002.tar",
        "shards/validation-00000.tar",
        "shards/validation-00001.tar",
    ]
    assert acquire.check("curated", written) == []
    rows = Manifest.load(written / "manifest.parquet").clips
    assert [row.id for row in rows] == sorted(v.candidate.id for v in units.verdicts)
    dropped = [row for row in rows if row.status == "dropped"]
    assert len(dropped) == 12
    assert {row.reason for row in dropped} == {"still: motion 0 < 0.002"}
    assert {row.split for row in dropped} == {"unused"}
    assert not any(row.audio_path or row.image_path for row in dropped)


def test_sound_and_picture_of_a_clip_are_its_own(written: Path, units: Units) -> None:
    manifest = find(written, "curated")
    assert len(manifest) == 24
    assert {clip.split for clip in manifest.clips} == {"train", "validation", "test"}
    assert pair_within(manifest).kind == "synchronous"
    waveforms = WaveformStore(manifest, rate_hz=16_000, window_s=1.0).get(range(24))
    images = ImageStore(manifest).get(range(24))
    assert len({image.tobytes() for image in images}) == 24
    for clip, waveform in zip(manifest.clips, waveforms, strict=True):
        video, start_ms = clip.id.removeprefix("film.").split("-")
        serial = 10 * int(video) + (int(start_ms) - 5000) // 1000
        power = np.abs(np.fft.rfft(waveform))
        assert sorted(np.argsort(power)[-2:]) == pytest.approx([200 + 20 * serial, 1.5 * (200 + 20 * serial)], abs=1)
        assert (clip.start_s, clip.end_s, clip.frame_s) == (0.0, 1.0, None)
        assert clip.label == ("bus", "metro_station", "park")[int(video) % 3]


def test_the_same_verdicts_in_any_order_give_the_same_bytes(written: Path, units: Units, tmp_path: Path) -> None:
    verdicts = list(units.verdicts)
    random.Random(1).shuffle(verdicts)
    again = written_to(tmp_path / "b", replace(units, verdicts=verdicts))
    assert contents(again) == contents(written)


def test_a_shard_is_read_by_whoever_reads_tar(written: Path, units: Units) -> None:
    listed = {row["id"]: row for row in json.loads((written / LIST).read_text())["clips"]}
    found = set()
    for shard in sorted((written / "shards").iterdir()):
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            names = [member.name for member in members]
            assert [name.split(".", 1)[1] for name in names] == ["flac", "jpg", "json"] * (len(names) // 3)
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
            for sound, picture, said in zip(members[::3], members[1::3], members[2::3], strict=True):
                row = json.load(tar.extractfile(said))  # type: ignore[arg-type]
                assert listed[row["id"]].items() <= row.items()
                assert row["scenes"][0] == ["bus_interior", 0.7]
                assert shard.name.startswith(row["split"])
                for member, key in ((sound, "audio_sha256"), (picture, "image_sha256")):
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    assert hashlib.sha256(content).hexdigest() == row[key]
                found.add(row["id"])
    assert found == {v.candidate.id for v in units.verdicts if v.is_kept}


def test_a_shard_is_read_by_webdataset(written: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    addresses = [str(path) for path in sorted((written / "shards").glob("train-*.tar"))]
    samples = list(webdataset.WebDataset(addresses, shardshuffle=False, empty_check=False))
    assert len(samples) == 12
    for sample in samples:
        said = json.loads(sample["json"])
        assert sample["__key__"] == said["id"].replace(".", "~")
        assert soundfile.info(io.BytesIO(sample["flac"])).channels == 2
        assert hashlib.sha256(sample["jpg"]).hexdigest() == said["image_sha256"]


def test_further_frames_lie_beside_the_first(tmp_path: Path) -> None:
    few = {"num_videos": 4, "clips_per_video": 1}
    units = make_units(tmp_path / "work", more_frames=2, **few)
    out = written_to(tmp_path / "set", units)
    with tarfile.open(out / "shards" / "train-00000.tar") as tar:
        kinds = [name.split(".", 1)[1] for name in tar.getnames()]
    assert kinds == ["flac", "jpg", "1.jpg", "2.jpg", "json"] * 4
    plain = make_units(tmp_path / "plain", **few)  # the same clips, with one frame each
    assert written_to(out, replace(plain, losses=[])) == out
    with tarfile.open(out / "shards" / "train-00000.tar") as tar:
        assert len(tar.getnames()) == 12


def test_a_writer_that_is_killed_goes_on_where_it_was(
    written: Path, units: Units, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at each place where a file takes its name; what is done is not done again, and the end is the same."""
    out = tmp_path / "set"
    renamed: list[str] = []
    rename = Path.replace

    class KilledError(BaseException):
        """No program catches it."""

    def dying(self: Path, target: Path) -> Path:
        if renamed.count("stop"):
            raise KilledError
        renamed.append(Path(target).name)
        if Path(target).name not in seen:
            seen.add(Path(target).name)
            renamed.append("stop")  # this file is whole; the next dies half-written
        return rename(self, target)

    seen: set[str] = set()
    monkeypatch.setattr(Path, "replace", dying)
    for _ in range(60):
        renamed.clear()
        try:
            written_to(out, units)
        except KilledError:
            (out / "shards" / ".half.tmp").write_bytes(b"half")  # as a SIGKILL would leave it
            continue
        break
    assert LIST in seen
    monkeypatch.undo()
    written_to(out, units)
    assert contents(out) == contents(written)


@pytest.mark.slow
def test_sigkill_at_any_moment(written: Path, units: Units, tmp_path: Path) -> None:
    """A real process, killed without warning; whatever it leaves, either the list is missing or all is there."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom units import make_units\nfrom avgan.curation.write import write\n"
        "units = make_units(Path(sys.argv[2]), clips_per_video=3)\nprint('go', flush=True)\n"
        "write(units.verdicts, units.losses, Path(sys.argv[3]), media=units.media,\n"
        f"      made={MADE!r}, title='Films', clips_per_shard=5)\n"
    )
    dice, out = random.Random(0), tmp_path / "set"
    for number in range(12):
        command = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path / f"w{number}"), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(dice.uniform(0.01, 0.6))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (out / LIST).exists():
            assert contents(out) == contents(written)
    written_to(out, units)
    assert contents(out) == contents(written)


def test_what_is_done_is_not_done_again(units: Units, tmp_path: Path) -> None:
    out = written_to(tmp_path / "set", units)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    written_to(out, units)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times
    written_to(out, replace(units, losses=[]))  # says something else, of the same clips
    shards = set((out / "shards").iterdir())
    assert {path.stat().st_mtime_ns for path in shards} == {times[path] for path in shards}
    written_to(out, units, clips_per_shard=100)
    assert len(list((out / "shards").iterdir())) == 3
    assert acquire.check("curated", out) == []


def test_the_hash_is_that_of_the_clips(written: Path, units: Units, tmp_path: Path) -> None:
    known = json.loads((written / LIST).read_text())["hash"]
    assert known == json.loads((written / "card.json").read_text())["hash"]
    assert known in (written / "index.html").read_text(encoding="utf-8")
    same = {"title": "Else", "made": {}, "clips_per_shard": 3}
    other = written_to(tmp_path / "same", replace(units, losses=[]), **same)
    assert json.loads((other / LIST).read_text())["hash"] == known
    one_less = replace(units, verdicts=units.verdicts[1:])
    other = written_to(tmp_path / "less", one_less)
    assert json.loads((other / LIST).read_text())["hash"] != known


def test_a_wrong_byte_anywhere_is_found(written: Path, tmp_path: Path) -> None:
    out = copied(written, tmp_path / "set")
    verify = DATASETS["curated"].verify
    manifest = find(out, "curated")
    assert verify(manifest) == []
    dice = random.Random(0)
    for name, content in contents(written).items():
        # first and last byte, and some between: headers, media, padding, white space
        places = {0, len(content) - 1, *(dice.randrange(len(content)) for _ in range(4))}
        for place in places:
            spoilt = bytearray(content)
            spoilt[place] ^= 1 << dice.randrange(7)
            (out / name).write_bytes(spoilt)
            problems = verify(manifest)
            assert problems, (name, place)
            assert any(Path(name).name in problem for problem in problems)
            assert all("\n" not in problem for problem in problems)
        (out / name).write_bytes(content)
    assert verify(manifest) == []


def test_what_is_missing_or_too_much_is_found(written: Path, tmp_path: Path) -> None:
    out = copied(written, tmp_path / "set")
    (out / "shards" / "train-00001.tar").rename(out / "shards" / "else.tar")
    (out / "card.md").unlink()
    problems = acquire.check("curated", out)
    assert len(problems) == len(set(problems)) == 3
    for name in ("train-00001.tar: missing", "card.md: missing", "else.tar: not in the list"):
        assert any(name in problem for problem in problems)
    (out / LIST).unlink()
    assert "no finished data set here" in acquire.check("curated", out)[0]


def test_a_forged_list_is_not_believed(written: Path, tmp_path: Path) -> None:
    out = copied(written, tmp_path / "set")
    tree = json.loads((out / LIST).read_text(encoding="utf-8"))
    fewer = {"clips": tree["clips"][1:], "hash": hash_of(tree["clips"][1:])}
    forged = {
        "its seal is broken": tree | {"files": {}},
        "do not have its hash": sealed(tree | {"clips": tree["clips"][1:]}),
        "not of the clips in": sealed(tree | fewer),
        "hold other clips": sealed(tree | {"shards": tree["shards"][1:]}),
        "is no name of a file here": sealed(tree | {"files": tree["files"] | {"../x": "0"}}),
        "it lacks what a list says": sealed(tree | {"shards": 3}),
    }
    for problem, other in forged.items():
        (out / LIST).write_text(canonical(other), encoding="utf-8")
        assert any(problem in line for line in DATASETS["curated"].verify(find(out, "curated")))


def test_a_line_that_ends_otherwise_is_found(written: Path, tmp_path: Path) -> None:
    out = copied(written, tmp_path / "set")
    content = (out / LIST).read_bytes()
    for other in (content.replace(b"\n", b"\r", 1), content.replace(b"\n", b"\r\n"), content + b" "):
        (out / LIST).write_bytes(other)
        assert "its seal is broken" in DATASETS["curated"].verify(find(out, "curated"))[0]


def sealed(tree: dict[str, Any]) -> dict[str, Any]:
    return tree | {"seal": seal_of(tree)}


@pytest.mark.parametrize(
    "tree",
    ["[" * 100_000, "[]", "{", '{"format": 2}', '{"format": 1}', '{"format": 1, "clips": 3, "files": []}'],
    ids=lambda tree: tree[:30],
)
def test_a_list_that_is_none_is_said_to_be_none(written: Path, tmp_path: Path, tree: str) -> None:
    out = copied(written, tmp_path / "set")
    (out / LIST).write_text(tree)
    problems = acquire.check("curated", out)
    assert len(problems) == 1
    assert LIST in problems[0]


def test_no_path_of_a_manifest_leads_out_of_the_shards(written: Path, tmp_path: Path) -> None:
    out = copied(written, tmp_path / "set")
    manifest = Manifest.load(out / "manifest.parquet")
    clip = next(clip for clip in manifest.clips if clip.status == "kept")
    for path in ("/etc/passwd", "shards/../../x.tar/a.flac", "shards/a.tar/../b", "a.flac"):
        replace(manifest, clips=(replace(clip, audio_path=path),)).save(out / "manifest.parquet")
        with pytest.raises(DataError, match="lies in no shard"):
            find(out, "curated")


def test_media_that_are_not_those_that_were_measured_are_refused(tmp_path: Path) -> None:
    units = make_units(tmp_path / "work", num_videos=4)
    odd = units.verdicts[0]
    for change, problem in (
        ({"audio_sha256": "0" * 64}, r"film\.0-5000\.flac was altered; delete the folder"),
        ({"id": "film.0-77"}, r"film\.0-77\.flac cannot be read \(No such file"),
        ({"video_id": "x"}, "its video 'x' is in no unit"),
    ):
        changed = replace(odd, candidate=replace(odd.candidate, **change))
        with pytest.raises(DataError, match=problem):
            written_to(tmp_path / "set", replace(units, verdicts=[changed, *units.verdicts[1:]]))
        assert not (tmp_path / "set" / LIST).exists()
    undivided = replace(units, verdicts=[replace(odd, split="")])
    with pytest.raises(DataError, match="stands in no split"):
        written_to(tmp_path / "set", undivided)


def test_nothing_kept_is_a_data_set_of_nothing(units: Units, tmp_path: Path) -> None:
    dropped = [verdict for verdict in units.verdicts if not verdict.is_kept]
    out = written_to(tmp_path / "set", replace(units, verdicts=dropped))
    assert acquire.check("curated", out) == []
    assert "Nothing was kept" in (out / "index.html").read_text(encoding="utf-8")


def test_the_card_counts_and_is_safe_to_read(units: Units, tmp_path: Path) -> None:
    odd = replace(units.verdicts[0].candidate, licence="a | b\n# <script>alert(1)</script>")
    verdicts = [replace(units.verdicts[0], candidate=odd), *units.verdicts[1:]]
    losses = [*units.losses, Loss(video_id="long", stage="cut", reason="too short")]
    out = written_to(tmp_path / "set", Units(verdicts, units.media, losses))
    known = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert (out / "card.json").read_text(encoding="utf-8") == canonical(known)
    assert known["classes"]["bus"] == {"train": 4, "validation": 2, "test": 2}
    assert known["splits"]["train"] == {"num_clips": 12, "num_sources": 6}
    assert known["num_clips"] == 24
    assert known["hours"] == pytest.approx(24 / 3600, abs=1e-4)
    assert known["num_videos"] == 14
    assert sum(num for _, num in known["licences"]) == 24
    assert known["dropped"] == [
        {"stage": "acquire", "reason": "gone", "of": "videos", "num": 1},
        {"stage": "cut", "reason": "too short", "of": "videos", "num": 1},
        {"stage": "select", "reason": "still", "of": "clips", "num": 12},
    ]
    text = (out / "card.md").read_text(encoding="utf-8")
    assert "| bus | 4 | 2 | 2 | 8 |" in text
    assert "a \\| b # \\<script\\>" in text
    assert known["hash"] in text
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page


@pytest.mark.slow
def test_the_compact_preset_trains_on_it(
    tmp_path: Path, tiny_config: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Real films would be more; the way from the shards to a model is the same."""
    pytest.importorskip("torch")
    from avgan import cli
    from avgan.presets import preset

    units = make_units(tmp_path / "work", num_videos=24, clips_per_video=1)
    out = written_to(tmp_path / "set", units)
    tiny, base = tiny_config().model_dump(mode="json"), preset("compact").model_dump(mode="json")
    changes = dict(_differences(tiny, base))
    changes |= {"data.sounds": "auto", "data.images": "miniplaces", "data.validation_fraction": 0.1}
    changes.pop("preset", None)
    settings = [part for name, value in changes.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    run = tmp_path / "run"
    assert cli.main(["train", "--preset", "compact", "--data", str(out), "-o", str(run), *settings]) == 0
    said = capsys.readouterr()
    assert "paired synchronous" in said.err + said.out
    config = json.loads((run / "config.json").read_text())
    assert (config["data"]["sounds"], config["data"]["images"]) == ("curated", "curated")
    assert config["preset"] == "compact"
    assert cli.main(["evaluate", str(run), "--protocol", "holdout", "--data", str(out)]) == 0
    scored = json.loads((run / "holdout" / "report.json").read_text(encoding="utf-8"))
    assert scored["num_clips"] == sum(v.split == "validation" for v in units.verdicts)
    assert (run / "holdout" / "report.html").read_text(encoding="utf-8").count("<audio") > 0


def _differences(ours: dict[str, Any], base: dict[str, Any], prefix: str = "") -> Any:
    for name, value in ours.items():
        if isinstance(value, dict):
            yield from _differences(value, base[name], f"{prefix}{name}.")
        elif value != base[name]:
            yield f"{prefix}{name}", value

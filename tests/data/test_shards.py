"""Files in a tar: the bytes that were put in, whoever reads them when; and plain words where the tar is not well."""

import io
import tarfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from avgan.data import shards
from avgan.data.acquire import check_media
from avgan.data.loading import ImageStore, WaveformStore, read_excerpt
from avgan.data.manifest import Clip, Manifest
from avgan.errors import AudioError, DataError, ImageError

Maker = Callable[..., Path]


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A tar of files of sizes around those of its blocks, one with a long name, one in a folder."""
    rng = np.random.default_rng(0)
    files = {f"{size}.bin": rng.bytes(size) for size in (0, 1, 511, 512, 513, 70_000)}
    files |= {"x" * 200 + ".bin": b"long", "a folder/ä.bin": b"folder"}
    return write_tar(tmp_path / "some.tar", files), files


def test_each_file_is_the_one_that_was_put_in(many: tuple[Path, dict[str, bytes]]) -> None:
    path, files = many
    assert list(shards.names_in(path)) == list(files)
    for name, content in reversed(files.items()):
        with shards.open_media(path / name) as file:
            assert file.read() == content
            assert file.name == str(path / name)


def test_only_a_path_into_a_tar_leads_into_one(tmp_path: Path) -> None:
    plain = tmp_path / "folder.tar" / "a.txt"  # a folder that is called so
    plain.parent.mkdir()
    plain.write_text("plain")
    tar = write_tar(tmp_path / "folder.tar" / "b.tar", {"c.tar": b"inner", "d/e": b"deep"})
    assert shards.find_shard(plain) is None
    assert shards.find_shard(tar) is None
    assert shards.find_shard(tar / "d" / "e") == (tar, "d/e")
    assert shards.source_of(plain) == plain
    for path, content in ((plain, b"plain"), (tar / "c.tar", b"inner"), (tar / "d/e", b"deep")):
        with shards.open_media(path) as file:
            assert file.read() == content


def test_a_tar_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    for content in (b"old", b"newer", b"again"):
        path = write_tar(tmp_path / "a.tar", {"pad": b"0" * len(content) * 300, "x": content})
        assert shards.read_member(path, "x").read() == content


def test_a_tar_is_walked_once_whoever_reads_it(
    many: tuple[Path, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, files = many
    walked: list[Path] = []
    walk = shards._walk
    monkeypatch.setattr(shards, "_walk", lambda shard: walked.append(shard) or walk(shard))
    shards.names_in(path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: shards.read_member(path, name).read(), [*files] * 50))
    assert found == [*files.values()] * 50
    assert walked == [path]


def test_what_is_not_there_is_named(many: tuple[Path, dict[str, bytes]]) -> None:
    path, _ = many
    clip = Clip(id="a", source_id="a", audio_path="some.tar/none.flac", image_path="no.tar/x.jpg")
    manifest = Manifest("own", path.parent, (clip,))
    with pytest.raises(AudioError, match=r"some\.tar/none\.flac: cannot be read \(No such file"):
        WaveformStore(manifest, rate_hz=16_000, window_s=1.0).get([0])
    with pytest.raises(ImageError, match=r"no\.tar/x\.jpg: cannot be read \(No such file"):
        ImageStore(manifest).get([0])
    assert check_media(manifest) == [f"{path / 'none.flac'}: missing"]


def test_a_damaged_tar_says_so(many: tuple[Path, dict[str, bytes]]) -> None:
    path, _ = many
    whole = path.read_bytes()
    damages = {
        "ends early": whole[: len(whole) // 2],
        "no header can be read": whole.replace(b"513.bin", b"\xff" * 7),
        "damaged tar": b"not a tar at all" * 100,
        "empty": b"",
    }
    for problem, content in damages.items():
        path.write_bytes(content)
        for _ in range(2):
            with pytest.raises(DataError, match=problem) as caught:
                shards.read_member(path, "513.bin")
            assert str(path) in str(caught.value)


def test_no_noise_makes_it_hang_or_fail_otherwise(
    many: tuple[Path, dict[str, bytes]], rng: np.random.Generator
) -> None:
    path, files = many
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        spoilt = whole.copy()
        # headers lie at the start: that is where noise can lead astray
        spoilt[rng.integers(0, 4096, 6)] = rng.integers(0, 256, 6)
        path.write_bytes(spoilt.tobytes())
        for name in files:
            try:
                shards.read_member(path, name)
            except (DataError, FileNotFoundError):
                continue


def test_links_and_sparse_files_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    for name in ("soft", "hard", "../secret"):
        with pytest.raises(FileNotFoundError):
            shards.open_media(tmp_path / "a.tar" / name)


@pytest.mark.parametrize("suffix", ["flac", "wav", "mp3"])
def test_a_sound_in_a_tar_is_the_sound_in_a_folder(tmp_path: Path, tone: Maker, suffix: str) -> None:
    path = tone(tmp_path / f"a.{suffix}", seconds=3.0, rate_hz=32_000)
    tar = write_tar(tmp_path / "a.tar", {path.name: path.read_bytes()})
    for start_s, length_s in ((0.0, 9.0), (1.25, 0.5)):
        options = {"start_s": start_s, "length_s": length_s, "rate_hz": 16_000}
        np.testing.assert_array_equal(read_excerpt(tar / path.name, **options), read_excerpt(path, **options))


def test_a_video_in_a_tar_is_heard(tmp_path: Path, video: Maker) -> None:
    path = video(tmp_path / "v.mp4", seconds_each=1.0)
    tar = write_tar(tmp_path / "a.tar", {"v.mp4": path.read_bytes()})
    options = {"start_s": 1.5, "length_s": 1.0, "rate_hz": 16_000}
    np.testing.assert_array_equal(read_excerpt(tar / "v.mp4", **options), read_excerpt(path, **options))


def test_damaged_files_in_a_tar_are_named_and_nothing_else_is_said(
    tmp_path: Path, tone: Maker, picture: Maker, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = tone(tmp_path / "a.flac").read_bytes()
    image = picture(tmp_path / "a.jpg").read_bytes()
    files = {"a.flac": sound[:100], "b.flac": b"\0" * 500, "a.jpg": image[:300], "b.jpg": b"\1" * 9}
    write_tar(tmp_path / "s.tar", files)
    clips = tuple(Clip(id=n, source_id=n, audio_path=f"s.tar/{n}.flac", image_path=f"s.tar/{n}.jpg") for n in "ab")
    manifest = Manifest("own", tmp_path, clips)
    for index, name in enumerate("ab"):
        with pytest.raises(AudioError, match=rf"s\.tar/{name}\.flac"):
            WaveformStore(manifest, rate_hz=16_000, window_s=1.0).get([index])
        with pytest.raises(ImageError, match=rf"s\.tar/{name}\.jpg"):
            ImageStore(manifest).get([index])
    assert capfd.readouterr() == ("", "")

"""The large sets in many zips, from a real server whose connections break: resumed, verified, unpacked, read."""

import functools
import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from video_site import Page, Site, open_site

from avgan.data import acquire
from avgan.data.datasets import DATASETS, Dataset, find, tau
from avgan.errors import DataError

PLACES = {"train": ["bus-lisbon-1", "tram-paris-2"], "test": ["bus-milan-3"]}
PARTS = {
    "tau2019": ("doc", "meta", "audio.1", "audio.2"),
    "tau_av_2021": ("doc", "meta", "examples", "audio.1", "audio.2", "video.1"),
}
STEMS = {
    "tau2019": "TAU-urban-acoustic-scenes-2019-development",
    "tau_av_2021": "TAU-urban-audio-visual-scenes-2021-development",
}

every_set = pytest.mark.parametrize("name", list(PARTS))


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as site:
        yield site


def page_of(site: Site, name: str, part: str) -> Page:
    """That of a package."""
    return site.pages[f"/record/1/files/{STEMS[name]}.{part}.zip?download=1"]


def asked_for(site: Site) -> list[tuple[str, str]]:
    """Package and first byte of each request."""
    return [
        (path.removesuffix(".zip?download=1").split("development.")[1], span.removeprefix("bytes=").rstrip("-"))
        for path, span in site.asked
    ]


@pytest.fixture
def declared(
    name: str, site: Site, tau_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Dataset:
    """The declaration with its record on the server: a tiny tree, packed as the publisher packs it."""
    tree = tau_tree(tmp_path / "published", name, PLACES)
    (tree / "README.md").write_text("What it is.")
    files = {part: [] for part in PARTS[name]}  # type: ignore[var-annotated]
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        kind = path.relative_to(tree).parts[0]
        half = 1 + (kind == "audio" and "bus" in path.name)
        where = {"README.md": "doc", "audio": f"audio.{half}", "video": "video.1"}
        files[where.get(kind, "meta")].append(path)
    packages = []
    for part, paths in files.items():
        archive = tmp_path / "part.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in paths:
                zipped.write(path, f"{STEMS[name]}/{path.relative_to(tree)}")
        content = archive.read_bytes()
        site.put(f"/record/1/files/{STEMS[name]}.{part}.zip?download=1", Page(content))
        packages.append((part, len(content), hashlib.md5(content).hexdigest()))
    changed = replace(DATASETS[name], remotes=tau.remotes(f"{site.address}/record/1", STEMS[name], packages))
    monkeypatch.setitem(DATASETS, name, changed)
    no_wait = functools.partial(acquire.download, sleep=lambda seconds: None)
    monkeypatch.setattr(acquire, "download", no_wait)
    return changed


@every_set
def test_a_set_arrives_over_connections_that_break(name: str, declared: Dataset, site: Site, tmp_path: Path) -> None:
    page_of(site, name, "audio.1").breaks_at = [700, 50]
    page_of(site, name, "meta").breaks_at = [10]
    said: list[str] = []
    root = acquire.get(name, tmp_path / "data", say=said.append)
    assert declared.licence in said[0]
    assert [start for part, start in asked_for(site) if part == "audio.1"] == ["", "700", "750"]
    assert list(root.glob("*.zip")) == list(root.glob("*.part")) == []
    assert acquire.check_media(find(tmp_path / "data", name)) == []
    published = {path for path in (tmp_path / "published").rglob("*") if path.is_file()}
    for path in published:
        arrived = root / path.relative_to(tmp_path / "published")
        assert arrived.read_bytes() == path.read_bytes()
    site.asked.clear()
    acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert site.asked == []


@every_set
def test_a_command_that_was_killed_goes_on_where_it_was(
    name: str, declared: Dataset, site: Site, tmp_path: Path
) -> None:
    """Given up in the middle of the last part: what is unpacked is not fetched again, the rest from its last byte."""
    last = PARTS[name][-1]
    page_of(site, name, last).breaks_at = [900, 0, 0, 0, 0]
    with pytest.raises(DataError, match="what arrived is kept, run the command again"):
        acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert (tmp_path / "data" / name / f"{STEMS[name]}.{last}.zip.part").stat().st_size == 900
    site.asked.clear()
    acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert asked_for(site) == [(last, "900")]
    assert acquire.check_media(find(tmp_path / "data", name)) == []


@every_set
def test_a_part_that_is_not_the_published_one_is_refused_and_fetched_anew(
    name: str, declared: Dataset, site: Site, tmp_path: Path
) -> None:
    page = page_of(site, name, "audio.2")
    good = page.body
    page.body = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(DataError, match=r"has md5 .* published is .*; deleted, run the command"):
        acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert any("missing" in line for line in acquire.check(name, tmp_path / "data"))
    page.body = good
    acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert acquire.check_media(find(tmp_path / "data", name)) == []


def test_a_large_download_is_announced_and_a_small_disk_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def refuse(*args: object) -> None:
        raise DataError("no network")

    monkeypatch.setattr(acquire, "download", refuse)
    monkeypatch.setattr(acquire.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 5 * 10**9}))
    with pytest.raises(DataError, match="no network"):
        acquire.get("tau_av_2021", tmp_path, say=said.append)
    assert said[1].startswith("27 of 27 files to fetch, 107.7 GB, into")
    assert said[2].startswith("warning: only 5.0 GB are free")

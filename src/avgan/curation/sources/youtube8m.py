"""YouTube-8M's lists of videos, one for each of its names in the paper's Table 1.

A folder of lists (or one list), each named as Table 1 names its row, `Airport terminal.txt`, or, beside the
vocabulary.csv of the data set, as published, `0k4j.js`. In it are ids: YouTube's own of 11 characters, or the data
set's of 4, which stand for YouTube's in a small file each (`resolve`): those are looked up when a video is fetched.

Published at https://research.google.com/youtube8m/download.html; of 6.1 million ids about 3.7 can be looked up today.
"""

import csv
import http.client
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from avgan.curation.record import Video
from avgan.curation.select import plain_name
from avgan.curation.sources.source import Source, id_of, read_list
from avgan.curation.youtube import YOUTUBE_ID, youtube_address
from avgan.curation.ytdlp import FetchError, TryAgain, refused_with, wait_asked
from avgan.download import USER_AGENT
from avgan.errors import DataError
from avgan.scenes import TABLE_1

INDEX = "https://storage.googleapis.com/data.yt8m.org/2/j/i"
"""Of data.yt8m.org, over https."""
SUFFIXES = (".txt", ".js")
VOCABULARY = "vocabulary.csv"
TIMEOUT_S = 30.0  # as yt-dlp is given
MOST_BYTES = 4096  # an entry has some 30

_SHORT = re.compile(r"[A-Za-z0-9_-]{4}")
_LIST = re.compile(r'\s*p\(\s*"([^"]*)"\s*,\s*(\[.*\])\s*\)\s*;?\s*', re.DOTALL)
_ENTRY = re.compile(r'\s*i\(\s*"([^"]*)"\s*,\s*"([^"]*)"\s*\)\s*;?\s*')
_INDEXED = re.compile(r"/j/i/(?P<start>[^/]{2})/(?P<short>(?P=start)[^/]{2})\.js$")


_SCENES = {plain_name(row.youtube8m): scene for scene, row in TABLE_1.items()}


def address_of(short: str) -> str:
    """Where an id of 4 characters is looked up."""
    return f"{INDEX}/{short[:2]}/{short}.js"


def is_entry(address: str) -> bool:
    """Whether an address is that of an entry in the index of ids."""
    return _INDEXED.search(address) is not None


def resolve(address: str) -> str:
    """Look up an entry of the index; returns the id at YouTube.

    Raises:
        FetchError: gone, where there is none or none that can be read: for most that vanished from YouTube.
        TryAgain: the server did not answer as it should.
    """
    request = urllib.request.Request(address, headers={"User-Agent": USER_AGENT})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            content = response.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        problem = refused_with(error.code, wait_s=wait_asked(error.headers.get("Retry-After", "")))
        if isinstance(problem, TryAgain):
            raise problem from None
        raise FetchError("gone", f"not in the index of YouTube-8M ({error.code})") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise TryAgain("broken", f"the index of YouTube-8M does not answer ({reason})") from None
    entry = _ENTRY.fullmatch(content.decode("utf-8", "replace"))
    asked = _INDEXED.search(address)
    if not (entry and asked and entry[1] == asked["short"] and YOUTUBE_ID.fullmatch(entry[2])):
        raise FetchError("gone", "the index of YouTube-8M holds no id for it")
    return entry[2]


def _lists(path: Path) -> dict[Path, str]:
    """{list: scene} of what lies in a folder, or of one file."""
    folder = path if path.is_dir() else path.parent
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    paths = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    by_graph = _scenes_by_graph_id(folder / VOCABULARY) if paths else {}
    found = {path: _SCENES.get(plain_name(path.stem)) or by_graph.get(path.stem) for path in paths}
    return {path: scene for path, scene in found.items() if scene}


def _scenes_by_graph_id(vocabulary: Path) -> dict[str, str]:
    """{0k4j: scene}: the published lists are named after the id in Google's graph, `/m/0k4j`."""
    if not vocabulary.is_file():
        return {}
    try:
        with vocabulary.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row.get("KnowledgeGraphId"), row.get("Name")) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    scenes = ((graph.rpartition("/")[2], _SCENES.get(plain_name(name or ""))) for graph, name in rows if graph)
    return {graph: scene for graph, scene in scenes if scene}


def _matches(named: str) -> bool:
    """A text of addresses may be called bus.txt, too."""
    path = Path(named)
    if not path.exists() or not _lists(path):
        return False
    return path.is_dir() or path.suffix.lower() == ".js" or _begins_with_id(path)


def _begins_with_id(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as file:
            row = next(iter(_one_a_line(file)), [""])
    except (OSError, UnicodeDecodeError):
        return False
    return bool(_SHORT.fullmatch(row[0]) or YOUTUBE_ID.fullmatch(row[0]))


def _find(named: str) -> list[Video]:
    scenes: dict[str, set[str]] = {}
    known: dict[str, str] = {}
    for path, scene in _lists(Path(named)).items():
        for listed, youtube_id in _ids(path):
            scenes.setdefault(listed, set()).add(scene)
            known.setdefault(listed, youtube_id)
    if not scenes:
        raise DataError(
            f"{named}: no id here; name a folder of lists such as '{TABLE_1['park'].youtube8m}.txt', one id a line"
        )
    # A video may stand in several lists: it goes to the scene with the fewest, which needs it most.
    sizes = Counter(scene for found in scenes.values() for scene in found)
    videos: dict[str, Video] = {}
    for listed in sorted(scenes):
        scene = min(scenes[listed], key=lambda scene: (sizes[scene], scene))
        video = _video(listed, known[listed], scene)
        videos.setdefault(video.id, video)
    return [videos[key] for key in sorted(videos)]


def _ids(path: Path) -> Iterator[tuple[str, str]]:
    """(id as listed, YouTube's where the list says it) of a list. Raises DataError."""
    text = read_list(path, "get it anew")
    rows = _published(path, text) if text.lstrip().startswith("p(") else _one_a_line(text.splitlines())
    for number, row in enumerate(rows, 1):
        listed, *rest = row
        is_short = _SHORT.fullmatch(listed) is not None
        youtube_id = rest[0] if rest and YOUTUBE_ID.fullmatch(rest[0]) else ""
        if not is_short and not YOUTUBE_ID.fullmatch(listed):
            raise DataError(f"{path}: row {number}: {listed!r} is no id of 4 or 11 characters; correct the list")
        yield listed, youtube_id if is_short else listed


def _published(path: Path, text: str) -> list[list[str]]:
    """The ids of `p("0k4j",["AAAA","BBBB"]);`"""
    found = _LIST.fullmatch(text)
    try:
        ids = json.loads(found[2]) if found else None
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, list):
        raise DataError(f"{path}: cut off, or no list of YouTube-8M's; get it anew")
    return [[str(listed)] for listed in ids]


def _one_a_line(lines: Iterable[str]) -> Iterable[list[str]]:
    """An id a line, and after it the one at YouTube where that is known."""
    rows = (re.split(r"[\s,;]+", line.strip()) for line in lines)
    return (row for row in rows if row[0] and not row[0].startswith("#"))


def _video(listed: str, youtube_id: str, scene: str) -> Video:
    if youtube_id:
        return Video(id=youtube_id, address=youtube_address(youtube_id), label=scene)
    return Video(id=id_of(f"yt8m-{listed}"), address=address_of(listed), label=scene)


YOUTUBE8M = Source(
    name="youtube8m",
    names="a folder of YouTube-8M's lists of ids, named as in the paper's Table 1",
    matches=_matches,
    find=_find,
)

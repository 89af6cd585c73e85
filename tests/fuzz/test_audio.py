"""Whatever bytes come in: a sound or one line that says why not, in bounded time and memory, and nothing else."""

import http.server
import io
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avgan.audio import read_audio
from avgan.errors import AudioError

Problems = Callable[[bytes], list[str]]

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*"))
"""Inputs that once did what they must not, and the smallest of their kind."""

NUM_EXAMPLES, NUM_EXAMPLES_SLOW = 60, 5_000
UNREADABLE = ("dwvw", "alac_20")
"""Codecs that libsndfile writes and FFmpeg does not know."""

fuzzed = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
brief = settings(fuzzed, max_examples=NUM_EXAMPLES, derandomize=True)
thorough = settings(fuzzed, max_examples=NUM_EXAMPLES_SLOW)

INTERESTING = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    1_000,
    1_024,
    0x7FFF,
    0x8000,
    0xFFFF,
    44_100,
    10**6,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
)


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, int, Any]]:
    """Changes to a file: what, where, with what. Most of them in its first bytes, where the header is."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.one_of(st.integers(0, 127), st.integers(0, 1 << 17)))
        number = st.tuples(st.sampled_from(INTERESTING), st.sampled_from((1, 2, 4, 8)), st.booleans())
        kind, with_what = draw(
            st.one_of(
                st.tuples(st.just("number"), number),
                st.tuples(st.just("byte"), st.integers(0, 255)),
                st.tuples(st.just("insert"), st.binary(max_size=20)),
                st.tuples(st.just("remove"), st.integers(1, 200)),
                st.tuples(st.just("repeat"), st.integers(1, 2_000)),
                st.tuples(st.just("cut"), st.none()),
            )
        )
        found.append((kind, place, with_what))
    return found


def edit(content: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
    """A file with changes made to it."""
    changed = bytearray(content)
    for kind, place, what in changes:
        at = place % (len(changed) + 1)
        if kind == "number":
            value, size, is_big = what
            raw = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big" if is_big else "little")
            changed[at : at + size] = raw
        elif kind == "byte":
            changed[at : at + 1] = bytes([what])
        elif kind == "insert":
            changed[at:at] = what
        elif kind == "remove":
            del changed[at : at + what]
        elif kind == "repeat":
            changed[at:at] = changed[at : at + what]
        else:
            del changed[at:]
    return bytes(changed)


def test_what_is_damaged_below_was_whole_before(decoder: Any, seeds: dict[str, bytes]) -> None:
    assert len(seeds) > 100
    for name, content in seeds.items():
        answer = decoder.decode(content)
        expected = "refused" if any(codec in name for codec in UNREADABLE) else "sound"
        assert (name, answer["outcome"]) == (name, expected)


@brief
@given(content=st.binary(max_size=3_000))
def test_noise(problems: Problems, content: bytes) -> None:
    assert problems(content) == []


@brief
@given(data=st.data(), changes=edits())
def test_damaged_recordings(problems: Problems, seeds: dict[str, bytes], data: st.DataObject, changes: list) -> None:
    assert problems(edit(seeds[data.draw(st.sampled_from(sorted(seeds)))], changes)) == []


@pytest.mark.slow
@thorough
@given(data=st.data(), changes=edits())
def test_many_damaged_recordings(
    problems: Problems, seeds: dict[str, bytes], data: st.DataObject, changes: list
) -> None:
    assert problems(edit(seeds[data.draw(st.sampled_from(sorted(seeds)))], changes)) == []


@brief
@given(data=st.data(), share=st.floats(0, 1))
def test_truncated_and_continued_with_another_file(
    problems: Problems, seeds: dict[str, bytes], data: st.DataObject, share: float
) -> None:
    first = seeds[data.draw(st.sampled_from(sorted(seeds)))]
    second = seeds.get(data.draw(st.sampled_from(["", *sorted(seeds)])), b"")
    assert problems(first[: round(share * len(first))] + second) == []


def wav(content: bytes, *, tag: int, channels: int, rate_hz: int, bits: int, align: int, size: int) -> bytes:
    """A WAV file whose header says what it is told to."""
    head = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * align % 2**32, align, bits)
    return b"".join(
        (
            b"RIFF",
            struct.pack("<I", (36 + len(content)) % 2**32),
            b"WAVEfmt \x10\0\0\0",
            head,
            b"data",
            struct.pack("<I", size),
            content,
        )
    )


@brief
@given(
    content=st.binary(max_size=5_000),
    tag=st.sampled_from([0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x50, 0x55, 0xFF, 0x161, 0xFFFE, 0xFFFF]),
    channels=st.sampled_from([0, 1, 2, 3, 8, 255, 256, 1_000, 1_024, 1_025, 32_768, 65_535]),
    rate_hz=st.sampled_from([0, 1, 999, 1_000, 8_000, 44_100, 10**7, 10**7 + 1, 2**31, 2**32 - 1]),
    bits=st.sampled_from([0, 1, 4, 8, 12, 16, 24, 32, 64, 65_535]),
    align=st.sampled_from([0, 1, 2, 4, 6, 65_535]),
    size=st.sampled_from([0, 1, 100, 5_000, 2**31 - 1, 2**31, 2**32 - 1]),
)
def test_headers_that_lie(problems: Problems, content: bytes, **head: int) -> None:
    assert problems(wav(content, **head)) == []


@pytest.mark.parametrize("channels", [2, 64, 1_000])
def test_many_channels_take_no_more_memory(decoder: Any, channels: int) -> None:
    content = bytes(2 * 4_000_000 // channels * channels)
    answer = decoder.decode(
        wav(content, tag=1, channels=channels, rate_hz=16_000, bits=16, align=2 * channels, size=len(content))
    )
    assert answer["outcome"] == "sound"
    assert answer["num_samples"] == len(content) // 2 // channels
    assert answer["memory_mib"] < 30


def test_more_channels_than_pyav_has_planes(seeds: dict[str, bytes]) -> None:
    names = [name for name in seeds if name.endswith(("-7.1", "-hexadecagonal"))]
    assert len(names) == 3
    for name in names:
        waveform = read_audio(seeds[name])
        spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
        assert spectrum.argmax() * 16_000 / len(waveform) == pytest.approx(440, abs=3), name


@pytest.mark.parametrize("rate_hz", [1_000, 1_009, 15_999, 44_101, 383_981, 9_999_991, 10_000_000])
def test_any_rate_is_brought_down_within_bounds(decoder: Any, rate_hz: int) -> None:
    content = bytes(2 * rate_hz)
    answer = decoder.decode(wav(content, tag=1, channels=1, rate_hz=rate_hz, bits=16, align=2, size=len(content)))
    assert answer["outcome"] == "sound", answer
    assert answer["num_samples"] == pytest.approx(16_000, abs=1)
    assert answer["cpu_s"] < 3
    assert answer["memory_mib"] < 60


@brief
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=100),
    channels=st.integers(1, 3),
    subtype=st.sampled_from(["FLOAT", "DOUBLE"]),
)
def test_not_a_number(problems: Problems, values: list[float], channels: int, subtype: str) -> None:
    file = io.BytesIO()
    samples = np.resize(np.array(values, np.float32), (len(values), channels))
    soundfile.write(file, samples, 16_000, format="WAV", subtype=subtype)
    assert problems(file.getvalue()) == []


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "list.m3u": "{target}\n",
    "list.pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{target}\n"
    "m=audio {port} RTP/AVP 0\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="1" '
    'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "list.asx": '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
    "list.ram": ".RMF\n{target}\n",
    "list.wav": "RTSPtext\r\nref1={target}\r\n",
    "list.imf": "<CompositionPlaylist><Id>urn:uuid:0</Id><File>{target}</File></CompositionPlaylist>",
}


@pytest.fixture
def address() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has a sound to give, and what it was asked for."""
    asked: list[str] = []
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000), 16_000, format="WAV")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(file.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/sound.wav", asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_nothing(tmp_path: Path, tone_wav: Path, address: tuple[str, list[str]], name: str) -> None:
    url, asked = address
    (tmp_path / "tone.wav").write_bytes(tone_wav.read_bytes())
    port = url.split(":")[2].split("/")[0]
    for target in (url, "tone.wav", str(tmp_path / "tone.wav"), f"file:{tmp_path}/tone.wav"):
        path = tmp_path / name
        path.write_text(PLAYLISTS[name].format(target=target, port=port))
        for source in (path, path.read_bytes()):
            with pytest.raises(AudioError, match="not a sound file"):
                read_audio(source)
    assert asked == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_once_does_not_come_back(problems: Problems, path: Path) -> None:
    assert problems(path.read_bytes()) == []


GOOD = {
    "outcome": "sound",
    "text": "",
    "num_samples": 16_000,
    "cpu_s": 0.01,
    "memory_mib": 1.0,
    "files_left": 0,
    "printed": "",
}


@pytest.mark.parametrize(
    "fault",
    [
        {"outcome": "hung"},
        {"outcome": "died of -11"},
        {"outcome": "broken", "text": "KeyError: 1"},
        {"outcome": "refused"},
        {"num_samples": 0},
        {"text": "one\ntwo"},
        {"text": "<_io.BytesIO object at 0x7f0>: bad"},
        {"printed": "Note: Illegal Audio-MPEG-Header"},
        {"files_left": 1},
        {"memory_mib": 500.0},
        {"cpu_s": 20.0},
    ],
)
def test_each_fault_is_seen(find_problems: Callable[[dict[str, Any]], list[str]], fault: dict[str, Any]) -> None:
    assert find_problems(GOOD) == []
    assert len(find_problems({**GOOD, **fault})) == 1


def test_the_death_of_the_process_is_seen(decoder: Any) -> None:
    decoder.decode(b"")
    decoder._process.kill()
    assert decoder.decode(b"RIFF")["outcome"] == "died of -9"
    assert decoder.decode(b"RIFF")["outcome"] == "refused"

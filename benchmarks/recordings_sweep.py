"""Recordings of every make: whether what is heard is what is in them, where it is, or a note says otherwise.

    python benchmarks/recordings_sweep.py [--only WORD] [--show]

Makes some 500 recordings of known sounds with the ffmpeg program: containers by codecs by channels, time stamps that
start late or have holes, files that are joined, cut off, damaged in the middle or have a wrong header, and several
tracks. A sound is a tone in bursts: when it is heard, how loud and at what pitch tells what was lost. Prints a Markdown
table: right; noted (something is missing, and a note says so); wrong. Exit status 1 where one is wrong.
"""

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgan.audio import SAMPLE_RATE_HZ, AudioStream
from avgan.errors import AudioError

BURSTS_S = ((0.5, 1.5), (2.5, 4.0))
"""When the tone sounds, in a sound of `LENGTH_S`."""
LENGTH_S = 5.0
PITCH_HZ, OTHER_HZ = 440, 1_320
LEVEL = 0.3
TOLERANCE_S = 0.12  # codecs smear an edge over a frame or two
TOLERANCE_DB = 2.0
FRAME_S = 0.02

BURSTS = "+".join(f"between(t,{begin},{end})" for begin, end in BURSTS_S)


def tone(pitch_hz: int = PITCH_HZ, rate_hz: int = 44_100) -> str:
    """The sound, as FFmpeg's lavfi makes it."""
    wave = f"{LEVEL}*sin(2*PI*{pitch_hz}*t)*({BURSTS})"
    return f"aevalsrc='{wave}':d={LENGTH_S}:s={rate_hz}"


@dataclass(frozen=True)
class Case:
    """A recording, and when a tone of which pitch should be heard in it, at which gain."""

    kind: str
    name: str
    make: Callable[[Path], Path]
    spans_s: tuple[tuple[float, float], ...] = BURSTS_S
    pitch_hz: int = PITCH_HZ
    gain: float = 1.0
    must_note: str = ""
    """A word of a note that must be there, also where all is heard."""
    until_s: float | None = None
    """Where a file is cut off that states no length: what is heard up to there is all that is in it."""


@dataclass(frozen=True)
class Found:
    verdict: str
    detail: str = ""


def ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", "-nostdin", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "ffmpeg")


def decode(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    stream = AudioStream(path)
    return np.concatenate(list(stream)), stream.warnings


def spans(waveform: np.ndarray, level: float) -> list[tuple[float, float]]:
    """When there is sound; pauses and bursts below a tenth of a second are none."""
    size = round(FRAME_S * SAMPLE_RATE_HZ)
    parts = np.abs(waveform[: len(waveform) // size * size]).reshape(-1, size).max(1)
    if not len(parts):
        return []
    loud = np.concatenate(([0], parts > 0.25 * level, [0])).astype(int)
    edges = (np.flatnonzero(np.diff(loud)) * FRAME_S).reshape(-1, 2).tolist()
    merged: list[list[float]] = []
    for begin, end in edges:
        if merged and begin - merged[-1][1] < 0.1:
            merged[-1][1] = end
        else:
            merged.append([begin, end])
    return [(begin, end) for begin, end in merged if end - begin >= 0.1]


def judge(case: Case, path: Path) -> Found:
    """Compare what is heard with what should be."""
    try:
        waveform, notes = decode(path)
    except AudioError as error:
        return Found("noted", f"refused: {error}")
    wanted = case.spans_s
    if case.until_s is not None:
        end_s = min(len(waveform) / SAMPLE_RATE_HZ, case.until_s)
        wanted = tuple((a, min(b, end_s)) for a, b in wanted if a < end_s - TOLERANCE_S)
    found = spans(waveform, LEVEL * case.gain)
    problem = ""
    if len(found) != len(wanted) or any(
        abs(a - b) > TOLERANCE_S
        for one, other in zip(found, wanted, strict=True)
        for a, b in zip(one, other, strict=True)
    ):
        problem = f"heard at {[(round(a, 2), round(b, 2)) for a, b in found]}, not {wanted}"
    elif found:
        begin, end = (round(t * SAMPLE_RATE_HZ) for t in found[-1])
        middle = waveform[(2 * begin + end) // 3 : (begin + 2 * end) // 3]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        pitch_hz = spectrum.argmax() * SAMPLE_RATE_HZ / len(middle)
        gain_db = 20 * np.log10(np.sqrt(2 * np.mean(middle**2)) / (LEVEL * case.gain) + 1e-9)
        if abs(pitch_hz - case.pitch_hz) > 15:
            problem = f"{pitch_hz:.0f} Hz, not {case.pitch_hz}"
        elif abs(gain_db) > TOLERANCE_DB:
            problem = f"{gain_db:+.1f} dB"
    told = [note for note in notes if "clipped" not in note and "shorter" not in note]
    if case.must_note and not any(case.must_note in note for note in told):
        return Found("wrong", f"{problem or 'right'}, but no note of {case.must_note!r}: {told}")
    if not problem:
        return Found("right", "; ".join(told))
    return Found("noted" if told else "wrong", f"{problem}: {told}")


# What can be in what, and what the encoder needs.
CODECS: dict[str, list[tuple[str, ...]]] = {
    suffix: [tuple(codec.split()) for codec in codecs.split(", ")]
    for suffix, codecs in {
        "wav": "pcm_s16le, pcm_s24le, pcm_f32le, pcm_u8, pcm_f64le, adpcm_ms, pcm_alaw, pcm_mulaw",
        "w64": "pcm_s16le, pcm_f32le",
        "aiff": "pcm_s16be, pcm_s24be",
        "au": "pcm_s16be",
        "caf": "pcm_s16le, alac",
        "flac": "flac",
        "wv": "wavpack",
        "tta": "tta",
        "voc": "pcm_s16le",
        "mp3": "libmp3lame, libmp3lame -q:a 4, libmp3lame -write_xing 0",
        "mp2": "mp2",
        "aac": "aac",
        "ac3": "ac3",
        "eac3": "eac3",
        "dts": "dca -strict -2",
        "ogg": "libvorbis, flac, libopus",
        "opus": "libopus",
        "m4a": "aac, alac",
        "mp4": "aac, ac3, libmp3lame",
        "mov": "pcm_s16le, aac",
        "3gp": "aac",
        "mkv": "aac, libopus, libvorbis, flac, pcm_s16le, ac3",
        "mka": "libvorbis, flac",
        "webm": "libopus, libvorbis",
        "ts": "aac, mp2, ac3",
        "mpg": "mp2",
        "flv": "libmp3lame, aac",
        "avi": "libmp3lame, pcm_s16le, ac3, aac",
        "wma": "wmav2",
        "wmv": "wmav2",
        "nut": "pcm_s16le, flac",
        "mxf": "pcm_s16le",
    }.items()
}
ENDLESS = {"mp2", "aac", "ac3", "eac3", "dts", "ts", "mpg", "nut"}
"""Frames after frames: a file that is cut off between two is one like any other."""
VIDEO_CODEC = {"webm": "libvpx", "mpg": "mpeg1video", "wmv": "wmv2", "mxf": "mpeg2video", "flv": "flv"}
PICTURE = "testsrc=size=96x64:rate=25:duration={}"


def encoded(
    suffix: str,
    codec: tuple[str, ...],
    *,
    filters: str = "anull",
    offset_s: float = 0.0,
    source: str = "",
    picture_s: float = 0.0,
) -> Callable[[Path], Path]:
    """Makes the sound in a container; with a picture beside it where `picture_s` is given."""

    def make(folder: Path) -> Path:
        path = folder / f"a.{suffix}"
        picture = ["-f", "lavfi", "-i", PICTURE.format(picture_s)] if picture_s else []
        sound = [
            "-itsoffset",
            str(offset_s),
            "-f",
            "lavfi",
            "-i",
            source or tone(rate_hz=48_000 if suffix == "mxf" else 44_100),
        ]
        number = 1 if picture_s else 0
        maps = (["-map", "0:v", "-c:v", VIDEO_CODEC.get(suffix, "mpeg4")] if picture_s else []) + [
            "-map",
            f"{number}:a",
        ]
        ffmpeg(*picture, *sound, *maps, "-af", filters, "-c:a", *codec, *_container(suffix), path)
        return path

    return make


def _container(suffix: str) -> list[str]:
    return {"ts": ["-f", "mpegts"], "3gp": ["-f", "3gp"]}.get(suffix, [])


def plain() -> Iterator[Case]:
    """Containers by codecs by channels."""
    for suffix, codecs in CODECS.items():
        for codec in codecs:
            for layout in ("mono", "stereo"):
                filters = f"aformat=channel_layouts={layout}"
                if layout == "stereo":
                    filters = "pan=stereo|c0=c0|c1=c0"
                name = f"{suffix} {codec[0]} {layout}"
                if suffix == "mxf":
                    filters += ",aresample=48000"
                yield Case(
                    "plain", name, encoded(suffix, codec, filters=filters, picture_s=6.0 if suffix == "mxf" else 0.0)
                )


SURROUND = {
    "centre": ("pan=5.1|FC=c0", 1.0),
    "centre and noise": ("pan=5.1|FL=0.003*c0|FR=0.003*c0|FC=c0|LFE=c0|BL=0.003*c0|BR=0.003*c0", 1.0),
    "fronts": ("pan=5.1|FL=c0|FR=c0", 1.0),
    "left only": ("pan=5.1|FL=c0", 1.0),
    "back left only": ("pan=5.1|BL=c0", 1.0),
    "LFE loud": ("pan=5.1|FC=0.5*c0|LFE=c0", 0.5),
}


def channels() -> Iterator[Case]:
    """What is in which channel."""
    stereo = {
        "reversed": ("pan=stereo|c0=c0|c1=-1*c0", 1.0),
        "reversed and quieter": ("pan=stereo|c0=c0|c1=-0.5*c0", 0.75),
        "dead right": ("pan=stereo|c0=c0|c1=0*c0", 1.0),
        "dead left": ("pan=stereo|c0=0*c0|c1=c0", 1.0),
        "half right": ("pan=stereo|c0=c0|c1=0.5*c0", 0.75),
    }
    for name, (filters, gain) in stereo.items():
        for suffix, codec in (
            ("wav", "pcm_s16le"),
            ("flac", "flac"),
            ("mp3", "libmp3lame"),
            ("m4a", "aac"),
            ("ogg", "libvorbis"),
            ("opus", "libopus"),
        ):
            yield Case("channels", f"{name} {suffix}", encoded(suffix, (codec,), filters=filters), gain=gain)
    for name, (filters, gain) in SURROUND.items():
        for suffix, codec in (
            ("wav", "pcm_s16le"),
            ("flac", "flac"),
            ("m4a", "aac"),
            ("ac3", "ac3"),
            ("ogg", "libvorbis"),
            ("mkv", "libopus"),
        ):
            if suffix == "ac3" and name == "LFE loud":
                continue  # its encoder filters the low channel
            yield Case(
                "channels",
                f"5.1 {name} {suffix}",
                encoded(suffix, (codec,), filters=filters),
                gain=gain,
                must_note="6 channels",
            )
    for live in range(8):
        filters = f"pan=8c|c{live}=c0"
        yield Case(
            "channels",
            f"eight, {live + 1} live",
            encoded("wav", ("pcm_s24le",), filters=filters),
            must_note="used alone",
        )


TIMED = ("mp4", "mov", "mkv", "webm", "ts", "mpg", "flv", "nut", "wmv")


def times() -> Iterator[Case]:
    """Time stamps that start late, have holes, or begin anew."""
    for suffix in TIMED:
        for codec in CODECS[suffix][:2]:
            for late_s in (2.0, 20.0):
                moved = tuple((begin + late_s, end + late_s) for begin, end in BURSTS_S)
                make = encoded(suffix, codec, offset_s=late_s, picture_s=late_s + 6)
                yield Case("times", f"late {late_s:g} s {suffix} {codec[0]}", make, moved, must_note="begins")
            holed = (BURSTS_S[0], (BURSTS_S[1][0] + 8, BURSTS_S[1][1] + 8))
            if (suffix, codec) == ("mov", ("pcm_s16le",)):
                continue  # FFmpeg writes no hole into it
            filters = "asetpts='PTS+if(gte(T,2),8/TB,0)'"
            yield Case(
                "times",
                f"hole {suffix} {codec[0]}",
                encoded(suffix, codec, filters=filters, picture_s=14),
                holed,
                must_note="holes",
            )
    for suffix in ("m4a", "mka"):
        moved = tuple((begin + 20, end + 20) for begin, end in BURSTS_S)
        yield Case("times", f"late, no picture {suffix}", encoded(suffix, CODECS[suffix][0], offset_s=20), moved)


def joined() -> Iterator[Case]:
    """Files laid end to end."""
    for suffix in (
        "ogg",
        "opus",
        "flac",
        "wav",
        "mp3",
        "aac",
        "ac3",
        "ts",
        "aiff",
        "mp2",
        "mkv",
        "mp4",
        "au",
        "caf",
        "w64",
        "wv",
    ):
        for codec in CODECS[suffix]:

            def make(folder: Path, suffix: str = suffix, codec: tuple[str, ...] = codec) -> Path:
                path = encoded(suffix, codec)(folder)
                path.write_bytes(2 * path.read_bytes())
                return path

            yield Case("joined", f"{suffix} {codec[0]}", make, _twice(LENGTH_S))


def _twice(length_s: float) -> tuple[tuple[float, float], ...]:
    return (*BURSTS_S, *((begin + length_s, end + length_s) for begin, end in BURSTS_S))


def damaged() -> Iterator[Case]:
    """Files that are cut off, or damaged in the middle: what is missing must be noted."""
    for suffix, codecs in CODECS.items():
        for codec in codecs:
            for share in (0.4, 0.8):

                def cut(
                    folder: Path, suffix: str = suffix, codec: tuple[str, ...] = codec, share: float = share
                ) -> Path:
                    path = encoded(suffix, codec, picture_s=6.0 if suffix == "mxf" else 0.0)(folder)
                    content = path.read_bytes()
                    path.write_bytes(content[: int(share * len(content))])
                    return path

                states_none = suffix in ENDLESS or "-write_xing" in codec
                until_s = share * LENGTH_S + 0.5 if states_none else None
                yield Case("cut off", f"{suffix} {codec[0]} at {share:.0%}", cut, until_s=until_s)

            def broken(folder: Path, suffix: str = suffix, codec: tuple[str, ...] = codec) -> Path:
                path = encoded(suffix, codec, picture_s=6.0 if suffix == "mxf" else 0.0)(folder)
                content = bytearray(path.read_bytes())
                at = len(content) // 2
                content[at : at + 600] = np.random.default_rng(0).bytes(600)
                path.write_bytes(content)
                return path

            if not codec[0].startswith(("pcm", "adpcm")):  # in which noise is a sound like any other
                yield Case("damaged", f"{suffix} {codec[0]}", broken)


def headers() -> Iterator[Case]:
    """WAV files whose header says less than there is."""
    for codec in ("pcm_s16le", "pcm_s24le", "pcm_f32le"):
        for stated in (0, 1_000, 96_000, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF):

            def make(folder: Path, codec: str = codec, stated: int = stated) -> Path:
                path = encoded("wav", (codec,))(folder)
                content = path.read_bytes()
                at = content.index(b"data") + 4
                path.write_bytes(content[:at] + struct.pack("<I", stated) + content[at + 4 :])
                return path

            yield Case("headers", f"{codec} states {stated:,}", make, must_note="end of the file")


@dataclass(frozen=True)
class TwoTracks:
    """Makes a file with two sound tracks of different pitch."""

    suffix: str
    codec: str
    is_first_silent: bool = False
    is_second_default: bool = False

    def __call__(self, folder: Path) -> Path:
        path = folder / f"a.{self.suffix}"
        first = "volume=0" if self.is_first_silent else "anull"
        graph = f"[0:a]{first}[a];[1:a]anull[b]"
        options = ["-map", "[a]", "-map", "[b]", "-c:a", self.codec]
        if self.is_second_default:
            options += ["-disposition:a:0", "0", "-disposition:a:1", "default"]
        inputs = ["-f", "lavfi", "-i", tone(), "-f", "lavfi", "-i", tone(OTHER_HZ)]
        ffmpeg(*inputs, "-filter_complex", graph, *options, path)
        return path


def tracks() -> Iterator[Case]:
    """Two sound tracks, of which one is right."""
    makes = "mkv flac, mp4 aac, ts aac, mov pcm_s16le, ogg libvorbis"
    for suffix, codec in (make.split() for make in makes.split(", ")):
        first = TwoTracks(suffix, codec)
        silent = TwoTracks(suffix, codec, is_first_silent=True)
        second = TwoTracks(suffix, codec, is_second_default=True)
        note = "2 sound tracks"
        yield Case("tracks", f"{suffix} the first", first, must_note=note)
        yield Case("tracks", f"{suffix} silent first", silent, pitch_hz=OTHER_HZ, must_note=note)
        if suffix in ("mkv", "mp4", "mov"):  # the others mark none
            yield Case("tracks", f"{suffix} second", second, pitch_hz=OTHER_HZ, must_note=note)


KINDS = (plain, channels, times, joined, damaged, headers, tracks)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--show", action="store_true", help="a line for each recording that is not right")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not installed: the recordings are made with it")
    counts: dict[str, Counter[str]] = {}
    began = time.perf_counter()
    for case in (case for kind in KINDS for case in kind()):
        if options.only not in f"{case.kind} {case.name}":
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = case.make(Path(folder))
            except OSError as error:  # this ffmpeg cannot make it
                found = Found("not made", str(error))
            else:
                found = judge(case, path)
        counts.setdefault(case.kind, Counter())[found.verdict] += 1
        if found.verdict in ("wrong", "not made") or (options.show and found.verdict != "right"):
            print(f"{found.verdict}: {case.kind}, {case.name}: {found.detail}", file=sys.stderr)
    verdicts = ("right", "noted", "wrong", "not made")
    print(f"| recordings | {' | '.join(verdicts)} |\n|---|{'---|' * len(verdicts)}")
    for kind, found_by_verdict in counts.items():
        print(f"| {kind} | {' | '.join(str(found_by_verdict[verdict]) for verdict in verdicts)} |")
    total = sum(counts.values(), Counter())
    print(f"| all | {' | '.join(str(total[verdict]) for verdict in verdicts)} |")
    print(f"\n{total.total()} recordings, {time.perf_counter() - began:.0f} s")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""With a hop, each long recording has a folder of its own: pictures of its segments, strip and film."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.archive.batch import Sink
from avgan.archive.sources import Recording
from avgan.audio import read_audio
from avgan.errors import AvganError
from avgan.pictures import film
from avgan.pictures.album import Album
from avgan.runtime import Model, load
from avgan.runtime.prediction import Prediction


@pytest.fixture(autouse=True)
def _few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "FRAMES_PER_S", 5)


@pytest.fixture(scope="module")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle, num_threads=1)


@pytest.fixture
def noise_and_silence(tmp_path: Path, rng: np.random.Generator) -> Path:
    """1.5 s of hiss, then 1.5 s of silence."""
    samples = rng.uniform(-0.5, 0.5, 48_000)
    samples[24_000:] = 0
    soundfile.write(tmp_path / "night: 100% ü.wav", samples, 16_000)
    return tmp_path / "night: 100% ü.wav"


def hear(model: Model, sink: Sink, recordings: Sequence[Recording]) -> list[Prediction]:
    predictions = []
    for recording in recordings:
        sink.begin(recording)
        listening = model.listen(recording.source, hop_s=0.5)
        for window in listening:
            sink.window(window)
        prediction = listening.conclude()
        sink.end(prediction)
        predictions.append(prediction)
    sink.close()
    return predictions


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_is_written(model: Model, noise_and_silence: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    recording = Recording(str(noise_and_silence), noise_and_silence)
    (prediction,) = hear(model, Album(folder), [recording])
    name = "night: 100% ü"
    assert names(folder) == [
        name,
        f"{name}.png",
        f"{name}/0001 0.00 beach.png",
        f"{name}/0002 0.01 unknown.png",
        f"{name}/film.mp4",
        f"{name}/strip.png",
    ]
    with Image.open(folder / f"{name}.png") as whole:
        assert whole.size == (256, 256)
    with Image.open(folder / name / "0001 0.00 beach.png") as first:
        assert first.size == (256, 256)
        brightness = np.asarray(first).mean()
    with Image.open(folder / name / "0002 0.01 unknown.png") as second:
        assert np.asarray(second).mean() < brightness
    with av.open(folder / name / "film.mp4") as container:
        assert container.duration / av.time_base == pytest.approx(prediction.duration_s, abs=0.2)
        assert len(container.streams.audio) == 1


def test_no_more_than_a_picture_of_what_is_no_longer_than_a_window(
    model: Model, tmp_path: Path, tone_wav: Path
) -> None:
    samples, rate_hz = soundfile.read(tone_wav)
    soundfile.write(tmp_path / "short.wav", samples[:rate_hz], rate_hz)
    source = tmp_path / "short.wav"
    hear(model, Album(tmp_path / "images"), [Recording("short.wav", source)])
    assert names(tmp_path / "images") == ["short.png"]


def test_a_second_run_leaves_no_picture_of_the_first(
    model: Model, noise_and_silence: Path, tone_wav: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    hear(model, Album(folder), [Recording("a.wav", noise_and_silence)])
    (folder / "a" / "mine.png").write_bytes(b"not ours")
    hear(model, Album(folder), [Recording("a.wav", tone_wav)])
    kept = [name for name in names(folder / "a") if name.endswith(".png")]
    assert len(kept) == 3
    assert {"mine.png", "strip.png"} < set(kept)


def test_recordings_of_one_name_do_not_share_a_folder(model: Model, tone_wav: Path, tmp_path: Path) -> None:
    recordings = [Recording(name, tone_wav) for name in ("x/a.wav", "y/A.wav")]
    hear(model, Album(tmp_path / "images"), recordings)
    films = [name for name in names(tmp_path / "images") if name.endswith("film.mp4")]
    assert len(films) == 2


def test_a_film_of_what_cannot_be_read_again_is_silent(model: Model, noise_and_silence: Path, tmp_path: Path) -> None:
    class Forgetful(Album):
        def begin(self, recording: Recording) -> None:
            super().begin(Recording(recording.name, tmp_path / "gone.wav"))

    hear(model, Forgetful(tmp_path / "images"), [Recording("a.wav", noise_and_silence)])
    with av.open(tmp_path / "images" / "a" / "film.mp4") as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_sound_in_memory(model: Model, noise_and_silence: Path, tmp_path: Path) -> None:
    content = noise_and_silence.read_bytes()
    hear(model, Album(tmp_path / "images"), [Recording("<standard input>", content)])
    with av.open(tmp_path / "images" / "standard input" / "film.mp4") as container:
        assert len(container.streams.audio) == 1


def test_where_nothing_can_be_written(model: Model, tone_wav: Path) -> None:
    with pytest.raises(AvganError, match="is no folder"):
        hear(model, Album(tone_wav), [Recording("a.wav", tone_wav)])


@pytest.mark.slow
def test_a_real_recording_looks_like_its_scenes(data_root: Path, tmp_path: Path) -> None:
    sounds = data_root / "esc50" / "audio"
    clips = sorted(sounds.glob("5-*-11.*"))[:2] + sorted(sounds.glob("5-*-10.*"))[:2]
    sound = np.concatenate([read_audio(clip) for clip in clips])
    soundfile.write(tmp_path / "sea.flac", sound, 16_000)
    model = load(num_threads=1)
    hear(model, Album(tmp_path), [Recording("sea.flac", tmp_path / "sea.flac")])
    pictures = [name for name in names(tmp_path / "sea") if name.startswith("0")]
    assert "coast" in pictures[0]
    assert "rainforest" in pictures[-1]

"""What an explanation promises: it finds the part of the sound that made the answer, and says nothing of the rest."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avgan.audio import AudioStream
from avgan.errors import AudioError
from avgan.runtime import Model, load
from avgan.runtime.explain import Occlusion, strongest
from avgan.runtime.explanation import AGAINST, FOR, Explanation, Stretch, coloured

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def toy(toy_bundle: Path) -> Model:
    return load(toy_bundle)


@pytest.fixture(scope="module")
def shipped() -> Model:
    return load("esc50", num_threads=1)


@pytest.fixture(params=["toy", "shipped"])
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(request.param)
    return found


def noise(model: Model, rng: np.random.Generator, level: float = 0.1) -> np.ndarray:
    """A window of noise (L,), louder towards its end."""
    size = round(model.card.window_s * RATE_HZ)
    return (level * np.linspace(0.1, 1, size) * rng.standard_normal(size)).astype(np.float32)


def siren(start_s: float, rng: np.random.Generator) -> np.ndarray:
    """5 s (L,) of faint noise, with a siren of two tones for one second."""
    time_s = np.arange(5 * RATE_HZ) / RATE_HZ
    pitch_hz = np.where((2 * time_s).astype(int) % 2, 700.0, 950.0)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    tone = sum(np.sin(number * phase) / number for number in range(1, 7))
    on = (time_s >= start_s) & (time_s < start_s + 1)
    return (1e-4 * rng.standard_normal(len(time_s)) + 0.2 * tone * on).astype(np.float32)


def knocks(start_s: float, rng: np.random.Generator) -> np.ndarray:
    """5 s (L,) of faint noise, with four low knocks within one second."""
    time_s = np.arange(5 * RATE_HZ) / RATE_HZ
    sound = 1e-4 * rng.standard_normal(len(time_s))  # of more it is the noise that is named
    for knock_s in start_s + np.array([0.1, 0.3, 0.5, 0.7]):
        since_s = np.maximum(time_s - knock_s, 0)
        sound += 0.2 * np.exp(-60 * since_s) * np.sin(2 * np.pi * 180 * since_s)
    return sound.astype(np.float32)


def test_a_window_of_which_nothing_is_silenced_is_answered_as_ever(model: Model, rng: np.random.Generator) -> None:
    waveform = noise(model, rng)
    whole = model.network.predict(model.network.embed(waveform[None]))[0][0]
    occlusion = Occlusion(model.network, model.card)
    found = occlusion.without(occlusion.spectrum(waveform), slice(0, 0), slice(0, 0))
    assert found == pytest.approx(whole, abs=1e-5)


def test_silencing_is_heard_as_the_whole_network_would_hear_it(shipped: Model, rng: np.random.Generator) -> None:
    waveform = noise(shipped, rng)
    occlusion = Occlusion(shipped.network, shipped.card)
    spectrum = occlusion.spectrum(waveform)
    bands, steps = slice(10, 40), slice(90, 300)
    changed = spectrum.log_mel.copy()
    changed[bands, steps] = spectrum.quiet[bands, None]
    session = shipped.network.part(("waveform", "log_mel"), ("heard",))
    inputs = {"waveform": waveform[None], "log_mel": changed[None, None]}
    expected = shipped.network.predict(session.run(None, inputs)[0])[0][0]
    found = occlusion.without(spectrum, bands, steps)
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(found - occlusion.without(spectrum, bands, slice(0, 0))).max() > 0.01


@pytest.mark.parametrize(("sound", "low_hz", "high_hz"), [(siren, 500, 6_000), (knocks, 0, 1_000)])
def test_a_sound_amid_quiet_is_found_in_time_and_pitch(
    shipped: Model, rng: np.random.Generator, sound: Callable[..., np.ndarray], low_hz: float, high_hz: float
) -> None:
    explained = shipped.explain(sound(2.0, rng), RATE_HZ)
    positive = explained.saliency.clip(min=0)
    then = (explained.times_s > 1.9) & (explained.times_s < 3.1)
    assert positive[:, then].sum() > 0.6 * positive.sum()
    stretch = explained.stretch
    assert stretch is not None
    assert 1.9 <= stretch.start_s < stretch.end_s <= 3.1
    assert low_hz <= stretch.low_hz < stretch.high_hz <= high_hz
    assert stretch.probability_without < explained.probability


def test_silencing_what_is_salient_changes_the_answer_more_than_silencing_what_is_not(
    model: Model, rng: np.random.Generator
) -> None:
    size = round(model.card.window_s * RATE_HZ)
    waveform = siren(2.0, rng)
    if size < len(waveform):  # hiss in the third quarter of a second
        waveform = np.zeros(size, np.float32)
        waveform[size // 2 : size * 3 // 4] = rng.uniform(-0.9, 0.9, size // 4)
    explained = model.explain(waveform, RATE_HZ)
    assert explained.stretch is not None
    salience = explained.saliency.sum(0)
    spans = np.array_split(np.arange(salience.size), 5 if model.card.window_s == 5 else 4)
    best, *_, least = sorted(spans, key=lambda span: -salience[span].sum())

    def left(span: np.ndarray) -> float:
        quiet = waveform.copy()
        times = np.arange(size) / RATE_HZ
        start_s, end_s = explained.times_s[span[0]], explained.times_s[span[-1]]
        quiet[(times >= start_s) & (times <= end_s)] *= 0.01
        answer = model.network.predict(model.network.embed(quiet[None]))[0][0]
        return float(answer[model.card.labels.index(explained.label)])

    assert left(best) < 0.8 * explained.probability
    assert left(least) > 0.9 * explained.probability


def test_shapes_times_and_bands(shipped: Model, rng: np.random.Generator) -> None:
    explained = shipped.explain(noise(shipped, rng), RATE_HZ)
    num_bands, num_steps = explained.saliency.shape
    assert explained.log_mel.shape == (num_bands, num_steps)
    assert explained.times_s.shape == (num_steps,)
    assert explained.bands_hz.shape == (num_bands + 1,)
    assert (np.diff(explained.times_s) > 0).all()
    assert (np.diff(explained.bands_hz) > 0).all()
    assert np.abs(explained.saliency).max() == pytest.approx(1)
    assert explained.saliency.dtype == explained.log_mel.dtype == np.float32


@pytest.mark.parametrize("frequency_hz", [300.0, 1_000.0, 3_000.0, 6_000.0])
def test_the_axes_say_when_and_how_high(shipped: Model, frequency_hz: float) -> None:
    time_s = np.arange(5 * RATE_HZ) / RATE_HZ
    sound = 0.3 * np.sin(2 * np.pi * frequency_hz * time_s) * (np.abs(time_s - 3) < 0.1)
    explained = shipped.explain(sound.astype(np.float32), RATE_HZ)
    band, _ = np.unravel_index(explained.log_mel.argmax(), explained.log_mel.shape)
    low_hz, high_hz = explained.bands_hz[band : band + 2]
    assert 0.97 * low_hz < frequency_hz < 1.03 * high_hz
    loud = explained.log_mel[band] > explained.log_mel[band].max() - 1
    assert explained.times_s[loud].mean() == pytest.approx(3.0, abs=0.01)


def test_an_explanation_is_the_same_each_time(shipped: Model, rng: np.random.Generator) -> None:
    waveform = noise(shipped, rng)
    first, second = (shipped.explain(waveform, RATE_HZ) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert first.png() == second.png()


def test_silence_is_explained_by_nothing(model: Model) -> None:
    size = round(model.card.window_s * RATE_HZ)
    explained = model.explain(np.zeros(size, np.float32), RATE_HZ)
    assert (explained.scene, explained.sound, explained.reason) == ("unknown", None, "silent")
    assert not explained.saliency.any()
    assert explained.stretch is None
    assert explained.words == "nothing stands out"
    assert Image.open(io.BytesIO(explained.png())).size[0] > 500


def test_a_short_recording_is_explained_as_far_as_it_goes(shipped: Model, rng: np.random.Generator) -> None:
    short = siren(0.2, rng)[: int(1.3 * RATE_HZ)]
    explained = shipped.explain(short, RATE_HZ)
    assert (explained.start_s, explained.end_s) == (0.0, 1.3)
    assert 1.25 < explained.times_s[-1] < 1.3
    assert explained.saliency.shape[1] == len(explained.times_s)
    assert np.abs(explained.saliency).max() == pytest.approx(1)
    assert explained.stretch is not None
    assert explained.stretch.end_s <= 1.3
    assert shipped.explain(short[:16], RATE_HZ).saliency.shape[1] == 1


def hiss_after_rumble(rng: np.random.Generator) -> np.ndarray:
    """Three seconds (L,): a soft hiss, a soft hiss, a loud one."""
    sound = rng.uniform(-1, 1, 3 * RATE_HZ).astype(np.float32)
    return np.repeat([0.3, 0.2, 0.9], RATE_HZ).astype(np.float32) * sound


def test_of_a_long_recording_the_surest_window_is_explained(
    toy: Model, rng: np.random.Generator, tmp_path: Path
) -> None:
    import soundfile

    waveform = hiss_after_rumble(rng)
    explained = toy.explain(waveform, RATE_HZ)
    assert (explained.start_s, explained.end_s) == (2.0, 3.0)
    assert explained.times_s[0] == pytest.approx(2.0, abs=0.01)
    path = tmp_path / "long.wav"
    soundfile.write(path, waveform, RATE_HZ, subtype="FLOAT")
    with path.open("rb") as file:
        for source in (path, path.read_bytes(), file):
            assert toy.explain(source).to_dict()["saliency"] == explained.to_dict()["saliency"]


def test_a_chosen_window_is_answered_as_by_itself(toy: Model, rng: np.random.Generator) -> None:
    waveform = hiss_after_rumble(rng)
    explained = toy.explain(waveform, RATE_HZ, start_s=0.5)
    alone = toy.classify(waveform[RATE_HZ // 2 : RATE_HZ * 3 // 2], RATE_HZ)
    assert (explained.scene, explained.sound) == (alone.scene, alone.sound)
    assert explained.probability == pytest.approx(alone.sounds[explained.label], abs=1e-6)
    assert (explained.start_s, explained.end_s) == (0.5, 1.5)
    stream = AudioStream(waveform, rate_hz=RATE_HZ)
    assert toy.explain(stream, start_s=0.5).to_dict() == explained.to_dict()


@pytest.mark.parametrize(
    ("start_s", "line"), [(3.0, "ends at 3.0 s"), (99.0, "ends at 3.0 s"), (-1.0, "0 or more"), (np.nan, "0 or more")]
)
def test_a_start_outside_is_refused_in_one_line(
    toy: Model, rng: np.random.Generator, start_s: float, line: str
) -> None:
    with pytest.raises(AudioError, match=line) as caught:
        toy.explain(hiss_after_rumble(rng), RATE_HZ, start_s=start_s)
    assert "\n" not in str(caught.value)


def test_what_is_explained_is_the_answer(toy: Model, rng: np.random.Generator) -> None:
    explained = toy.explain(hiss_after_rumble(rng), RATE_HZ)
    assert (explained.scene, explained.sound, explained.label) == ("beach", "hiss", "hiss")
    assert repr(explained).startswith("Explanation('hiss', ")


def test_everything_survives_json(shipped: Model, rng: np.random.Generator) -> None:
    explained = shipped.explain(siren(2.0, rng), RATE_HZ)
    read = json.loads(json.dumps(explained.to_dict(), allow_nan=False))
    assert np.array(read["saliency"]) == pytest.approx(explained.saliency, abs=0.0051)
    assert len(read["times_s"]) == len(read["saliency"][0])
    assert len(read["bands_hz"]) == len(read["saliency"]) + 1
    assert read["words"] == explained.words
    assert read["stretch"]["probability_without"] < read["probability"]
    assert type(read["label"]) is type(explained.label) is str


@pytest.mark.parametrize(
    ("stretch", "words"),
    [
        (Stretch(1.21, 1.99, 1_000, 3_000, 0.1), "1.2 to 2.0 s, 1 to 3 kHz"),
        (Stretch(0, 4.96, 140.2, 903, 0.1), "0.0 to 5.0 s, 140 to 900 Hz"),
        (Stretch(60, 61.5, 444, 1_249, 0.1), "60.0 to 61.5 s, 440 Hz to 1.2 kHz"),
    ],
)
def test_a_stretch_in_words(stretch: Stretch, words: str) -> None:
    assert str(stretch) == words


def test_the_strongest_rectangle_has_the_largest_sum(rng: np.random.Generator) -> None:
    for _ in range(20):
        values = rng.standard_normal(rng.integers(1, 7, 2))
        values.flat[rng.integers(values.size)] = 0.5
        rows, columns = strongest(values)
        largest = max(
            values[top:bottom, left:right].sum()
            for top in range(values.shape[0])
            for bottom in range(top + 1, values.shape[0] + 1)
            for left in range(values.shape[1])
            for right in range(left + 1, values.shape[1] + 1)
        )
        assert values[rows, columns].sum() == pytest.approx(largest)


def test_the_picture_is_tinted_where_it_matters_and_grey_elsewhere() -> None:
    saliency = np.array([[1.0, -1.0, 0.0, 0.0]])
    red, _, blue = coloured(np.array([[0.0, 0.0, 0.0, -9.0]]), saliency)[0].astype(int).T
    assert red[0] - blue[0] > 150
    assert blue[1] - red[1] > 100
    assert np.abs(red[2:] - blue[2:]).max() < 15
    assert red[3] < 30 < red[2]


# Viénot, Brettel and Mollon (1999): what someone without one kind of cones sees, in linear RGB.
MISSING = {
    "red": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "green": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("missing", MISSING)
def test_for_and_against_differ_for_the_colour_blind(missing: str) -> None:
    linear = (np.array([FOR, AGAINST, (128, 128, 128)]) / 255) ** 2.2
    seen = (linear @ np.array(MISSING[missing]).T).clip(0, 1) ** (1 / 2.2)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(seen[one] - seen[other]).max() > 0.25


def test_the_picture_is_a_png_of_its_own(shipped: Model, rng: np.random.Generator, tmp_path: Path) -> None:
    explained: Explanation = shipped.explain(siren(2.0, rng), RATE_HZ)
    path = explained.save_picture(tmp_path / "new" / "why.png")
    plain = dataclasses.replace(explained, saliency=0 * explained.saliency, stretch=None)

    def num_orange(png: bytes) -> int:
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        return int((pixels[..., 0] - pixels[..., 2] > 100).sum())

    # beside the legend, and the imagined picture, which may be orange too
    assert num_orange(path.read_bytes()) - num_orange(plain.png()) > 1_000

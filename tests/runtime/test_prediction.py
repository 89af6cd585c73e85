"""A prediction travels, is copied, and writes its picture as its name says; odd arguments get one line."""

import copy
import dataclasses
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import avgan
from avgan.errors import AudioError, AvganError, BundleError, ConfigError, ImageError
from avgan.runtime import Model, Prediction


@pytest.fixture
def model(toy_bundle: Path) -> Model:
    return avgan.load(toy_bundle)


@pytest.fixture
def prediction(model: Model, tone_wav: Path) -> Prediction:
    return model.classify(tone_wav)


def test_a_prediction_is_pickled_with_its_picture(prediction: Prediction) -> None:
    twin = pickle.loads(pickle.dumps(prediction))
    assert twin.to_dict() == prediction.to_dict()
    assert twin.windows == prediction.windows
    np.testing.assert_array_equal(twin.picture, prediction.picture)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(twin)).picture, prediction.picture)
    with pytest.raises(BundleError, match="another process"):
        twin.decode(twin.codes[None])


def test_a_deep_copy_is_its_own_and_draws(prediction: Prediction) -> None:
    twin = copy.deepcopy(prediction)
    np.testing.assert_array_equal(twin.picture, prediction.picture)
    twin.codes[:] = 0
    assert twin.to_dict() != prediction.to_dict()
    shallow = copy.copy(prediction)
    assert shallow.to_dict() == prediction.to_dict()
    assert shallow.decode(shallow.codes[None]).shape == (1, 128, 128, 3)
    assert dataclasses.asdict(prediction)["scene"] == prediction.scene


def test_an_explanation_is_pickled_with_its_picture(model: Model, tone_wav: Path) -> None:
    explanation = model.explain(tone_wav)
    for twin in (pickle.loads(pickle.dumps(explanation)), copy.deepcopy(explanation)):
        assert twin.to_dict() == explanation.to_dict()
        assert twin.png() == explanation.png()


@pytest.mark.parametrize("number", [-1, 1.5, "1", True])
def test_what_is_no_number_of_a_picture_is_refused(prediction: Prediction, tmp_path: Path, number: object) -> None:
    with pytest.raises(ConfigError, match="picture number"):
        prediction.another(number)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="scale"):
        prediction.save_picture(tmp_path / "a.png", number)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 1.5}, {"num_threads": 0}])
def test_settings_that_are_none_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        avgan.load(**options)


@pytest.mark.parametrize(
    ("name", "format"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP")]
)
def test_a_picture_is_written_as_its_name_says(
    prediction: Prediction, model: Model, tone_wav: Path, tmp_path: Path, name: str, format: str
) -> None:
    with Image.open(prediction.save_picture(tmp_path / name, 2)) as image:
        assert (image.format, image.size) == (format, (256, 256))
        shown = np.asarray(image.convert("RGB").resize((128, 128), Image.Resampling.BOX), np.float32)
    assert np.abs(shown - prediction.picture).mean() < 8
    with Image.open(model.explain(tone_wav).save_picture(tmp_path / f"why-{name}")) as image:
        assert image.format == format


@pytest.mark.parametrize("name", ["a.txt", "a", "a.gif"])
def test_a_picture_of_no_known_kind_is_refused(prediction: Prediction, name: str) -> None:
    with pytest.raises(ImageError, match="no ending of a picture"):
        prediction.save_picture(name)


@pytest.mark.parametrize("hop_s", [0, -1, 1e-9, 0.009, float("nan"), float("inf"), "1", True])
def test_a_hop_that_is_none_is_refused_at_once(model: Model, hop_s: float) -> None:
    with pytest.raises(AudioError, match="hop_s"):
        model.classify(np.zeros(160_000, np.float32), 16_000, hop_s=hop_s)


REFUSED: list[tuple[Callable[[np.ndarray], object], object, str]] = [
    (lambda x: np.zeros((0, 2)), 16_000, "no sound"),
    (lambda x: np.zeros((2, 0)), 16_000, "no sound"),
    (lambda x: np.ma.masked_greater(x, 0.1), 16_000, "masked"),
    (lambda x: x, "16000", "number of hertz"),
    (lambda x: x, float("nan"), "hertz"),
    (lambda x: x, True, "number of hertz"),
    (lambda x: x, 0, "hertz"),
    (lambda x: list(x[:99]), 16_000, "np.asarray"),
    (lambda x: tuple(x[:99]), 16_000, "np.asarray"),
    (lambda x: (x * 32_767).astype(np.int32), 16_000, "16 bits"),
    (lambda x: x.astype(object), 16_000, "full scale"),
    (lambda x: np.full(9_000, np.nan), 16_000, "finite"),
    (lambda x: np.array(0.5), 16_000, "shape"),
]


@pytest.mark.parametrize(("make", "rate_hz", "match"), REFUSED)
def test_arrays_that_are_no_sound_get_one_line(
    model: Model,
    make_tone: Callable[..., np.ndarray],
    make: Callable[[np.ndarray], object],
    rate_hz: object,
    match: str,
) -> None:
    with pytest.raises(AvganError, match=match) as caught:
        model.classify(make(make_tone(duration_s=2.0)), rate_hz)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_arrays_of_other_makes_are_heard_alike(model: Model, make_tone: Callable[..., np.ndarray]) -> None:
    tone = make_tone(duration_s=2.0)
    integers = (tone * 32_767).astype(np.int16)
    expected = model.classify(integers, 16_000).to_dict()
    for same in (
        integers.astype(">i2"),
        np.ma.array(integers),
        integers[None],
        np.repeat(integers, 3)[::3],
        (integers.astype(np.int32) << 16),
    ):
        assert model.classify(same, np.int32(16_000)).to_dict() == expected
    silent = model.classify(np.zeros(32_000, np.int32), 16_000)
    assert silent.reason == "silent"


def test_a_file_that_was_read_before_says_so(model: Model, tone_wav: Path) -> None:
    file = io.BytesIO(tone_wav.read_bytes())
    file.seek(0, io.SEEK_END)
    with pytest.raises(AudioError, match=r"rewind it with seek\(0\)"):
        model.classify(file)
    with pytest.raises(AudioError, match="is empty"):
        model.classify(io.BytesIO())
    file.close()
    with pytest.raises(AudioError, match="closed file"):
        model.classify(file)


def test_the_package_shows_what_it_offers() -> None:
    assert {"load", "Model", "Prediction", "AvganError", "__version__"} <= set(dir(avgan))

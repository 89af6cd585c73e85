"""What a prediction promises, on a network simple enough to work it out by hand."""

import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from avgan.audio import fit
from avgan.errors import AudioError, BundleError
from avgan.images import read_image
from avgan.runtime import Model, load
from avgan.runtime.bundle import open_bundle

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle)


@pytest.fixture
def hiss(rng: np.random.Generator) -> np.ndarray:
    """One second of white noise (L,)."""
    return rng.uniform(-0.9, 0.9, RATE_HZ).astype(np.float32)


@pytest.fixture
def rumble() -> np.ndarray:
    """One second of a 50 Hz sine (L,)."""
    return (0.9 * np.sin(2 * np.pi * 50 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)


def test_answers(model: Model, hiss: np.ndarray, rumble: np.ndarray) -> None:
    heard = model.classify(hiss, RATE_HZ)
    assert (heard.scene, heard.sound) == ("beach", "hiss")
    assert (model.classify(rumble, RATE_HZ).scene) == "road"
    assert (model.classify(0.001 * hiss, RATE_HZ).scene) == "library"


def test_shapes_types_and_order(model: Model, hiss: np.ndarray) -> None:
    heard = model.classify(hiss, rate_hz=RATE_HZ)
    assert heard.codes.shape == (16, 16)
    assert heard.codes.dtype == np.int64
    assert heard.picture.shape == (128, 128, 3)
    assert heard.picture.dtype == np.uint8
    for ranking in (heard.scenes, heard.sounds):
        assert list(ranking.values()) == sorted(ranking.values(), reverse=True)
        assert sum(ranking.values()) == pytest.approx(1, abs=1e-5)
    assert heard.probability == max(heard.scenes.values())
    assert "beach" in repr(heard)
    assert heard._repr_png_()[1:4] == b"PNG"


def test_a_scene_is_as_probable_as_its_sounds_together(toy_bundle: Path, tmp_path: Path, hiss: np.ndarray) -> None:
    bundle = Path(shutil.copytree(toy_bundle, tmp_path / "toy"))
    card = json.loads((bundle / "card.json").read_text())
    card["scene_of_label"] = {"rumble": "town", "hiss": "beach", "bells": "town", "quiet": "town"}
    (bundle / "card.json").write_text(json.dumps(card))
    heard = load(bundle).classify(hiss * 0.1, RATE_HZ)
    others = sum(heard.sounds[name] for name in ("rumble", "bells", "quiet"))
    assert heard.scenes["town"] == pytest.approx(others)
    assert heard.scenes["beach"] == pytest.approx(heard.sounds["hiss"])


def test_labels_that_are_scenes(toy_bundle: Path, tmp_path: Path, hiss: np.ndarray) -> None:
    bundle = Path(shutil.copytree(toy_bundle, tmp_path / "toy"))
    card = json.loads((bundle / "card.json").read_text())
    card |= {"label_kind": "scene", "scene_of_label": None}
    (bundle / "card.json").write_text(json.dumps(card))
    heard = load(bundle).classify(hiss, RATE_HZ)
    assert (heard.scene, heard.sound, heard.sounds) == ("hiss", None, {})
    assert heard.windows[0].sound is None


def test_many_windows(model: Model, hiss: np.ndarray, rumble: np.ndarray) -> None:
    recording = np.concatenate([rumble, 0.5 * hiss, hiss, hiss])
    heard = model.classify(recording, RATE_HZ)
    assert [(w.start_s, w.end_s) for w in heard.windows] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [w.scene for w in heard.windows] == ["road", "beach", "beach", "beach"]
    alone = [model.classify(part, RATE_HZ) for part in np.split(recording, 4)]
    for scene, probability in heard.scenes.items():
        assert probability == pytest.approx(np.mean([p.scenes[scene] for p in alone]), abs=1e-6)
    surest = max(alone, key=lambda prediction: prediction.scenes[heard.scene])
    np.testing.assert_array_equal(heard.picture, surest.picture)
    np.testing.assert_array_equal(heard.codes, surest.codes)


def test_more_windows_than_a_batch(model: Model, hiss: np.ndarray) -> None:
    heard = model.classify(np.tile(hiss, 40), RATE_HZ, hop_s=0.5)
    assert len(heard.windows) == 79
    assert {w.scene for w in heard.windows} == {"beach"}
    assert heard.duration_s == pytest.approx(40)


def test_a_short_clip_is_filled_as_the_card_says(toy_bundle: Path, tmp_path: Path, hiss: np.ndarray) -> None:
    short = hiss[:4_000]
    bundle = Path(shutil.copytree(toy_bundle, tmp_path / "toy"))
    card = json.loads((bundle / "card.json").read_text()) | {"short_clip_fill": "repeat"}
    (bundle / "card.json").write_text(json.dumps(card))
    for path, fill in [(toy_bundle, "silence"), (bundle, "repeat")]:
        model = load(path)
        filled = model.classify(fit(short, RATE_HZ, fill=fill), RATE_HZ)  # type: ignore[arg-type]
        heard = model.classify(short, RATE_HZ)
        assert heard.scenes == filled.scenes
        assert heard.windows[0].end_s == 0.25
        assert any("shorter" in warning for warning in heard.warnings)


def test_any_form_of_a_recording_gives_the_same_answer(model: Model, tone_wav: Path) -> None:
    expected = model.classify(tone_wav)
    samples, rate_hz = soundfile.read(tone_wav, dtype="int16")
    for other in (
        model.classify(str(tone_wav)),
        model.classify(tone_wav.read_bytes()),
        model.classify(io.BytesIO(tone_wav.read_bytes())),
        model.classify(samples, rate_hz),
        model.classify_many([tone_wav])[0],
    ):
        assert other.scenes == expected.scenes
        np.testing.assert_array_equal(other.picture, expected.picture)
    assert expected.path == str(tone_wav)


def test_the_same_file_gives_the_same_bytes_whatever_is_asked_beside_it(
    model: Model, tone_wav: Path, hiss: np.ndarray, toy_bundle: Path
) -> None:
    noise = tone_wav.with_name("noise.wav")
    soundfile.write(noise, np.tile(hiss, 20), RATE_HZ)
    alone = json.dumps(model.classify(tone_wav).to_dict())
    together = model.classify_many([noise, tone_wav, noise])
    assert json.dumps(together[1].to_dict()) == alone
    assert json.dumps(load(toy_bundle).classify(tone_wav).to_dict()) == alone
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda _: json.dumps(model.classify(tone_wav).to_dict()), range(8))
    assert set(results) == {alone}


def test_bad_recordings(model: Model, tmp_path: Path) -> None:
    for source in (tmp_path / "missing.wav", b"", b"text", np.full(100, np.nan)):
        with pytest.raises(AudioError):
            model.classify(source, RATE_HZ if isinstance(source, np.ndarray) else None)
    with pytest.raises(AudioError, match="rate_hz"):
        model.classify(np.zeros(100, np.float32))
    with pytest.raises(AudioError, match="hop"):
        model.classify(np.zeros(100, np.float32), RATE_HZ, hop_s=0)


def test_dict_is_json_and_picture_is_saved(model: Model, tone_wav: Path, tmp_path: Path) -> None:
    heard = model.classify(tone_wav)
    facts = json.loads(json.dumps(heard.to_dict()))
    assert facts["path"] == str(tone_wav)
    assert facts["scene"] == heard.scene
    assert len(facts["windows"]) == 2
    assert np.array(facts["codes"]).shape == (16, 16)
    saved = read_image(heard.save_picture(tmp_path / "a.png"))
    np.testing.assert_array_equal(saved.transpose(1, 2, 0), heard.picture)


def test_a_model_that_cannot_be_run(toy_bundle: Path, tmp_path: Path) -> None:
    import hashlib

    bundle = Path(shutil.copytree(toy_bundle, tmp_path / "toy"))

    def replace(content: bytes) -> None:
        (bundle / "model.onnx").write_bytes(content)
        card = json.loads((bundle / "card.json").read_text())
        card["sha256"]["model.onnx"] = hashlib.sha256(content).hexdigest()
        (bundle / "card.json").write_text(json.dumps(card))

    def refusal() -> str:
        with pytest.raises(BundleError) as caught:
            load(bundle)
        assert "\n" not in str(caught.value)
        assert str(bundle) in str(caught.value)
        return str(caught.value)

    replace(b"not onnx")
    assert "not an ONNX file" in refusal()
    other = onnx.load(toy_bundle / "model.onnx")
    other.graph.node[0].op_type = "Nonsense"
    replace(other.SerializeToString())
    assert "onnxruntime" in refusal()
    other = onnx.load(toy_bundle / "model.onnx")
    del other.graph.value_info[1]
    replace(other.SerializeToString())
    assert "'heard'" in refusal()


def test_memory_does_not_grow_with_the_recording(toy_bundle: Path, tmp_path: Path) -> None:
    """Two hours of sound, 460 MB as float32 at 16 kHz, in a process of its own."""
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        for _ in range(120):
            file.write(np.zeros(60 * RATE_HZ, np.int16))
    program = (
        "import resource, sys; from avgan.runtime import load; m = load(sys.argv[1])\n"
        "m.classify(sys.argv[2][:-9] + 'short.flac')\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); windows = m.classify(sys.argv[2], hop_s=10).windows\n"
        "print(len(windows), (peak() - before) // 1024)"
    )
    soundfile.write(tmp_path / "short.flac", np.zeros(60 * RATE_HZ, np.int16), RATE_HZ)
    result = subprocess.run(
        [sys.executable, "-c", program, toy_bundle, path], capture_output=True, text=True, check=True
    )
    num_windows, grown_mb = map(int, result.stdout.split())
    assert num_windows == 720
    assert grown_mb < 60


def test_no_torch(toy_bundle: Path, tone_wav: Path) -> None:
    program = (
        "import sys, avgan; avgan.load(sys.argv[1]).classify(sys.argv[2])\n"
        "print([name for name in ('torch', 'scipy', 'pyarrow', 'onnx') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, toy_bundle, tone_wav], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""


def test_open_bundle_reads_no_model(toy_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(toy_bundle, tmp_path / "toy"))
    (bundle / "model.onnx").unlink()
    assert open_bundle(bundle).card.name == "toy"

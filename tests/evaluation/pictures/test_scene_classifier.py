"""The scene classifier of the package names scenes; one is trained, written and read again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avgan.evaluation.pictures.scene_classifier import (
    MAKES,
    SECOND_WEIGHTS,
    WEIGHTS,
    SceneClassifier,
    load_classifier,
    moved,
    save_classifier,
    standardise,
    train_classifier,
)


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (M, 3, 64, 64) whose scene is their colour: red above, or blue below."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    pictures = rng.integers(0, 150, (count, 3, 64, 64)).astype(np.uint8)
    pictures[targets == 0, 0, :32] += 100
    pictures[targets == 1, 2, 32:] += 100
    return pictures, targets


@pytest.fixture(scope="module", params=MAKES)
def taught(request: pytest.FixtureRequest) -> SceneClassifier:
    return train_classifier(*scenes(128, 0), num_scenes=2, num_epochs=8, make=request.param)


def test_it_names_what_it_never_saw(taught: SceneClassifier, tmp_path: Path) -> None:
    save_classifier(taught, ("red", "blue"), tmp_path / "weights.safetensors")
    classifier = load_classifier(tmp_path / "weights.safetensors")
    pictures, targets = scenes(40, 1)
    assert classifier.scenes == ("red", "blue")
    assert (classifier.apply(pictures).logits.argmax(1) == targets).mean() > 0.9


def test_features_are_standardised_by_its_photographs(taught: SceneClassifier) -> None:
    pictures, _ = scenes(128, 0)
    with torch.no_grad():
        features = taught(torch.from_numpy(pictures).float() / 255.0)
    torch.testing.assert_close(features.mean(0), torch.zeros(features.shape[1]), atol=1e-3, rtol=0)
    assert float(features.std(0).max()) == pytest.approx(1.0, abs=1e-2)


def test_standardising_changes_no_answer(taught: SceneClassifier) -> None:
    image = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        before = taught.logits(taught(image))
        other = type(taught)(2).eval()
        other.load_state_dict(taught.state_dict())
        standardise(other, scenes(64, 5)[0])
        torch.testing.assert_close(other.logits(other(image)), before, atol=1e-4, rtol=1e-4)


def test_the_size_of_a_picture_is_no_matter(taught: SceneClassifier) -> None:
    small = torch.rand(2, 3, 64, 64)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(taught(large), taught(small), atol=1e-4, rtol=1e-4)


def test_pictures_are_moved_and_not_changed(rng: np.random.Generator) -> None:
    pictures = rng.integers(0, 255, (6, 3, 64, 64)).astype(np.uint8)
    result = moved(pictures, np.random.default_rng(1))
    assert result.shape == pictures.shape
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= set(np.unique(pictures))
    np.testing.assert_array_equal(result, moved(pictures, np.random.default_rng(1)))


@pytest.mark.parametrize("weights", [WEIGHTS, SECOND_WEIGHTS], ids=["first", "second"])
def test_the_classifiers_of_the_package_know_every_scene_we_pair_with(weights: Path) -> None:
    from avgan.scenes import ESC50_SCENE

    classifier = load_classifier(weights)
    assert {place.scene for place in ESC50_SCENE.values()} <= set(classifier.scenes)
    assert len(classifier.sha256) == 64


@pytest.mark.slow
@pytest.mark.parametrize("weights", [WEIGHTS, SECOND_WEIGHTS], ids=["first", "second"])
def test_the_classifiers_of_the_package_name_held_out_photographs(weights: Path, data_root: Path) -> None:
    from avgan.data.datasets import find
    from avgan.evaluation.pictures.exhibits import photographs
    from avgan.training.data import divide_images

    _, images = divide_images(find(data_root, "miniplaces"))
    classifier = load_classifier(weights)
    chosen = np.arange(0, len(images), 10)
    answers = classifier.apply(photographs(images, chosen)).logits.argmax(1)
    truth = np.array([classifier.scenes.index(images.clips[index].label) for index in chosen])
    assert (answers == truth).mean() > 0.3

"""Export: one graph that answers as torch does at any size, and a card that says all there is to know."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from avgan import cards, checkpoint, export, runtime
from avgan.checkpoint import Checkpoint, Origin
from avgan.config import Recipe, override
from avgan.data.datasets import declaration
from avgan.errors import CheckpointError
from avgan.export import SMALLEST_HALVED, export_bundle
from avgan.model import AVGAN
from avgan.networks.trunks.mn04 import MN04, MN04Config, tag_names
from avgan.runtime import load

LABELS = ("dog", "rain", "train", "sea_waves")
SCENES = {"dog": "yard", "rain": "field", "train": "platform", "sea_waves": "beach"}

VARIANTS = {
    "conv8": {},
    "mn04": {"imagination.trunk.kind": "mn04", "vqvae.network.code_dim": "4", "vqvae.network.num_codes": "32"},
}


def finished_run(
    folder: Path, recipe: Recipe, *, finished: bool = True, scene_of_label: dict[str, str] | None = SCENES
) -> Path:
    """A run folder as training leaves it, with weights that are random but not degenerate."""
    networks = AVGAN([recipe.run(kind) for kind in recipe.kinds], len(LABELS))
    with torch.no_grad():
        networks.eval()
        for parameter in networks.generator.head.parameters():
            parameter.mul_(3.0)  # else all features are near zero and every code the same
    described = Checkpoint(
        tuple(Origin(recipe.run(kind), {"sounds": "esc50 abc"}) for kind in recipe.kinds),
        labels=LABELS,
        scene_of_label=scene_of_label,
        step=5,
        finished=finished,
    )
    checkpoint.save(folder / "checkpoint", described, networks, {})
    return folder


@pytest.fixture(scope="module", params=VARIANTS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[..., Any]
) -> tuple[Path, Path]:
    """(run, bundle) of each variant; the labels of mn04 are scenes, beside which it hears sounds."""
    folder = tmp_path_factory.mktemp("export")
    config = override(tiny_config({"data.sounds": "esc50", "data.images": "miniplaces"}), VARIANTS[request.param])
    places = None if request.param == "mn04" else SCENES
    run = finished_run(folder / "run", config, scene_of_label=places)
    return run, export_bundle(run, folder / "bundle", name="small")


def rounded(run: Path) -> AVGAN:
    networks, _ = checkpoint.load_networks(run)
    export.simplify(networks)
    return networks


def tell(networks: AVGAN, waveform: torch.Tensor) -> list[np.ndarray]:
    """What torch hears of the 527 sounds, from a trunk that was taught them; else nothing."""
    trunk = networks.generator.trunk
    if not isinstance(trunk, MN04):
        return []
    with torch.no_grad():
        return [trunk.tag(trunk(networks.log_mel(waveform))).sigmoid().numpy()]


def test_the_tags_are_named_and_read_by_the_runtime(exported: tuple[Path, Path]) -> None:
    run, bundle = exported
    model = load(bundle)
    waveform = (0.1 * np.random.default_rng(3).standard_normal(16_000)).astype(np.float32)
    answers = model.network.predict(model.network.embed(waveform[None]))
    told = tell(rounded(run), torch.from_numpy(waveform[None]))
    if not told:
        assert model.card.tags is answers.tags is None
        return
    assert model.card.tags is not None
    assert model.card.tags.names == tag_names()
    assert answers.tags is not None
    np.testing.assert_allclose(answers.tags, told[0], atol=1e-4)
    assert model.tag_words is not None
    (words,) = model.tag_words.choose(answers.tags)
    prediction = model.classify(waveform, 16_000)
    assert prediction.windows[0].sounds == words == dict(prediction.sounds)


def test_the_bundle_answers_as_torch_at_sizes_it_was_not_traced_with(exported: tuple[Path, Path]) -> None:
    import onnxruntime

    run, bundle = exported
    card = json.loads((bundle / "card.json").read_text())
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    networks = rounded(run)
    rng = np.random.default_rng(5)
    lengths = (16_000,) if card["fixed_length"] else (16_000, 21_111, 40_123)
    for num_samples in lengths:
        for batch in (1, 4, 7):
            waveform = (0.1 * rng.standard_normal((batch, num_samples))).astype(np.float32)
            probabilities, codes, picture, *tags = session.run(None, {"waveform": waveform})
            with torch.no_grad():
                expected = networks(torch.from_numpy(waveform))
            told = tell(networks, torch.from_numpy(waveform))
            assert len(tags) == len(told)
            for found, sounds in zip(tags, told, strict=True):
                np.testing.assert_allclose(found, sounds, atol=1e-4)
            softmax = torch.softmax(expected.logits, 1).numpy()
            np.testing.assert_allclose(probabilities, softmax, atol=1e-4)
            assert probabilities.shape == (batch, len(LABELS))
            assert codes.dtype == np.int64
            assert (codes != expected.codes.numpy()).mean() < 1e-3
            same = (codes == expected.codes.numpy()).all((1, 2))
            assert same.any()
            np.testing.assert_allclose(picture[same], expected.image.numpy()[same], atol=1e-4)
            assert len(np.unique(codes)) > 1


def test_folding_batch_norms_changes_no_answer(tiny_config: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    config = tiny_config({"classifier.network.kind": "conv8"})
    networks = AVGAN([config.run(kind) for kind in config.kinds], 3)
    waveform = 0.1 * torch.randn(8, 16_000)
    networks.train()
    with torch.no_grad():
        for _ in range(5):
            networks(waveform)  # gives the batch norms statistics of their own
    networks.eval()
    waveform = 0.1 * torch.randn(4, 16_000)
    with torch.no_grad():
        before = networks(waveform)
        export.simplify(networks)
        after = networks(waveform)
    torch.testing.assert_close(after.features, before.features, rtol=0, atol=5e-3)
    torch.testing.assert_close(after.logits, before.logits, rtol=0, atol=2e-2)
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    left = [module for module in networks.modules() if isinstance(module, norms)]
    # what comes before the first layer has none to be folded into
    assert left == [networks.generator.trunk.input_norm, networks.generator.head.body[0]]


def test_large_weights_are_stored_in_half_precision(exported: tuple[Path, Path]) -> None:
    run, bundle = exported
    model = onnx.load(bundle / "model.onnx")
    numbers = {
        kind: sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if tensor.data_type == kind)
        for kind in (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    }
    networks = rounded(run)
    used = (networks.vqvae.decoder, networks.generator, networks.classifier)
    sizes = [value.numel() for part in used for value in part.parameters()]
    large = sum(size for size in sizes if size >= SMALLEST_HALVED)
    assert numbers[onnx.TensorProto.FLOAT16] > 0.9 * large
    weights_size = 2 * numbers[onnx.TensorProto.FLOAT16] + 4 * numbers[onnx.TensorProto.FLOAT]
    assert (bundle / "model.onnx").stat().st_size < 1.5 * weights_size + 500_000


def test_the_card_says_all_a_reader_needs(exported: tuple[Path, Path]) -> None:
    run, bundle = exported
    card = json.loads((bundle / "card.json").read_text())
    assert card["format"] == 2
    assert card["name"] == "small"
    assert tuple(card["labels"]) == LABELS
    of_scenes = card["trained"]["recipe"]["imagination"]["trunk"]["kind"] == "mn04"
    assert card["label_kind"] == ("scene" if of_scenes else "sound")
    assert card["scene_of_label"] is None
    assert bool(card.get("tags")) == of_scenes
    assert (card["sample_rate_hz"], card["window_s"]) == (16_000, 1.0)
    names = ["esc50", "miniplaces"]
    titles = [declaration(name).title for name in names]
    if of_scenes:
        assert MN04Config.pretrained is not None
        titles.append(MN04Config.pretrained.name)
    assert [entry["name"] for entry in card["data"]] == titles
    assert all(entry["licence"] and entry["address"] for entry in card["data"])
    assert set(card["licences"]) == {"code", "weights"}
    assert card["parity"]["probabilities"] <= card["parity"]["tolerance"]
    described = checkpoint.describe(run)
    assert card["trained"]["recipe"]["classifier"] == described.classifier.model_dump(mode="json")
    assert card["trained"]["front_end"] == described.front_end.model_dump(mode="json")
    assert set(card["trained"]["provenance"]) == {"vqvae", "imagination", "classifier"}
    digest = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    assert card["sha256"] == {"model.onnx": digest}


def test_the_light_half_reads_the_bundle(exported: tuple[Path, Path]) -> None:
    run, bundle = exported
    times = np.arange(16_000) / 16_000
    waveform = (0.3 * np.sin(2 * np.pi * 700 * times)).astype(np.float32)
    prediction = runtime.load(bundle).classify(waveform, 16_000)
    with torch.no_grad():
        expected = rounded(run)(torch.from_numpy(waveform)[None])
    assert prediction.answer == LABELS[int(expected.logits.argmax())]
    assert bool(prediction.scene) == (prediction.sound != prediction.answer)
    np.testing.assert_array_equal(prediction.codes, expected.codes[0].numpy())


def test_an_unfinished_run_is_not_shipped(tmp_path: Path, tiny_config: Callable[..., Any]) -> None:
    run = finished_run(tmp_path / "run", tiny_config(), finished=False)
    with pytest.raises(CheckpointError, match="unfinished"):
        export_bundle(run, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        export_bundle(tmp_path / "nowhere", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def stub_graph(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Skip the tracing, which takes seconds and is tested above."""
    monkeypatch.setattr(export, "write_graph", lambda _, path, **__: path.write_bytes(content))
    monkeypatch.setattr(export, "check_parity", lambda *_, **__: {"tolerance": 1e-4})


def test_a_bundle_is_replaced_whole_and_leaves_nothing_behind(
    tmp_path: Path, tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path / "run", tiny_config())
    bundle = tmp_path / "out" / "bundle"
    for content in (b"old", b"new"):
        stub_graph(monkeypatch, content)
        export_bundle(run, bundle)
        assert (bundle / "model.onnx").read_bytes() == content
    assert list(bundle.parent.iterdir()) == [bundle]


@pytest.mark.parametrize("failing", ["check_parity", "write_graph", "make_card"])
def test_a_failure_leaves_the_older_bundle(
    tmp_path: Path, tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    run = finished_run(tmp_path / "run", tiny_config())
    bundle = tmp_path / "out" / "bundle"
    stub_graph(monkeypatch, b"old")
    export_bundle(run, bundle)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the exported graph disagrees with torch")

    stub_graph(monkeypatch, b"new")
    monkeypatch.setattr(export, failing, fail)
    with pytest.raises(RuntimeError, match="disagrees"):
        export_bundle(run, bundle)
    assert (bundle / "model.onnx").read_bytes() == b"old"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_folder_that_cannot_take_the_place_puts_the_old_one_back(tmp_path: Path) -> None:
    old = tmp_path / "bundle"
    old.mkdir()
    (old / "model.onnx").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        export.replace_folder(tmp_path / "missing", old)
    assert (old / "model.onnx").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_parity_notices_another_graph(exported: tuple[Path, Path], tmp_path: Path) -> None:
    run, bundle = exported
    card = json.loads((bundle / "card.json").read_text())
    networks = rounded(run)
    with torch.no_grad():
        networks.classifier.dense.bias.add_(torch.tensor([0.1, 0, 0, 0]))
    with pytest.raises(RuntimeError, match="disagrees with torch"):
        export.check_parity(
            export.Shipped(networks).eval(), bundle / "model.onnx", length=16_000, fixed_length=card["fixed_length"]
        )


def test_described_labels_of_scenes_need_no_map(tmp_path: Path, tiny_run: Path) -> None:
    _, described = checkpoint.load_networks(tiny_run)
    card = cards.make_card(described, "own", True, {}, {})
    assert card["label_kind"] == "scene"
    assert card["scene_of_label"] is None
    assert [entry["name"] for entry in card["data"]] == ["A folder of one's own, DIR/label/file"]
    assert card["group_of_scene"] is None  # not all of its labels are scenes of the tree
    known = replace(described, labels=("tram", "park"))
    groups = {"tram": "transport", "park": "outdoor"}
    assert cards.make_card(known, "own", True, {}, {})["group_of_scene"] == groups
    sounds = replace(described, scene_of_label=SCENES)
    card = cards.make_card(sounds, "own", True, {}, {})
    assert (card["label_kind"], card["scene_of_label"]) == ("sound", None)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, tiny_sampled: Callable[..., Any]) -> tuple[Path, Path]:
    """(run, bundle) of a model with a sampler."""
    folder = tmp_path_factory.mktemp("sampled")
    names = {"data.sounds": "esc50", "data.images": "miniplaces"}
    run = finished_run(folder / "run", tiny_sampled(names))
    return run, export_bundle(run, folder / "bundle", name="small")


def test_a_sampler_is_shipped_with_the_decoder(sampled: tuple[Path, Path]) -> None:
    """Codes and seed determine the picture, as in torch; the label and the codes depend on no seed."""
    run, bundle = sampled
    card = json.loads((bundle / "card.json").read_text())
    networks = rounded(run)
    assert networks.sampler is not None
    assert (card["format"], card["noise_size"]) == (3, networks.sampler.noise_size)
    model = runtime.load(bundle)
    times = np.arange(16_000) / 16_000
    waveform = (0.3 * np.sin(2 * np.pi * 700 * times)).astype(np.float32)
    probabilities, features, _ = model.network.predict(model.network.embed(waveform[None]))
    codes = model.network.codes(features)
    with torch.no_grad():
        expected = networks(torch.from_numpy(waveform)[None])
    np.testing.assert_allclose(probabilities, torch.softmax(expected.logits, 1), atol=1e-4)
    for seed in (0, 7):
        drawn = model.network.decode(codes, seed=seed)
        assert np.array_equal(model.network.decode(codes, seed=seed), drawn)
        with torch.no_grad():
            image = networks.render(torch.from_numpy(codes), networks.noise(seed))
        wanted = (image[0] * 255).round().permute(1, 2, 0).numpy()
        assert (np.abs(drawn[0] - wanted) > 1).mean() < 0.02
    assert not np.array_equal(model.network.decode(codes, seed=0), model.network.decode(codes, seed=7))
    both = model.network.decode(np.concatenate((codes, codes)), seed=7)
    assert np.array_equal(both[0], both[1]), "windows of a recording share their noise"

"""The training clips that a bundle knows: found by what they look like, read only where they are what the card says."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from avgan.errors import BundleError
from avgan.runtime import load
from avgan.runtime.bundle import open_bundle
from avgan.runtime.neighbours import NEIGHBOURS_FILE, Neighbours

RATE_HZ = 16_000
PLACES = {"rumble": "road", "hiss": "beach", "bells": "church", "quiet": "library"}


@pytest.fixture
def known(rng: np.random.Generator) -> Neighbours:
    """Twelve clips with code maps of 16 codes, whose vectors have two numbers."""
    labels = tuple(list(PLACES)[number % 4] for number in range(12))
    codes = rng.integers(0, 16, (12, 16, 16))
    codebook = rng.standard_normal((16, 2)).astype(np.float32)
    ids = tuple(f"clip {number}" for number in range(12))
    return Neighbours(ids, labels, codes, codebook, PLACES)


def with_file(toy_bundle: Path, folder: Path, content: bytes) -> Path:
    """A copy of the toy bundle that has a file of neighbours."""
    shutil.copytree(toy_bundle, folder)
    (folder / NEIGHBOURS_FILE).write_bytes(content)
    card = json.loads((folder / "card.json").read_text())
    card["sha256"][NEIGHBOURS_FILE] = hashlib.sha256(content).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_a_clip_is_its_own_nearest_neighbour(known: Neighbours) -> None:
    for number, codes in enumerate(known.codes):
        nearest, second = known.nearest(codes, 2)
        assert (nearest.id, nearest.distance) == (known.ids[number], 0.0)
        assert nearest.label == known.labels[number]
        assert nearest.scene == PLACES[nearest.label]
        assert np.array_equal(nearest.codes, codes)
        assert second.distance > 0


def test_distances_are_between_what_codes_look_like(known: Neighbours, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 16, (16, 16))
    looks = known.codebook[codes]
    expected = {
        id_: np.sqrt(np.square(known.codebook[own] - looks).sum(-1).mean())
        for id_, own in zip(known.ids, known.codes, strict=True)
    }
    found = known.nearest(codes, 12)
    assert [each.id for each in found] == sorted(expected, key=lambda id_: expected[id_])
    for each in found:
        assert each.distance == pytest.approx(expected[each.id], rel=1e-5)


def test_codes_that_look_alike_are_near(known: Neighbours) -> None:
    alike = known.codebook.copy()
    alike[3] = alike[5] + 1e-4
    copy = Neighbours(known.ids, known.labels, known.codes, alike, PLACES)
    codes = np.where(known.codes[4] == 3, 5, known.codes[4])
    assert copy.nearest(codes, 1)[0].id == "clip 4"
    assert copy.nearest(codes, 1)[0].distance < 1e-4


def test_what_is_packed_is_read(toy_bundle: Path, tmp_path: Path, known: Neighbours) -> None:
    folder = with_file(toy_bundle, tmp_path / "bundle", known.pack())
    packed = tmp_path / "bundle.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"toy/{file.name}")
    for path in (folder, packed):
        read = Neighbours.of(open_bundle(path))
        assert read is not None
        assert (read.ids, read.labels) == (known.ids, known.labels)
        assert read.codes.dtype == np.uint8
        assert np.array_equal(read.codes, known.codes)
        assert np.array_equal(read.codebook, known.codebook)
        assert read.scene_of_label == PLACES
    assert known.pack() == known.pack()


def test_an_explanation_names_them(
    toy_bundle: Path, tmp_path: Path, known: Neighbours, rng: np.random.Generator
) -> None:
    waveform = rng.uniform(-0.9, 0.9, RATE_HZ).astype(np.float32)
    assert load(toy_bundle).explain(waveform, RATE_HZ).neighbours == ()
    own = load(toy_bundle).classify(waveform, RATE_HZ).codes
    codes = np.concatenate((known.codes[:11], own[None]))
    content = Neighbours(known.ids, known.labels, codes, known.codebook, PLACES).pack()
    explained = load(with_file(toy_bundle, tmp_path / "bundle", content)).explain(waveform, RATE_HZ)
    assert len(explained.neighbours) == 5
    nearest = explained.to_dict()["neighbours"][0]
    assert nearest == {"id": "clip 11", "label": "quiet", "scene": "library", "distance": 0.0}
    distances = [each.distance for each in explained.neighbours]
    assert distances == sorted(distances)
    assert len(explained.png()) > len(load(toy_bundle).explain(waveform, RATE_HZ).png())


def test_a_damaged_file_is_refused(toy_bundle: Path, tmp_path: Path, known: Neighbours) -> None:
    folder = with_file(toy_bundle, tmp_path / "bundle", known.pack())
    content = bytearray(known.pack())
    content[len(content) // 2] ^= 1
    (folder / NEIGHBOURS_FILE).write_bytes(content)
    model = load(folder)
    assert model.classify(np.zeros(RATE_HZ), RATE_HZ).scene == "unknown"  # which does not need it
    with pytest.raises(BundleError, match="sha256") as caught:
        model.explain(np.zeros(RATE_HZ), RATE_HZ)
    assert "\n" not in str(caught.value)


def packed(**arrays: np.ndarray) -> bytes:
    """An archive of other arrays than there should be."""
    import io

    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        packed(ids=np.array(["a"])),
        packed(
            ids=np.array(["a"]),
            label_names=np.array(["hiss"]),
            labels=np.array([7]),
            codes=np.zeros((1, 16, 16), np.uint8),
            codebook=np.zeros((2, 1)),
        ),
        packed(
            ids=np.array(["a"]),
            label_names=np.array(["hiss"]),
            labels=np.array([0]),
            codes=np.full((1, 16, 16), 9, np.uint8),
            codebook=np.zeros((2, 1)),
        ),
        packed(
            ids=np.array(["a"]),
            label_names=np.array(["no label of this model"]),
            labels=np.array([0]),
            codes=np.zeros((1, 16, 16), np.uint8),
            codebook=np.zeros((2, 1)),
        ),
        packed(ids=np.array([{"an": "object"}], dtype=object)),
    ],
)
def test_a_file_of_something_else_is_refused(toy_bundle: Path, tmp_path: Path, content: bytes) -> None:
    bundle = open_bundle(with_file(toy_bundle, tmp_path / "bundle", content))
    with pytest.raises(BundleError, match=f"{NEIGHBOURS_FILE} cannot be read") as caught:
        Neighbours.of(bundle)
    assert "\n" not in str(caught.value)

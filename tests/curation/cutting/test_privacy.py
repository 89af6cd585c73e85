"""A real face and a drawn number plate are found and gone; nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest
from films import hues
from PIL import Image, ImageDraw, ImageFont

from avgan.curation import privacy
from avgan.curation.privacy import blur, find
from avgan.errors import AvganError, ConfigError

cv2 = pytest.importorskip("cv2", reason="needs the extra `curate`")


def with_face() -> tuple[np.ndarray, tuple[int, int]]:
    """A photograph of Grace Hopper (public domain, comes with matplotlib) on a wall, and where her nose is."""
    cbook = pytest.importorskip("matplotlib.cbook")
    portrait = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    wall = Image.new("RGB", (480, 320), (110, 120, 115))
    wall.paste(portrait.convert("RGB").resize((160, 188)), (60, 90))
    return np.asarray(wall), (60 + 82, 90 + 70)


def with_plate() -> tuple[np.ndarray, tuple[int, int]]:
    """A car's rear, roughly, and the middle of its plate."""
    wall = Image.new("RGB", (480, 320), (110, 120, 115))
    draw = ImageDraw.Draw(wall)
    draw.rectangle((130, 150, 360, 270), fill=(60, 20, 20))
    draw.rectangle((180, 210, 310, 236), fill="white", outline="black", width=2)
    draw.text((190, 210), "A123BC 77", "black", ImageFont.load_default(size=22))
    return np.asarray(wall), (245, 223)


@pytest.mark.parametrize(("what", "make"), [("faces", with_face), ("plates", with_plate)])
def test_what_is_to_be_hidden_is_found_and_gone(what: str, make: object) -> None:
    picture, (x, y) = make()  # type: ignore[operator]
    before = picture.copy()
    boxes = find(picture, [what])
    assert any(b.left < x < b.left + b.width and b.top < y < b.top + b.height for b in boxes)
    blurred = blur(picture, [what])
    assert (picture == before).all()
    assert find(blurred, [what]) == []
    changed = (blurred != picture).any(2)
    assert changed[y - 5 : y + 5, x - 5 : x + 5].mean() > 0.9
    assert not changed[:60].any()
    assert changed.mean() < 0.3
    # What is left of the details: differences between neighbours.
    detail = np.abs(np.diff(blurred.astype(int), axis=1))[changed[:, 1:]].mean()
    assert detail < 0.5 * np.abs(np.diff(picture.astype(int), axis=1))[changed[:, 1:]].mean()


def test_only_what_was_asked_for_is_hidden() -> None:
    face, _ = with_face()
    assert blur(face, ["plates"]) is face
    assert blur(face, []) is face
    plain = hues(0)
    assert blur(plain, ["faces", "plates"]) is plain


def test_both_and_twice_give_the_same() -> None:
    face, _ = with_face()
    once, again = (blur(face, ["plates", "faces"]) for _ in range(2))
    assert (once == again).all()


def test_a_face_at_the_edge_is_hidden_up_to_it() -> None:
    face, _ = with_face()
    cropped = np.ascontiguousarray(face[95:, 95:])
    if find(cropped, ["faces"]):
        assert blur(cropped, ["faces"]).shape == cropped.shape


def test_what_nobody_can_find_is_refused() -> None:
    with pytest.raises(ConfigError, match="faces, plates"):
        blur(hues(0), ["dogs"])


def test_without_opencv_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    privacy._cascade.cache_clear()
    monkeypatch.setattr(privacy.importlib, "import_module", missing)
    with pytest.raises(AvganError, match=r"avgan\[curate\]"):
        blur(hues(0), ["faces"])


def test_opencv_5_is_told_from_4(monkeypatch: pytest.MonkeyPatch) -> None:
    privacy._cascade.cache_clear()
    monkeypatch.setattr(privacy.importlib, "import_module", lambda name: object())
    with pytest.raises(AvganError, match="<5"):
        find(hues(0), ["faces"])

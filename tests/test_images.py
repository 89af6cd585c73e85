"""Any picture or frame in, (3, 128, 128) uint8 out, upright; and sheets of them."""

import io
import os
import resource
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avgan.errors import AvganError, ImageError
from avgan.images import as_picture, grid, read_frame, read_image, to_png


def quadrants(width: int = 256, height: int = 256) -> np.ndarray:
    """(H, W, 3): red and green above, blue and white below. Tells every turn and mirror apart."""
    image = np.zeros((height, width, 3), np.uint8)
    middle_y, middle_x = height // 2, width // 2
    image[:middle_y, :middle_x] = [255, 0, 0]
    image[:middle_y, middle_x:] = [0, 255, 0]
    image[middle_y:, :middle_x] = [0, 0, 255]
    image[middle_y:, middle_x:] = [255, 255, 255]
    return image


def corners(image: np.ndarray) -> str:
    """The colours of a (3, H, W) picture's quarters, by letter, in reading order."""
    letters = {(255, 0, 0): "r", (0, 255, 0): "g", (0, 0, 255): "b", (255, 255, 255): "w"}
    points = [(32, 32), (32, 96), (96, 32), (96, 96)]
    rounded = [tuple(int(v > 128) * 255 for v in image[:, y, x]) for y, x in points]
    return "".join(letters.get(colour, "?") for colour in rounded)


def make_video(path: Path, frames: list[np.ndarray], *, rate: int = 10) -> Path:
    with av.open(path, "w") as container:
        height, width = frames[0].shape[:2]
        stream = container.add_stream("libx264", rate=rate, width=width, height=height, pix_fmt="yuv420p")
        stream.codec_context.gop_size = 7
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("size", [(128, 128), (1, 1), (1000, 333), (50, 700), (129, 128)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16", "1"])
def test_any_size_and_mode(size: tuple[int, int], mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "TIFF" if mode in {"CMYK", "I;16"} else "PNG")
    image = read_image(buffer.getvalue())
    assert image.shape == (3, 128, 128)
    assert image.dtype == np.uint8


def test_right_size_is_untouched(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    path = tmp_path / "a ü.png"
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_image(path), pixels.transpose(2, 0, 1))
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_image(file), pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(pixels), pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(pixels.transpose(2, 0, 1)), read_image(pixels))


def test_the_centre_is_kept() -> None:
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 255
    assert read_image(wide).min() == 255


def test_fine_stripes_do_not_alias() -> None:
    stripes = np.zeros((1024, 1024), np.uint8)
    stripes[:, ::2] = 255
    assert read_image(stripes).std() < 3


def test_cameras_turn_is_honoured(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(quadrants()).save(path, exif=exif, quality=95)
    assert corners(read_image(path)) == "brwg"


def test_transparency_becomes_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(buffer, "PNG")
    assert read_image(buffer.getvalue()).min() == 255


def test_things_that_are_no_picture(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    cut = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2_000])
    for source in (text, cut, tmp_path, tmp_path / "missing.png", np.zeros(5), np.zeros((4, 4), int)):
        with pytest.raises(ImageError) as caught:
            read_image(source)
        assert "\n" not in str(caught.value)


def test_frame_at_a_time(tmp_path: Path) -> None:
    greys = [np.full((64, 80, 3), 10 * i, np.uint8) for i in range(25)]
    path = make_video(tmp_path / "greys.mp4", greys)
    for time_s, index in [(0.0, 0), (0.1, 1), (0.55, 5), (1.5, 15), (2.4, 24), (99.0, 24)]:
        frame = read_frame(path, time_s)
        assert frame.shape == (3, 128, 128)
        assert frame.mean() == pytest.approx(10 * index, abs=4), time_s


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [((1, 0, 0, 1), "rgbw"), ((0, 1, -1, 0), "brwg"), ((-1, 0, 0, -1), "wbgr"), ((0, -1, 1, 0), "gwrb")],
)
def test_a_phones_turn_is_honoured(tmp_path: Path, matrix: tuple[int, int, int, int], expected: str) -> None:
    """Phones store frames as the sensor sees them, and the turn in the track header's matrix."""
    path = make_video(tmp_path / "phone.mp4", [quadrants()] * 3)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version and flags, times, ids, layer, volume
    a, b, c, d = (value * 65_536 for value in matrix)
    content[at : at + 20] = struct.pack(">5i", a, b, 0, c, d)
    path.write_bytes(content)
    assert corners(read_frame(path, 0.0)) == expected


def test_things_that_are_no_video(tmp_path: Path, tone_wav: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for path in (tone_wav, text, tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(ImageError) as caught:
            read_frame(path, 0.0)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("first", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%!PS\n", b"\xc5\xd0\xd3\xc6"])
def test_a_picture_never_runs_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """Pillow would give PostScript to the Ghostscript that it finds, whatever the file is called."""
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "picture.jpg"
    path.write_bytes(first + b"%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n%%EOF\n")
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(ImageError, match="unknown format"):
            read_image(source)
    assert not ran.exists()


def test_only_what_a_picture_may_be_is_opened(tmp_path: Path) -> None:
    for kind in ("EPS", "PDF", "ICO", "PCX", "TGA"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, kind)
        with pytest.raises(ImageError, match="unknown format"):
            read_image(buffer.getvalue())
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16), "red").save(buffer, kind)
        assert read_image(buffer.getvalue())[0].min() > 250, kind


def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("1", (8_100, 8_000)).save(buffer, "PNG")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="8100 x 8000 pixels; the most is 64,000,000"):
        read_image(buffer.getvalue())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


def written(path: Path, codec: str, width: int, height: int) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=1, width=width, height=height)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
        pixels = np.zeros((height, width, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_frame_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.avi", "mjpeg", 640, 480)
    read_frame(path, 0.0)
    monkeypatch.setattr("avgan.images.MAX_FRAME_PIXELS", 640 * 400)
    with pytest.raises(ImageError, match="640 x 480 pixels"):
        read_frame(path, 0.0)


def test_only_known_containers_and_codecs_are_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"format that is not read|not found"):
        read_frame(written(tmp_path / "a.avi", "png", 64, 48), 0.0)
    for name, text in (
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("a.txt", "plain text " * 99),
        ("a.concat", "ffconcat version 1.0\nfile x\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ImageError):
            read_frame(tmp_path / name, 0.0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    for read in (read_image, lambda path: read_frame(path, 0.0)):
        with pytest.raises(ImageError, match="pipe or device"):
            read(tmp_path / "a.jpg")


def test_png_round_trip_and_scale(tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (3, 128, 128), dtype=np.uint8)
    path = to_png(image, tmp_path / "new" / "a.png")
    np.testing.assert_array_equal(read_image(path), image)
    assert Image.open(to_png(image, tmp_path / "b.png", 2)).size == (256, 256)
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def test_png_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AvganError, match="cannot be written"):
        to_png(np.zeros((3, 8, 8), np.uint8), tmp_path / "file" / "a.png")


def test_float_pictures_are_in_zero_to_one() -> None:
    picture = np.asarray(as_picture(np.array([[0.0, 0.5, 1.0, 2.0, -1.0, np.nan]])))
    np.testing.assert_array_equal(picture[0, :, 0], [0, 128, 255, 255, 0, 0])


def test_sheet(rng: np.random.Generator) -> None:
    images = rng.random((2, 3, 3, 32, 32))
    sheet = grid(images)
    assert sheet.size == (3 * 34 + 2, 2 * 34 + 2)
    np.testing.assert_array_equal(np.asarray(sheet)[2:34, 2:34], np.asarray(as_picture(images[0, 0])))
    assert grid(images, ["real", "imagined"]).width > sheet.width
    assert grid([[images[0, 0]], list(images[1])]).size == sheet.size
    with pytest.raises(ImageError, match="labels"):
        grid(images, ["one"])
    with pytest.raises(ImageError, match="no pictures"):
        grid([])

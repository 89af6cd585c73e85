"""Pictures and video frames -> (3, 128, 128) uint8 RGB, and back to PNG and sample sheets.

Shapes: H W pixels; R rows and C columns of a sheet.
"""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from avgan.errors import ImageError
from avgan.files import open_regular, write_whole
from avgan.media import CONTAINERS, first_line, packets
from avgan.media.tracks import zero_of

SIZE_PX = 128
QUALITY = 92  # of JPEG and WebP: no artefact to be seen, a tenth of the size
GAP_PX = 2

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What a picture may be, whatever its name: of what else Pillow knows, some is run as a program (EPS)."""
MAX_PIXELS = 64_000_000
"""Of a picture: more than cameras and phones give, who mostly give 12 to 50 million."""
MAX_FRAME_PIXELS = 8192 * 4608
"""Of a video: more than 8K, no camera's, but a way to fill our memory."""
LAST_SHOWN_S = 1.0
"""How long the last frame of a video stays, where it does not say so."""
EARLIER_S = 12.0  # key frames are seldom further apart
PICTURE_CODECS = (
    "av1,libdav1d,dvvideo,ffv1,flv,h263,h264,hevc,mjpeg,mpeg1video,mpeg2video,mpeg4,mpegvideo,msmpeg4,msmpeg4v1,"
    "msmpeg4v2,prores,rawvideo,rv30,rv40,svq3,theora,vc1,vp6,vp6f,vp8,vp9,wmv1,wmv2,wmv3"
)
"""FFmpeg's decoders of what cameras, phones and video sites make."""

_OPEN = {
    "protocol_whitelist": "none",  # a playlist inside the file must not make us open other files or addresses
    "format_whitelist": CONTAINERS,
    "codec_whitelist": PICTURE_CODECS,
    "max_pixels": str(MAX_FRAME_PIXELS),  # while the file is looked into
}


def read_image(source: ImageSource, *, size_px: int = SIZE_PX) -> np.ndarray:
    """Read a picture: (3, size_px, size_px) uint8 RGB, its central square, resized without aliasing.

    `source`: a path, the bytes of a file, a binary file object, or an array (see `as_picture`). Turned as the camera
    was held; transparency becomes white. Raises ImageError where it is no picture.
    """
    if isinstance(source, np.ndarray):
        return _square(as_picture(source), size_px)
    if isinstance(source, bytes):
        return _square(_open_image(io.BytesIO(source), "the picture"), size_px)
    if not isinstance(source, str | os.PathLike):
        name = getattr(source, "name", None)
        return _square(_open_image(source, name if isinstance(name, str) else "the picture"), size_px)
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; name a picture in it")
    try:
        with open_regular(path) as file:
            return _square(_open_image(file, str(path)), size_px)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_frame(path: str | Path, time_s: float, *, size_px: int = SIZE_PX) -> np.ndarray:
    """Read the frame that a video shows at `time_s` on its clock: (3, size_px, size_px) uint8 RGB, upright.

    A time before the first frame gives that, a time beyond the end gives the last frame. Raises ImageError where there
    is no frame to be had.
    """
    with _open_video(path) as container:
        frame = _frame_at(container, time_s)
        if frame is None:
            raise ImageError(f"{path}: has no picture; choose a video")
        quarter_turns = round(frame.rotation / 90) % 4
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)
    return _square(Image.fromarray(np.ascontiguousarray(pixels)), size_px)


@contextlib.contextmanager
def _open_video(path: str | Path) -> Iterator[av.container.InputContainer]:
    """A video that is open for its pictures; what is wrong with it is raised as ImageError."""
    try:
        with open_regular(path) as file, av.open(file, mode="r", options=_OPEN) as container:
            yield container
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ImageError(f"{path}: not a video that can be decoded ({reason})") from None


def shown(path: str | Path) -> tuple[float, float]:
    """When a video's pictures begin and end, in s on the file's clock.

    Its first frame is decoded, the rest is not. Raises ImageError as `read_frame` does.
    """
    with _open_video(path) as container:
        stream, zero_s = _picture_track(container), zero_of(container, [])
        first = next(container.decode(stream), None)
        if first is None:
            raise ValueError("no frame")
        start_s = end_s = (first.time or 0.0) - zero_s
        with contextlib.suppress(av.error.FFmpegError):
            end = int((container.duration or 0) + zero_s * av.time_base)
            container.seek(end)
        for packet in packets(container, stream):
            if packet.pts is not None and packet.time_base is not None:
                ends = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                end_s = max(end_s, ends - zero_s)
        return start_s, end_s


def as_picture(image: np.ndarray) -> Image.Image:
    """A Pillow picture from (3, H, W), (H, W, 3) or (H, W); uint8, or float in [0, 1]."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        image = image.transpose(1, 2, 0)
    is_colour = image.ndim == 3 and image.shape[2] == 3
    if not (is_colour or image.ndim == 2) or 0 in image.shape:
        raise ImageError(f"an array of shape {image.shape}: a picture is (3, H, W) or (H, W, 3)")
    if image.dtype.kind == "f":
        image = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    if image.dtype != np.uint8:
        raise ImageError(f"an array of {image.dtype}: pass uint8, or float in [0, 1]")
    return Image.fromarray(np.ascontiguousarray(image)).convert("RGB")


def png_bytes(image: np.ndarray, *, scale: int = 1) -> bytes:
    """The bytes of a PNG of `image` (see `as_picture`), enlarged smoothly."""
    return encoded(image, "PNG", scale=scale)


def encoded(image: np.ndarray, format: str, *, scale: int = 1) -> bytes:
    """The same in any format that Pillow writes."""
    picture = as_picture(image)
    if scale != 1:
        size = (picture.width * scale, picture.height * scale)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format, **({"optimize": True} if format == "PNG" else {"quality": QUALITY}))
    return buffer.getvalue()


def to_png(image: np.ndarray, path: str | Path, scale: int = 1) -> Path:
    """Write `image` (see `as_picture`) as a PNG, whole or not at all."""
    return write_whole(path, png_bytes(image, scale=scale))


def grid(
    images: np.ndarray | Sequence[Sequence[np.ndarray] | np.ndarray], labels: Sequence[str] | None = None
) -> Image.Image:
    """A sheet of pictures (R, C, 3, H, W), or of rows that may differ in length.

    `labels`: one a row, written in a margin on the left.
    """
    rows = [[as_picture(image) for image in row] for row in images]
    if not any(rows):
        raise ImageError("a sheet of no pictures: pass at least one")
    if labels is not None and len(labels) != len(rows):
        raise ImageError(f"{len(labels)} labels for {len(rows)} rows: pass one a row")
    pictures = [picture for row in rows for picture in row]
    width = max(picture.width for picture in pictures) + GAP_PX
    height = max(picture.height for picture in pictures) + GAP_PX
    font = ImageFont.load_default(size=max(10, height // 9))
    margin = round(max(map(font.getlength, labels))) + 6 * GAP_PX if labels else GAP_PX
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (margin + columns * width, GAP_PX + len(rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(rows):
        top = GAP_PX + r * height
        if labels:
            draw.text((3 * GAP_PX, top + height / 2), labels[r], "black", font, anchor="lm")
        for c, picture in enumerate(row):
            sheet.paste(picture, (margin + c * width, top))
    return sheet


def _open_image(file: BinaryIO, name: str) -> Image.Image:
    try:
        with Image.open(file, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels; the most is {MAX_PIXELS:,}")
            # Reduced while decoding (JPEG only), never below what the resizing needs.
            opened.draft("RGB", (4 * SIZE_PX, 4 * SIZE_PX))
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                white.alpha_composite(image)
                image = white
            return image.convert("RGB")
    except Exception as error:  # Pillow's readers share no narrower base
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "unknown format"
        raise ImageError(f"{name}: not a picture that can be read ({reason}); convert it to JPEG or PNG") from None


def _square(image: Image.Image, size_px: int) -> np.ndarray:
    """The central square of a picture as (3, size_px, size_px) uint8."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    resized = image.crop((left, top, left + side, top + side)).resize(
        (size_px, size_px), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def _frame_at(container: av.container.InputContainer, time_s: float) -> av.VideoFrame | None:
    """The last frame that starts at or before `time_s`, or else the first."""
    stream = _picture_track(container)
    tick_s = stream.time_base or Fraction(1, av.time_base)
    zero_s = zero_of(container, [])
    wanted_s = max(time_s, 0.0) + zero_s
    shown = None
    # To the key frame before it. Where there is no index a seek may lead to between two key frames: then from earlier.
    for early_s in (0.0, EARLIER_S, wanted_s) if time_s > 0 else (0.0,):
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(int(max(wanted_s - early_s, 0.0) / tick_s), stream=stream)
        shown = None
        for frame in container.decode(stream):
            if shown is not None and frame.time is not None and frame.time > wanted_s + 1e-6:
                break
            shown = frame
        if shown is not None and (shown.time is None or shown.time <= wanted_s + 1e-6):
            break
    return shown


def _picture_track(container: av.container.InputContainer) -> av.VideoStream:
    """The first track of pictures, ready to be decoded; a cover attached to sound is none.

    Raises ValueError where there is none or its format is not read.
    """
    cover = av.stream.Disposition.attached_pic
    stream = next((track for track in container.streams.video if not track.disposition & cover), None)
    if stream is None:
        raise ValueError("no picture")
    codec = stream.codec_context
    if codec is None or codec.name not in PICTURE_CODECS.split(","):
        name = codec.name if codec is not None else "unknown"
        raise ValueError(f"its pictures are in a format that is not read: {name}")
    if codec.width * codec.height > MAX_FRAME_PIXELS:
        raise ValueError(f"{codec.width} x {codec.height} pixels; the most is {MAX_FRAME_PIXELS:,}")
    codec.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # the next frame may be larger
    stream.thread_type = "AUTO"
    return stream

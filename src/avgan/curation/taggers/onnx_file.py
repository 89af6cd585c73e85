"""Any ONNX file with a list of labels as a tagger.

What the network wants is read from its input where that is clear:

    (b, L)         sounds, mono, 16 kHz; where L is fixed, a longer sound is cut into windows of that length
    (b, 3, H, W)   pictures, red, green, blue in 0 ... 1, the whole frame squeezed to H x W (224 where they are free)

and otherwise said in a JSON file beside it, `<name>.json` for `<name>.onnx`, with any of the fields of `Settings`:

    {"activation": "softmax", "mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225]}

The labels stand in `<name>.labels.txt` or `<name>.csv`, or in a file that the settings name.

Shapes: b of a block, n windows, L samples, N labels.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avgan.audio import read_audio, windows
from avgan.curation.record import SOUND_RATE_HZ
from avgan.curation.taggers.tagger import Tagger, check_count, read_labels
from avgan.errors import DataError
from avgan.images import as_picture

SIDE_PX = 224  # what networks for ImageNet take
SLACK = 1e-3
"""By how much a weight may lie outside [0, 1] for rounding."""

Three = tuple[float, float, float]


class Settings(BaseModel):
    """What an ONNX file does not say of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: str = ""
    """Name of the list of labels, in the same folder."""
    licence: str = "Not stated."
    output: str = ""
    """Name of the output that holds the weights; empty: `probabilities` where there is one, else the first."""
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    """What makes weights in [0, 1] of the output."""
    rate_hz: int = Field(16_000, ge=1_000, le=384_000)
    """Of sounds."""
    mean: Three = (0.0, 0.0, 0.0)
    """Is taken from a picture in 0 ... 1; red, green, blue."""
    deviation: Three = (1.0, 1.0, 1.0)
    """Divides what is left."""
    blue_first: bool = False
    block: int = Field(8, ge=1, le=1024)


def onnx_file(named: Path) -> Tagger:
    """The tagger of an ONNX file.

    Raises DataError: file or labels are missing or damaged, or the input is neither sounds nor pictures.
    """
    settings = _settings(named)
    list_path = _labels_of(named, settings)
    labels = read_labels(list_path)
    session, sha256 = _open(named)
    network_input = session.get_inputs()[0]
    output = _output(session, settings, named)
    takes_sounds = _takes_sounds(session, named)
    shape = next(item.shape for item in session.get_outputs() if item.name == output)
    if shape and isinstance(shape[-1], int):  # else it is free, and found when it runs
        check_count(labels, shape[-1], list_path)

    def run(inputs: np.ndarray) -> np.ndarray:
        flat = inputs.reshape(-1, *inputs.shape[2:]) if takes_sounds else inputs  # windows of all sounds
        try:
            (values,) = session.run([output], {network_input.name: flat})
        except Exception as error:  # onnxruntime's own errors share no narrower base
            raise DataError(f"{named}: does not run ({_line(error)}); export it again") from None
        weights = _activate(np.asarray(values, np.float32), settings, named)
        check_count(labels, weights.shape[-1], list_path)
        return weights.reshape(len(inputs), -1, len(labels)).mean(1)

    def prepare(item: np.ndarray) -> np.ndarray:
        if takes_sounds:
            return _windows_of(item, network_input.shape[1], settings)
        return _picture_of(item, network_input.shape[2:], settings)

    return Tagger(
        name=named.stem,
        takes_sounds=takes_sounds,
        labels=labels,
        licence=settings.licence,
        sha256=sha256,
        prepare=prepare,
        run=run,
        block=settings.block,
    )


def _settings(named: Path) -> Settings:
    path = named.with_suffix(".json")
    if not path.is_file():
        return Settings()
    try:
        return Settings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise DataError(f"{path}: {reason}; fields are {', '.join(Settings.model_fields)}") from None


def _labels_of(named: Path, settings: Settings) -> Path:
    if Path(settings.labels).name != settings.labels:
        raise DataError(f"{named.with_suffix('.json')}: labels: a name is needed, of a file in the same folder")
    names = [settings.labels] if settings.labels else [f"{named.stem}.labels.txt", f"{named.stem}.csv"]
    for name in names:
        if (named.parent / name).is_file():
            return named.parent / name
    raise DataError(f"{named.parent}: no {names[0]} beside {named.name}; write one label a line")


def _open(named: Path) -> tuple[onnxruntime.InferenceSession, str]:
    """The network, from its bytes, so that a file cannot name others to be read; and the sha256 of them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the cores belong to processes
    options.log_severity_level = 3  # errors; the rest is not for a user
    try:
        content = named.read_bytes()
    except OSError as error:
        raise DataError(f"{named}: cannot be read ({error.strerror or error})") from None
    try:
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime's own errors share no narrower base
        raise DataError(f"{named}: not an ONNX file that runs here ({_line(error)}); export it again") from None
    return session, hashlib.sha256(content).hexdigest()


def _takes_sounds(session: onnxruntime.InferenceSession, named: Path) -> bool:
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].type == "tensor(float)":
        shape = inputs[0].shape
        if len(shape) == 2:
            return True
        if len(shape) == 4 and shape[1] == 3:
            return False
    found = ", ".join(f"{item.type} {item.shape}" for item in inputs)
    raise DataError(f"{named}: takes {found[:120]}; one float input is needed, sounds (b, L) or pictures (b, 3, H, W)")


def _output(session: onnxruntime.InferenceSession, settings: Settings, named: Path) -> str:
    names = [item.name for item in session.get_outputs()]
    wanted = settings.output or ("probabilities" if "probabilities" in names else names[0])
    if wanted not in names:
        raise DataError(f"{named}: has no output {wanted!r}; it has {', '.join(names)[:120]}")
    return wanted


def _windows_of(sound: np.ndarray, num_samples: Any, settings: Settings) -> np.ndarray:
    """A sound (L, C) -> (n, L'), where the length is free one window of all of it."""
    sound = np.ascontiguousarray(sound)
    waveform = read_audio(sound, rate_hz=SOUND_RATE_HZ, target_rate_hz=settings.rate_hz)
    if not isinstance(num_samples, int):
        return waveform[None]
    window_s = num_samples / settings.rate_hz
    parts = windows(waveform, rate_hz=settings.rate_hz, window_s=window_s)
    return np.stack([part.waveform for part in parts])


def _picture_of(picture: np.ndarray, sides: list[Any], settings: Settings) -> np.ndarray:
    """A picture (H, W, 3) uint8 -> (3, H', W')."""
    height, width = (side if isinstance(side, int) else SIDE_PX for side in sides)
    resized = as_picture(picture).resize((width, height), Image.Resampling.BILINEAR)
    mean, deviation = np.array((settings.mean, settings.deviation), np.float32)
    pixels = (np.asarray(resized, np.float32) / 255 - mean) / deviation
    if settings.blue_first:
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _activate(values: np.ndarray, settings: Settings, named: Path) -> np.ndarray:
    if values.ndim != 2:
        raise DataError(f"{named}: answers with the shape {values.shape}; a weight for each label is needed (b, N)")
    if settings.activation == "softmax":
        exponentials = np.exp(values - values.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)
    if settings.activation == "sigmoid":
        return 0.5 * (1 + np.tanh(0.5 * values))
    if not ((values >= -SLACK) & (values <= 1 + SLACK)).all():
        raise DataError(
            f"{named}: answers outside [0, 1]; say in {named.stem}.json which activation is missing, such as "
            '{"activation": "softmax"}'
        )
    return values.clip(0, 1)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]

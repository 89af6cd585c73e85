"""A microphone as live sound, through PortAudio: an extra, `pip install "avgan[mic]"`."""

import contextlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from avgan.errors import AudioError, AvganError
from avgan.live.stream import LiveSource

MAX_CHANNELS = 2  # most inputs of a large interface are not plugged in, and would thin the mean
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Device:
    """A microphone or another input, as PortAudio numbers and names it."""

    number: int
    name: str
    host: str
    num_channels: int
    rate_hz: float
    is_default: bool


def devices() -> list[Device]:
    """The inputs of this machine. Raises AvganError where sounddevice or PortAudio is not installed."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        Device(
            number=number,
            name=" ".join(found["name"].split()),
            host=sounddevice.query_hostapis(found["hostapi"])["name"],
            num_channels=found["max_input_channels"],
            rate_hz=found["default_samplerate"],
            is_default=number == default,
        )
        for number, found in enumerate(sounddevice.query_devices())
        if found["max_input_channels"] > 0
    ]


def find_device(wanted: str | None) -> Device:
    """The input of a number, or of whose name this is a part; None: the default one. Raises AudioError."""
    found = devices()
    if not found:
        raise AudioError("no microphone: plug one in, or pipe sound in: ... | avgan listen - --rate 48000")
    if wanted is None:
        return next((device for device in found if device.is_default), found[0])
    same = [device for device in found if wanted in (str(device.number), device.name)]
    similar = [device for device in found if wanted.casefold() in device.name.casefold()]
    matches = same or similar
    if len(matches) != 1:
        problem = "is the name of several microphones" if matches else "no such microphone"
        raise AudioError(f"{wanted}: {problem}; `avgan listen --list-devices` shows them")
    return matches[0]


@contextmanager
def microphone(
    wanted: str | None = None, *, rate_hz: float | None = None, num_channels: int | None = None
) -> Iterator[LiveSource]:
    """Sound from an input (see `find_device`) as long as the context lasts, at its own rate unless another is given.

    The iteration over it raises AudioError where the device goes away. Raises AudioError where it cannot be opened.
    """
    device = find_device(wanted)
    source = LiveSource(rate_hz or device.rate_hz, name=device.name, patience_s=PATIENCE_S)

    def take(samples: np.ndarray, num_frames: int, times: Any, status: Any) -> None:
        source.put(samples.copy(), after_loss=bool(status.input_overflow))

    def finish() -> None:  # nothing happens where we have closed it before
        source.close(AudioError(f"{device.name}: the microphone is gone; plug it in again"))

    sounddevice = _sounddevice()
    try:
        stream = sounddevice.InputStream(
            device=device.number,
            samplerate=source.rate_hz,
            channels=num_channels or min(device.num_channels, MAX_CHANNELS),
            dtype="float32",
            callback=take,
            finished_callback=finish,
        )
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AudioError(
            f"{device.name}: cannot be opened ({reason}); see that no other program keeps it and "
            "that this one may use it"
        ) from None
    try:
        yield source
    finally:
        source.close()
        with contextlib.suppress(sounddevice.PortAudioError):  # it may have gone before
            stream.close()


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ModuleNotFoundError:
        raise AvganError('a microphone needs sounddevice, which is not installed: pip install "avgan[mic]"') from None
    except OSError:
        raise AvganError(
            "a microphone needs PortAudio, which is not installed: apt install libportaudio2, "
            "dnf install portaudio or brew install portaudio"
        ) from None

"""The microphone, with PortAudio's behaviour made up: devices, names, what goes wrong."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from avgan.errors import AudioError, AvganError
from avgan.live.microphone import devices, find_device, microphone


class PortAudioError(Exception):
    pass


class Stream:
    """What sounddevice.InputStream is to us."""

    opened: "Stream"
    refuses = ""

    def __init__(self, **options: Any) -> None:
        if self.refuses:
            raise PortAudioError(self.refuses)
        self.options = options
        self.is_closed = False
        Stream.opened = self

    def start(self) -> None:
        pass

    def captures(self, samples: np.ndarray, *, overflow: bool = False) -> None:
        flags = types.SimpleNamespace(input_overflow=overflow)
        self.options["callback"](samples, len(samples), None, flags)

    def close(self) -> None:
        self.is_closed = True
        self.options["finished_callback"]()  # as PortAudio does


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    def device(name: str, inputs: int, rate_hz: float) -> dict[str, Any]:
        return {"name": name, "hostapi": 0, "max_input_channels": inputs, "default_samplerate": rate_hz}

    module: Any = types.ModuleType("sounddevice")
    module.PortAudioError = PortAudioError
    module.InputStream = Stream
    module.default = types.SimpleNamespace(device=(2, 0))
    module.query_hostapis = lambda number: {"name": "ALSA"}
    module.found = [
        device("Speaker", 0, 48_000.0),
        device("Webcam\nMicrophone", 1, 16_000.0),
        device("Desk Microphone", 2, 44_100.0),
        device("Mixer", 32, 96_000.0),
        device("Mixer", 2, 48_000.0),
    ]
    module.query_devices = lambda: module.found
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_devices(sounddevice: Any) -> None:
    assert [device.number for device in devices()] == [1, 2, 3, 4]
    assert devices()[0].name == "Webcam Microphone"
    assert [device.is_default for device in devices()] == [False, True, False, False]


@pytest.mark.parametrize(("wanted", "number"), [(None, 2), ("1", 1), ("webcam", 1), ("Desk Microphone", 2), ("3", 3)])
def test_a_device_is_found(sounddevice: Any, wanted: str | None, number: int) -> None:
    assert find_device(wanted).number == number


@pytest.mark.parametrize(
    ("wanted", "match"), [("Mixer", "several"), ("phone", "several"), ("0", "no such"), ("99", "no such")]
)
def test_a_device_is_not_found(sounddevice: Any, wanted: str, match: str) -> None:
    with pytest.raises(AudioError, match=match):
        find_device(wanted)


def test_no_device_at_all(sounddevice: Any) -> None:
    sounddevice.found = sounddevice.found[:1]
    with pytest.raises(AudioError, match="plug one in"):
        find_device(None)
    sounddevice.found.append(sounddevice.query_devices()[0] | {"max_input_channels": 1})
    sounddevice.default.device = (-1, -1)
    assert find_device(None).number == 1


def test_sound_comes_through(sounddevice: Any) -> None:
    buffer = np.full((441, 2), 0.5, np.float32)
    with microphone() as source:
        stream = Stream.opened
        options = {name: stream.options[name] for name in ("device", "samplerate", "channels")}
        assert options == {"device": 2, "samplerate": 44_100.0, "channels": 2}
        stream.captures(buffer)
        buffer[:] = 0  # PortAudio uses its buffer again
        stream.captures(buffer, overflow=True)
        samples, rate_hz = next(source)
        assert (samples.shape, rate_hz) == ((441, 2), 44_100.0)
        assert samples.max() == 0.5
        assert source.num_lost == 1
        next(source)
    assert stream.is_closed
    with pytest.raises(StopIteration):  # closed by us: no complaint
        next(source)


def test_of_many_channels_two_are_heard(sounddevice: Any) -> None:
    with microphone("3", rate_hz=48_000):
        assert Stream.opened.options["channels"] == 2
        assert Stream.opened.options["samplerate"] == 48_000
    with microphone("3", num_channels=8):
        assert Stream.opened.options["channels"] == 8


def test_a_device_that_vanishes(sounddevice: Any) -> None:
    with microphone() as source:
        Stream.opened.captures(np.zeros((441, 2), np.float32))
        Stream.opened.options["finished_callback"]()
        next(source)
        with pytest.raises(AudioError, match="Desk Microphone: the microphone is gone"):
            next(source)


def test_a_device_that_stops_without_a_word(sounddevice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avgan.live.microphone.PATIENCE_S", 0.1)
    with microphone() as source, pytest.raises(AudioError, match="no sound has come for"):
        next(source)


def test_a_device_that_another_program_keeps(sounddevice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "refuses", "Error opening InputStream:\nDevice unavailable")
    opened = microphone()
    with pytest.raises(AudioError, match=r"InputStream: Device unavailable.*no other program"):
        opened.__enter__()


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AvganError, match=r'pip install "avgan\[mic\]"'):
        devices()

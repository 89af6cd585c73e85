"""Live: listen."""

import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan.cli.app import STDIN, UsageError, app, say
from avgan.cli.options import Bundle
from avgan.errors import AvganError, printable

if TYPE_CHECKING:
    from avgan.live.stream import LiveSource, LiveWindow
    from avgan.runtime import Model

REFRESHES_PER_S = 4
NUM_SCENES = 5


@app.command
def listen(
    source: str | None = None,
    /,
    *,
    device: str | None = None,
    rate: Annotated[int | None, Parameter(validator=Number(gte=1_000, lte=1_000_000))] = None,
    channels: Annotated[int | None, Parameter(validator=Number(gte=1, lte=64))] = None,
    encoding: Literal["s16le", "f32le"] = "s16le",
    live: Annotated[bool, Parameter(negative=())] = False,
    hop: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0,
    format: Literal["screen", "jsonl"] | None = None,
    list_devices: Annotated[bool, Parameter(negative=())] = False,
    model: Bundle = None,
) -> None:
    """Say which scene it is while it sounds: from a microphone, or raw samples on standard input.

    Ctrl-C ends it, with a summary.

    Args:
        source: - for raw samples on standard input, whose --rate must be said; without it a microphone.
        device: Number of a microphone, or part of its name.
        rate: Samples a second.
        channels: Channels; 1 on standard input, up to 2 of a microphone.
        encoding: How the samples on standard input are written.
        live: Standard input cannot wait: rather than hold it up, drop what cannot be classified in time.
        hop: Seconds from one answer to the next.
        format: Drawn on the terminal, or one JSON object a line, as where there is no terminal.
        list_devices: Show the microphones, and end.
    """
    if list_devices:
        _list_devices()
        return
    _check_usage(source, rate, live)
    from avgan.live.microphone import microphone
    from avgan.runtime import load

    # A second asks for little: several threads would only wait for each other.
    loaded = load(model, num_threads=1)
    if source is None:
        opened = microphone(device, rate_hz=rate, num_channels=channels)
    else:
        assert rate is not None
        opened = _standard_input(rate, channels or 1, encoding, waits=not live)
    with opened as sound:
        _listen(loaded, sound, hop, format)


def _check_usage(source: str | None, rate: int | None, live: bool) -> None:
    if source is None:
        if live:
            raise UsageError("--live is for standard input; a microphone is always live")
    elif source != STDIN:
        raise UsageError(f"{source}: name - for standard input; recordings are for classify")
    elif rate is None:
        raise UsageError("raw samples do not tell their rate: name it, such as --rate 48000")
    elif sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe raw samples in")


def _listen(model: "Model", source: "LiveSource", hop_s: float, format: Literal["screen", "jsonl"] | None) -> None:
    from avgan.live.stream import listen_live

    summary = _Summary(source, min(hop_s, model.card.window_s))
    answers = listen_live(model, source, hop_s=hop_s)
    try:
        # On a dumb terminal nothing can be drawn over.
        draws = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        if (format or ("screen" if draws else "jsonl")) == "jsonl":
            _write_lines(source, _counted(answers, summary))
        else:
            _draw(model, source, _counted(answers, summary))
    except KeyboardInterrupt:
        pass  # the way to end it
    except AvganError:  # the end came early; main says why
        if summary.num_windows:
            summary.say()
        raise
    summary.say()


def _write_lines(source: "LiveSource", answers: Iterator["LiveWindow"]) -> None:
    from avgan.runtime.prediction import rounded, window_to_dict

    for answer in answers:
        row: dict[str, Any] = {
            **window_to_dict(answer.window),
            **answer.rankings(NUM_SCENES),
            "at": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "latency_s": rounded(answer.latency_s),
            "num_gaps": answer.num_gaps,
            "gap_s": rounded(answer.gap_s),
            "num_dropped": source.num_dropped,
            "dropped_s": rounded(source.dropped_s),
        }
        print(json.dumps(row), flush=True)


def _draw(model: "Model", source: "LiveSource", answers: Iterator["LiveWindow"]) -> None:
    from rich.live import Live

    from avgan.cli.screen import Screen

    screen = Screen(source, window_s=model.card.window_s)
    with Live(screen, refresh_per_second=REFRESHES_PER_S):
        for answer in answers:
            assert answer.window.codes is not None
            screen.add(answer, model.network.decode(answer.window.codes[None])[0])


def _counted(answers: Iterator["LiveWindow"], summary: "_Summary") -> Iterator["LiveWindow"]:
    for answer in answers:
        summary.add(answer)
        yield answer


class _Summary:
    """What sounded for how long, and how fast the answers came."""

    def __init__(self, source: "LiveSource", step_s: float) -> None:
        self._source = source
        self._step_s = step_s
        self._end_s = 0.0
        self._answers_s: defaultdict[str, float] = defaultdict(float)
        self._sounds_s: defaultdict[str, float] = defaultdict(float)
        self.num_windows = 0
        self._total_latency_s = self._most_latency_s = 0.0

    def add(self, answer: "LiveWindow") -> None:
        window = answer.window
        # The first window is new as a whole, of each that follows a step; what was lost is not counted.
        new_s = window.end_s - max(self._end_s, window.start_s)
        if self.num_windows:
            new_s = min(new_s, self._step_s)
        self._answers_s[window.answer] += new_s
        for word in window.sounds if window.scene else ():  # else it is the answer
            self._sounds_s[word] += new_s
        self._end_s = window.end_s
        self.num_windows += 1
        self._total_latency_s += answer.latency_s
        self._most_latency_s = max(self._most_latency_s, answer.latency_s)

    def say(self) -> None:
        from avgan.runtime.wording import clock

        if not self.num_windows:
            say("no answer came; one needs a whole window, or the end of the sound")
            return

        def lengths(lengths_s: dict[str, float]) -> str:
            order = sorted(lengths_s.items(), key=lambda item: -item[1])
            return ", ".join(f"{name} {clock(lasted_s)}" for name, lasted_s in order)

        say(f"listened {clock(sum(self._answers_s.values()))}: {lengths(self._answers_s)}")
        if self._sounds_s:
            say(f"sounds: {lengths(self._sounds_s)}")
        mean_s = self._total_latency_s / self.num_windows
        lost = f"dropped {self._source.num_dropped} blocks ({self._source.dropped_s:.1f} s)"
        if self._source.num_lost:
            lost += f", {self._source.num_lost} times the device lost some"
        for warning in self._source.warnings:
            say(f"note: {warning}")
        latency = f"{1000 * mean_s:.0f} ms on average, {1000 * self._most_latency_s:.0f} at most"
        say(f"{self.num_windows} answers, latency {latency}; {lost}")


@contextmanager
def _standard_input(
    rate_hz: int, num_channels: int, encoding: Literal["s16le", "f32le"], *, waits: bool
) -> Iterator["LiveSource"]:
    from avgan.live.stream import PCM, LiveSource, pump

    source = LiveSource(rate_hz, name="standard input", waits=waits)
    pcm = PCM(num_channels, encoding)
    # A thread that waits for input cannot be stopped: it must not keep the program alive.
    reader = threading.Thread(target=pump, args=(sys.stdin.fileno(), source, pcm), daemon=True)
    reader.start()
    try:
        yield source
    finally:
        source.close()


def _list_devices() -> None:
    from avgan.live.microphone import devices

    found = devices()
    width = max((len(device.name) for device in found), default=0)
    for device in found:
        facts = f"{device.num_channels} channels, {device.rate_hz:g} Hz, {device.host}"
        default = ", the default" if device.is_default else ""
        print(f"{device.number:3}  {printable(device.name):{width}}  {printable(facts)}{default}")
    if not found:
        say("no microphone: plug one in, or pipe sound in: ... | avgan listen - --rate 48000")

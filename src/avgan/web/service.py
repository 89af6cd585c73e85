"""What a service is made of, and the jobs that it runs for recordings; the slots for live sound.

A job runs in a thread of the decoder pool; sound comes to it from a decoder block by block.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from avgan.errors import AudioError
from avgan.media.origin import in_name
from avgan.runtime import Model, Prediction
from avgan.runtime.explanation import Explanation
from avgan.web.connections import Connections
from avgan.web.decoding import Decoder, DecoderPool
from avgan.web.intake import Intake, Received
from avgan.web.metrics import Metrics
from avgan.web.settings import RefusedError, Settings

LOOK_S = 2.0  # shorter pauses of a network are common
LEAST_SHARE = 0.5
"""Of real time, that sound must come in; a microphone sends all of it."""
IPV6_BITS = 64  # what a provider gives to one customer
T = TypeVar("T")
Job = Callable[[Decoder, Received], T]
"""What is done in a worker with its decoder and a recording."""


class LiveSlot:
    """A live connection's right to be served, with how much sound came and whether answers go out."""

    def __init__(self) -> None:
        self.is_cut = False
        self.is_complete = False
        """Whether all of its sound has come."""
        self.end: Callable[[], object] = lambda: None
        """What ends it, from the event loop."""
        self._sending: Future[None] | None = None
        self._sending_s = 0.0
        self._since_s = time.monotonic()
        self._sound_s = 0.0
        self._share = 1.0

    def add_sound(self, sound_s: float) -> None:
        """So much sound came."""
        self._sound_s += sound_s
        now_s = time.monotonic()
        if now_s - self._since_s >= LOOK_S:
            self._share = self._sound_s / (now_s - self._since_s)
            self._since_s, self._sound_s = now_s, 0.0

    def send(self, sending: "Future[None]", within_s: float) -> None:
        """Wait in a thread until an answer has gone out. Raises TimeoutError where it does not, or the slot is cut."""
        self._sending, self._sending_s = sending, time.monotonic()
        if self.is_cut:
            sending.cancel()
        try:
            sending.result(within_s)
        except (TimeoutError, CancelledError, asyncio.CancelledError):
            sending.cancel()
            raise TimeoutError from None
        finally:
            self._sending = None

    def is_idle(self) -> bool:
        """Whether nothing goes out, or less sound comes than a microphone sends."""
        now_s = time.monotonic()
        if self._sending is not None and now_s - self._sending_s >= LOOK_S:
            return True
        spent_s = now_s - self._since_s
        share = self._sound_s / spent_s if spent_s >= LOOK_S else self._share
        return share < LEAST_SHARE and not self.is_complete

    def cut(self) -> None:
        """End it."""
        self.is_cut = True
        if (sending := self._sending) is not None:
            sending.cancel()
        with suppress(RuntimeError):
            self.end()


class LiveSlots:
    """At most `most` slots."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[LiveSlot] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self) -> LiveSlot | None:
        """A slot, perhaps that of an idle connection; None where all are in use."""
        if len(self._taken) >= self._most:
            idle = next((slot for slot in self._taken if slot.is_idle()), None)
            if idle is None:
                return None
            self._taken.discard(idle)
            idle.cut()
        slot = LiveSlot()
        self._taken.add(slot)
        return slot

    def leave(self, slot: LiveSlot) -> None:
        """It is needed no more."""
        self._taken.discard(slot)


class Service:
    """A model, and what lets many ask it at a time. `close` it."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self.metrics = Metrics()
        self.connections = Connections(settings.num_workers)
        self.intake = Intake(settings.max_bytes, settings.max_held_bytes)
        caps = settings.caps(model.card.sample_rate_hz)
        self.workers = DecoderPool(
            [
                Decoder(caps, lambda reason: self.metrics.kills.labels(reason).inc())
                for _ in range(settings.num_workers)
            ],
            settings.max_waiting,
        )
        self.live_threads = ThreadPoolExecutor(settings.max_live, thread_name_prefix="live")
        self.live = LiveSlots(settings.max_live)
        gauge = self.metrics.gauge
        gauge("queue_length", "Recordings that wait for a worker", lambda: self.workers.num_waiting)
        gauge("busy_workers", "Workers that decode and classify", lambda: self.workers.num_busy)
        gauge("live_connections", "Live connections", lambda: len(self.live))
        gauge("connections", "Connections that are open", lambda: len(self.connections))
        gauge(
            "connections_let_go",
            "Connections ended to make room, or over which nothing went out or came",
            lambda: self.connections.num_let_go,
        )

    def close(self) -> None:
        """End everything that still goes on."""
        self.workers.close()
        self.live_threads.shutdown(cancel_futures=True)

    async def work(self, request: Request, job: Job[T]) -> T:
        """Receive a request's recording and do a job on it. Raises RefusedError.

        Ends the job where it takes too long, or the client goes away, which raises ClientDisconnect.
        """
        client = address_of(request)
        self.workers.check_room(client)  # before a recording is sent for nothing
        async with self.intake.receive(request) as received:
            running = self.workers.run(lambda decoder: job(decoder, received), client)
            working = asyncio.create_task(running)
            leaving = asyncio.create_task(_left(request))
            try:
                async with asyncio.timeout(self.settings.deadline_s):
                    await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            except TimeoutError:
                line = "the service took too long over this recording; try again later, or cut it"
                raise RefusedError(504, "deadline", line) from None
            finally:
                leaving.cancel()
                finished = working.done()
                if not finished:
                    working.cancel()
                    await asyncio.wait({working})
            if not finished:
                raise ClientDisconnect
            return await working

    def classify(
        self, decoder: Decoder, received: Received, track: int | None = None, hop_s: float | None = None
    ) -> Prediction:
        """Classify a recording. Raises RefusedError."""
        stream = decoder.decode(received.content, track=track)
        listening = self.model.listen(stream, hop_s=hop_s)
        windows = tuple(listening)
        prediction = listening.conclude(windows)
        began = prediction.recorded_at or in_name(received.name)
        prediction = replace(prediction, recorded_at=began)
        self.metrics.audio_seconds.inc(prediction.duration_s)
        return prediction

    def explain(self, decoder: Decoder, received: Received, start_s: float, track: int | None = None) -> Explanation:
        """Explain the window that begins at `start_s`. Raises RefusedError."""
        stream = decoder.decode(received.content, start_s + self.model.card.window_s, track)
        try:
            return self.model.explain(stream, start_s=start_s)
        except AudioError as error:
            raise RefusedError(422, "start", str(error)) from None
        finally:
            for _ in stream:  # a decoder that is not read to the end is replaced
                pass


def address_of(request: Request) -> str:
    """The client: its address, and of IPv6 the network, since each has many addresses in it."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, IPV6_BITS), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)


async def _left(request: Request) -> None:
    """Return when the client has gone away. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

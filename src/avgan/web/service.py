"""What a service is made of, and the jobs that it runs for recordings.

A job runs in a thread of `Workers`; sound comes to it from a decoder block by block.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar, cast

from starlette.requests import ClientDisconnect, Request

from avgan.audio import AudioSource
from avgan.errors import AudioError
from avgan.media.origin import in_name
from avgan.runtime import Model, Prediction
from avgan.runtime.explanation import Explanation
from avgan.web.connections import Connections
from avgan.web.decoding import Decoder
from avgan.web.intake import Intake, Received
from avgan.web.metrics import Metrics
from avgan.web.places import LivePlaces
from avgan.web.refusal import RefusedError
from avgan.web.settings import Settings
from avgan.web.workers import Workers

IPV6_BITS = 64  # what a provider gives to one customer
T = TypeVar("T")
Job = Callable[[Decoder, Received], T]
"""What is done in a worker with its decoder and a recording."""


class Service:
    """A model, and what lets many ask it at a time. `close` it."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self.metrics = Metrics()
        self.connections = Connections(settings.num_workers)
        self.intake = Intake(settings.max_bytes, settings.max_held_bytes)
        caps = settings.caps(model.card.sample_rate_hz)
        self.workers = Workers(
            [Decoder(caps, self._count_kill) for _ in range(settings.num_workers)],
            settings.max_waiting,
        )
        self.live_threads = ThreadPoolExecutor(settings.max_live, thread_name_prefix="live")
        self.live = LivePlaces(settings.max_live)
        gauge = self.metrics.gauge
        gauge("queue_length", "Recordings that wait for a worker", lambda: self.workers.num_waiting)
        gauge("busy_workers", "Workers that decode and hear", lambda: self.workers.num_busy)
        gauge("live_connections", "Live connections", lambda: len(self.live))
        gauge("connections", "Connections that are open", lambda: len(self.connections))
        gauge("connections_let_go", "Connections ended to make room, or over which nothing went out",
              lambda: self.connections.num_let_go)  # fmt: skip

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

    def hear(self, decoder: Decoder, received: Received, hop_s: float | None = None) -> Prediction:
        """Classify a recording. Raises RefusedError."""
        stream = decoder.decode(received.content)
        listening = self.model.listen(stream, hop_s=hop_s)
        windows = tuple(listening)
        prediction = listening.conclude(windows)
        began = prediction.recorded_at or in_name(received.name)
        prediction = replace(prediction, recorded_at=began)
        self.metrics.audio_seconds.inc(prediction.duration_s)
        return prediction

    def explain(self, decoder: Decoder, received: Received, start_s: float) -> Explanation:
        """Explain the window that begins at `start_s`. Raises RefusedError."""
        card = self.model.card
        stream = iter(decoder.decode(received.content, start_s + card.window_s))
        blocks = ((block[:, None], card.sample_rate_hz) for block in stream)
        try:
            return self.model.explain(cast(AudioSource, blocks), start_s=start_s)
        except AudioError as error:
            raise RefusedError(422, "start", str(error)) from None
        finally:
            for _ in stream:  # a decoder that is not heard to the end is replaced
                pass

    def _count_kill(self, reason: str) -> None:
        self.metrics.kills.labels(reason).inc()


def surest(prediction: Prediction) -> float:
    """Where the window begins that is surest of the recording's answer, in seconds."""
    windows = prediction.windows
    best = max(windows, key=lambda each: (each.answer == prediction.answer, each.probability))
    return best.start_s


def address_of(request: Request) -> str:
    """Who asks: an address, and of IPv6 the network, in which each has as many addresses as he likes."""
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

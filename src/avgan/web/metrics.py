"""What the service counts, for Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("avgan_requests", "Requests answered", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "avgan_request_seconds",
            "Time from a request's head to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.refusals = Counter("avgan_refusals", "Requests refused, by reason", ["reason"], registry=registry)
        self.audio_seconds = Counter("avgan_audio_seconds", "Seconds of sound classified", registry=registry)
        self.kills = Counter("avgan_decoder_kills", "Decoders lost, by reason", ["reason"], registry=registry)
        self.live_dropped = Counter("avgan_live_dropped_blocks", "Blocks of live sound dropped", registry=registry)

    def refuse(self, reason: str) -> None:
        """Count a refusal."""
        self.refusals.labels(reason).inc()

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show what a function gives when it is asked."""
        Gauge(f"avgan_{name}", text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


class Metered:
    """Counts the requests that an application answers, and how long they take."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            # By the route's pattern: addresses are the client's to choose, and would be endless.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started_s)

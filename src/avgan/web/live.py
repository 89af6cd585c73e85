"""Live sound over a WebSocket: blocks of samples in, an answer for each window out."""

import asyncio
import contextlib
from typing import Annotated, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from avgan.audio import MAX_RATE_HZ, MIN_RATE_HZ
from avgan.errors import AudioError
from avgan.live.stream import PCM, LiveSource, SampleFormat, listen_live
from avgan.web import answers
from avgan.web.service import LiveSlot, Service
from avgan.web.settings import one_line

INVALID, NO_ACCESS, TRY_LATER = 1007, 1008, 1013
IDLE_S, IDLE_SHARE = 20, 0.1
"""In so long, sound must come for such a share of it; a microphone sends all."""
SEND_S = 10
CONCLUDE_S = 30
"""How long the answers that are still to come, and the goodbye, may take."""
_FORMATS: dict[str, SampleFormat] = {"s16": "s16le", "f32": "f32le"}
END = "end"


class LiveOptions(BaseModel):
    """The query of a live connection."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    rate: Annotated[float, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)] = 48_000
    format: Literal["s16", "f32"] = "s16"
    hop: Annotated[float, Field(ge=0.25, le=60)] = 1.0


def live_routes(service: Service) -> APIRouter:
    """The one route for live sound."""
    router = APIRouter()

    @router.websocket("/api/live")
    async def live(websocket: WebSocket) -> None:
        """Take binary messages of samples, mono, and the text `end` when there are no more."""
        await websocket.accept()
        try:
            options = LiveOptions.model_validate(dict(websocket.query_params))
        except ValidationError as error:
            await refuse(websocket, INVALID, one_line(error.errors()))
            return
        slot = service.live.take()
        if slot is None:
            service.metrics.refuse("live_full")
            await refuse(websocket, TRY_LATER, "too many listen live; try again in a minute")
            return
        try:
            await _Session(websocket, service, options, slot).run()
        finally:
            service.live.leave(slot)

    return router


class _Session:
    """One live connection: its sound on the way in, its answers on the way out, and its end."""

    def __init__(self, websocket: WebSocket, service: Service, options: LiveOptions, slot: LiveSlot) -> None:
        self._websocket = websocket
        self._service = service
        self._options = options
        self._slot = slot
        self._source = LiveSource(options.rate)
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Serve it until there is no more to come, or it is cut."""
        classifying = self._loop.run_in_executor(self._service.live_threads, self._classify)
        receiving = asyncio.create_task(self._receive())
        self._slot.end = receiving.cancel
        try:
            await asyncio.wait({classifying, receiving}, return_when=asyncio.FIRST_COMPLETED)
            receiving.cancel()
            self._source.close()
            # It may have gone away, or not read what is said to it.
            with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
                async with asyncio.timeout(CONCLUDE_S):
                    await self._conclude(classifying, receiving)
        finally:
            receiving.cancel()
            self._source.close()
            self._service.metrics.live_dropped.inc(self._source.num_dropped)

    def _classify(self) -> None:
        """In a thread: where a client is slow to read, sound is dropped meanwhile."""
        model = self._service.model
        for answer in listen_live(model, self._source, hop_s=self._options.hop):
            assert answer.window.codes is not None
            picture = model.network.decode(answer.window.codes[None])[0]
            text = answers.live_answer(answer, picture, self._source.num_dropped).decode()
            sending = asyncio.run_coroutine_threadsafe(self._websocket.send_text(text), self._loop)
            self._slot.send(sending, SEND_S)

    async def _receive(self) -> None:
        """Put in what comes until the client says that it has no more, or goes away, or falls silent."""
        pcm = PCM(1, _FORMATS[self._options.format])
        while True:
            sound_s = 0.0
            deadline_s = self._loop.time() + IDLE_S
            while sound_s < IDLE_SHARE * IDLE_S:
                async with asyncio.timeout_at(deadline_s):
                    message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message["code"])
                if message.get("text") == END:
                    self._slot.is_complete = True
                    return
                samples = pcm.decode(message.get("bytes") or b"")
                self._source.put(samples)
                came_s = len(samples) / self._source.rate_hz
                self._slot.add_sound(came_s)
                sound_s += came_s

    async def _conclude(self, classifying: asyncio.Future[None], receiving: asyncio.Task[None]) -> None:
        """Give the answers that are still to come, then say goodbye."""
        try:
            await classifying
            if receiving.done() and not receiving.cancelled():
                receiving.result()
            if self._slot.is_cut:  # it was needed for another
                raise TimeoutError
        except AudioError as error:
            await refuse(self._websocket, INVALID, str(error))
        except TimeoutError:
            await refuse(self._websocket, TRY_LATER, "too little came, or went out, for too long; connect again")
        else:
            await self._websocket.send_json({"end": True, "num_dropped": self._source.num_dropped})
            await self._websocket.close()


async def refuse(websocket: WebSocket, code: int, line: str) -> None:
    """Say in one line what is wrong, then close; a browser shows a page no other refusal."""
    await websocket.send_json({"error": line})
    await websocket.close(code, line[:100])

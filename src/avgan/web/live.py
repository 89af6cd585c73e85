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
_TOO_LONG = "too little came, or went out, for too long; connect again"


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
            await _listen(websocket, service, options, slot)
        finally:
            service.live.leave(slot)

    return router


async def _listen(websocket: WebSocket, service: Service, options: LiveOptions, slot: LiveSlot) -> None:
    source = LiveSource(options.rate)
    loop = asyncio.get_running_loop()

    def say(content: bytes) -> None:
        """From the thread that classifies: where a client is slow to read, sound is dropped meanwhile."""
        text = content.decode()
        slot.send(asyncio.run_coroutine_threadsafe(websocket.send_text(text), loop), SEND_S)

    def classify() -> None:
        for answer in listen_live(service.model, source, hop_s=options.hop):
            codes = answer.window.codes
            assert codes is not None
            picture = service.model.network.decode(codes[None])[0]
            say(answers.live_answer(answer, picture, source.num_dropped))

    classifying = loop.run_in_executor(service.live_threads, classify)
    receiving = asyncio.create_task(_receive(websocket, source, _FORMATS[options.format], slot))
    slot.end = receiving.cancel
    try:
        await asyncio.wait({classifying, receiving}, return_when=asyncio.FIRST_COMPLETED)
        receiving.cancel()
        source.close()
        # It may have gone away, or not read what is said to it.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(CONCLUDE_S):
                await _conclude(websocket, classifying, receiving, source, slot)
    finally:
        receiving.cancel()
        source.close()
        service.metrics.live_dropped.inc(source.num_dropped)


async def _receive(websocket: WebSocket, source: LiveSource, sample_format: SampleFormat, slot: LiveSlot) -> None:
    """Put in what comes until the client says that it has no more, or goes away, or falls silent."""
    pcm = PCM(1, sample_format)
    loop = asyncio.get_running_loop()
    while True:
        sound_s = 0.0
        deadline_s = loop.time() + IDLE_S
        while sound_s < IDLE_SHARE * IDLE_S:
            async with asyncio.timeout_at(deadline_s):
                message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            if message.get("text") == END:
                slot.is_complete = True
                return
            samples = pcm.decode(message.get("bytes") or b"")
            source.put(samples)
            came_s = len(samples) / source.rate_hz
            slot.add_sound(came_s)
            sound_s += came_s


async def _conclude(
    websocket: WebSocket,
    classifying: asyncio.Future[None],
    receiving: asyncio.Task[None],
    source: LiveSource,
    slot: LiveSlot,
) -> None:
    """Give the answers that are still to come, then say goodbye."""
    try:
        await classifying
        if receiving.done() and not receiving.cancelled():
            receiving.result()
    except AudioError as error:
        await refuse(websocket, INVALID, str(error))
    except TimeoutError:
        await refuse(websocket, TRY_LATER, _TOO_LONG)
    else:
        if slot.is_cut:  # it was needed for another
            await refuse(websocket, TRY_LATER, _TOO_LONG)
            return
        await websocket.send_json({"end": True, "num_dropped": source.num_dropped})
        await websocket.close()


async def refuse(websocket: WebSocket, code: int, line: str) -> None:
    """Say in one line what is wrong, then close; a browser shows a page no other refusal."""
    await websocket.send_json({"error": line})
    await websocket.close(code, line[:100])

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
from avgan.web.refusal import one_line
from avgan.web.service import Service

INVALID, NO_ACCESS, TRY_LATER = 1007, 1008, 1013
IDLE_S = 60
SEND_S = 20
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
        if service.num_live >= service.settings.max_live:
            service.metrics.refuse("live_full")
            await refuse(websocket, TRY_LATER, "too many listen live; try again in a minute")
            return
        service.num_live += 1
        try:
            await _listen(websocket, service, options)
        finally:
            service.num_live -= 1

    return router


async def _listen(websocket: WebSocket, service: Service, options: LiveOptions) -> None:
    source = LiveSource(options.rate)
    loop = asyncio.get_running_loop()

    def say(content: bytes) -> None:
        """From the thread that hears: where a client is slow to read, sound is dropped meanwhile."""
        sending = asyncio.run_coroutine_threadsafe(websocket.send_text(content.decode()), loop)
        sending.result(SEND_S)

    def hear() -> None:
        for answer in listen_live(service.model, source, hop_s=options.hop):
            codes = answer.window.codes
            assert codes is not None
            picture = service.model.network.draw(codes[None])[0]
            say(answers.live_answer(answer, picture, source.num_dropped))

    hearing = loop.run_in_executor(service.live_threads, hear)
    receiving = asyncio.create_task(_receive(websocket, source, _FORMATS[options.format]))
    try:
        await asyncio.wait({hearing, receiving}, return_when=asyncio.FIRST_COMPLETED)
        receiving.cancel()
        source.close()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone away
            await _conclude(websocket, hearing, receiving, source)
    finally:
        receiving.cancel()
        source.close()
        service.metrics.live_dropped.inc(source.num_dropped)


async def _receive(websocket: WebSocket, source: LiveSource, sample_format: SampleFormat) -> None:
    """Put in what comes until the client says that it has no more, or goes away, or falls silent."""
    pcm = PCM(1, sample_format)
    while True:
        async with asyncio.timeout(IDLE_S):
            message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        if message.get("text") == END:
            return
        source.put(pcm.decode(message.get("bytes") or b""))


async def _conclude(
    websocket: WebSocket,
    hearing: asyncio.Future[None],
    receiving: asyncio.Task[None],
    source: LiveSource,
) -> None:
    """Give the answers that are still to come, then say goodbye."""
    try:
        await hearing
        if receiving.done() and not receiving.cancelled():
            receiving.result()
    except AudioError as error:
        await refuse(websocket, INVALID, str(error))
    except TimeoutError:
        await refuse(websocket, TRY_LATER, "nothing came, or went out, for too long; connect again")
    else:
        await websocket.send_json({"end": True, "num_dropped": source.num_dropped})
        await websocket.close()


async def refuse(websocket: WebSocket, code: int, line: str) -> None:
    """Say in one line what is wrong, then close; a browser shows a page no other refusal."""
    await websocket.send_json({"error": line})
    await websocket.close(code, line[:100])

"""The routes under /api, and two for operators."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request

from avgan.images import png_bytes
from avgan.runtime.explain import surest
from avgan.web import answers
from avgan.web.access import COOKIE, cookie_value
from avgan.web.decoding import Decoder
from avgan.web.intake import FIELD, Received
from avgan.web.metrics import CONTENT_TYPE
from avgan.web.service import Service

JSON, PNG = "application/json", "image/png"

RECORDING: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"Any sound or video file: the body itself, or the field `{FIELD}` of a form; its name "
        "(Content-Disposition) may say when it began, as in 20240501_043000.wav",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "required": [FIELD],
                }
            },
        },
    }
}

_PROBLEMS = {
    400: "Not a sound that can be decoded",
    401: "The access token is missing or wrong",
    403: "Asked by a page of another origin",
    408: "The recording came too slowly",
    413: "Too large, too long, or too expensive to decode",
    421: "Asked for under a name that is not the service's",
    422: "An option that is not one, or out of range",
    429: "Busy; Retry-After says when to try again",
    503: "Not able to decode now",
    504: "It took too long",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How these answers are documented."""
    return {status: {"model": answers.Error, "description": _PROBLEMS[status]} for status in statuses}


ENTRY = (401, 403, 421)
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {PNG: {}}, "description": "The imagined place"}}
WORK = problems(400, *ENTRY, 408, 413, 422, 429, 503, 504)


Another = Annotated[
    int,
    Field(
        ge=0,
        le=1_000_000,
        description="Another picture of the same place, by its number; all alike where the card names no noise_size",
    ),
]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    track: Annotated[int, Field(ge=1, le=1_000)] | SkipJsonSchema[None] = Field(
        None, description="Which sound track of a video, from 1; without it, the default one"
    )


class ClassifyOptions(_Options):
    hop: Annotated[float, Field(ge=0.1, le=3600)] | SkipJsonSchema[None] = Field(
        None, description="Seconds from one window to the next; without it, windows lie side by side"
    )
    windows: bool = Field(False, description="Answer for each window, too")
    picture: bool = Field(False, description="Decode a picture of the place, too")
    another: Another = 0
    why: bool = Field(False, description="Explain the surest window, too")


class ImagineOptions(_Options):
    scale: Annotated[int, Field(ge=1, le=8)] = Field(4, description="Size in units of 128 pixels")
    another: Another = 0


class ExplainOptions(_Options):
    start: Annotated[float, Field(ge=0, le=1e6)] | SkipJsonSchema[None] = Field(
        None, description="Where the window begins, in seconds; without it, the surest is explained"
    )


def routes(service: Service) -> APIRouter:
    """The routes of a service."""
    router = APIRouter()

    @router.post("/api/classify", response_model=answers.Answer, openapi_extra=RECORDING, responses=WORK)
    async def classify(request: Request, options: Annotated[ClassifyOptions, Query()]) -> Response:
        """Say which scene a recording is, as a whole and over time."""

        def job(decoder: Decoder, received: Received) -> bytes:
            prediction = service.classify(decoder, received, options.track, options.hop)
            why = service.explain(decoder, received, surest(prediction), options.track) if options.why else None
            picture = prediction.another(options.another) if options.picture else None
            return answers.answer(prediction, windows=options.windows, picture=picture, why=why)

        return Response(await service.work(request, job), media_type=JSON)

    @router.post("/api/imagine", openapi_extra=RECORDING, response_class=Response, responses=WORK | PICTURE)
    async def imagine(request: Request, options: Annotated[ImagineOptions, Query()]) -> Response:
        """Decode a picture of the place where a recording was made."""

        def job(decoder: Decoder, received: Received) -> bytes:
            picture = service.classify(decoder, received, options.track).another(options.another)
            return png_bytes(picture, scale=options.scale)

        return Response(await service.work(request, job), media_type=PNG)

    @router.post("/api/explain", response_model=answers.Why, openapi_extra=RECORDING, responses=WORK)
    async def explain(request: Request, options: Annotated[ExplainOptions, Query()]) -> Response:
        """Explain the prediction for a recording: what in the sound made it, and similar training clips."""

        def job(decoder: Decoder, received: Received) -> bytes:
            start_s = options.start
            if start_s is None:
                start_s = surest(service.classify(decoder, received, options.track))
            return answers.to_json(service.explain(decoder, received, start_s, options.track).to_dict())

        return Response(await service.work(request, job), media_type=JSON)

    @router.get("/api/model", response_model=answers.About, responses=problems(*ENTRY))
    async def model() -> Response:
        """The model's card, and the limits of the service."""
        settings = service.settings
        limits = {"max_bytes": settings.max_bytes, "max_duration_s": settings.max_seconds}
        response = JSONResponse(service.model.card.model_dump(mode="json") | {"limits": limits})
        if settings.token is not None:
            # Browsers send no token of ours with a WebSocket, but cookies; a page begins by asking for the card.
            response.set_cookie(COOKIE, cookie_value(settings.token), httponly=True, samesite="strict")
        return response

    @router.get("/healthz", response_model=answers.Health, responses=problems(421))
    async def healthz() -> Response:
        """Whether the service is up."""
        return JSONResponse({"status": "ok"})

    @router.get(
        "/metrics", response_class=Response, responses=problems(*ENTRY) | {200: {"content": {"text/plain": {}}}}
    )
    async def metrics() -> Response:
        """What was done so far, in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router

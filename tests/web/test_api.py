"""What is asked over HTTP is what the model answers; what is wrong is said in one line."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from avgan.runtime import Model, load
from avgan.web import answers
from sounds import encoded

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def client(server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle, num_threads=1)


@pytest.fixture(scope="module")
def changing(hiss: np.ndarray) -> np.ndarray:
    """6 s (L,): hiss, then silence."""
    return np.concatenate((hiss, np.zeros(3 * RATE_HZ, np.float32)))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_the_answer_is_that_of_the_model(
    client: httpx.Client, model: Model, rng: np.random.Generator, rate_hz: int, kind: str
) -> None:
    content = encoded(rng.uniform(-0.5, 0.5, (3 * rate_hz, 2)), rate_hz, kind)
    answer = client.post("/api/classify?windows=1", content=content).json()
    expected = model.classify(content).to_dict()
    assert {name: answer[name] for name in expected} == expected
    answers.Answer.model_validate(answer)


def test_a_sound_track_can_be_chosen(client: httpx.Client, model: Model, hiss: np.ndarray) -> None:
    content = two_tracks(hiss, np.sin(np.arange(len(hiss)) * 0.3).astype(np.float32) * 0.5)
    answers_of = {}
    for track in (1, 2):
        answer = client.post(f"/api/classify?track={track}", content=content).json()
        assert answer["sounds"] == model.classify(content, track=track).to_dict()["sounds"]
        answers_of[track] = answer["sounds"]
    assert answers_of[1] != answers_of[2]
    assert client.post("/api/explain?track=2", content=content).status_code == 200
    refused = client.post("/api/classify?track=3", content=content)
    assert refused.status_code == 400
    assert "no sound track 3" in refused.json()["error"]


def two_tracks(*sounds: np.ndarray) -> bytes:
    """A Matroska file with a track for each sound (L,)."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", RATE_HZ, layout="mono") for _ in sounds]
        for stream, sound in zip(streams, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray((sound * 32_767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return file.getvalue()


NAMED = 'form-data; name="file"; filename="SITE_20240501_043000.wav"'


def test_when_a_recording_began_is_told_by_its_name_or_by_itself(client: httpx.Client, hiss_wav: bytes) -> None:
    def began(**options: object) -> str | None:
        answer = client.post("/api/classify", **options).json()  # type: ignore[arg-type]
        answers.Answer.model_validate(answer)
        return answer["recorded_at"]

    assert began(content=hiss_wav) is None
    assert began(files={"file": ("street.wav", hiss_wav)}) is None
    named = "2024-05-01T04:30:00"
    assert began(files={"file": ("20240501_043000.wav", hiss_wav)}) == named
    assert began(content=hiss_wav, headers={"Content-Disposition": NAMED}) == named
    extended = "attachment; filename*=UTF-8''%C3%A4_20240501_043000.wav"
    assert began(content=hiss_wav, headers={"Content-Disposition": extended}) == named
    text = b"Recorded at 19:30:00 10/06/2021 (UTC+2) by AudioMoth 24F3190 at medium gain"
    comment = b"INFOICMT" + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2)
    inside = hiss_wav + b"LIST" + len(comment).to_bytes(4, "little") + comment
    said = "2021-06-10T19:30:00+02:00"
    assert began(content=inside) == said
    assert began(files={"file": ("20240501_043000.wav", inside)}) == said


def test_real_recordings_get_the_labels_of_the_model(start, data_root: Path) -> None:
    model = load(num_threads=1)
    paths = sorted((data_root / "esc50" / "audio").iterdir())[::250]
    server = start(model=None)
    with server.client() as client:
        for path in paths:
            answer = client.post("/api/classify", content=path.read_bytes()).json()
            expected = model.classify(path).to_dict()
            for name in ("scene", "sound", "probability", "scenes", "sounds", "codes", "reason"):
                assert answer[name] == expected[name]
    server.stop()


def test_a_form_is_answered_like_a_body(client: httpx.Client, hiss_wav: bytes) -> None:
    form = {"file": ("a name.wav", hiss_wav), "other": ("x", b"1" * 1000)}
    assert client.post("/api/classify", files=form).json() == client.post("/api/classify", content=hiss_wav).json()


def test_a_body_without_a_length_is_answered(client: httpx.Client, hiss_wav: bytes) -> None:
    parts = (hiss_wav[i : i + 10_000] for i in range(0, len(hiss_wav), 10_000))
    assert client.post("/api/classify", content=parts).json()["sound"] == "hiss"


def test_scenes_over_time(client: httpx.Client, changing: np.ndarray, model: Model) -> None:
    answer = client.post("/api/classify?hop=0.5&windows=true", content=encoded(changing)).json()
    scenes = [part["scene"] for part in answer["segments"]]
    assert scenes[0] == "beach"
    assert scenes[-1] == "unknown"
    assert answer["segments"][-1]["reason"] == "silent"
    assert answer["segments"][0]["start_s"] == 0
    assert answer["segments"][-1]["end_s"] == 6
    assert answer["windows"] == model.classify(encoded(changing), hop_s=0.5).to_dict()["windows"]


def test_what_was_not_asked_for_is_left_out(client: httpx.Client, hiss_wav: bytes) -> None:
    answer = client.post("/api/classify", content=hiss_wav).json()
    assert answer["windows"] == []
    assert not {"picture", "why"} & set(answer)


def test_pictures(client: httpx.Client, model: Model, hiss_wav: bytes) -> None:
    expected = model.classify(hiss_wav).picture
    answer = client.post("/api/classify?picture=1", content=hiss_wav).json()
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["picture"]))))
    assert np.array_equal(picture, expected)
    answer = client.post("/api/imagine?scale=2", content=hiss_wav)
    assert answer.headers["content-type"] == "image/png"
    larger = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert larger.shape == (256, 256, 3)
    assert np.array_equal(larger[::2, ::2], expected)


def test_another_picture_of_the_same_place(start: Callable[..., Any], noisy_bundle: Path, hiss_wav: bytes) -> None:
    with start(model=noisy_bundle).client() as client:
        asked = ("picture=1", "picture=1&another=0", "picture=1&another=1")
        answers = [client.post(f"/api/classify?{query}", content=hiss_wav).json() for query in asked]
        first, same, other = (answer.pop("picture") for answer in answers)
        assert first == same != other
        assert answers[0] == answers[1] == answers[2]
        answer = client.post("/api/imagine?scale=1&another=1", content=hiss_wav).content
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(answer))), np.asarray(Image.open(io.BytesIO(base64.b64decode(other))))
        )
        assert client.get("/api/model").json()["noise_size"] == 4
        assert client.post("/api/classify?another=-1", content=hiss_wav).status_code == 422


def test_explanations(client: httpx.Client, model: Model, changing: np.ndarray) -> None:
    content = encoded(changing)
    surest = client.post("/api/explain", content=content).json()
    expected = model.explain(content).to_dict()
    assert {name: surest[name] for name in ("start_s", "label", "words")} == {
        name: expected[name] for name in ("start_s", "label", "words")
    }
    answers.Why.model_validate(surest)
    why = client.post("/api/classify?why=1", content=content).json()["why"]
    assert why == surest
    silent = client.post("/api/explain?start=4.5", content=content).json()
    assert (silent["start_s"], silent["end_s"], silent["label"]) == (4.5, 5.5, "quiet")
    refused = client.post("/api/explain?start=7", content=content)
    assert refused.status_code == 422
    assert "ends at 6.0 s" in refused.json()["error"]


def test_the_card(client: httpx.Client, model: Model) -> None:
    about = client.get("/api/model").json()
    assert about["name"] == "toy"
    assert about["labels"] == list(model.card.labels)
    assert about["limits"] == {"max_bytes": 100 * 2**20, "max_duration_s": 3600}
    answers.About.model_validate(about)


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"this is text, not sound\n" * 1000, 400, "not a sound file"),
        (bytes(range(256)) * 100, 400, "not a sound file"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", 400, "not a sound file"),
        (b"#EXTM3U\nhttp://127.0.0.1:1/x.wav\n", 400, "not a sound file"),
    ],
)
def test_what_is_no_sound_is_refused(client: httpx.Client, content: bytes, status: int, said: str) -> None:
    for path in ("classify", "imagine", "explain"):
        answer = client.post(f"/api/{path}", content=content)
        assert answer.status_code == status
        assert said in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


def test_a_truncated_file_is_heard_as_far_as_it_goes(client: httpx.Client, hiss: np.ndarray) -> None:
    content = encoded(hiss, kind="OGG")
    answer = client.post("/api/classify", content=content[: len(content) // 2])
    assert answer.status_code == 200
    assert 0.5 < answer.json()["duration_s"] < 3


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("hop=0", "hop"),
        ("hop=nan", "hop"),
        ("hop=1e-9", "hop"),
        ("hop=often", "hop"),
        ("windows=perhaps", "windows"),
        ("hopp=1", "hopp: no such option"),
    ],
)
def test_options_that_make_no_sense_are_refused(client: httpx.Client, hiss_wav: bytes, query: str, said: str) -> None:
    answer = client.post(f"/api/classify?{query}", content=hiss_wav)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("multipart/form-data", b"x", "no boundary"),
        ("multipart/form-data; boundary=x", b"no boundary at all", "form"),
        ("multipart/form-data; boundary=x", b"--x\r\n", "too early"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="sound"\r\n\r\nabc\r\n--x--\r\n',
            "0 fields",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n' * 2 + b"--x--\r\n",
            "2 fields",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1000 + b"--x--\r\n",
            "more than 20 fields",
        ),
    ],
)
def test_forms_that_cannot_be_read_are_refused(client: httpx.Client, kind: str, body: bytes, said: str) -> None:
    answer = client.post("/api/classify", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_other_addresses_and_methods(client: httpx.Client) -> None:
    assert client.get("/api/nothing").status_code == 404
    assert client.get("/../../etc/passwd").status_code == 404
    wrong = client.get("/api/classify")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert "method not allowed" in wrong.json()["error"]
    assert client.options("/api/classify").status_code == 405


def test_metrics(client: httpx.Client, server, hiss_wav: bytes) -> None:
    name = 'avgan_requests_total{route="/api/classify",status="200"}'
    answered, heard_s = server.metric(name), server.metric("avgan_audio_seconds_total")
    client.post("/api/classify", content=hiss_wav)
    client.post("/api/classify", content=b"no sound")
    assert server.metric(name) == answered + 1
    assert server.metric("avgan_audio_seconds_total") == heard_s + 3
    assert server.metric('avgan_refusals_total{reason="not_sound"}') >= 1
    assert server.metric('avgan_request_seconds_count{route="/api/classify"}') >= 2
    assert server.metric("avgan_busy_workers") == server.metric("avgan_queue_length") == 0
    client.get("/some/path/of/the/client")
    assert "/some/path" not in client.get("/metrics").text


def test_every_answer_is_documented(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/classify",
        "/api/imagine",
        "/api/explain",
        "/api/model",
        "/healthz",
        "/metrics",
    }
    for path in ("/api/classify", "/api/imagine", "/api/explain"):
        operation = document["paths"][path]["post"]
        wanted = {"200", "400", "401", "403", "408", "413", "421", "422", "429", "503", "504"}
        assert set(operation["responses"]) == wanted
        assert set(operation["requestBody"]["content"]) == {"application/octet-stream", "multipart/form-data"}
        for status in wanted - {"200"}:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Error"}

"""Live sound: an answer for each window, as soon as its last sample is there."""

import base64
import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


@contextmanager
def live(server, query: str = "") -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}/api/live?{query}", proxy=None) as connection:
        yield connection


def receive(connection: ClientConnection) -> dict[str, Any]:
    return json.loads(connection.recv(timeout=30))


def blocks(samples: np.ndarray, kind: str, size: int) -> Iterator[bytes]:
    """Samples as the bytes of blocks; a block may end amid a sample."""
    content = samples.astype("<f4") if kind == "f32" else (samples * 32767).astype("<i2")
    data = content.tobytes()
    return (data[i : i + size] for i in range(0, len(data), size))


@pytest.mark.parametrize(
    ("kind", "rate_hz", "size"), [("s16", 16_000, 3200), ("f32", 48_000, 9601), ("s16", 8_000, 777)]
)
def test_each_window_is_answered(server, rng: np.random.Generator, kind: str, rate_hz: int, size: int) -> None:
    samples = np.concatenate((rng.uniform(-0.5, 0.5, 2 * rate_hz), np.zeros(2 * rate_hz)))
    with live(server, f"rate={rate_hz}&format={kind}&hop=0.5") as connection:
        found = []
        for n, block in enumerate(blocks(samples, kind, size)):
            connection.send(block)
            if n % 10 == 0:
                time.sleep(0.02)
        connection.send("end")
        while "end" not in (message := receive(connection)):
            found.append(message)
        assert message == {"end": True, "num_dropped": 0}
        with pytest.raises(ConnectionClosed):
            receive(connection)
    assert [message["start_s"] for message in found] == [0.5 * n for n in range(7)]
    assert all(message["end_s"] == message["start_s"] + 1 for message in found)
    assert found[0]["scene"] == "beach"
    assert found[0]["sound"] == "hiss"
    assert found[-1]["scene"] == "unknown"
    assert found[-1]["reason"] == "silent"
    assert max(found[0]["scenes"], key=found[0]["scenes"].get) == "beach"
    assert found[0]["probability"] == found[0]["scenes"]["beach"]
    picture = Image.open(io.BytesIO(base64.b64decode(found[0]["picture"])))
    assert (picture.format, picture.size) == ("PNG", (128, 128))
    assert found[0]["num_dropped"] == 0
    assert found[0]["latency_s"] >= 0


def test_answers_do_not_wait_for_the_end(server, rng: np.random.Generator) -> None:
    with live(server, "rate=16000&format=s16&hop=1") as connection:
        for block in blocks(rng.uniform(-0.5, 0.5, 16_000 + 3200), "s16", 3200):
            connection.send(block)
        assert receive(connection)["scene"] == "beach"


def test_what_is_too_much_is_dropped_and_counted(server, rng: np.random.Generator) -> None:
    """A minute sent at once is more than may wait: the rest is classified, the times show what is missing."""
    with live(server, "rate=16000&format=s16&hop=1") as connection:
        for block in blocks(rng.uniform(-0.5, 0.5, 60 * 16_000), "s16", 32_000):
            connection.send(block)
        connection.send("end")
        found = []
        while "end" not in (message := receive(connection)):
            found.append(message)
    assert message["num_dropped"] > 0
    assert found[-1]["end_s"] > 50
    assert len(found) < 60


@pytest.mark.parametrize(
    ("query", "said"),
    [("rate=1", "rate"), ("rate=x", "rate"), ("format=mp3", "format"), ("hop=0", "hop"), ("speed=2", "no such option")],
)
def test_options_that_make_no_sense_are_refused(server, query: str, said: str) -> None:
    with live(server, query) as connection:
        assert said in receive(connection)["error"]
        with pytest.raises(ConnectionClosed) as closed:
            receive(connection)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007


def test_no_sound_at_all_is_said(server) -> None:
    with live(server) as connection:
        connection.send("end")
        assert "no sound" in receive(connection)["error"]


def test_a_client_that_goes_away_frees_its_place(server, rng: np.random.Generator) -> None:
    for _ in range(3):
        with live(server, "rate=16000&format=s16") as connection:
            connection.send(next(blocks(rng.uniform(-0.5, 0.5, 16_000), "s16", 32_000)))
        with live(server) as connection:
            connection.socket.close()  # without a word
    server.wait_for("avgan_live_connections", 0)


def test_only_so_many_may_listen(single) -> None:
    with ExitStack() as listening:
        for _ in range(8):
            listening.enter_context(live(single))
        with live(single) as connection:
            assert "too many" in receive(connection)["error"]


def drain(connection: ClientConnection) -> None:
    """Take what was on its way until the connection is closed."""
    while True:
        receive(connection)


def test_a_stop_ends_live_connections(start, rng: np.random.Generator) -> None:
    server = start("--workers", "1")
    with live(server, "rate=16000&format=s16") as connection:
        connection.send(next(blocks(rng.uniform(-0.5, 0.5, 32_000), "s16", 64_000)))
        receive(connection)
        assert server.stop() == 0
        with pytest.raises(ConnectionClosed):
            drain(connection)

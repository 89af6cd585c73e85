"""A service in a process of its own, as `avgan serve` starts it, and recordings to send to it."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from sounds import encoded

RATE_HZ = 16_000


@dataclass
class Server:
    """A service that runs."""

    process: subprocess.Popen[str]
    address: str
    """As it was printed, `http://127.0.0.1:12345/`, perhaps with a token."""
    folder: Path
    """Where it runs, and where its temporary files would go."""

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].split("/")[0])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: object) -> httpx.Client:
        # Without certificates, which take longer to load than most requests.
        return httpx.Client(base_url=self.base, timeout=60, verify=False, **options)  # type: ignore[arg-type]

    def decoders(self) -> list[int]:
        """The processes that wait for recordings."""
        return children(self.process.pid)

    def forks(self) -> list[int]:
        """The processes that decode one."""
        return [fork for decoder in self.decoders() for fork in children(decoder)]

    def metric(self, name: str) -> float:
        """The value of a line of /metrics; 0 where it is not there."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), 0.0)

    def wait_for(self, name: str, value: float, seconds: float = 60) -> None:
        """Wait until a line of /metrics has this value."""
        deadline_s = time.monotonic() + seconds
        while (found := self.metric(name)) != value:
            assert time.monotonic() < deadline_s, f"{name} is {found}, not {value}"
            time.sleep(0.05)

    def ask(self, content: bytes) -> httpx.Response:
        """Have a recording classified."""
        with self.client() as client:
            return client.post("/api/classify", content=content)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the decoders, so that a client that needs one waits."""
        decoders = self.decoders()
        for pid in decoders:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in decoders:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has just ended
            found += [int(child) for child in path.read_text().split()]
    return found


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def start(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that starts a service: `start("--max-mb", "1", patch="...")`.

    `patch` is run first: Python that makes limits shorter than a test can wait for.
    """
    started: list[Server] = []

    def run(*options: str, patch: str = "", model: Path | None = toy_bundle) -> Server:
        folder = tmp_path_factory.mktemp("service")
        code = f"import sys; from avgan.cli import main\n{patch}\nsys.exit(main(sys.argv[1:]))"
        named = ["--model", str(model)] if model else []
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0", *named, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            pytest.fail(f"the service did not start: {process.communicate()[1]}")
        server = Server(process, address, folder)
        started.append(server)
        return server

    yield run
    for server in started:
        if server.process.poll() is None:
            server.stop()
        server.process.communicate()


@pytest.fixture(scope="session")
def server(start: Start) -> Server:
    """A service with its usual limits; do not stop it."""
    return start("--workers", "2")


@pytest.fixture(scope="session")
def single(start: Start) -> Server:
    """A service of one worker with its usual limits; do not stop it."""
    return start("--workers", "1")


@pytest.fixture(scope="session")
def small(start: Start) -> Server:
    """A service that takes half a megabyte and ten seconds; do not stop it."""
    return start("--max-mb", "0.5", "--max-seconds", "10", "--workers", "1")


IMPATIENT = """
import avgan.web.connections as connections, avgan.web.intake as intake, avgan.web.live as live
from avgan.web.settings import Settings
connections.WRITE_STALL_S = connections.HEAD_S = intake.STALL_S = live.IDLE_S = 2
connections.CLOSE_S = 1
connections.MAX_UNSENT_BYTES = 1 << 20
Settings.deadline_s = property(lambda settings: 5.0)
"""


@pytest.fixture(scope="session")
def impatient(start: Start) -> Server:
    """A service of one worker that waits for nothing longer than a second or two; do not stop it."""
    return start("--workers", "1", patch=IMPATIENT)


@pytest.fixture(scope="session")
def hiss() -> np.ndarray:
    """(L,) 3 s of noise, which the toy model calls `hiss`."""
    return np.random.default_rng(1).uniform(-0.5, 0.5, 3 * RATE_HZ).astype(np.float32)


@pytest.fixture(scope="session")
def hiss_wav(hiss: np.ndarray) -> bytes:
    """The same as the bytes of a WAV file."""
    return encoded(hiss)


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A FLAC file of 300 kB that is 40 minutes of silence, at 44.1 kHz."""
    file = io.BytesIO()
    silence = np.zeros(60 * 44_100, np.int16)
    with soundfile.SoundFile(file, "w", 44_100, 1, format="FLAC") as sound:
        for _ in range(40):
            sound.write(silence)
    return file.getvalue()

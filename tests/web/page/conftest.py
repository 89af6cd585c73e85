"""A real Chromium, headless, that looks at the page of a real service."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
import soxr

RATE_HZ = 44_100
CLIPS = {"sea": "5-208810-A-11.ogg", "rain": "5-181766-A-10.ogg"}  # of a fold never trained on
SILENCE_S = 6

WATCH = """
window.said = [];
window.violations = [];
addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violations.push(effectiveDirective));
addEventListener("DOMContentLoaded", () => {
  const spoken = document.getElementById("spoken");
  new MutationObserver(() => said.push(spoken.textContent)).observe(spoken, { childList: true });
});
"""


@pytest.fixture(scope="module")
def clips(data_root: Path) -> dict[str, np.ndarray]:
    """Real recordings of 5 s, (L,) at 44.1 kHz: of the sea and of rain."""
    folder = data_root / "esc50" / "audio"
    read = {name: soundfile.read(folder / file, dtype="float32") for name, file in CLIPS.items()}
    return {name: soxr.resample(samples, rate_hz, RATE_HZ) for name, (samples, rate_hz) in read.items()}


@pytest.fixture(scope="module")
def browser(clips: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, whose microphone hears the rain and then the sea, over and over."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium found; install one to test the page")
    microphone = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    heard = np.concatenate([clips["rain"], clips["rain"], clips["sea"], clips["sea"]])
    soundfile.write(microphone, heard, RATE_HZ, subtype="PCM_16")
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    # Closed with the module: its event loop would be in the way of other tests.
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, and what has happened on it."""

    page: Any
    base: str
    problems: list[str] = field(default_factory=list)
    """Errors on the console and uncaught ones."""
    addresses: list[str] = field(default_factory=list)
    """All that was asked for."""

    def choose(self, name: str, content: bytes) -> None:
        """Choose a file, as a user would."""
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        self.page.set_input_files("#file", file)

    def wait(self, state: str) -> None:
        self.page.wait_for_selector(f"body[data-state={state}]", timeout=60_000)

    def text(self, selector: str) -> str:
        found: str = self.page.inner_text(selector).replace("\u202f", " ")
        return found

    def foreign(self) -> list[str]:
        """The addresses that are not the service's."""
        own = urlsplit(self.base).netloc
        asked = [urlsplit(address) for address in self.addresses]
        return [each.geturl() for each in asked if each.scheme not in {"data", "blob"} and each.netloc != own]


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def shipped(start: Callable[..., Any]) -> Any:
    """A service with the shipped model."""
    return start("--workers", "1", model=None)


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """A function that opens the page of a server: `visit(server, width=360, expected="Bad Request")`.

    After the test there must have been no problem but those `expected`, and no request to elsewhere.
    """
    visits: list[tuple[Visit, str]] = []

    def open_page(server: Any, *, expected: str = "", before: str = "", address: str = "", **options: Any) -> Visit:
        width, height = options.pop("width", 1280), options.pop("height", 800)
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.add_init_script(WATCH + before)
        visit = Visit(context.new_page(), server.base)
        page = visit.page
        page.on("console", lambda message: message.type == "error" and visit.problems.append(message.text))
        page.on("pageerror", lambda error: visit.problems.append(str(error)))
        page.on("request", lambda request: visit.addresses.append(request.url))
        page.on("websocket", lambda socket: visit.addresses.append(socket.url))
        page.goto(address or server.base)
        page.wait_for_load_state("networkidle")
        visits.append((visit, expected))
        return visit

    yield open_page
    for visit, expected in visits:
        unexpected = [each for each in visit.problems if not expected or expected not in each]
        assert unexpected == []
        assert visit.foreign() == []
        visit.page.context.close()

"""The page of a data set: many sources are heard, nothing is asked of a server, keys and fingers play it."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from units import Units, make_units

from avgan.curation.card import facts
from avgan.curation.page import MAX_CLIPS, choose, duration, page

MADE = {"sources": ["films"], "rules": {"labels": "source"}}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Units:
    return make_units(tmp_path_factory.mktemp("work"), clips_per_video=3, seconds=2.0)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, units: Units) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(made_page(units), encoding="utf-8")
    return path


def made_page(units: Units, *, title: str = "Films") -> str:
    known = facts(units.verdicts, units.losses, MADE, title, list_hash="0" * 64)
    return page(known, units.verdicts, units.media)


class Tags(HTMLParser):
    """Each tag that is opened is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_of_each_source_one_is_shown_before_a_second(units: Units) -> None:
    kept = [verdict for verdict in units.verdicts if verdict.label == "bus" and verdict.is_kept]
    assert len({verdict.candidate.source_id for verdict in choose(kept, 4)}) == 4
    assert choose(kept[::-1], 6) == choose(kept, 6)
    assert len(choose(kept, 100)) == len(set(map(id, choose(kept, 100)))) == len(kept)


def test_it_is_well_formed_and_whole_in_itself(shown: Path) -> None:
    tags = Tags(shown.read_text(encoding="utf-8")).seen
    sources = [attributes["src"] or "" for tag, attributes in tags if tag in {"img", "audio"}]
    assert len(sources) == 2 * (3 * 6 + 4)  # six of each scene, four of those that stood still
    assert all(source.startswith("data:") for source in sources)
    assert not any(tag in {"link", "iframe", "object"} for tag, _ in tags)
    addresses = {attributes["href"] for tag, attributes in tags if tag == "a"}
    assert "https://example.org/film.0" in addresses


def test_what_sources_say_is_text_and_nothing_else(units: Units) -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    odd = replace(
        units.verdicts[0].candidate,
        address=f'javascript:alert("{evil}")',
        licence=evil,
        place=evil,
        scenes=((evil, 0.5),),
    )
    verdicts = [replace(units.verdicts[0], candidate=odd, label=evil)]
    text = made_page(replace(units, verdicts=verdicts), title=evil)
    Tags(text)
    assert "onerror" in text
    assert not re.search(r"<img[^>]*onerror", text)
    assert "javascript:" not in text


def test_media_that_are_gone_leave_a_gap_and_no_page_is_endless(units: Units) -> None:
    known = facts(units.verdicts, [], {}, list_hash="")
    gone = {video: Path("nowhere") / "media.tar" for video in units.media}
    text = page(known, units.verdicts, gone)
    assert "<audio" not in text
    assert text.count('class="none"') == 22
    first = units.verdicts[0]
    many = [replace(first, label=f"{n % 100:03}", candidate=replace(first.candidate, id=f"v-{n}")) for n in range(800)]
    text = page(facts(many, [], {}, list_hash=""), many, {})
    assert text.count("<li><div") == 200 <= MAX_CLIPS


def test_times_are_said_as_one_says_them() -> None:
    assert duration(0.0875) == "5.2 minutes"
    assert duration(1234.04) == "1,234.0 hours"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium found; install one to test the page")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


SOUNDING = (
    "[...document.querySelectorAll('audio')].map((sound, i) => [i, sound])"
    ".filter(([i, sound]) => !sound.paused && sound.currentTime > 0).map(([i]) => i)"
)


def wait_for(reached: Callable[[], bool]) -> None:
    """Ask again and again: the page itself allows no waiting scripts from outside."""
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.03)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_keys_play_it_and_nobody_is_asked(browser: Any, shown: Path, width: int, scheme: str) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    problems: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(shown.as_uri())

    def sounds(*numbers: int) -> None:
        wait_for(lambda: tab.evaluate(SOUNDING) == list(numbers))

    # Tab goes by the names of the scenes, the address of each clip, and its picture.
    for _ in range(30):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('button.play')"):
            break
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Play bus,")
    tab.keyboard.press("Space")
    sounds(0)
    assert tab.locator("[aria-pressed=true]").count() == 1
    tab.keyboard.press("ArrowRight")
    sounds(1)
    tab.keyboard.press("Escape")
    sounds()
    tab.keyboard.press("ArrowLeft")  # silent: it only walks
    tab.keyboard.press("Enter")
    sounds(0)
    tab.locator("button.play").nth(3).click()
    sounds(3)
    tab.locator("button.play").nth(3).click()
    sounds()
    tab.locator("button.play").nth(2).click()
    sounds(2)
    wait_for(lambda: tab.locator(".on").count() == 0)  # after its two seconds
    assert tab.locator("[aria-pressed=true]").count() == 0
    assert not tab.locator("audio").first.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert [address for address in asked if not address.startswith("data:")] == [shown.as_uri()]
    assert problems == []
    tab.close()


def test_without_scripts_each_sound_has_its_own_player(browser: Any, shown: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(shown.as_uri())
    assert tab.locator("audio").first.is_visible()
    assert not tab.locator("button.play b").first.is_visible()
    context.close()

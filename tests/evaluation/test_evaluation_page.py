"""The page of an evaluation: shows the worst mistakes, true to the answers, whole in itself, usable in a browser."""

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from sklearn.metrics import confusion_matrix

from avgan import metrics
from avgan.data.manifest import Clip
from avgan.evaluation.page import NUM_CLIPS, worst_confusions, write_page, write_picture_page
from avgan.evaluation.protocols.protocol import Scored
from avgan.metrics import share

LABELS = ("clock_tick", "dog", "<script>alert(1)</script>")
VOID = {"meta", "img", "br", "rect", "link", "input"}


class Page(HTMLParser):
    """Tags with their attributes; each that is opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def answers(rows: Sequence[tuple[int, int, float]], num_labels: int = 3) -> tuple:
    """Targets and probabilities from (target, answer, probability of the answer)."""
    targets = np.array([target for target, _, _ in rows])
    probabilities = np.zeros((len(rows), num_labels))
    for row, (_, answer, sure) in enumerate(rows):
        probabilities[row] = (1 - sure) / (num_labels - 1)
        probabilities[row, answer] = sure
    return targets, probabilities


def test_the_most_frequent_confusion_comes_first_and_its_surest_clip() -> None:
    rows = [(0, 1, 0.6), (1, 2, 0.99), (0, 1, 0.9), (2, 2, 0.9), (0, 0, 0.8), (1, 0, 0.7)]
    targets, probabilities = answers(rows)
    found = worst_confusions(targets, probabilities, [str(row) for row in range(6)])
    assert [(each.truth, each.answer, each.count) for each in found] == [(0, 1, 2), (1, 2, 1), (1, 0, 1)]
    assert found[0].clips == (2, 0)
    assert found[0].num_of_truth == 3


def test_different_recordings_are_preferred_and_no_more_shown_than_asked() -> None:
    targets, probabilities = answers([(0, 1, 0.9), (0, 1, 0.8), (0, 1, 0.7), (1, 2, 0.6)])
    sources = ["same", "same", "other", "third"]
    found = worst_confusions(targets, probabilities, sources, per_pair=2)
    assert found[0].clips == (0, 2)
    found = worst_confusions(targets, probabilities, sources, num_clips=1)
    assert [each.clips for each in found] == [(0,)]


def test_nothing_confused_is_nothing_shown() -> None:
    assert worst_confusions(*answers([(0, 0, 0.9), (1, 1, 0.9)]), ["a", "b"]) == []


def evaluation(
    root: Path, rows: Sequence[tuple[int, int, float]], labels: Sequence[str] = LABELS
) -> tuple[dict[str, Any], Scored]:
    """A report of made recordings, a source each; the last one's file is missing."""
    targets, probabilities = answers(rows, len(labels))
    rng = np.random.default_rng(0)
    clips = []
    for number, target in enumerate(targets):
        name = f"{number}.wav"
        if number + 1 < len(rows):
            soundfile.write(root / name, 0.1 * rng.standard_normal(16_000 * 7), 16_000)
        clips.append(
            Clip(
                id=name,
                source_id=name,
                label=labels[target],
                audio_path=name,
                address=f"https://example.org/{number}",
                licence="CC BY 3.0",
            )
        )
    correct = probabilities.argmax(1) == targets
    sources = [clip.source_id for clip in clips]
    report = {
        "protocol": "holdout",
        "avgan": "1",
        "preset": "tiny",
        "classifier": "joint",
        "seed": 0,
        "accuracy": float(correct.mean()),
        "interval_95": metrics.bootstrap_interval(correct, np.array(sources)),
        "num_clips": len(clips),
        "data": {"made": "0" * 64},
        "labels": list(labels),
        "confusion": confusion_matrix(targets, probabilities.argmax(1), labels=range(len(labels))).tolist(),
        "chosen_on": [],
        "groups": {"city": {"milan": share(correct, sources)}},
    }
    return report, Scored(tuple(clips), np.array(["1"] * len(clips)), targets, probabilities)


ROWS = [(0, 1, 0.9), (0, 1, 0.8), (1, 2, 0.7), (2, 2, 0.9), (1, 1, 0.9), (0, 2, 0.6)]


def pictures(numbers: Sequence[int]) -> list[np.ndarray | None]:
    return [np.full((128, 128, 3), 40 * number, np.uint8) if number else None for number in numbers]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    sheet = root / "sheet.jpg"
    Image.new("RGB", (2000, 500), "green").save(sheet)
    return write_page(*evaluation(root, ROWS), root, root=root, imagine=pictures, sheet=sheet)


def test_it_is_well_formed_and_whole_in_itself(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        for key in ("src", "srcset", "action", "data"):
            assert (attributes.get(key) or "data:").startswith("data:"), tag
    for link in page.all("a"):
        assert (link["href"] or "").startswith(("#pair-", "https://example.org/"))
    assert "url(" not in text
    assert page.all("link") == []
    policy = next(meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta)
    script = re.search("<script>(.*)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_it_says_what_was_answered(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    said = re.sub(r"\s+", " ", page.text)
    assert "33.3 % right" in said
    assert "Found least often: clock tick 0 %" in said
    assert "Confused most often: clock tick, taken for dog 2 times in 3." in said
    assert "clock tick taken for dog 2 of 3" in said
    assert "dog 90 %" in said
    assert "milan" in said
    assert "alert(1)" in said
    assert len(page.all("script")) == 1
    assert len(page.all("article")) == 3
    assert len(page.all("audio")) == 3  # of four mistakes, one of which lost its file
    assert len(page.all("img")) == 3 + 1  # one has no picture; the sheet
    assert all(image["alt"] for image in page.all("img"))
    assert all(player["aria-label"] for player in page.all("audio"))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link["href"] for link in page.all("a") if link["href"][0] == "#"} <= {  # type: ignore[index]
        f"#{each}" for each in ids
    }


def test_the_matrix_draws_what_is_not_zero(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    cells = [cell for cell in page.all("rect") if cell["class"] != "field"]
    assert [cell["class"] for cell in cells] == ["wrong", "wrong", "right", "wrong", "right"]
    assert [cell["fill-opacity"] for cell in cells[:2]] == ["0.84", "0.64"]  # 2 and 1 of 3
    assert "clock tick: 2 of 3 taken for dog" in page.text
    assert "dog: 1 of 2 named rightly" in page.text
    assert {link["href"] for link in page.all("a") if link["href"][0] == "#"} == {  # type: ignore[index]
        "#pair-0-1",
        "#pair-0-2",
        "#pair-1-2",
    }


def test_it_needs_neither_pictures_nor_mistakes(tmp_path: Path) -> None:
    report, scored = evaluation(tmp_path, [(0, 0, 0.9), (1, 1, 0.9)])
    page = Page(write_page(report, scored, tmp_path, root=tmp_path).read_text(encoding="utf-8"))
    assert "Nothing was confused." in page.text
    assert page.all("img") == page.all("audio") == []


def test_many_mistakes_stay_below_five_megabytes(tmp_path: Path) -> None:
    labels = [f"class_{number}" for number in range(50)]
    rows = [(number % 50, (number + 1 + number // 50) % 50, 0.5) for number in range(200)]
    report, scored = evaluation(tmp_path, rows, labels)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    path = write_page(report, scored, tmp_path, root=tmp_path, imagine=lambda numbers: [noise] * len(numbers))
    assert path.stat().st_size < 5e6
    assert len(Page(path.read_text(encoding="utf-8")).all("audio")) == NUM_CLIPS


def test_scores_of_pictures_have_a_page_too(tmp_path: Path) -> None:
    """A report of the protocol `pictures` with a rival, its figure there and its sheet missing."""

    def exhibit(name: str, agreement: float) -> dict[str, Any]:
        numbers = {"kid": 0.1, "kid_standard_error": 0.01, "fid": 9.0, "effective_number": 4.0}
        interval = (agreement - 0.05, agreement + 0.05)
        seen = {"agreement": agreement, "agreement_interval_95": interval, "distinct": 1.0}
        return {"name": name} | numbers | seen

    shares = {"photographs": 0.4, "rival": 0.25, "imagined": 0.3, "reconstructed": 0.35, "shuffled": 0.1}
    at = {"share": 0.3, "interval_95": (0.2, 0.4), "shuffled": 0.1, "shuffled_interval_95": (0.05, 0.2)}
    report = {
        "preset": "<tiny>",
        "seed": 0,
        "num_pictures": 40,
        "num_scenes": 3,
        "num_kinds": 5,
        "scene_classifier": {"num_scenes": 47},
        "judge_accuracy_on_photographs": 0.6,
        "agreement": 0.33,
        "agreement_interval_95": (0.2, 0.5),
        "shuffled": 0.1,
        "exhibits": {kind: exhibit(f"{kind}'s", share) for kind, share in shares.items()},
        "retrieval": {"num_photographs": 60, "at": {"1": at | {"chance": 0.1}, "5": at | {"chance": 0.2}}},
    }
    Image.new("RGB", (1900, 500), "green").save(tmp_path / "figure8.png")
    page = Page(write_picture_page(report, tmp_path).read_text(encoding="utf-8"))
    said = " ".join(page.text.split())
    assert "33.0 % show the scene" in said
    assert "<tiny>, pictures" in said
    assert said.index("another recording 10.0 %") < said.index("rival's 25.0 %")
    assert len(page.all("img")) == 1
    assert all((image["src"] or "").startswith("data:") for image in page.all("img"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium found; install one to test the page")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_shows_sorts_and_plays_it(browser: Any, written: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(written.as_uri())

    def column(number: int) -> list[str]:
        cells: list[str] = page.locator(f".classes tbody tr > :nth-child({number})").all_inner_texts()
        return cells

    names = [label.replace("_", " ") for label in LABELS]
    assert column(1) == names  # by recall: 0, 1/2, 1
    page.get_by_role("button", name="class").click()
    assert column(1) == sorted(names)
    page.get_by_role("button", name="recall").click()
    page.get_by_role("button", name="recall").click()
    assert column(1) == names[::-1]
    assert page.locator("th[aria-sort]").count() == 1
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("recall")
    duration = page.evaluate(
        "async () => { const player = document.querySelector('audio'); player.load();"
        " while (player.readyState < 1) await new Promise((done) => setTimeout(done, 10));"
        " return player.duration; }"
    )
    assert duration == pytest.approx(6.0, abs=0.2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert [address for address in asked if not address.startswith("data:")] == [written.as_uri()]
    assert problems == []
    page.close()

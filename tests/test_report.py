"""The page: whole in itself, readable by machines that read pages aloud, true to the predictions."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.errors import AvganError
from avgan.report import COLOURS, EXCERPT_S, Report, read_excerpt, spectrogram, spectrogram_png
from avgan.runtime import Model, load
from avgan.runtime.batch import Recording
from avgan.runtime.timeline import segments

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, and whether each that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle)


def listen(model: Model, path: Path, report: Report) -> None:
    """Hand a recording to the report as a batch does, which is left open."""
    report.begin(Recording(str(path), path))
    listening = model.listen(path)
    for segment in segments(listening):
        report.segment(segment)
    report.end(listening.conclude())


@pytest.fixture
def page_text(model: Model, tmp_path: Path, rng: np.random.Generator) -> str:
    report = Report(tmp_path / "new" / "page.html", model.card)
    for name, seconds in (("<script>alert(1)</script> ü.wav", 12.0), ("tiny.wav", 0.001)):
        path = tmp_path / name.replace("/", "_")
        samples = rng.uniform(-0.5, 0.5, round(44_100 * seconds))
        samples[44_100 * EXCERPT_S :] = 0  # noise, then silence: something changes over time
        soundfile.write(path, samples, 44_100)
        listen(model, path, report)
    report.close()
    return (tmp_path / "new" / "page.html").read_text(encoding="utf-8")


def test_it_is_well_formed_and_asks_no_server(page_text: str) -> None:
    page = Page(page_text)
    assert page.open == []
    for _, attributes in page.tags:
        for key in ("src", "href", "srcset", "action"):
            assert attributes.get(key, "data:").startswith("data:")  # type: ignore[union-attr]
    assert "http:" not in page_text
    assert "https:" not in page_text
    assert "url(" not in page_text
    assert page.all("script") == []
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))


def test_names_of_files_are_text(page_text: str) -> None:
    assert "<script>" not in page_text
    assert "alert(1)" in Page(page_text).text


def test_it_can_be_read_aloud_and_on_a_phone(page_text: str) -> None:
    page = Page(page_text)
    assert page.all("html")[0]["lang"] == "en"
    assert all(image.get("alt") for image in page.all("img"))
    assert all(player.get("aria-label") for player in page.all("audio"))
    assert all(cell.get("scope") == "row" for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 4
    assert [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)][:3] == ["h1", "h2", "h3"]
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert len(page.all("main")) == 1


def test_it_shows_the_answers(page_text: str) -> None:
    page = Page(page_text)
    assert len(page.all("article")) == 2
    assert "shorter than 1 s" in page.text
    assert "2 recordings" in page.text
    images = page.all("img")
    sizes = [decoded_image(image["src"] or "").size for image in images]
    assert sizes == [(256, 256), (640, 176)] * 2


def test_the_sound_in_it_is_the_recording(page_text: str) -> None:
    player = Page(page_text).all("audio")[0]
    content = base64.b64decode((player["src"] or "").partition(",")[2])
    samples, rate_hz = soundfile.read(io.BytesIO(content))
    assert rate_hz == 16_000
    assert len(samples) / rate_hz == pytest.approx(EXCERPT_S, abs=0.1)
    # White noise at 44.1 kHz, of which what lies above 8 kHz is gone.
    expected = 0.5 / np.sqrt(3) * np.sqrt(16 / 44.1)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(expected, rel=0.1)


def decoded_image(uri: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    image.load()
    return image


def test_only_the_excerpt_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(20):
            file.write(np.zeros(16_000 * 60, np.int16))
    assert len(read_excerpt(path)) == EXCERPT_S * 16_000


def test_spectrogram_shows_pitch_where_it_is() -> None:
    times_s = np.arange(32_000) / 16_000
    rows = []
    for frequency_hz in (100, 300, 1_000, 3_000, 7_000):
        picture = spectrogram(np.sin(2 * np.pi * frequency_hz * times_s).astype(np.float32))
        assert picture.min() >= 0
        assert picture.max() == 1
        rows.append(int(picture.mean(1).argmax()))
    assert rows == sorted(rows, reverse=True)  # higher pitches stand higher
    assert rows[0] > 0.9 * len(picture)
    assert rows[-1] < 0.1 * len(picture)


@pytest.mark.parametrize("num_samples", [1, 16, 1_000, 160_000])
def test_spectrogram_of_any_length_and_of_silence(num_samples: int) -> None:
    silence = np.zeros(num_samples, np.float32)
    assert spectrogram(silence).max() == 0
    assert spectrogram_png(silence)[1:4] == b"PNG"


def test_louder_is_lighter() -> None:
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = np.diff(lightness)
    assert steps.min() > 7
    assert steps.max() < 16


def test_nothing_heard_writes_nothing(model: Model, tmp_path: Path) -> None:
    Report(tmp_path / "page.html", model.card).close()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(model: Model, tmp_path: Path, tone_wav: Path) -> None:
    report = Report(tone_wav / "page.html", model.card)
    listen(model, tone_wav, report)
    with pytest.raises(AvganError, match="is no folder"):
        report.close()

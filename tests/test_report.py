"""The page: whole in itself, readable by machines that read pages aloud, true to the predictions."""

import base64
import dataclasses
import gc
import io
import re
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.archive.batch import Recording
from avgan.audio import read_audio
from avgan.errors import AvganError
from avgan.pages.report import COLOURS, EXCERPT_S, MAX_STRETCHES, Report, read_excerpt, spectrogram, spectrogram_png
from avgan.runtime import Model, load
from avgan.runtime.prediction import WindowPrediction
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


def listen(model: Model, path: Path, report: Report, *, hop_s: float | None = None) -> None:
    """Hand a recording to the report as a batch does, which is left open."""
    report.begin(Recording(str(path), path))
    listening = model.listen(path, hop_s=hop_s)

    def passed_on() -> Iterator[WindowPrediction]:
        for window in listening:
            report.window(window)
            yield window

    for segment in segments(passed_on()):
        report.segment(segment)
    report.end(dataclasses.replace(listening.conclude(), path=str(path)))


@pytest.fixture(scope="module")
def page_text(model: Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    tmp_path, rng = tmp_path_factory.mktemp("page"), np.random.default_rng(0)
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
    assert {cell.get("scope") for cell in page.all("th")} == {"row", "col"}
    assert len(page.all("caption")) == 4
    assert len(page.all("table")) == 5
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
    assert sizes == [(256, 256), (640, 176), (1030, 96), (256, 256), (640, 176)]


def test_the_sound_in_it_is_the_recording(page_text: str) -> None:
    player = Page(page_text).all("audio")[0]
    content = base64.b64decode((player["src"] or "").partition(",")[2])
    samples = read_audio(content)
    assert len(samples) / 16_000 == pytest.approx(EXCERPT_S, abs=0.1)
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


def changing_wav(path: Path, rng: np.random.Generator, num_changes: int) -> Path:
    """A second of hiss, a second of silence, and so on."""
    samples = rng.uniform(-0.5, 0.5, (num_changes, 16_000))
    samples[1::2] = 0
    soundfile.write(path, samples.reshape(-1), 16_000)
    return path


def report_of(model: Model, paths: Sequence[Path], folder: Path) -> Page:
    report = Report(folder / "page.html", model.card)
    for path in paths:
        listen(model, path, report)
    report.close()
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def test_it_shows_scenes_over_time(model: Model, tmp_path: Path, rng: np.random.Generator) -> None:
    page = report_of(model, [changing_wav(tmp_path / "a.wav", rng, 6)], tmp_path)
    stretches = [item for item in page.all("li") if "--from" in (item.get("style") or "")]
    assert all(item["tabindex"] == "0" for item in stretches)
    places = [re.findall(r"--(?:from|long):([\d.]+)%", item["style"] or "") for item in stretches]
    starts = [float(start) for start, _ in places]
    assert starts == pytest.approx([100 * i / 6 for i in range(6)], abs=0.01)
    assert sum(float(length) for _, length in places) == pytest.approx(100, abs=0.1)
    assert "beach 0:00–0:01" in page.text
    assert "unknown 0:01–0:02 · silent" in page.text
    # The same again as a table, and what is silent has no certainty there.
    assert len(page.all("tr")) == 1 + 6 + 4 + 4
    assert re.search(r"0:010:02unknownsilent", page.text)


def test_the_pictures_of_a_timeline_stand_in_their_time(model: Model, tmp_path: Path, rng: np.random.Generator) -> None:
    page = report_of(model, [changing_wav(tmp_path / "a.wav", rng, 6)], tmp_path)
    strip = np.asarray(decoded_image(page.all("img")[-1]["src"] or "").convert("L"), float)
    parts = [part[:, 8:-8].mean() for part in np.array_split(strip, 6, axis=1)]
    assert min(parts[::2]) > 2 * max(parts[1::2])  # hiss is bright, what is unknown is dimmed


def test_many_changes_are_shown_as_fewer(
    model: Model, tmp_path: Path, tone_wav: Path, rng: np.random.Generator
) -> None:
    report = Report(tmp_path / "page.html", model.card)
    report.begin(Recording("a.wav", tone_wav))
    grid = np.zeros((16, 16), np.uint16)
    windows = [WindowPrediction(i, i + 1, str(rng.choice(list("abcd"))), None, 0.5, codes=grid) for i in range(400)]
    num_changes = 0
    for window in windows:
        report.window(window)
    for segment in segments(windows):
        num_changes += 1
        report.segment(segment)
    report.end(dataclasses.replace(model.classify(tone_wav), duration_s=400.0))
    report.close()
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    stretches = [item for item in page.all("li") if "--from" in (item.get("style") or "")]
    assert 10 < len(stretches) <= MAX_STRETCHES < num_changes
    assert f"{num_changes} changes, shown as {len(stretches)} stretches" in page.text


def test_the_unknown_never_looks_like_an_answer(model: Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    page = report_of(model, [tmp_path / "silent.wav"], tmp_path)
    (article,) = page.all("article")
    assert article["class"] == "unknown"
    assert "Not answered: silent." in page.text
    heading = re.search(r"<h2>(.*?)</h2>", (tmp_path / "page.html").read_text(), re.S)
    assert heading is not None
    assert heading[1].strip() == "unknown"  # and no number
    assert "best guesses" not in page.text  # of silence there is nothing to guess from
    assert "%" not in (tmp_path / "page.html").read_text().split("<article")[1].split("</article")[0].replace("%;", "")
    picture = page.all("img")[0]
    assert picture["alt"] == "Dimmed: not an answer"
    shown = np.asarray(decoded_image(picture["src"] or ""))
    assert shown.mean() < 0.5 * 255
    assert shown.std() > 5  # hatched


def test_an_archive_needs_no_memory(
    model: Model, tmp_path: Path, tone_wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avgan.pages.report.MAX_PLAYERS", 2)
    prediction = model.classify(tone_wav)
    report = Report(tmp_path / "page.html", model.card)
    sizes = []
    tracemalloc.start()
    for number in range(60):
        report.begin(Recording("tone.wav", tone_wav))
        report.end(dataclasses.replace(prediction, path=f"{number}.wav"))
        if number in (9, 59):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    report.close()
    assert sizes[1] - sizes[0] < 50_000
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.all("article")) == 60
    assert len(page.all("audio")) == 2
    assert "60 recordings" in page.text
    images = [decoded_image(image["src"] or "").size for image in page.all("img")]
    assert images == [(256, 256), (640, 176)] * 2 + [(128, 128)] * 58


def test_what_cannot_be_read_again_is_shown_without_its_sound(model: Model, tmp_path: Path, tone_wav: Path) -> None:
    report = Report(tmp_path / "page.html", model.card)
    report.begin(Recording("pipe", tmp_path / "gone.wav"))
    report.end(model.classify(tone_wav))
    report.close()
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.all("article")) == 1
    assert page.all("audio") == []


def test_no_room_for_what_is_kept_aside(
    model: Model, tmp_path: Path, tone_wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(AvganError, match=r"No space left on device.*TMPDIR"):
        report_of(model, [tone_wav], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tone.wav"]


def test_where_nothing_can_be_written(model: Model, tmp_path: Path, tone_wav: Path) -> None:
    report = Report(tone_wav / "page.html", model.card)
    listen(model, tone_wav, report)
    with pytest.raises(AvganError, match="is no folder"):
        report.close()

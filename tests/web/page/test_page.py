"""What the page does, seen with a real browser against a real service."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import avgan
from sounds import encoded

pytestmark = pytest.mark.slow

Clips = dict[str, np.ndarray]


def drawn(page: Any, selector: str) -> float:
    """How much a canvas varies: the standard deviation of its bytes."""
    address = page.eval_on_selector(selector, "canvas => canvas.toDataURL()")
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    return float(np.asarray(image).std())


@pytest.mark.parametrize("kind", ["wav", "ogg", "m4a"])
def test_a_file_is_answered_as_the_library_answers_it(shipped: Any, visit: Any, clips: Clips, kind: str) -> None:
    content = encoded(clips["sea"], 44_100, kind.upper())
    expected = avgan.load().classify(content)
    seen = visit(shipped)
    seen.choose(f"sea.{kind}", content)
    seen.wait("answer")
    page = seen.page
    assert seen.text("#answer") == expected.scene.replace("_", " ").capitalize() == "Beach"
    assert seen.text("#sure") == f"{100 * expected.probability:.0f} % sure · with {', '.join(expected.sounds)}"
    picture = page.locator(".picture.current")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 128
    assert "beach" in picture.get_attribute("alt")
    rows = page.locator("table").first.locator("tr").all_inner_texts()
    scenes = [row.split("\t")[0] for row in rows]
    assert scenes == [name.replace("_", " ") for name in list(expected.scenes)[:5]]
    page.wait_for_selector("#spectrogram:not([hidden])")
    assert drawn(page, "#spectrogram") > 20
    assert drawn(page, "#wave") > 20
    page.wait_for_selector("#play:not([hidden])")
    assert "0:00 / 0:05" in seen.text("#time")
    assert page.evaluate("said") == [
        f"Beach, {100 * expected.probability:.0f}\u202f% sure. With {', '.join(expected.sounds)}."
    ]
    assert page.title().startswith("Beach")


def test_what_decided_is_shown_over_the_spectrogram(shipped: Any, visit: Any, clips: Clips) -> None:
    seen = visit(shipped)
    seen.choose("sea.wav", encoded(clips["sea"], 44_100))
    page = seen.page
    page.wait_for_selector("#why:visible")
    before = page.eval_on_selector("#spectrogram", "canvas => canvas.toDataURL()")
    page.check("#why")
    page.locator("#decided", has_text="beach").wait_for(timeout=60_000)
    assert page.eval_on_selector("#spectrogram", "canvas => canvas.toDataURL()") != before
    page.uncheck("#why")
    assert page.eval_on_selector("#spectrogram", "canvas => canvas.toDataURL()") == before


def test_text_that_calls_itself_a_recording_is_refused_in_one_line(shipped: Any, visit: Any) -> None:
    seen = visit(shipped, expected="400")
    seen.choose("notes.wav", b"these are only words\n" * 40)
    seen.page.wait_for_selector("#error:not([hidden])")
    line = seen.text("#error")
    assert line.startswith("Notes.wav: not a sound file")
    assert "\n" not in line
    assert seen.page.get_attribute("body", "data-state") == "start"
    assert not seen.page.is_visible(".picture")


def test_silence_is_unknown_and_says_why(shipped: Any, visit: Any) -> None:
    seen = visit(shipped)
    seen.choose("silence.wav", encoded(np.zeros(5 * 44_100, np.float32), 44_100))
    seen.wait("answer")
    assert seen.text("#answer") == "Unknown"
    assert "silent" in seen.text("#reason")
    assert not seen.page.is_visible("#sure")
    assert seen.page.evaluate("said.length") == 1
    assert seen.page.evaluate("said[0].startsWith('Unknown.')")


def test_a_long_recording_has_segments_that_lead_to_their_sound(shipped: Any, visit: Any, clips: Clips) -> None:
    parts = [clips["sea"]] * 3 + [clips["rain"]] * 3
    seen = visit(shipped)
    page = seen.page
    seen.choose("walk.wav", encoded(np.concatenate(parts), 44_100))
    rain = page.locator("#segments button", has_text="Forest").first
    rain.wait_for(timeout=60_000)
    names = page.locator("#segments b").all_inner_texts()
    assert names[0] == "Beach"
    assert names[-1] == "Forest"
    assert page.locator("#strip span").count() == len(names)
    rain.click()
    position_s = page.eval_on_selector("#audio", "audio => audio.currentTime")
    assert 15 <= position_s <= 21
    assert rain.get_attribute("aria-current") == "true"
    # A press in the middle of the drawing leads to the middle of the sound.
    page.locator("#track").click(position={"x": page.locator("#track").bounding_box()["width"] / 4, "y": 60})
    assert abs(page.eval_on_selector("#audio", "audio => audio.currentTime") - 7.5) < 0.5


def test_the_microphone_fills_a_timeline_and_is_answered_as_a_whole(shipped: Any, visit: Any) -> None:
    seen = visit(shipped)
    page = seen.page
    page.click("#listen")
    page.locator("#segments li", has_text="each").first.wait_for(timeout=60_000)
    live = page.locator("#segments li").all_inner_texts()
    assert any("Forest" in text for text in live)
    assert "beach" in live[0].lower(), "the newest comes first"
    assert page.locator("#segments img").first.evaluate("image => image.naturalWidth") == 128
    assert "dropped" in seen.text("#sound-note")
    assert drawn(page, "#spectrogram") > 20
    said = page.evaluate("said")
    assert "forest" in said[0].lower()
    assert len(said) == len(live), "each scene is said once"
    page.click("#listen")
    seen.wait("answer")
    assert any(scene in seen.text("#answer").lower() for scene in ("forest", "beach"))
    page.wait_for_selector("#play:not([hidden])")
    assert "microphone.wav" in seen.text("#sound-note")
    assert page.eval_on_selector("#audio", "audio => audio.duration") > 8
    assert drawn(page, "#wave") > 20


def test_without_a_microphone_the_page_says_why(shipped: Any, visit: Any) -> None:
    hide = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"
    seen = visit(shipped, before=hide)
    assert "https" in seen.text("#microphone-note")
    assert "localhost" in seen.text("#microphone-note")
    assert seen.page.is_disabled("#listen")
    refuse = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
    seen = visit(shipped, before=refuse)
    seen.page.click("#listen")
    seen.page.wait_for_selector("#error:not([hidden])")
    assert "refused" in seen.text("#error")


def test_a_busy_service_is_tried_again(server: Any, visit: Any, hiss_wav: bytes) -> None:
    seen = visit(server, expected="429")
    page = seen.page
    busy = {"status": 429, "json": {"error": "the service is busy; try again in a moment"}}
    page.route("**/api/classify*", lambda route: route.fulfill(**busy), times=1)
    seen.choose("hiss.wav", hiss_wav)
    page.click("#retry")
    seen.wait("answer")
    assert seen.text("#answer") == "Beach"
    assert not page.is_visible("#error")


def test_sending_shows_progress_and_can_be_given_up(server: Any, visit: Any, hiss_wav: bytes) -> None:
    seen = visit(server)
    page = seen.page
    page.route("**/api/classify*", lambda route: None)  # never answered
    seen.choose("hiss.wav", hiss_wav)
    seen.wait("busy")
    assert page.is_visible("#bar")
    assert seen.text("#doing") in {"Sending", "Listening"}
    page.click("#cancel")
    seen.wait("start")
    assert page.evaluate("document.activeElement.id") == "choose"
    assert not page.is_visible("#error")


def test_the_token_in_the_address_lets_the_page_in(start: Any, visit: Any, hiss_wav: bytes) -> None:
    token = "a+token+of+some+length"
    guarded = start("--token", token)
    seen = visit(guarded, address=f"{guarded.base}/#token={token.replace('+', '%2B')}")
    assert "length" not in seen.page.url
    seen.choose("hiss.wav", hiss_wav)
    seen.wait("answer")
    seen.page.click("#listen")
    seen.page.locator("#segments li").first.wait_for(timeout=60_000)

    stranger = visit(guarded, expected="401")
    stranger.page.fill("#token", "not the token")
    stranger.page.keyboard.press("Enter")
    stranger.page.locator("#error", has_text="another access token").wait_for()
    stranger.page.fill("#token", token)
    stranger.page.keyboard.press("Enter")
    stranger.page.wait_for_selector("#token-form", state="hidden")
    stranger.choose("hiss.wav", hiss_wav)
    stranger.wait("answer")


def test_a_file_can_be_dropped_anywhere(server: Any, visit: Any, hiss_wav: bytes) -> None:
    seen = visit(server)
    drop = """async (content) => {
      const bytes = await (await fetch(content)).arrayBuffer();
      const moved = new DataTransfer();
      moved.items.add(new File([bytes], "dropped.wav"));
      for (const kind of ["dragenter", "dragover", "drop"]) {
        document.querySelector("footer").dispatchEvent(
          new DragEvent(kind, { dataTransfer: moved, bubbles: true, cancelable: true }));
      }
    }"""
    # The page may fetch from its service alone, so the content comes through it.
    seen.page.route("**/dropped", lambda route: route.fulfill(status=200, body=hiss_wav))
    seen.page.evaluate(drop, f"{seen.base}/dropped")
    seen.wait("answer")
    assert seen.text("#answer") == "Beach"
    seen.page.wait_for_selector("#sound-note")
    assert "dropped.wav" in seen.page.text_content("#sound-note")


def test_another_picture_of_the_same_place(start: Any, noisy_bundle: Path, visit: Any, hiss_wav: bytes) -> None:
    seen = visit(start(model=noisy_bundle))
    assert not seen.page.is_visible("#another")
    seen.choose("hiss.wav", hiss_wav)
    seen.wait("answer")
    current = "img.picture.current"
    before, named = seen.page.get_attribute(current, "src"), seen.text("#answer")
    seen.page.click("#another")
    seen.page.wait_for_function("before => document.querySelector('img.picture.current').src !== before", arg=before)
    assert seen.text("#answer") == named
    plain = visit(start())
    plain.choose("hiss.wav", hiss_wav)
    plain.wait("answer")
    assert not plain.page.is_visible("#another"), "a model that draws one picture"


def test_groups_and_sounds_are_shown_with_the_time_of_day(
    start: Any, visit: Any, toy_places: Any, walk_samples: np.ndarray
) -> None:
    seen = visit(start("--workers", "1", model=toy_places))
    seen.choose("walk_20240501_043000.wav", encoded(walk_samples))
    seen.wait("answer")
    assert seen.text("#answer") == "Outdoor: road or beach"
    assert "sure · with " in seen.text("#sure")
    assert "dog" in seen.text("#sure")
    seen.page.wait_for_selector("#segments li")
    items = seen.page.locator("#segments li").all_inner_texts()
    assert "Outdoor: likely road" in items[1]
    assert "04:30:0" in items[1]
    assert "dog" in items[2]
    assert "Sounds" in seen.page.locator("#rankings caption").all_inner_texts()


def test_a_model_of_sounds_shows_the_sound_and_no_place(
    start: Any, visit: Any, toy_sounds: Any, hiss_wav: bytes
) -> None:
    seen = visit(start("--workers", "1", model=toy_sounds))
    seen.choose("hiss.wav", hiss_wav)
    seen.wait("answer")
    assert seen.text("#answer") == "Hiss"
    assert "with" not in seen.text("#sure")
    assert seen.page.locator("#rankings caption").all_inner_texts() == ["Sounds"]

"""That everybody can use the page, and that nothing given to it can use them."""

from typing import Any

import numpy as np
import pytest

from sounds import encoded

pytestmark = pytest.mark.slow

CONTROLS = {"button", "checkbox", "slider", "textbox", "link", "ProgressIndicator", "progressbar"}
LARGE_PX = 24

CONTRASTS = """
() => {
  const pencil = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const bytes = (colour) => {
    pencil.clearRect(0, 0, 1, 1);
    pencil.fillStyle = colour;
    pencil.fillRect(0, 0, 1, 1);
    return [...pencil.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => colour.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
  const background = (element) => {
    for (; element; element = element.parentElement) {
      const colour = bytes(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const shown = element.checkVisibility() && !element.closest(".unseen, noscript");
    if (!shown || !walker.currentNode.textContent.trim()) continue;
    const style = getComputedStyle(element);
    const [one, other] = [bytes(style.color), background(element)].map(light).sort((a, b) => b - a);
    found.push([walker.currentNode.textContent.trim(), parseFloat(style.fontSize), (one + 0.05) / (other + 0.05)]);
  }
  return found;
}
"""

FOCUS = """
() => {
  const element = document.activeElement;
  const ringed = element.id === "position" ? document.getElementById("track") : element;
  return [element.id || element.className || element.textContent, getComputedStyle(ringed).outlineStyle];
}
"""


@pytest.fixture
def long_wav(hiss: np.ndarray) -> bytes:
    """A file in which the toy model hears two scenes."""
    loud = np.tile(hiss, 2)
    return encoded(np.concatenate([loud, np.zeros_like(loud)]), 44_100)


def tab(page: Any, wanted: str, key: str = "Tab") -> list[tuple[str, str]]:
    """Go on from control to control until the one that is wanted; those passed, and how each is marked."""
    passed = []
    for _ in range(30):
        page.keyboard.press(key)
        name, ring = page.evaluate(FOCUS)
        passed.append((name, ring))
        if name == wanted:
            return passed
    raise AssertionError(f"{wanted} is not reached: {passed}")


def test_everything_can_be_done_with_the_keyboard(server: Any, visit: Any, long_wav: bytes) -> None:
    seen = visit(server)
    page = seen.page
    passed = tab(page, "choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "long.wav", "mimeType": "audio/wav", "buffer": long_wav})
    seen.wait("answer")
    page.wait_for_selector("#segments button")
    assert page.evaluate("document.activeElement.id") == "choose", "the focus stays where it was"
    passed += tab(page, "play")
    page.keyboard.press("Space")
    page.wait_for_selector("#play[aria-label=Pause]")
    page.keyboard.press("Space")
    page.wait_for_selector("#play[aria-label=Play]")
    passed += tab(page, "why")
    page.keyboard.press("Space")
    assert page.is_checked("#why")
    passed += tab(page, "position")
    page.keyboard.press("End")
    assert page.eval_on_selector("#audio", "audio => audio.currentTime") > 3
    assert " of " in page.get_attribute("#position", "aria-valuetext")
    passed += tab(page, "segments")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.eval_on_selector("#audio", "audio => audio.currentTime") == 0
    assert [name for name, ring in passed if ring == "none"] == [], "without a visible focus"
    tab(page, "listen", "Shift+Tab")
    page.keyboard.press("Enter")
    seen.wait("live")
    page.keyboard.press("Enter")
    page.wait_for_selector("body:not([data-state=live])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(server: Any, visit: Any, long_wav: bytes, scheme: str) -> None:
    seen = visit(server, expected="400", color_scheme=scheme)
    page = seen.page
    texts = page.evaluate(CONTRASTS)
    seen.choose("long.wav", long_wav)
    page.wait_for_selector("#segments button")
    texts += page.evaluate(CONTRASTS)
    seen.choose("words.wav", b"words")
    page.wait_for_selector("#error:not([hidden])")
    texts += page.evaluate(CONTRASTS)
    assert len(texts) > 60
    faint = [(text, round(ratio, 2)) for text, size_px, ratio in texts if ratio < (3 if size_px >= LARGE_PX else 4.5)]
    assert faint == []


def test_controls_have_names_and_the_page_has_landmarks(server: Any, visit: Any, long_wav: bytes) -> None:
    seen = visit(server)
    page = seen.page
    seen.choose("long.wav", long_wav)
    page.wait_for_selector("#segments button")
    page.wait_for_selector("#play:not([hidden])")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and "role" in node
    ]
    controls = [node for node in nodes if node[0] in CONTROLS]
    assert len(controls) >= 7
    assert [node for node in controls if not node[1].strip()] == []
    roles = [role for role, _ in nodes]
    for landmark in ("banner", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    assert page.locator("h1").count() == 1
    assert page.get_attribute("html", "lang") == "en"
    assert ("image", "The place as the model imagines it: beach") in [
        (role.lower().removesuffix("graphic") or role, name) for role, name in nodes
    ] or ("img", "The place as the model imagines it: beach") in nodes


@pytest.mark.parametrize("state", ["start", "answer", "live", "error"])
def test_a_phone_shows_it_without_scrolling_sideways(server: Any, visit: Any, long_wav: bytes, state: str) -> None:
    seen = visit(server, width=360, height=640, expected="400", has_touch=True, is_mobile=True)
    page = seen.page
    name = "a_recording_with_a_name_that_is_much_longer_than_any_telephone_is_wide_" * 2 + ".wav"
    if state == "answer":
        seen.choose(name, long_wav)
        page.wait_for_selector("#segments button")
    elif state == "live":
        page.click("#listen")
        page.locator("#segments li").first.wait_for(timeout=60_000)
    elif state == "error":
        seen.choose(name, b"words")
        page.wait_for_selector("#error:not([hidden])")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter((each) => each.checkVisibility())"
        ".filter((each) => each.offsetHeight < 44).map((each) => each.textContent)"
    )
    assert small == [], "too small for a finger"


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_jumps_when_the_answer_comes(server: Any, visit: Any, long_wav: bytes, width: int) -> None:
    seen = visit(server, width=width)
    page = seen.page
    held: list[Any] = []
    page.route("**/api/classify*", lambda route: held.append(route))
    seen.choose("long.wav", long_wav)
    page.wait_for_selector("#spectrogram:visible")
    seen_at_once = ["frame", "answer", "choose", *(["sound"] if width > 800 else [])]
    places = f"{seen_at_once}.map((id) => document.getElementById(id).getBoundingClientRect().y)"
    before = page.evaluate(places)
    held[0].continue_()
    page.wait_for_selector("#segments button")
    assert page.evaluate(places) == pytest.approx(before, abs=2)


def test_reduced_motion_is_respected(server: Any, visit: Any) -> None:
    for motion, expected in (("reduce", "none"), ("no-preference", "opacity")):
        seen = visit(server, reduced_motion=motion)
        style = "each => getComputedStyle(each).transitionProperty"
        assert seen.page.eval_on_selector("#picture-a", style) in {expected, "all" if expected == "none" else expected}
        duration = "each => getComputedStyle(each).transitionDuration"
        assert (seen.page.eval_on_selector("#picture-a", duration) == "0s") == (motion == "reduce")


HOSTILE = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>'


def test_names_are_text_whatever_they_hold(server: Any, visit: Any, long_wav: bytes) -> None:
    seen = visit(server)
    page = seen.page

    def answer(route: Any) -> None:
        answered = route.fetch().json()
        answered |= {
            "scene": HOSTILE,
            "sound": HOSTILE,
            "scenes": {HOSTILE: 1.0},
            "sounds": {HOSTILE: 1.0},
            "warnings": [HOSTILE],
        }
        for part in answered["segments"]:
            part["scene"] += HOSTILE
        route.fulfill(json=answered)

    page.route("**/api/classify*", answer)
    seen.choose(f"{HOSTILE}.wav", long_wav)
    page.wait_for_selector("#segments button")
    page.wait_for_selector("#sound:not([hidden])")
    for selector in ("#answer", "#sure", "#warnings", "th", "#segments b", "#sound-note"):
        assert "<script>" in page.text_content(selector), selector
    assert page.locator("main script").count() == 0
    assert page.locator("main img[src=x]").count() == 0
    assert page.evaluate("window.hit") is None


def test_the_policy_lets_no_foreign_code_in(server: Any, visit: Any) -> None:
    seen = visit(server, expected="Content Security Policy")
    page = seen.page
    page.evaluate(
        """() => {
          const code = document.createElement("script");
          code.textContent = "window.hit = 1";
          document.body.append(code);
          document.body.insertAdjacentHTML("beforeend", "<p style='color: red' onclick='window.hit = 1'>press</p>");
          fetch("http://localhost:1/").catch(() => {});
        }"""
    )
    page.get_by_text("press").click()
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None
    assert {"script-src-elem", "script-src-attr", "style-src-attr", "connect-src"} <= set(page.evaluate("violations"))
    seen.addresses.clear()  # the one that was refused
    policy = seen.page.request.get(seen.base).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_says_what_model_it_is_and_on_what_terms(shipped: Any, visit: Any) -> None:
    seen = visit(shipped)
    footer = seen.text("footer")
    assert "places" in footer
    assert "non-commercial" in footer
    assert "Nothing you give it is written to disk" in footer

// Scenes over time: a strip under the spectrogram and a list of the same segments.

import { pictureAddress, UNKNOWN } from "./answer.js";
import { answerOf, answered, capital, clock, find, hues, make, percent, plain, timeOfDay } from "./dom.js";

const MOST_LIVE = 60;

const strip = find("strip");
const list = find("segments");

let colour = hues();
let items = []; // of a finished recording: {start_s, end_s, button}
let began = null; // when the recording began, where that is known
let growing = null; // of a live one: the last segment, which still goes on, and its list item

export function clear() {
  colour = hues();
  items = [];
  growing = null;
  began = null;
  strip.replaceChildren();
  list.replaceChildren();
  find("past").hidden = true;
}

/** The segments of a recording; `onSeek(time_s)` is called for the one that was chosen, where they can be chosen. */
export function show(segments, { duration_s, recorded_at, onSeek }) {
  clear();
  began = recorded_at;
  if (segments.length < 2) return;
  items = segments.map((segment) => {
    const inside = words(segment);
    const button = onSeek ? make("button", { type: "button" }, ...inside) : make("span", { class: "chip" }, ...inside);
    if (onSeek) button.addEventListener("click", () => onSeek(segment.start_s));
    list.append(tint(make("li", {}, button), segment));
    const part = tint(make("span"), segment);
    part.style.setProperty("--start", segment.start_s / duration_s);
    part.style.setProperty("--length", (segment.end_s - segment.start_s) / duration_s);
    strip.append(part);
    return { ...segment, button };
  });
  find("past").hidden = false;
}

/** The middle of the segment that is played at a time; of the surest one of an answer before anything was played. */
export function middle(time_s, answer) {
  const ranked = items.filter((item) => answerOf(item) === answer).sort((a, b) => b.probability - a.probability);
  const chosen = (time_s > 0 && items.find((item) => time_s < item.end_s)) || ranked[0];
  return chosen && (chosen.start_s + chosen.end_s) / 2;
}

/** Mark the segment that is played at a time. */
export function mark(time_s) {
  for (const { start_s, end_s, button } of items) {
    if (time_s >= start_s && time_s < end_s) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

/** Add a window of live sound: a new segment, newest first, or more of the last one. Says whether it is a new one. */
export function add(window) {
  find("past").hidden = false;
  const last = growing;
  if (!last || answerOf(last) !== answerOf(window)) {
    // Windows overlap; where the scene changes they meet half-way.
    const start_s = last ? (last.end_s + window.start_s) / 2 : window.start_s;
    if (last) fill({ ...last, end_s: start_s });
    growing = { ...window, start_s, item: tint(make("li"), window) };
    list.prepend(growing.item);
    while (list.childElementCount > MOST_LIVE) list.lastElementChild.remove();
  } else if (window.probability > last.probability) {
    const { probability, picture, sounds, within } = window;
    Object.assign(last, { probability, picture, sounds, within });
  }
  growing.end_s = window.end_s;
  fill(growing);
  return growing !== last;
}

function fill(segment) {
  const picture = make("img", { src: pictureAddress(segment.picture), alt: "", width: 112, height: 112 });
  segment.item.replaceChildren(picture, make("span", {}, ...words(segment)));
}

function words(segment) {
  const { scene, start_s, end_s, probability, sounds = {} } = segment;
  const at = timeOfDay(began, start_s);
  const others = scene ? Object.keys(sounds).map(plain).join(", ") : ""; // else it is the answer
  return [
    make("b", { text: capital(answered(segment)) }),
    make("span", { class: "when", text: `${clock(start_s)}\u2013${clock(end_s)}` }),
    ...(at ? [make("span", { class: "when", text: at })] : []),
    ...(scene === UNKNOWN ? [] : [make("span", { class: "when", text: percent(probability) })]),
    ...(others ? [make("span", { class: "when", text: others })] : []),
  ];
}

function tint(element, answer) {
  element.classList.toggle("unknown", answer.scene === UNKNOWN);
  element.style.setProperty("--hue", colour(answerOf(answer)));
  return element;
}

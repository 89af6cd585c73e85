// Scenes over time: a strip under the spectrogram and a list of the same segments.

import { pictureAddress, UNKNOWN } from "./answer.js";
import { clock, find, hues, make, percent, title } from "./dom.js";

const MOST_LIVE = 60;

const strip = find("strip");
const list = find("segments");

let colour = hues();
let items = []; // of a finished recording: {start_s, end_s, button}
let growing = null; // of a live one: the segment that still goes on

export function clear() {
  colour = hues();
  items = [];
  growing = null;
  strip.replaceChildren();
  list.replaceChildren();
  find("past").hidden = true;
}

/** The segments of a recording; `onSeek(time_s)` is called for the one that was chosen, if they can be chosen. */
export function show(segments, onSeek) {
  clear();
  if (segments.length < 2) return;
  const start_s = segments[0].start_s;
  const span_s = segments.at(-1).end_s - start_s;
  items = segments.map((segment) => {
    const inside = words(segment);
    const button = onSeek ? make("button", { type: "button" }, ...inside) : make("span", {}, ...inside);
    if (onSeek) button.addEventListener("click", () => onSeek(segment.start_s));
    list.append(tint(make("li", {}, button), segment.scene));
    const part = tint(make("span"), segment.scene);
    part.style.setProperty("--start", (segment.start_s - start_s) / span_s);
    part.style.setProperty("--length", (segment.end_s - segment.start_s) / span_s);
    strip.append(part);
    return { ...segment, button };
  });
  find("past").hidden = false;
}

/** Mark the segment that is heard at a time. */
export function mark(time_s) {
  for (const { start_s, end_s, button } of items) {
    const now = time_s >= start_s && time_s < end_s;
    if (now !== button.hasAttribute("aria-current")) button.toggleAttribute("aria-current", now);
    if (now) button.setAttribute("aria-current", "true");
  }
}

/** Add a window of live sound: a new segment, newest first, or more of the same one. Says whether it is a new one. */
export function add(window) {
  find("past").hidden = false;
  const same = growing?.scene === window.scene;
  if (!same) {
    growing = { scene: window.scene, start_s: window.start_s, surest: -1, item: tint(make("li"), window.scene) };
    list.prepend(growing.item);
    while (list.childElementCount > MOST_LIVE) list.lastElementChild.remove();
  }
  if (window.probability > growing.surest) {
    growing.surest = window.probability;
    growing.picture = window.picture;
  }
  const segment = { ...window, start_s: growing.start_s, probability: growing.surest };
  const picture = growing.picture ? [make("img", { src: pictureAddress(growing.picture), alt: "", width: 96, height: 96 })] : [];
  growing.item.replaceChildren(...picture, make("span", {}, ...words(segment)));
  return !same;
}

function words({ scene, start_s, end_s, probability }) {
  return [
    make("b", { text: title(scene) }),
    make("span", { class: "when", text: `${clock(start_s)}\u2013${clock(end_s)}` }),
    ...(scene === UNKNOWN ? [] : [make("span", { class: "when", text: percent(probability) })]),
  ];
}

function tint(element, scene) {
  element.classList.toggle("unknown", scene === UNKNOWN);
  element.style.setProperty("--hue", colour(scene));
  return element;
}

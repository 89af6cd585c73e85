// Plays the recording; the position is a slider that lies over its drawing.

import { clock, find } from "./dom.js";

const audio = find("audio");
const button = find("play");
const slider = find("position");
const playhead = find("playhead");

const PATIENCE_MS = 4000;

let address = "";
let onMove = () => {};

/** Take a file in; gives its duration in seconds, or NaN where this browser cannot play it, or not soon. */
export function open(file) {
  clear();
  address = URL.createObjectURL(file);
  audio.src = address;
  return new Promise((resolve) => {
    setTimeout(resolve, PATIENCE_MS, NaN);
    audio.onloadedmetadata = () => {
      // A stream recorded by a browser does not know its length until it was read to its end.
      const duration_s = Number.isFinite(audio.duration) ? audio.duration : 0;
      slider.max = duration_s || 1;
      for (const part of [button, slider, playhead]) part.hidden = !duration_s;
      show();
      resolve(duration_s || NaN);
    };
    audio.onerror = () => resolve(NaN);
  });
}

export function clear() {
  audio.pause();
  audio.onloadedmetadata = audio.onerror = null;
  if (address) audio.removeAttribute("src");
  URL.revokeObjectURL(address);
  for (const part of [button, slider, playhead]) part.hidden = true;
  find("time").textContent = "";
}

export const playable = () => !button.hidden;

export const position_s = () => audio.currentTime || 0;

/** Go to a time. */
export function seek(time_s) {
  if (!playable()) return;
  audio.currentTime = Math.min(Math.max(0, time_s), Number(slider.max));
  show();
}

/** Have `listener` told the time whenever it changes. */
export function follow(listener) {
  onMove = listener;
}

function show() {
  const time_s = position_s();
  const length_s = Number(slider.max);
  slider.value = time_s;
  slider.setAttribute("aria-valuetext", `${clock(time_s)} of ${clock(length_s)}`);
  playhead.style.setProperty("--share", time_s / length_s);
  find("time").textContent = `${clock(time_s)} / ${clock(length_s)}`;
  onMove(time_s);
}

function step() {
  show();
  if (!audio.paused) requestAnimationFrame(step);
}

button.addEventListener("click", () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()));
audio.addEventListener("play", () => {
  button.setAttribute("aria-label", "Pause");
  button.classList.add("playing");
  step();
});
for (const event of ["pause", "ended"]) {
  audio.addEventListener(event, () => {
    button.setAttribute("aria-label", "Play");
    button.classList.remove("playing");
  });
}
audio.addEventListener("timeupdate", show);
slider.addEventListener("input", () => seek(Number(slider.value)));

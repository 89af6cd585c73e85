// Why the answer was given: what decided, shown over the spectrogram, and the training clips that look alike.

import { explain } from "./api.js";
import { capital, clock, find, make, plain, sentence } from "./dom.js";
import * as track from "./track.js";

const box = find("why");
const words = find("decided");

let asked = null; // {file, signal, duration_s, moment} of the recording on show
const found = new Map(); // its explanations so far, by the moment they are about

export function clear() {
  asked = null;
  found.clear();
  box.checked = false;
  words.textContent = "";
  find("why-switch").hidden = words.hidden = find("near").hidden = true;
}

/**
 * Let the user ask why. `duration_s` is that of the recording, `signal` aborts when another one comes, `moment()` gives
 * where the window begins that is to be explained, undefined where there is but one.
 */
export function offer(file, { duration_s, signal, moment }) {
  asked = { file, duration_s, signal, moment };
  find("why-switch").hidden = words.hidden = false;
}

/** Explain the moment that is played, where explanations are on. */
export async function update() {
  if (!box.checked) return;
  const { file, signal, moment } = asked;
  const start_s = moment();
  try {
    if (!found.has(start_s)) {
      words.textContent = "Trying what each part of the sound does to the answer\u2026";
      found.set(start_s, await explain(file, { start_s, signal }));
    }
    if (signal.aborted || !box.checked) return;
    track.highlight(found.get(start_s));
    words.textContent = summary(found.get(start_s));
    showNeighbours(found.get(start_s).neighbours);
  } catch (error) {
    if (signal.aborted) return;
    box.checked = false;
    words.textContent = sentence(error.message);
  }
}

function toggle() {
  track.highlight(null);
  words.textContent = "";
  update();
}

function summary({ label, words: where, stretch, start_s, end_s }) {
  const part = end_s - start_s < asked.duration_s - 1 ? ` between ${clock(start_s)} and ${clock(end_s)}` : "";
  if (!stretch) return sentence(`for \u201c${plain(label)}\u201d${part}, ${where}`);
  return `What spoke most for \u201c${plain(label)}\u201d${part}: ${where}.`;
}

function showNeighbours(neighbours) {
  find("near").hidden = !neighbours.length;
  find("neighbours").replaceChildren(
    ...neighbours.map(({ label, id }) =>
      make("li", {}, make("b", { text: capital(plain(label)) }), make("span", { text: id })),
    ),
  );
}

box.addEventListener("change", toggle);

// Why the answer was given: what decided, shown over the spectrogram, and the training clips that look alike.

import { capital, find, make, plain } from "./dom.js";
import * as track from "./track.js";

const box = find("why");

let shown = null;

export function clear() {
  shown = null;
  find("why-switch").hidden = find("near").hidden = true;
  find("decided").textContent = "";
}

/** Take in an explanation, if there is one; `drawn` says whether there is a spectrogram to show it on. */
export function show(explanation, drawn) {
  clear();
  if (!explanation) return;
  const { label, words, neighbours = [] } = explanation;
  shown = explanation;
  find("why-switch").hidden = !drawn;
  find("decided").textContent = words ? `Most of \u201c${plain(label)}\u201d was in ${words}.` : "";
  if (drawn) highlight();
  find("near").hidden = !neighbours.length;
  find("neighbours").replaceChildren(
    ...neighbours.map((neighbour) =>
      make("li", {}, make("b", { text: capital(plain(neighbour.label)) }), make("span", { text: neighbour.id })),
    ),
  );
}

function highlight() {
  track.highlight(box.checked ? shown : null);
}

box.addEventListener("change", highlight);

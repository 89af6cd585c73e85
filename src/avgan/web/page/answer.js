// The answer: picture, name, how sure, rankings, warnings.

import { answered, capital, find, make, percent, plain, say, sentence } from "./dom.js";

const NUM_BARS = 5;
const NUM_WORDS = 5;
export const UNKNOWN = "unknown";

const question = find("answer").textContent;
const emptyCaption = find("caption").textContent;

let shown = find("picture-a");
let hidden = find("picture-b");

/** The page as it was before the first answer. */
export function clear() {
  find("answer").textContent = question;
  find("spoken").textContent = ""; // or the same answer again would not be said
  find("caption").textContent = emptyCaption;
  for (const id of ["sure", "reason"]) say(find(id), "");
  find("warnings").hidden = true;
  find("rankings").replaceChildren();
  for (const picture of [shown, hidden, find("glow")]) picture.hidden = true;
  find("frame").classList.remove("doubtful");
  document.title = "avgan: where was this recorded?";
}

/** Say that an answer is on its way. */
export function wait(name) {
  find("answer").textContent = "Listening\u2026";
  find("caption").textContent = name;
}

/** Show an answer: the name, or `unknown` with its reason; scenes and sounds {name: probability} from the first. */
export function show(found) {
  const { scene, probability, reason, scenes = {}, sounds = {}, warnings = [], picture } = found;
  const known = scene !== UNKNOWN;
  const guesses = !["silent", "too quiet"].includes(reason); // of silence there is nothing to guess from
  const name = answered(found);
  find("answer").textContent = capital(name);
  const sure = known ? [make("b", { text: percent(probability) }), " sure"] : [];
  const words = wordsOf(found);
  if (words.length) sure.push(known ? " \u00b7 with " : "With ", make("b", { text: words.join(", ") }));
  find("sure").replaceChildren(...sure);
  find("sure").hidden = !sure.length;
  say(find("reason"), known ? "" : `No answer: ${reason.replace(/\.$/, "")}.`);
  find("rankings").replaceChildren(
    ...(known || !guesses ? [] : [make("p", { text: "What it would have guessed:" })]),
    ...ranking("Scenes", guesses ? scenes : {}),
    ...ranking("Sounds", guesses ? sounds : {}),
  );
  find("warnings").replaceChildren(...warnings.map((text) => make("li", { text: sentence(text) })));
  find("warnings").hidden = !warnings.length;
  find("frame").classList.toggle("doubtful", !known);
  if (picture) showPicture(picture, known ? name : "");
  document.title = `${capital(name)} \u2013 avgan`;
}

/** Have a screen reader say an answer, once. */
export function speak(found) {
  const { scene, probability, reason } = found;
  const words = wordsOf(found);
  const others = words.length ? ` With ${words.join(", ")}.` : "";
  const said = scene === UNKNOWN ? `Unknown. ${sentence(reason)}` : `${capital(answered(found))}, ${percent(probability)} sure.`;
  find("spoken").textContent = said + others;
}

/** The sounds beside the answer: several words, or the one sound of a model that knows no more. */
function wordsOf({ scene, sound, sounds = {}, has_words }) {
  // Of a recording `sounds` may rank all that a model knows; of a window those that are told.
  const words = has_words === false ? [sound] : Object.keys(sounds).slice(0, NUM_WORDS);
  return words.filter((word) => word && scene).map(plain);
}

export const pictureAddress = (picture) => `data:image/png;base64,${picture}`;

/** Fade from the picture on show to the next one; both lie on the same place. */
function showPicture(picture, place) {
  const address = pictureAddress(picture);
  [shown, hidden] = [hidden, shown];
  shown.src = find("glow").src = address;
  shown.alt = place ? `The place as the model imagines it: ${place}` : "The model's picture of its best guess";
  hidden.alt = "";
  shown.hidden = find("glow").hidden = false;
  shown.classList.add("current");
  hidden.classList.remove("current");
  find("caption").textContent = place ? `${capital(place)}, imagined from its sound` : "A guess, not an answer";
}

/** The most probable names as a table whose cells are bars; none where there are no names. */
function ranking(caption, probabilities) {
  const rows = Object.entries(probabilities)
    .slice(0, NUM_BARS)
    .map(([name, probability]) => {
      const bar = make("span", { class: "share" });
      bar.style.setProperty("--share", probability);
      return make(
        "tr",
        {},
        make("th", { scope: "row", text: plain(name) }),
        make("td", { "aria-hidden": "true" }, bar),
        make("td", { text: percent(probability) }),
      );
    });
  if (!rows.length) return [];
  return [make("table", {}, make("caption", { text: caption }), make("tbody", {}, ...rows))];
}

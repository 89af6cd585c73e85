// Small helpers for the page's elements and for how names and numbers are written.

export const find = (id) => document.getElementById(id);

/** A new element; `text` is always text, never markup. */
export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Show an element with a text, or hide it where there is none. */
export function say(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

/** "church_outdoor" -> "church outdoor" */
export const plain = (name) => name.replaceAll("_", " ");

/** What is answered: a scene, a group, `unknown`, or for a model that knows no places the sound. */
export const answerOf = ({ scene, sound }) => scene || sound || "";

/** {scene: "transport", within: ["tram", "metro"]} -> "transport: tram or metro" */
export function answered({ scene, sound, within = [] }) {
  const answer = plain(answerOf({ scene, sound }));
  if (!within.length) return answer;
  const names = within.map(plain);
  const last = names.pop();
  return `${answer}: ${names.length ? `${names.join(", ")} or ${last}` : `likely ${last}`}`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** One sentence: a capital first, a full stop last. */
export const sentence = (text) => (text ? capital(text).replace(/[.\s]*$/, ".") : "");

/** 0.814 -> "81 %"; what rounds to nothing is "<1 %", for nothing is ever certain. */
export function percent(probability) {
  if (probability > 0 && probability < 0.005) return "<1\u202f%";
  return `${Math.round(100 * probability)}\u202f%`;
}

/** 62.5 -> "1:02" */
export function clock(time_s) {
  const seconds = Math.max(0, Math.floor(time_s));
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60].map((part) => String(part).padStart(2, "0"));
  const hours = Math.floor(seconds / 3600);
  return hours ? `${hours}:${parts.join(":")}` : parts.join(":").replace(/^0/, "");
}

/** The time of day at a time in a recording that began at "2024-05-01T04:30:00"; nothing where that is not known. */
export function timeOfDay(recorded_at, time_s) {
  const [, hours, minutes, seconds] = /T(\d\d):(\d\d):(\d\d)/.exec(recorded_at ?? "") ?? [];
  if (hours === undefined) return "";
  const second = (3600 * hours + 60 * minutes + Number(seconds) + Math.floor(time_s)) % 86400;
  const parts = [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** 90 -> "90 s", 3600 -> "60 min" */
export const roughly = (time_s) => (time_s <= 120 ? `${Math.round(time_s)}\u202fs` : `${Math.round(time_s / 60)}\u202fmin`);

/** 104857600 -> "100 MB", as the service counts them */
export const megabytes = (num_bytes) => `${Number((num_bytes / 2 ** 20).toFixed(1))}\u202fMB`;

/** Gives each name a hue of its own, far from those given before. */
export function hues() {
  const given = new Map();
  return (name) => {
    if (!given.has(name)) given.set(name, (40 + 137.5 * given.size) % 360);
    return given.get(name);
  };
}

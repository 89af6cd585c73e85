// What model answers, and on what terms.

import { find, make, megabytes, roughly } from "./dom.js";

/** Write the model's name, its terms and the service's limits; what is not known is left out. */
export function showAbout({ name, version, description, data, licences, limits }) {
  find("model-name").textContent = `${name} ${version}`;
  const facts = [`${name} ${version}${description ? `: ${description}` : ""}.`];
  if (licences?.weights) facts.push(`Weights: ${licences.weights}.`);
  for (const source of data ?? []) facts.push(`${source.name}: ${source.licence}`);
  find("about").replaceChildren(...facts.map((text) => make("p", { text })));
  const most = [];
  if (limits?.max_bytes) most.push(megabytes(limits.max_bytes));
  if (limits?.max_duration_s) most.push(roughly(limits.max_duration_s));
  const up_to = most.length ? ` Up to ${most.join(" or ")}.` : "";
  find("limits").textContent = `Any sound or video file.${up_to} Nothing you give it is stored.`;
}

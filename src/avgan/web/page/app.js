// The page: which state it is in, and what leads from one state to the next.

import { showAbout } from "./about.js";
import * as answer from "./answer.js";
import * as api from "./api.js";
import { answerOf, find, megabytes, say, sentence } from "./dom.js";
import { listen } from "./live.js";
import { microphoneProblem } from "./microphone.js";
import * as player from "./player.js";
import { decode } from "./sound.js";
import * as timeline from "./timeline.js";
import * as track from "./track.js";
import * as why from "./why.js";

const LONGEST_RECORDING_S = 600;
const SHORTEST_RECORDING_S = 1;
const HOP_S = 1;
const SLACK_S = 0.1; // browsers decode some milliseconds more than a file holds
const NO_ACCESS = 401;
const WORTH_ANOTHER_TRY = [0, 408, 429, 500, 502, 503, 504]; // 0: no answer at all

let window_s = 5; // how long the model's windows are
let limits = { max_bytes: Infinity, max_duration_s: Infinity };
let job = new AbortController(); // what goes on now; aborted when something else begins
let session = null; // what listens to the microphone now
let again = start; // what failed, to be done again
let paintsMany = false; // whether the model has several pictures of a sound
let paint = null; // paints another picture of what is on show

/** States: start, busy (a file is being answered), answer, live. */
function enter(state) {
  document.body.dataset.state = state;
  find("progress").hidden = state !== "busy";
  find("limits").hidden = state !== "start";
  find("listen").textContent = state === "live" ? "Stop" : "Listen live";
  find("listen").classList.toggle("main", state === "live");
  find("choose").classList.toggle("main", state !== "live");
}

/** Forget what is on show, give up what goes on, and enter a state; the signal tells when that ends. */
function begin(state) {
  job.abort();
  job = new AbortController();
  session?.stop();
  session = null;
  say(find("error"), "");
  for (const id of ["token-form", "retry", "sound", "another"]) find(id).hidden = true;
  for (const part of [answer, timeline, player, track, why]) part.clear();
  enter(state);
  return job.signal;
}

/** Say what went wrong; `retry` does it again, where that may help. */
function fail(error, retry) {
  begin("start");
  again = retry;
  if (error.status === NO_ACCESS) {
    say(find("error"), api.hasToken() ? "This service has another access token." : "");
    find("token-form").hidden = false;
    find("token").focus();
  } else {
    say(find("error"), sentence(error.message));
    find("retry").hidden = !WORTH_ANOTHER_TRY.includes(error.status);
  }
}

/** Ask about a file and show the answer. */
async function analyse(file) {
  const signal = begin("busy");
  if (file.size > limits.max_bytes) {
    const sizes = `${megabytes(file.size)}, while this service takes ${megabytes(limits.max_bytes)}`;
    fail(new Error(`${file.name} has ${sizes}; cut or compress it, then try again`));
    return;
  }
  answer.wait(file.name);
  progress("Sending", 0);
  const opened = player.open(file);
  const seen = showSound(file, opened, signal);
  try {
    const hop_s = (await opened) > window_s + SLACK_S ? HOP_S : undefined; // one window needs no others beside it
    const onSent = (share) => progress(share < 1 ? "Sending" : "Listening", share);
    const found = await api.classify(file, { hop_s, onSent, signal });
    answer.show(found);
    answer.speak(found);
    enter("answer");
    offerAnother(file, hop_s, signal);
    const drawn = await seen;
    if (signal.aborted) return;
    const { scene, segments, duration_s, recorded_at } = found;
    timeline.show(segments, { duration_s, recorded_at, onSeek: player.playable() ? seek : null });
    if (drawn && scene !== answer.UNKNOWN) why.offer(file, { duration_s, signal, moment: () => windowStart(found) });
  } catch (error) {
    if (signal.aborted) return;
    error.message = error.message.replace(/^the recording:/, `${file.name}:`); // the service tells no names
    fail(error, () => analyse(file));
  }
}

/** Let another picture of the same place be painted, as often as one likes. */
function offerAnother(file, hop_s, signal) {
  let number = 0;
  const button = find("another");
  button.hidden = !paintsMany;
  paint = async () => {
    button.disabled = true;
    try {
      const found = await api.classify(file, { hop_s, another: ++number, signal });
      if (!signal.aborted) answer.show(found);
    } catch (error) {
      if (!signal.aborted) say(find("error"), sentence(error.message));
    } finally {
      button.disabled = false;
    }
  };
}

function progress(doing, share) {
  find("doing").textContent = doing;
  if (share < 1) find("bar").value = share;
  else find("bar").removeAttribute("value");
}

/** Show a file's waveform and spectrogram and let it be played, as far as this browser can; says whether it is drawn. */
async function showSound(file, opened, signal) {
  const duration_s = await opened;
  const decoded = await decode(file, duration_s);
  if (signal.aborted) return false;
  find("sound").hidden = false;
  if (decoded) track.draw(decoded);
  const reason = duration_s ? "too long to be drawn here" : "this browser cannot play it; the answer does not depend on that";
  find("sound-note").textContent = decoded ? file.name : `${file.name}: ${reason}`;
  return Boolean(decoded);
}

function seek(time_s) {
  player.seek(time_s);
  why.update();
}

/** Where the window begins that an explanation should be about. */
function windowStart({ scene, sound, duration_s }) {
  const middle_s = timeline.middle(player.position_s(), answerOf({ scene, sound }));
  if (middle_s === undefined) return undefined; // all of it is one scene
  return Math.max(0, Math.min(middle_s - window_s / 2, duration_s - window_s));
}

/** Listen to the microphone until the button is pressed again. */
async function startListening() {
  const signal = begin("live");
  answer.wait("the microphone");
  let drawing = null;
  try {
    const listening = await listen({
      signal,
      longest_s: Math.min(LONGEST_RECORDING_S, limits.max_duration_s),
      most_bytes: limits.max_bytes,
      onBlock(block, rate_hz) {
        drawing ??= new track.LiveTrack(rate_hz);
        drawing.add(block);
      },
      onWindow(found, note) {
        answer.show(found);
        find("sound-note").textContent = note;
        if (timeline.add(found)) answer.speak(found);
      },
      onEnd: (error) => fail(error, startListening),
    });
    if (signal.aborted) return;
    session = listening;
    find("sound-note").textContent = "The first answer takes a few seconds of sound.";
    find("sound").hidden = false;
  } catch (error) {
    if (!signal.aborted) fail(error, startListening);
  }
}

/** What was recorded live is answered once more, as a whole. */
function stopListening() {
  const recording = session?.stop();
  if (recording?.duration_s >= SHORTEST_RECORDING_S) analyse(recording.file("microphone.wav"));
  else begin("start");
}

async function start() {
  try {
    const about = await api.model();
    limits = { ...limits, ...about.limits };
    window_s = about.window_s ?? window_s;
    paintsMany = Boolean(about.noise_size);
    showAbout(about);
  } catch (error) {
    fail(error, start);
  }
}

function take(file) {
  if (file) analyse(file);
}

find("choose").addEventListener("click", () => find("file").click());
find("frame").addEventListener("click", () => document.body.dataset.state === "start" && find("file").click());
find("file").addEventListener("change", () => {
  const [file] = find("file").files;
  take(file);
  find("file").value = ""; // so that the same file may be chosen again
});
find("listen").addEventListener("click", () => (document.body.dataset.state === "live" ? stopListening() : startListening()));
find("cancel").addEventListener("click", () => {
  begin("start");
  find("choose").focus();
});
find("another").addEventListener("click", () => paint?.());
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setToken(find("token").value);
  find("token-form").hidden = true;
  find("choose").focus();
  again();
});
find("retry").addEventListener("click", () => {
  find("choose").focus(); // this button goes
  again();
});

// A file may be dropped anywhere on the page.
let depth = 0; // of the elements that the file has been dragged into
const dragging = (now) => document.body.classList.toggle("dragging", now);
addEventListener("dragenter", () => dragging(++depth > 0));
addEventListener("dragleave", () => dragging(--depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging((depth = 0) > 0);
  take(event.dataTransfer.files[0]);
});

say(find("microphone-note"), microphoneProblem());
find("listen").disabled = Boolean(microphoneProblem());
player.follow(timeline.mark);
start();

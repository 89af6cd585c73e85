"use strict";
// A press on a picture plays its sound, a second press stops it; one plays at a time. The arrows walk from picture to
// picture; while something sounds, the next one sounds as one comes to it.
document.documentElement.classList.add("scripted");
const buttons = [...document.querySelectorAll("button.play")];
const spoken = document.querySelector(".now");
let playing = null;

const soundOf = (button) => button.parentElement.querySelector("audio");

function stop() {
  if (!playing) return;
  const button = playing;
  playing = null;
  soundOf(button).pause();
  button.parentElement.classList.remove("on");
  button.setAttribute("aria-pressed", "false");
  button.style.removeProperty("--heard");
}

function play(button) {
  const again = button === playing;
  stop();
  const sound = soundOf(button);
  if (again || !sound) return;
  playing = button;
  button.parentElement.classList.add("on");
  button.setAttribute("aria-pressed", "true");
  sound.currentTime = 0;
  sound.play().catch(() => {
    if (playing !== button) return;
    stop();
    spoken.textContent = "This sound cannot be played here.";
  });
  const step = () => {
    if (playing !== button) return;
    button.style.setProperty("--heard", sound.duration ? sound.currentTime / sound.duration : 0);
    requestAnimationFrame(step);
  };
  step();
}

for (const button of buttons) {
  button.addEventListener("click", () => play(button));
  soundOf(button)?.addEventListener("ended", () => playing === button && stop());
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return stop();
  const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const from = buttons.indexOf(document.activeElement);
  if (!way || (from < 0 && !playing)) return;
  const next = buttons[(from < 0 ? buttons.indexOf(playing) : from) + way];
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  if (playing) play(next);
});

// The sound drawn along one axis of time: waveform, spectrogram, what decided, and where one is.

import { find } from "./dom.js";
import { extent } from "./sound.js";
import { Analyser, AXIS, COLOURS, NUM_BANDS, analyse, level, mel } from "./spectrogram.js";

const NUM_COLUMNS = 1200;
const WAVE_PX = 120;
const DIMMED = 0.4; // what is left of the light of a sound that did not matter

const wave = find("wave").getContext("2d");
const spectrogram = find("spectrogram").getContext("2d", { willReadFrequently: true });

let drawn = null; // {samples, levels, duration_s} of the recording on show
let saliency = null;

clear();

/** Nothing is drawn. */
export function clear() {
  drawn = saliency = null;
  wave.canvas.hidden = spectrogram.canvas.hidden = true;
}

function blank() {
  clear();
  wave.canvas.hidden = spectrogram.canvas.hidden = false;
  wave.canvas.width = spectrogram.canvas.width = NUM_COLUMNS;
  wave.canvas.height = WAVE_PX;
  spectrogram.canvas.height = NUM_BANDS;
  spectrogram.fillStyle = "#0b0c1e";
  spectrogram.fillRect(0, 0, NUM_COLUMNS, NUM_BANDS);
}

/** Draw a decoded recording, whole. */
export function draw({ samples, rate_hz, duration_s }) {
  blank();
  drawn = { samples, levels: analyse(samples, rate_hz, NUM_COLUMNS), duration_s };
  drawWave();
  drawSpectrogram();
}

/** Let what decided keep its colours and dim the rest; null shows everything alike. */
export function highlight(why) {
  saliency = why;
  if (drawn) drawSpectrogram();
}

function drawWave() {
  wave.clearRect(0, 0, NUM_COLUMNS, WAVE_PX);
  wave.fillStyle = getComputedStyle(wave.canvas).color;
  const { low, high } = extent(drawn.samples, NUM_COLUMNS);
  const loudest = Math.max(0.02, ...high, ...low.map((value) => -value));
  const scale = (WAVE_PX / 2 - 2) / loudest;
  for (let column = 0; column < NUM_COLUMNS; column++) {
    const top = WAVE_PX / 2 - high[column] * scale;
    wave.fillRect(column, top, 1, Math.max(1, (high[column] - low[column]) * scale));
  }
}

function drawSpectrogram() {
  const image = spectrogram.createImageData(NUM_COLUMNS, NUM_BANDS);
  const weight = saliency ? sampler(saliency) : () => 1;
  for (let column = 0; column < NUM_COLUMNS; column++) {
    const time_s = ((column + 0.5) / NUM_COLUMNS) * drawn.duration_s;
    for (let band = 0; band < NUM_BANDS; band++) {
      const value = drawn.levels[column * NUM_BANDS + band];
      paint(image.data, (NUM_BANDS - 1 - band) * NUM_COLUMNS + column, value, weight(time_s, band));
    }
  }
  spectrogram.putImageData(image, 0, 0);
}

/** Colour a pixel by its level; where it did not decide, grey and dark. */
function paint(pixels, place, value, weight) {
  const colour = 3 * Math.round(255 * value);
  const [red, green, blue] = COLOURS.subarray(colour, colour + 3);
  const grey = 0.3 * red + 0.55 * green + 0.15 * blue;
  const light = DIMMED + (1 - DIMMED) * weight;
  pixels[4 * place] = light * (grey + weight * (red - grey));
  pixels[4 * place + 1] = light * (grey + weight * (green - grey));
  pixels[4 * place + 2] = light * (grey + weight * (blue - grey));
  pixels[4 * place + 3] = 255;
}

/**
 * A function (time, band) -> how much it decided, 0 to 1, between the cells of `saliency` (F rows of T, low bands
 * first), whose middles in time are `times_s` (T) and whose borders in frequency `bands_hz` (F + 1).
 */
function sampler({ saliency, times_s, bands_hz }) {
  const grid = softened(saliency);
  const low = mel(AXIS.lowest_hz);
  const step = (mel(AXIS.highest_hz) - low) / (NUM_BANDS + 1);
  const borders = bands_hz.map(mel);
  const rows = Array.from({ length: NUM_BANDS }, (_, band) => {
    const pitch = low + (band + 1) * step;
    const row = borders.findIndex((border) => border > pitch) - 1;
    return row < 0 ? -1 : row + (pitch - borders[row]) / (borders[row + 1] - borders[row]) - 0.5;
  });
  const step_s = times_s.length > 1 ? times_s[1] - times_s[0] : Infinity;
  return (time_s, band) => {
    const column = (time_s - times_s[0]) / step_s;
    if (rows[band] === -1 || column < -1 || column > times_s.length) return 0;
    const [y, x] = [clamp(rows[band], grid.length - 1), clamp(column, times_s.length - 1)];
    const [top, left] = [Math.floor(y), Math.floor(x)];
    const [below, right] = [Math.min(top + 1, grid.length - 1), Math.min(left + 1, times_s.length - 1)];
    const above = grid[top][left] + (x - left) * (grid[top][right] - grid[top][left]);
    const under = grid[below][left] + (x - left) * (grid[below][right] - grid[below][left]);
    return Math.min(1, above + (y - top) * (under - above));
  };
}

/** What speaks for the answer, from 0 to 1, the steps between its cells smoothed, the weak lifted for the eye. */
function softened(saliency) {
  const rows = smoothed(saliency.map((row) => smoothed(row.map((value) => [Math.max(0, value)]), 12).map(([value]) => value)), 2);
  const largest = Math.max(1e-6, ...rows.map((row) => Math.max(...row)));
  return rows.map((row) => row.map((value) => (value / largest) ** 0.75));
}

/** The mean of each row (an array) with its `reach` neighbours on both sides. */
function smoothed(rows, reach) {
  return rows.map((row, n) => {
    const near = rows.slice(Math.max(0, n - reach), n + reach + 1);
    return row.map((_, place) => near.reduce((sum, other) => sum + other[place], 0) / near.length);
  });
}

const clamp = (value, last) => Math.max(0, Math.min(last, value));

/** A track that is drawn while it sounds and moves to the left; `shown_s` fit on it. */
export class LiveTrack {
  constructor(rate_hz, shown_s = 30) {
    blank();
    this.#analyser = new Analyser(rate_hz);
    this.#step = Math.round((rate_hz * shown_s) / NUM_COLUMNS);
  }

  #analyser;
  #step;
  #samples = new Float32Array(0);
  #peak_db = -45;
  #loudest = 0.05;

  /** Draw a block. */
  add(block) {
    const samples = new Float32Array(this.#samples.length + block.length);
    samples.set(this.#samples);
    samples.set(block, this.#samples.length);
    const num_columns = Math.max(0, Math.floor((samples.length - this.#analyser.size) / this.#step));
    if (num_columns) this.#scroll(num_columns);
    for (let n = 0; n < num_columns; n++) this.#column(samples, n, NUM_COLUMNS - num_columns + n);
    this.#samples = samples.slice(num_columns * this.#step);
  }

  #scroll(num_columns) {
    for (const context of [wave, spectrogram]) {
      context.globalCompositeOperation = "copy";
      context.drawImage(context.canvas, -num_columns, 0);
      context.globalCompositeOperation = "source-over";
    }
  }

  #column(samples, n, column) {
    const bands = this.#analyser.bands(samples, n * this.#step);
    this.#peak_db = Math.max(this.#peak_db, ...bands);
    const image = spectrogram.createImageData(1, NUM_BANDS);
    bands.forEach((value, band) => paint(image.data, NUM_BANDS - 1 - band, level(value, this.#peak_db), 1));
    spectrogram.putImageData(image, column, 0);
    const part = extent(samples.subarray(n * this.#step, (n + 1) * this.#step), 1);
    const reach = Math.max(part.high[0], -part.low[0]);
    this.#loudest = Math.max(this.#loudest, reach);
    const height = Math.max(1, (reach / this.#loudest) * (WAVE_PX - 4));
    wave.fillStyle = getComputedStyle(wave.canvas).color;
    wave.fillRect(column, (WAVE_PX - height) / 2, 1, height);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn && drawWave());

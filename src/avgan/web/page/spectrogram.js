// How loud each pitch is at each time, computed in the browser, and its colours.

const LOWEST_HZ = 60;
const HIGHEST_HZ = 8000;
const RANGE_DB = 75;
const QUIETEST_PEAK_DB = -30; // silence stays dark, it is not blown up to noise

export const NUM_BANDS = 128;
export const AXIS = { lowest_hz: LOWEST_HZ, highest_hz: HIGHEST_HZ };

// Lightness rises evenly from one colour to the next, so that louder is lighter for every eye.
const ANCHORS = ["0b0c1e", "1d2153", "3d2f86", "743b94", "ac4a88", "dd646f", "f58f5c", "fbc573", "fdf6c9"];

export const mel = (frequency_hz) => 2595 * Math.log10(1 + frequency_hz / 700);
const hertz = (pitch_mel) => 700 * (10 ** (pitch_mel / 2595) - 1);

/** The power of each pitch in a frame of samples, in decibels, low pitches first. */
export class Analyser {
  constructor(rate_hz) {
    this.size = 2 ** Math.round(Math.log2(rate_hz * 0.064));
    this.#window = Float64Array.from({ length: this.size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / this.size));
    this.#bands = triangles(rate_hz, this.size);
    this.#real = new Float64Array(this.size);
    this.#imaginary = new Float64Array(this.size);
  }

  #window;
  #bands;
  #real;
  #imaginary;

  /** Bands (NUM_BANDS,) of the frame that starts at `start`; what lies outside the samples is silence. */
  bands(samples, start) {
    const real = this.#real;
    const imaginary = this.#imaginary.fill(0);
    for (let n = 0; n < this.size; n++) real[n] = this.#window[n] * (samples[start + n] ?? 0);
    transform(real, imaginary);
    const levels = new Float32Array(NUM_BANDS);
    this.#bands.forEach(({ first, weights }, band) => {
      let power = 1e-12;
      weights.forEach((weight, n) => (power += weight * (real[first + n] ** 2 + imaginary[first + n] ** 2)));
      levels[band] = 10 * Math.log10(power) - 20 * Math.log10(this.size / 4);
    });
    return levels;
  }
}

/** Levels in [0, 1] of a whole recording, `num_columns` frames of NUM_BANDS, the loudest 1. */
export function analyse(samples, rate_hz, num_columns) {
  const analyser = new Analyser(rate_hz);
  const decibels = new Float32Array(num_columns * NUM_BANDS);
  const step = samples.length / num_columns;
  let peak_db = QUIETEST_PEAK_DB;
  for (let column = 0; column < num_columns; column++) {
    const bands = analyser.bands(samples, Math.round((column + 0.5) * step - analyser.size / 2));
    decibels.set(bands, column * NUM_BANDS);
    peak_db = bands.reduce((a, b) => Math.max(a, b), peak_db);
  }
  return decibels.map((value) => level(value, peak_db));
}

export const level = (decibels, peak_db) => Math.min(1, Math.max(0, 1 + (decibels - peak_db) / RANGE_DB));

/** Colour of each level: 256 x 3. */
export const COLOURS = (() => {
  const anchors = ANCHORS.map((hex) => [0, 2, 4].map((n) => parseInt(hex.slice(n, n + 2), 16)));
  const colours = new Uint8ClampedArray(256 * 3);
  for (let n = 0; n < 256; n++) {
    const place = (n / 255) * (anchors.length - 1);
    const below = Math.min(anchors.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c++) {
      colours[3 * n + c] = anchors[below][c] + (place - below) * (anchors[below + 1][c] - anchors[below][c]);
    }
  }
  return colours;
})();

/** Triangular bands spaced as hearing spaces them, at least two bins wide or low ones would fall between bins. */
function triangles(rate_hz, size) {
  const bin_hz = rate_hz / size;
  const low = mel(LOWEST_HZ);
  const step = (mel(HIGHEST_HZ) - low) / (NUM_BANDS + 1);
  return Array.from({ length: NUM_BANDS }, (_, band) => {
    const centre_hz = hertz(low + (band + 1) * step);
    const half_hz = Math.max(centre_hz - hertz(low + band * step), bin_hz);
    const first = Math.max(0, Math.ceil((centre_hz - half_hz) / bin_hz));
    const last = Math.min(size / 2, Math.floor((centre_hz + half_hz) / bin_hz));
    const weights = [];
    for (let bin = first; bin <= last; bin++) weights.push(Math.max(0, 1 - Math.abs(bin * bin_hz - centre_hz) / half_hz));
    const total = weights.reduce((a, b) => a + b, 0) || 1;
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

/** Fourier transform in place; the length is a power of two. */
export function transform(real, imaginary) {
  const size = real.length;
  for (let n = 1, reversed = 0; n < size; n++) {
    let bit = size >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (n < reversed) {
      [real[n], real[reversed]] = [real[reversed], real[n]];
      [imaginary[n], imaginary[reversed]] = [imaginary[reversed], imaginary[n]];
    }
  }
  for (let span = 2; span <= size; span <<= 1) {
    const half = span >> 1;
    for (let k = 0; k < half; k++) {
      const cosine = Math.cos((2 * Math.PI * k) / span);
      const sine = -Math.sin((2 * Math.PI * k) / span);
      for (let even = k; even < size; even += span) {
        const odd = even + half;
        const a = real[odd] * cosine - imaginary[odd] * sine;
        const b = real[odd] * sine + imaginary[odd] * cosine;
        real[odd] = real[even] - a;
        imaginary[odd] = imaginary[even] - b;
        real[even] += a;
        imaginary[even] += b;
      }
    }
  }
}

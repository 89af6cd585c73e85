"""Sounds that a model of places must refuse, made from nothing: silence, tones, noise, music and speech-like babble.

Everything follows from a seed. There are two sides, `choose` and `test`, which share no sound: every parameter's range
is cut into cells that go to the one and the other in turn, and so are lists of timbres, scales and patterns. What was
chosen by looking at one side is measured on the other. Synthesised music and speech stand in for real ones; they are
harder to tell from alarms and animals than an orchestra or a newsreader would be, and are no proof about these.

Shapes: L samples, M clips.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np

from avgan.audio import SILENT_PEAK

Side = Literal["choose", "test"]
T = TypeVar("T")

NUM_CELLS = 12
"""Into which the range of a parameter is cut; the even ones are for `choose`, the odd ones for `test`."""
PEAKS_DB = (-20.0, -1.0)


class Dice:
    """Draws parameters from the half of each range that belongs to a side."""

    def __init__(self, rng: np.random.Generator, side: Side) -> None:
        self.rng = rng
        self._odd = int(side == "test")

    def uniform(self, low: float, high: float) -> float:
        """A number from the side's cells of [low, high)."""
        cell = 2 * self.rng.integers(NUM_CELLS // 2) + self._odd
        return float(low + (high - low) * (cell + self.rng.random()) / NUM_CELLS)

    def log_uniform(self, low: float, high: float) -> float:
        """The same for a positive range whose octaves count alike."""
        return float(np.exp(self.uniform(np.log(low), np.log(high))))

    def pick(self, options: Sequence[T]) -> T:
        """One of the side's options: every other one."""
        own = options[self._odd :: 2]
        return own[int(self.rng.integers(len(own)))]


def make(
    kind: str, num: int, *, side: Side, seed: int = 0, rate_hz: int = 16_000, duration_s: float = 5.0
) -> np.ndarray:
    """(M, L) float32 in [-1, 1]: `num` sounds of a kind (a name of KINDS); more of them begin with the fewer."""
    rows = np.empty((num, round(duration_s * rate_hz)), np.float32)
    times_s = np.arange(rows.shape[1]) / rate_hz
    for index in range(num):
        rng = np.random.default_rng([seed, index, side == "test", *kind.encode()])
        rows[index] = KINDS[kind](Dice(rng, side), times_s, rate_hz)
    return rows


def clip_badly(waveform: np.ndarray, dice: Dice) -> np.ndarray:
    """A recording (L,) as an overdriven input leaves it: its peak 20 to 40 dB over full scale, then cut off."""
    peak = float(np.abs(waveform).max(initial=1e-6))
    driven = waveform * (10 ** (dice.uniform(20, 40) / 20) / peak)
    return driven.clip(-1, 1).astype(np.float32)


def cut_short(waveform: np.ndarray, dice: Dice, rate_hz: int) -> np.ndarray:
    """The loudest 10 to 50 ms of a recording (L,): a click."""
    return loudest(waveform, round(dice.log_uniform(0.01, 0.05) * rate_hz))


def loudest(waveform: np.ndarray, num_samples: int) -> np.ndarray:
    """The stretch of a waveform (L,), so many samples long, that holds the most energy."""
    if num_samples >= len(waveform):
        return waveform
    energy = np.concatenate(([0.0], np.cumsum(waveform.astype(np.float64) ** 2)))
    start = int((energy[num_samples:] - energy[:-num_samples]).argmax())
    return waveform[start : start + num_samples]


def _silence(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """Digital zero, or the last bit of a converter with nothing at its input."""
    level = dice.pick((0.0, 0.0, 0.1, 0.3, 0.2, 0.5)) * SILENT_PEAK
    return level * dice.rng.uniform(-1, 1, len(times_s))


def _tones(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """One or several tones: steady, square, swept, or beating."""
    total = np.zeros(len(times_s))
    for _ in range(int(dice.rng.integers(1, 4))):
        frequency_hz = dice.log_uniform(80, 6_000)
        shape = dice.pick(("sine", "square", "beating", "swept", "sine", "sine"))
        ratio = dice.log_uniform(0.4, 2.5) if shape == "swept" else 1.0
        along = times_s / times_s[-1]
        phase = 2 * np.pi * np.cumsum(frequency_hz * ratio**along) / rate_hz
        tone = np.sin(phase + dice.rng.uniform(0, 2 * np.pi))
        if shape == "square":
            tone = np.sign(tone) * 0.7
        elif shape == "beating":
            tone *= 0.5 + 0.5 * np.sin(2 * np.pi * dice.log_uniform(0.5, 15) * times_s)
        total += tone * 10 ** (dice.uniform(-12, 0) / 20)
    return _at_level(total, dice)


def _noise(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """Noise whose power falls by 0 (white) to 6 (brown) dB an octave, the whole or a band of it."""
    exponent = dice.uniform(0.0, 2.0)
    low_hz = dice.pick((20.0, 20.0, 300.0, 1_000.0))
    high_hz = dice.pick((rate_hz / 2, rate_hz / 2, 2_000.0, 4_000.0))

    def gain(frequencies_hz: np.ndarray) -> np.ndarray:
        band = (frequencies_hz >= low_hz) & (frequencies_hz <= high_hz)
        return band * np.maximum(frequencies_hz, low_hz) ** (-exponent / 2)

    return _at_level(_shaped_noise(dice, len(times_s), rate_hz, gain), dice)


def _hum(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mains hum and its harmonics over a little noise."""
    frequency_hz = dice.pick((50.0, 60.0)) * dice.uniform(0.999, 1.001)
    total = np.zeros(len(times_s))
    fall = dice.uniform(0.8, 2.5)
    for harmonic in range(1, 24):
        size = harmonic**-fall * dice.rng.uniform(0.3, 1)
        phase = dice.rng.uniform(0, 2 * np.pi)
        total += size * np.sin(2 * np.pi * harmonic * frequency_hz * times_s + phase)
    noise = dice.rng.standard_normal(len(times_s)) * 10 ** (dice.uniform(-60, -30) / 20)
    return _at_level(total + noise, dice)


TIMBRES: tuple[dict[str, float], ...] = (
    {"fall": 1.0, "attack_s": 0.005, "decay_s": 0.4, "stretch": 2e-4, "vibrato": 0.0},  # plucked
    {"fall": 1.6, "attack_s": 0.003, "decay_s": 0.9, "stretch": 4e-4, "vibrato": 0.0},  # piano
    {"fall": 0.7, "attack_s": 0.08, "decay_s": 9.0, "stretch": 0.0, "vibrato": 0.004},  # bowed
    {"fall": 2.2, "attack_s": 0.05, "decay_s": 9.0, "stretch": 0.0, "vibrato": 0.006},  # flute
    {"fall": 0.5, "attack_s": 0.04, "decay_s": 5.0, "stretch": 0.0, "vibrato": 0.002},  # brass
    {"fall": 1.2, "attack_s": 0.02, "decay_s": 9.0, "stretch": 0.0, "vibrato": 0.0},  # organ
    {"fall": 1.5, "attack_s": 0.002, "decay_s": 0.6, "stretch": 6e-3, "vibrato": 0.0},  # mallet
    {"fall": 1.0, "attack_s": 0.01, "decay_s": 2.0, "stretch": 0.0, "vibrato": 0.003},  # synthesiser
)
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 11), (0, 3, 7, 10), (0, 5, 7), (0, 4, 7, 9))
ROOTS = ((0, 5, 7, 0), (0, 9, 5, 7), (0, 7, 9, 5), (0, 3, 8, 10), (0, 2, 7, 0), (0, 10, 5, 0))
BEATS = ("x...x...x...x...", "x..x..x...x..x..", "x...x..x..x.x...", "x.x...x.x...x.x.")


def _music(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """Four chords with bass, an arpeggio and, half of the time, drums, in a room."""
    beat_s = 60 / dice.uniform(70, 160)
    key_hz = dice.log_uniform(110, 220)
    lead, pad = dice.pick(TIMBRES), dice.pick(TIMBRES)
    roots, chord = dice.pick(ROOTS), dice.pick(CHORDS)
    total = np.zeros(len(times_s))
    num_beats = int(times_s[-1] / beat_s) + 1
    for beat in range(num_beats):
        root = roots[(beat // 4) % len(roots)]
        start = round(beat * beat_s * rate_hz)
        if beat % 4 == 0:
            for step in chord:
                note = _note(dice, key_hz * 2 ** ((root + step) / 12), 4 * beat_s, pad, rate_hz)
                _add(total, 0.25 * note, start)
            _add(total, 0.5 * _note(dice, key_hz * 2 ** (root / 12 - 1), 3 * beat_s, pad, rate_hz), start)
        for half in range(2):
            step = root + chord[int(dice.rng.integers(len(chord)))] + 12
            note = _note(dice, key_hz * 2 ** (step / 12), beat_s / 2, lead, rate_hz)
            _add(total, 0.5 * note, start + round(half * beat_s / 2 * rate_hz))
    if dice.rng.random() < 0.5:
        total += _drums(dice, beat_s, len(times_s), rate_hz)
    return _at_level(_in_a_room(dice, total, rate_hz), dice)


def _note(dice: Dice, frequency_hz: float, length_s: float, timbre: dict[str, float], rate_hz: int) -> np.ndarray:
    """A note (L,) with the partials and the envelope of its timbre."""
    times_s = np.arange(round(length_s * rate_hz)) / rate_hz
    wobble = timbre["vibrato"] * np.sin(2 * np.pi * 5.5 * times_s)
    phase = 2 * np.pi * np.cumsum(frequency_hz * (1 + wobble)) / rate_hz
    note = np.zeros(len(times_s))
    for partial in range(1, 13):
        ratio = partial * np.sqrt(1 + timbre["stretch"] * partial**2)
        if frequency_hz * ratio < 0.45 * rate_hz:
            note += partial ** -timbre["fall"] * np.sin(ratio * phase + dice.rng.uniform(0, 6.28))
    rise = np.minimum(times_s / timbre["attack_s"], 1)
    end = np.minimum((length_s - times_s) / 0.02, 1)
    return note * rise * end * np.exp(-times_s / timbre["decay_s"])


def _drums(dice: Dice, beat_s: float, num_samples: int, rate_hz: int) -> np.ndarray:
    """Kick, snare and hat by a pattern of sixteenths, (L,)."""
    total = np.zeros(num_samples)
    times_s = np.arange(round(0.3 * rate_hz)) / rate_hz
    fall_hz = dice.log_uniform(90, 200)
    kick = np.sin(2 * np.pi * np.cumsum(45 + fall_hz * np.exp(-times_s / 0.03)) / rate_hz)
    kick *= np.exp(-times_s / dice.uniform(0.06, 0.15))
    hiss = dice.rng.standard_normal((2, len(times_s)))
    snare = (hiss[0] + np.sin(2 * np.pi * 190 * times_s)) * np.exp(-times_s / dice.uniform(0.04, 0.1))
    hat = np.diff(hiss[1], prepend=0.0) * np.exp(-times_s / dice.uniform(0.01, 0.04))
    beats = dice.pick(BEATS)
    for step in range(int(num_samples / rate_hz / (beat_s / 4)) + 1):
        start = round(step * beat_s / 4 * rate_hz)
        if beats[step % 16] == "x":
            _add(total, 0.9 * kick, start)
        if step % 8 == 4:
            _add(total, 0.4 * snare, start)
        if step % 2 == 0:
            _add(total, 0.15 * hat, start)
    return total


VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (440, 1020, 2240),
    (660, 1720, 2410),
    (490, 1350, 1690),
)
"""First three formants in hertz, after Peterson and Barney (1952)."""
FRICATIVES_HZ = (4_500.0, 2_600.0, 6_000.0, 1_500.0)
"""Middles of the noise of consonants."""


def _speech(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """Babble: syllables of a consonant's noise and a voiced vowel, in phrases with pauses, in a room."""
    voice_hz = dice.log_uniform(85, 260)
    tract = (voice_hz / 130) ** 0.25  # a higher voice has a shorter tract, so higher formants
    frames_s = np.arange(0, times_s[-1] + 0.01, 0.01)
    pitch, loud, hiss = (np.full(len(frames_s), voice_hz), np.zeros(len(frames_s)), np.zeros(len(frames_s)))
    formants = np.tile(np.array(VOWELS[0], float), (len(frames_s), 1))
    at_s, phrase_end_s, middle_hz = dice.uniform(0, 0.4), 0.0, FRICATIVES_HZ[0]
    phrase_start_s = at_s
    while at_s < times_s[-1]:
        if at_s >= phrase_end_s:
            at_s += dice.uniform(0.15, 0.6) if phrase_end_s else 0.0
            phrase_start_s, phrase_end_s = at_s, at_s + dice.uniform(0.8, 2.4)
        length_s = 1 / dice.uniform(3, 7)
        own = (frames_s >= at_s) & (frames_s < at_s + length_s)
        within = (frames_s[own] - at_s) / length_s
        slope = 1.15 - 0.3 * (frames_s[own] - phrase_start_s) / (phrase_end_s - phrase_start_s)
        pitch[own] = voice_hz * slope * (1 + 0.08 * np.sin(np.pi * within) * dice.rng.normal())
        loud[own] = np.sin(np.pi * np.clip((within - 0.2) / 0.8, 0, 1)) ** 0.5 * dice.rng.uniform(0.4, 1)
        hiss[own] = (within < 0.25) * dice.rng.uniform(0, 0.5)
        formants[own] = np.array(dice.pick(VOWELS)) * tract
        middle_hz = dice.pick(FRICATIVES_HZ)
        at_s += length_s
    smooth = np.hanning(9) / np.hanning(9).sum()
    formants = np.stack([np.convolve(np.pad(row, 4, "edge"), smooth, "valid") for row in formants.T])
    voiced = _voice(pitch, loud, formants, frames_s, times_s, rate_hz)

    def gain(frequencies_hz: np.ndarray) -> np.ndarray:
        return np.exp(-((np.log2(np.maximum(frequencies_hz, 1) / middle_hz)) ** 2) / 0.5)

    consonants = _shaped_noise(dice, len(times_s), rate_hz, gain)
    total = voiced + np.interp(times_s, frames_s, hiss) * consonants * 0.3
    return _at_level(_in_a_room(dice, total, rate_hz), dice)


def _voice(
    pitch: np.ndarray, loud: np.ndarray, formants: np.ndarray, frames_s: np.ndarray, times_s: np.ndarray, rate_hz: int
) -> np.ndarray:
    """Harmonics of a pitch, as loud as three formants (3, frames) make them: (L,)."""
    phase = 2 * np.pi * np.cumsum(np.interp(times_s, frames_s, pitch)) / rate_hz
    total = np.zeros(len(times_s))
    for harmonic in range(1, int(5_000 / pitch.min()) + 1):
        at_hz = harmonic * pitch
        width_hz = 50 + formants / 20
        resonance = (1 / (1 + ((at_hz - formants) / width_hz) ** 2)).sum(0)
        size = loud * resonance * harmonic**-0.8 * (at_hz < 0.45 * rate_hz)
        total += np.interp(times_s, frames_s, size) * np.sin(harmonic * phase)
    return total


def _mixture(dice: Dice, times_s: np.ndarray, rate_hz: int) -> np.ndarray:
    """Two of music, speech, hum and noise, one up to 12 dB below the other."""
    first, second = dice.pick(
        ((_music, _speech), (_speech, _noise), (_speech, _hum), (_music, _noise), (_music, _music), (_speech, _speech))
    )
    low = 10 ** (dice.uniform(-12, 0) / 20)
    parts = [maker(dice, times_s, rate_hz) for maker in (first, second)]
    normal = [part / np.abs(part).max() for part in parts]
    return _at_level(normal[0] + low * normal[1], dice)


def _shaped_noise(dice: Dice, num_samples: int, rate_hz: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Noise (L,) of peak 1 with a spectrum: `gain` of frequencies in hertz."""
    spectrum = np.fft.rfft(dice.rng.standard_normal(num_samples))
    shaped = np.fft.irfft(spectrum * gain(np.fft.rfftfreq(num_samples, 1 / rate_hz)), num_samples)
    peaked: np.ndarray = shaped / np.abs(shaped).max()
    return peaked


def _in_a_room(dice: Dice, dry: np.ndarray, rate_hz: int) -> np.ndarray:
    """A sound (L,) with an exponential tail of reflections."""
    length = round(0.4 * rate_hz)
    tail = dice.rng.standard_normal(length) * np.exp(-np.arange(length) / rate_hz / dice.uniform(0.03, 0.12))
    size = len(dry) + length
    wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)[: len(dry)]
    loudness = np.abs(wet).max() / max(np.abs(dry).max(), 1e-9)
    reflected: np.ndarray = dry + dice.uniform(0, 0.5) * wet / max(loudness, 1e-9)
    return reflected


def _at_level(waveform: np.ndarray, dice: Dice) -> np.ndarray:
    """The waveform (L,) with its peak at one of PEAKS_DB."""
    scaled: np.ndarray = waveform * (10 ** (dice.uniform(*PEAKS_DB) / 20) / np.abs(waveform).max())
    return scaled


def _add(total: np.ndarray, part: np.ndarray, start: int) -> None:
    """Add a part to a total (L,) from a sample on, as far as there is room."""
    stop = min(start + len(part), len(total))
    if stop > start:
        total[start:stop] += part[: stop - start]


KINDS: dict[str, Callable[[Dice, np.ndarray, int], np.ndarray]] = {
    "silence": _silence,
    "tones": _tones,
    "noise": _noise,
    "hum": _hum,
    "music": _music,
    "speech": _speech,
    "mixture": _mixture,
}
"""What can be made from nothing; `clip_badly` and `cut_short` spoil recordings."""

"""Recordings made with numpy alone, so that there is something to hear where no microphone is.

Each is a function from a random generator to a waveform (L,), registered under the sound's name.
Shapes: L samples.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from avgan.errors import AvganError

RATE_HZ = 32_000
DURATION_S = 10.0
NUM_SAMPLES = round(RATE_HZ * DURATION_S)
SEED = 2019
PEAK = 0.8

TIME_S = np.arange(NUM_SAMPLES) / RATE_HZ

Rng = np.random.Generator
RECORDINGS: dict[str, Callable[[Rng], np.ndarray]] = {}


def recording(make: Callable[[Rng], np.ndarray]) -> Callable[[Rng], np.ndarray]:
    """Register a recording under its function's name."""
    RECORDINGS[make.__name__] = make
    return make


def write_recordings(folder: Path) -> list[Path]:
    """Write every recording as a 16-bit WAV file; the same bytes each time. Raises AvganError."""
    paths = []
    for name, make in RECORDINGS.items():
        path = folder / f"{name.replace('_', '-')}.wav"
        waveform = make(np.random.default_rng((SEED, *name.encode())))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, PEAK * waveform / np.abs(waveform).max(), RATE_HZ)
        except (OSError, soundfile.SoundFileError) as error:
            raise AvganError(f"{folder}: cannot be written ({error}); choose another place") from None
        paths.append(path)
    return paths


# Building blocks


def noise(
    rng: Rng, low_hz: float, high_hz: float, *, slope_db: float = 0.0, num_samples: int = NUM_SAMPLES
) -> np.ndarray:
    """Noise (L,) of loudness 1 between two frequencies, soft at the edges, `slope_db` per octave."""
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / RATE_HZ)
    frequency_hz[0] = frequency_hz[1]
    gain = 10 ** (slope_db * np.log2(frequency_hz / low_hz) / 20)
    gain /= np.sqrt(1 + (low_hz / frequency_hz) ** 6) * np.sqrt(1 + (frequency_hz / high_hz) ** 6)
    shaped = np.fft.irfft(np.fft.rfft(rng.standard_normal(num_samples)) * gain, num_samples)
    return shaped / np.sqrt(np.mean(shaped**2))


def slow(rng: Rng, changes_hz: float, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """A curve (L,) that wanders between two values, turning about `changes_hz` times a second."""
    num_points = max(4, round(DURATION_S * changes_hz) + 3)
    points = rng.uniform(low, high, num_points)
    position = np.linspace(0, num_points - 1.001, NUM_SAMPLES)
    before = position.astype(int)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - before))
    return points[before] * (1 - blend) + points[before + 1] * blend


def ring(frequencies_hz: np.ndarray, decays_s: np.ndarray, strengths: np.ndarray, rng: Rng) -> np.ndarray:
    """What a struck thing sounds like: sines (one each) that die away at their own pace."""
    times_s = np.arange(round(RATE_HZ * 5 * decays_s.max())) / RATE_HZ
    phases = rng.uniform(0, 2 * np.pi, len(frequencies_hz))
    waves = np.sin(2 * np.pi * frequencies_hz[:, None] * times_s + phases[:, None])
    return (strengths[:, None] * waves * np.exp(-times_s / decays_s[:, None])).sum(0)


def burst(rng: Rng, low_hz: float, high_hz: float, decay_s: float, *, attack_s: float = 0.0) -> np.ndarray:
    """A short rush of noise that sets in within `attack_s` and dies away."""
    times_s = np.arange(max(64, round(RATE_HZ * (attack_s + 6 * decay_s)))) / RATE_HZ
    rise = np.minimum(1, times_s / attack_s) if attack_s else 1
    shape = rise * np.exp(-np.maximum(0, times_s - attack_s) / decay_s)
    return noise(rng, low_hz, high_hz, num_samples=len(times_s)) * shape


def thud(rng: Rng, low_hz: float, high_hz: float, decay_s: float) -> np.ndarray:
    """What a knocked board sounds like: too many resonances for a pitch, the high ones shorter."""
    frequencies_hz = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), 40))
    decays_s = decay_s * (low_hz / frequencies_hz) ** 0.6 * rng.uniform(0.6, 1.4, 40)
    return ring(frequencies_hz, decays_s, (low_hz / frequencies_hz) ** 0.3 / 6, rng)


def mix(track: np.ndarray, sound: np.ndarray, at_s: float, strength: float = 1.0) -> None:
    """Add a sound to a track in place; what would stand beyond its end is lost."""
    start = round(at_s * RATE_HZ)
    end = min(start + len(sound), len(track))
    if start < end:
        track[start:end] += strength * sound[: end - start]


def moments(rng: Rng, rate_hz: float) -> Iterator[float]:
    """Times in s at which something happens by chance, `rate_hz` times a second on average."""
    at_s = rng.exponential(1 / rate_hz)
    while at_s < DURATION_S:
        yield at_s
        at_s += rng.exponential(1 / rate_hz)


def steps(rng: Rng, period_s: float, *, jitter: float = 0.0, start_s: float = 0.3) -> Iterator[float]:
    """Times in s at which something happens regularly, each gap off by up to a share `jitter`."""
    at_s = start_s
    while at_s < DURATION_S:
        yield at_s
        at_s += period_s * (1 + rng.uniform(-jitter, jitter))


def room(rng: Rng, dry: np.ndarray, decay_s: float, wet: float) -> np.ndarray:
    """Put a sound into a room whose echoes die away in `decay_s`; `wet` is their share."""
    times_s = np.arange(round(RATE_HZ * 4 * decay_s)) / RATE_HZ
    echo = rng.standard_normal(len(times_s)) * np.exp(-times_s / decay_s)
    echo *= 1 - np.exp(-times_s / 0.004)
    size = len(dry) + len(echo)
    reflected = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(echo, size), size)[: len(dry)]
    scale = np.sqrt(np.mean(dry**2) / max(np.mean(reflected**2), 1e-20))
    return (1 - wet) * dry + wet * scale * reflected


def tone(frequency_hz: np.ndarray, harmonics: np.ndarray) -> np.ndarray:
    """A tone whose pitch follows `frequency_hz` (L,), with the strengths of its harmonics."""
    phase = 2 * np.pi * np.cumsum(frequency_hz) / RATE_HZ
    return sum((level * np.sin(number * phase) for number, level in enumerate(harmonics, 1)), np.zeros(len(phase)))


# Recordings


@recording
def rain(rng: Rng) -> np.ndarray:
    """Steady rain on leaves and a roof, single drops near the microphone."""
    track = 0.5 * noise(rng, 800, 11_000, slope_db=-1.0) * slow(rng, 1.5, 0.8, 1.0)
    for at_s in moments(rng, 220):
        low_hz = rng.uniform(700, 5_000)
        mix(track, burst(rng, low_hz, 2 * low_hz, 0.0025), at_s, rng.pareto(2.2) * 0.35)
    return track


@recording
def wind(rng: Rng) -> np.ndarray:
    """Gusts that howl around a corner."""
    gust = slow(rng, 0.8, 0.1, 1.0)
    track = gust * noise(rng, 40, 400, slope_db=-3.0)
    for pitch_hz in (280, 340, 420, 520, 640, 790):
        near = np.exp(-0.5 * ((250 + 550 * gust - pitch_hz) / 70) ** 2)
        track += 0.7 * gust * near * noise(rng, 0.94 * pitch_hz, 1.06 * pitch_hz)
    return track + 0.1 * gust**2 * noise(rng, 800, 5_000, slope_db=-2.0)


@recording
def crickets(rng: Rng) -> np.ndarray:
    """Crickets of a summer night, near and far."""
    track = 0.01 * noise(rng, 80, 2_000, slope_db=-3.0) + 0.02 * noise(rng, 3_900, 5_300)
    for _ in range(8):
        pitch_hz, nearness = rng.uniform(4_200, 4_900), rng.uniform(0.1, 0.8)
        pulse_s = rng.uniform(0.011, 0.014)
        times_s = np.arange(round(RATE_HZ * pulse_s)) / RATE_HZ
        glide_hz = pitch_hz * (1.015 - 0.03 * times_s / pulse_s)
        pulse = np.sin(np.pi * times_s / pulse_s) * tone(glide_hz, np.array([1.0, 0.05]))
        num_pulses = int(rng.integers(3, 9))
        for at_s in steps(rng, rng.uniform(0.3, 0.5), jitter=0.04, start_s=rng.uniform(0, 0.5)):
            for number in range(num_pulses):
                mix(track, pulse, at_s + 2 * number * pulse_s, nearness)
    return room(rng, track, 0.15, 0.15)


@recording
def chirping_birds(rng: Rng) -> np.ndarray:
    """Song birds in a wood, each repeating a phrase of its own."""
    track = 0.012 * noise(rng, 150, 6_000, slope_db=-3.0) * slow(rng, 0.5, 0.6, 1.0)
    for _ in range(5):
        nearness = rng.uniform(0.3, 1.0)
        phrase = [(rng.uniform(0.04, 0.14), *rng.uniform(2_300, 6_500, 2)) for _ in range(5)]
        for start_s in steps(rng, rng.uniform(1.3, 2.6), jitter=0.25, start_s=rng.uniform(0, 1.5)):
            at_s = start_s
            for length_s, from_hz, to_hz in phrase:
                share = np.linspace(0, 1, round(RATE_HZ * length_s))
                trill = 1 + 0.03 * np.sin(2 * np.pi * 45 * length_s * share)
                pitch_hz = (from_hz + (to_hz - from_hz) * share**1.5) * trill
                chirp = np.sin(np.pi * share) * tone(pitch_hz, np.array([1.0, 0.12]))
                mix(track, chirp, at_s, nearness)
                at_s += length_s + 0.03
    return room(rng, track, 0.25, 0.2)


@recording
def engine(rng: Rng) -> np.ndarray:
    """A motor that idles, then is revved."""
    revving = np.exp(-0.5 * ((TIME_S - 5.5) / 1.1) ** 2)
    firing_hz = 29 * (1 + 0.02 * slow(rng, 15, -1, 1)) + 60 * revving
    harmonics = rng.uniform(0.4, 1.0, 40) / np.arange(1, 41) ** 0.9
    pulse = 0.5 + 0.5 * tone(firing_hz, np.array([1.0]))
    clatter = (0.3 + pulse**3) * noise(rng, 200, 5_000, slope_db=-2.5)
    half = tone(firing_hz / 2, np.array([0.5, 0.0, 0.4, 0.0, 0.3]))  # no two cylinders are alike
    return (1.3 * tone(firing_hz, harmonics) + half + 0.7 * clatter) * (0.55 + 0.45 * revving)


@recording
def helicopter(rng: Rng) -> np.ndarray:
    """Rotor blades that beat overhead, and the turbine."""
    track = 0.35 * noise(rng, 80, 3_000, slope_db=-2.0)
    for at_s in steps(rng, 1 / 12.5, jitter=0.01, start_s=0.0):
        mix(track, burst(rng, 45, 350, 0.02, attack_s=0.012), at_s, 1.3)
        mix(track, burst(rng, 400, 2_500, 0.014, attack_s=0.01), at_s, 0.5)
    whine = tone(np.full(NUM_SAMPLES, 1_150.0), np.array([1.0, 0.4]))
    return (track + 0.03 * whine) * slow(rng, 0.3, 0.6, 1.0)


@recording
def siren(rng: Rng) -> np.ndarray:
    """An ambulance in the street, wailing."""
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * TIME_S / 3.2)
    pitch_hz = 620 * (1_450 / 620) ** sweep
    wail = tone(pitch_hz, np.array([1.0, 0.5, 0.45, 0.2, 0.15, 0.08, 0.05]))
    street = noise(rng, 50, 1_500, slope_db=-3.5)
    return room(rng, wail * slow(rng, 0.4, 0.6, 1.0) + 0.12 * street, 0.3, 0.35)


@recording
def vacuum_cleaner(rng: Rng) -> np.ndarray:
    """A vacuum cleaner that is pushed to and fro."""
    motor_hz = 245 * (1 + 0.015 * slow(rng, 1.0, -1, 1))
    harmonics = rng.uniform(0.3, 1.0, 26) / np.arange(1, 27) ** 0.4
    air = noise(rng, 200, 10_000, slope_db=-2.0) + 0.5 * noise(rng, 900, 2_000)
    mouth = slow(rng, 1.0, 0.7, 1.0)  # nearer and farther from the floor
    return room(rng, 0.8 * tone(motor_hz, harmonics) + 0.9 * mouth * air, 0.12, 0.35)


@recording
def keyboard_typing(rng: Rng) -> np.ndarray:
    """Someone types, with pauses to think."""
    track = 0.004 * noise(rng, 60, 4_000, slope_db=-3.0)
    busy = slow(rng, 0.7)
    for at_s in steps(rng, 0.12, jitter=0.5):
        if busy[min(round(at_s * RATE_HZ), NUM_SAMPLES - 1)] < 0.22:
            continue
        strength = rng.uniform(0.3, 1.0)
        mix(track, burst(rng, 1_500, 9_000, 0.0025, attack_s=0.0006), at_s, strength)
        mix(track, thud(rng, 500, 6_000, 0.012), at_s + 0.008, 0.8 * strength)
        mix(track, burst(rng, 2_500, 9_000, 0.003), at_s + rng.uniform(0.06, 0.09), 0.4 * strength)
    return room(rng, track, 0.05, 0.2)


@recording
def crackling_fire(rng: Rng) -> np.ndarray:
    """A wood fire: a soft roar, and crackles from tiny to loud."""
    track = 0.18 * noise(rng, 50, 500, slope_db=-2.0) * slow(rng, 3, 0.5, 1.0)
    track += 0.03 * noise(rng, 800, 6_000)
    for at_s in moments(rng, 28):
        low_hz = rng.uniform(900, 5_000)
        decay_s = rng.uniform(0.0008, 0.004)
        mix(track, burst(rng, low_hz, 2.5 * low_hz, decay_s), at_s, min(rng.pareto(1.3) * 0.2, 2.5))
    return track


@recording
def sea_waves(rng: Rng) -> np.ndarray:
    """Waves that swell, break and run out over the sand."""
    rumble, body, foam = noise(rng, 40, 250), noise(rng, 150, 1_200), noise(rng, 1_500, 9_000)
    track = 0.25 * rumble + 0.12 * body + 0.05 * foam
    for at_s in steps(rng, 6.0, jitter=0.15, start_s=-1.0):
        since = TIME_S - at_s - 1.8
        swell = np.where(since < 0, np.exp(since / 0.7), np.exp(-since / 1.1))
        run_out = np.where(since < 0.25, np.exp((since - 0.25) / 0.25), np.exp(-(since - 0.25) / 1.7))
        size = rng.uniform(0.7, 1.2)
        track += size * (0.5 * swell * rumble + 0.9 * swell * body + 0.3 * run_out * foam)
    return track


@recording
def church_bells(rng: Rng) -> np.ndarray:
    """Two heavy bells of a tower, each with the partials that founders tune."""
    partials = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.52, 2.66, 3.01, 4.16, 5.43, 6.8])
    strengths = np.array([0.6, 0.7, 0.9, 0.4, 1.0, 0.5, 0.4, 0.5, 0.4, 0.3, 0.2])
    decays_s = np.array([2.8, 1.6, 1.6, 1.0, 0.9, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    track = 0.05 * noise(rng, 60, 3_000, slope_db=-3.0)
    for pitch_hz, period_s, start_s in ((247, 2.3, 0.2), (277, 1.9, 1.2)):
        beating = np.concatenate([partials * pitch_hz, partials * pitch_hz * 1.003])
        bell = ring(beating, np.tile(decays_s, 2), np.tile(strengths, 2), rng)
        for at_s in steps(rng, period_s, jitter=0.03, start_s=start_s):
            mix(track, bell, at_s, rng.uniform(0.8, 1.0))
            mix(track, burst(rng, 1_000, 5_000, 0.02), at_s, 0.8)
    return room(rng, track, 0.9, 0.35)

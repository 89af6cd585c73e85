"""Coverage-guided fuzzing of the decoder with atheris: whatever bytes come in, a sound or an AudioError of one line.

    python tests/fuzz/seeds.py SEEDS
    python tests/fuzz/harness_audio.py FOUND SEEDS -max_total_time=600 -rss_limit_mb=2000 -timeout=20 -max_len=120000

`FOUND` is a folder for the inputs that reach something new. It stops at the first finding and writes it to
`crash-...`. Guided by the coverage of our own Python and of the decoders' Python
halves; their C halves are not instrumented, so most of what it reaches there it owes to the seeds.
"""

import os
import random
import sys
import tempfile
import warnings

import atheris

with atheris.instrument_imports(include=["avgan", "soundfile", "av"]):
    from avgan.audio import AudioStream
    from avgan.errors import AudioError

import numpy as np

MAX_SAMPLES = 16_000 * 600
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 1_000, 0x7FFF, 0x8000, 0xFFFF, 10**6, 2**31 - 1, 2**31, 2**32 - 1)

printed = tempfile.TemporaryFile()  # noqa: SIM115 (for as long as we live)
standard_error = os.dup(2)


def decode(content: bytes) -> None:
    """Decode, and raise where that breaks its promise."""
    num_samples = 0
    stream = None
    try:
        stream = AudioStream(content)
        for block in stream:
            num_samples += len(block)
            assert block.dtype == np.float32
            assert block.ndim == 1
            assert np.isfinite(block).all()
            if num_samples > MAX_SAMPLES:
                return
        assert num_samples > 0
        assert not any("\n" in warning for warning in stream.warnings)
    except AudioError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        assert "<_io." not in text
        assert len(text) < 400


def test_one_input(content: bytes) -> None:
    files = len(os.listdir("/proc/self/fd"))
    os.dup2(printed.fileno(), 2)
    try:
        decode(content)
    finally:
        os.dup2(standard_error, 2)
    if printed.tell() or printed.seek(0, os.SEEK_END):
        printed.seek(0)
        text = printed.read()
        printed.truncate(0)
        raise AssertionError(f"printed {text!r}")
    assert len(os.listdir("/proc/self/fd")) == files, "a file was left open"


def mutate(content: bytes, max_size: int, seed: int) -> bytes:
    """Every other time a number in the header, else what libFuzzer thinks of."""
    chance = random.Random(seed)
    if chance.random() < 0.5 or len(content) < 16:
        return atheris.Mutate(content, max_size)
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place, size = chance.randrange(min(len(changed), 160)), chance.choice((1, 2, 4, 8))
        number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
        changed[place : place + size] = number.to_bytes(size, chance.choice(("little", "big")))
    return bytes(changed[:max_size])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()

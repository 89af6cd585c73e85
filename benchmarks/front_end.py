"""The log-mel of mn04 in ONNX Runtime: energies by one product in single precision beside an FFT in double.

    python benchmarks/front_end.py

Exports both ways of `LogMel`, and prints their milliseconds for ten seconds on one thread, in turns, the ratio, and the
largest difference on noise and on a tone, which is the hardest case for single precision.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from avgan.features import LogMel
from avgan.networks.trunks.mn04 import mn04_front_end

NUM_SAMPLES = 160_000
NUM_TURNS = 20


def main() -> None:
    """Export, time in turns, compare."""
    sessions = [session_of(by_product) for by_product in (False, True)]
    times = np.linspace(0.0, NUM_SAMPLES / 16_000, NUM_SAMPLES)
    tone = 0.5 * np.sin(2.0 * np.pi * 1_000.0 * times)
    noise = 0.1 * np.random.default_rng(0).standard_normal(NUM_SAMPLES)
    for name, sound in (("tone", tone), ("noise", noise)):
        waveform = sound[None].astype(np.float32)
        spent_s = np.zeros((NUM_TURNS, 2))
        for turn in range(NUM_TURNS):
            answers = []
            for way, session in enumerate(sessions):
                began = time.perf_counter()
                answers.append(session.run(None, {"waveform": waveform})[0])
                spent_s[turn, way] = time.perf_counter() - began
        fft_ms, product_ms = 1e3 * np.median(spent_s, axis=0)
        ratio = np.median(spent_s[:, 0] / spent_s[:, 1])
        apart = np.abs(answers[0] - answers[1]).max()
        print(f"{name}: FFT {fft_ms:.1f} ms, product {product_ms:.1f} ms, {ratio:.2f} times as fast")
        print(f"  largest difference {apart:.1e}")


def session_of(by_product: bool) -> onnxruntime.InferenceSession:
    """The front end in ONNX Runtime, computed one way."""
    front_end = LogMel(mn04_front_end(-25.0)).eval()
    front_end.by_product = by_product
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "front_end.onnx"
        example = torch.zeros(1, NUM_SAMPLES)
        torch.onnx.export(front_end, (example,), path, dynamo=True, input_names=["waveform"], verbose=False)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()

"""What a window costs to hear with the heavy layers in 8 bits, beside the same bundle in single precision.

    avgan export RUN --data DATA -o OUT --int8
    python benchmarks/eight_bits.py OUT OUT-int8

One window of noise, one core, both bundles in turns. Prints the medians and the ratio. What it costs in accuracy is in
the card of the small bundle.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from avgan.runtime.bundle import Bundle, open_bundle
from avgan.runtime.network import Network

ROUNDS = 40


def main() -> None:
    """Time both bundles and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs=2)
    bundles = [open_bundle(path) for path in parser.parse_args().bundles]
    networks = [Network(bundle, num_threads=1) for bundle in bundles]
    window = noise(bundles[0])
    for network in networks:
        network.embed(window)
    rounds = np.array([[seconds(network, window) for network in networks] for _ in range(ROUNDS)])
    print("| bundle | a window, ms |\n|---|---|")
    for bundle, median in zip(bundles, np.median(rounds, axis=0), strict=True):
        print(f"| {bundle.card.name} | {1e3 * median:.1f} |")
    print(f"\nsecond / first: {np.median(rounds[:, 1] / rounds[:, 0]):.2f}")


def noise(bundle: Bundle) -> np.ndarray:
    """A window (1, L) of white noise."""
    size = round(bundle.card.window_s * bundle.card.sample_rate_hz)
    return np.random.default_rng(0).normal(0, 0.1, (1, size)).astype(np.float32)


def seconds(network: Network, window: np.ndarray) -> float:
    """Wall time of hearing a window."""
    began = time.perf_counter()
    network.embed(window)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

"""The table of refusals, on a small data set of ESC-50's layout and the shipped model."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.evaluation.outliers import KINDS
from avgan.evaluation.rejections import CLIPPED, CUT_SHORT, IN_DOMAIN, measure
from avgan.runtime.bundle import installed

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def few_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of three labels and two folds, made of noise bursts."""
    root = tmp_path_factory.mktemp("few")
    rng = np.random.default_rng(0)
    (root / "audio").mkdir()
    rows = []
    for number, label in enumerate(("dog", "rain", "clock_tick") * 2):
        name = f"{number}.wav"
        bursts = np.arange(5 * RATE_HZ) % (4_000 + 1_000 * number) < 1_500
        waveform = 0.2 * rng.standard_normal(RATE_HZ).repeat(5) * bursts
        soundfile.write(root / "audio" / name, waveform, RATE_HZ, subtype="PCM_16")
        fold = 5 if number < 3 else 1
        rows.append([name, fold, number, label, "False", f"source{number}"])
    with (root / "esc50.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file"])
        writer.writerows(rows)
    return root


def test_every_kind_has_its_row(few_clips: Path) -> None:
    found = measure(installed()[0].path, few_clips, num_outliers=2)
    rows = found["refusals"]
    assert list(rows) == [IN_DOMAIN, CLIPPED, CUT_SHORT, *KINDS]
    assert rows[IN_DOMAIN]["num"] == 3
    for row in rows.values():
        assert 0 <= row["interval_95"][0] <= row["refused"] <= row["interval_95"][1] <= 1
        assert sum(row["reasons"].values()) == pytest.approx(row["refused"])
    for kind in ("silence", CLIPPED, CUT_SHORT):
        assert rows[kind]["refused"] == 1
    assert 0 <= found["place_accuracy"] <= 1
    assert json.loads(json.dumps(found))["refusals"].keys() == rows.keys()

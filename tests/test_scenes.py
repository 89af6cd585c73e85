"""The label sets agree with the paper, with each other, and with the data on disk."""

import csv
from pathlib import Path

import pytest

from avgan.data.datasets import DATASETS
from avgan.errors import DataError
from avgan.scenes import DCASE_SCENES, ESC50_CLASSES, ESC50_SCENE, TABLE_1, TAU_SCENE


def test_table_1_has_one_row_for_each_dcase_scene() -> None:
    assert set(TABLE_1) == set(DCASE_SCENES) == set(TAU_SCENE)
    assert list(DCASE_SCENES) == sorted(DCASE_SCENES)


def test_table_1_names_up_to_five_labels_as_the_paper_says() -> None:
    for row in TABLE_1.values():
        assert row.youtube8m
        assert 1 <= len(row.places365) <= 5
        assert 1 <= len(row.audioset) <= 5


def test_esc50_has_fifty_classes_in_the_order_of_its_targets() -> None:
    assert len(ESC50_CLASSES) == 50
    assert (ESC50_CLASSES[0], ESC50_CLASSES[25], ESC50_CLASSES[49]) == ("dog", "footsteps", "hand_saw")


@pytest.mark.parametrize("name", ["esc50", "tau2019"])
def test_every_label_of_a_mapped_data_set_has_a_scene(name: str) -> None:
    scenes = DATASETS[name].scene_of_label
    assert set(scenes) == set(ESC50_CLASSES if name == "esc50" else DCASE_SCENES)
    assert all(scenes.values())


def test_a_data_set_without_a_map_is_a_clear_error() -> None:
    with pytest.raises(DataError, match=r"folder: .*not mapped to scenes.*give videos"):
        _ = DATASETS["folder"].scene_of_label


def test_classes_are_those_of_the_official_table(data_root: Path) -> None:
    with (data_root / "esc50" / "esc50.csv").open(newline="") as file:
        official = {int(row["target"]): row["category"] for row in csv.DictReader(file)}
    assert tuple(official[target] for target in range(50)) == ESC50_CLASSES


def test_every_scene_of_the_maps_has_photographs(data_root: Path) -> None:
    with (data_root / "miniplaces" / "index.csv").open(newline="") as file:
        photographed = {row["scene"] for row in csv.DictReader(file)}
    needed = {place.scene for places in (ESC50_SCENE, TAU_SCENE) for place in places.values()}
    assert needed <= photographed

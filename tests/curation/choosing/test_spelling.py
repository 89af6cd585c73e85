"""Table 1 in the words of the label sets: what is printed is found there, and nothing else is meant."""

from pathlib import Path

import pytest

from avgan.curation.select import AUDIOSET_SPELLING, PLACES365_SPELLING
from avgan.curation.taggers.tagger import read_places
from avgan.networks.trunks.mn04 import tag_names
from avgan.scenes import TABLE_1

Names = tuple[str, ...]


def spelled(names: Names, spelling: dict[str, Names]) -> Names:
    return tuple(dict.fromkeys(label for name in names for label in spelling.get(name, (name,))))


def places(scene: str) -> Names:
    return spelled(TABLE_1[scene].places365, PLACES365_SPELLING)


def sounds(scene: str) -> Names:
    return spelled(TABLE_1[scene].audioset, AUDIOSET_SPELLING)


every_scene = pytest.mark.parametrize("scene", list(TABLE_1))


def test_a_name_is_spelled_as_its_label_set_does() -> None:
    assert sounds("metro") == ("Train wheels squealing", "Subway, metro, underground")
    assert sounds("park") == ("Outside, rural or natural", "Insect", "Bird")
    assert places("airport") == ("airport_terminal",)
    assert places("shopping_mall") == ("shopping_mall/indoor",)
    assert places("bus") == ("bus_interior", "car_interior")
    assert "japanese_garden" in places("park")
    assert set(places("tram")) < set(places("metro")) | {"car_interior"}


@every_scene
def test_no_label_is_named_twice_and_none_is_lost(scene: str) -> None:
    for found, printed in ((places(scene), TABLE_1[scene].places365), (sounds(scene), TABLE_1[scene].audioset)):
        assert len(found) == len(set(found)) >= len(set(printed)) > 0


def test_the_tables_spell_names_that_are_printed_and_no_others() -> None:
    rows = TABLE_1.values()
    assert set(PLACES365_SPELLING) < {name for row in rows for name in row.places365}
    assert set(AUDIOSET_SPELLING) < {name for row in rows for name in row.audioset}


@every_scene
def test_every_label_exists_as_it_is_published(scene: str, data_root: Path) -> None:
    folder = data_root / "weights"
    if not folder.is_dir():
        pytest.skip("the published lists of labels are not in the data folder")
    assert set(places(scene)) <= set(read_places(folder / "categories_places365.txt"))
    assert set(sounds(scene)) <= set(tag_names())


def test_what_a_table_spells_otherwise_is_not_in_the_set_as_printed(data_root: Path) -> None:
    folder = data_root / "weights"
    if not folder.is_dir():
        pytest.skip("the published lists of labels are not in the data folder")
    assert not set(PLACES365_SPELLING) & set(read_places(folder / "categories_places365.txt"))
    assert not set(AUDIOSET_SPELLING) & set(tag_names())

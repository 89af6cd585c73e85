"""Table 1 in the words of the label sets themselves: its names are as printed, theirs are these.

A name that stands in neither table is spelled as printed. Where Places365 has nothing of a name, what it has of the
same thing stands in its place; where it has several, all of them do.
"""

from avgan.errors import DataError
from avgan.scenes import TABLE_1, Table1Row

PLACES365_SPELLING: dict[str, tuple[str, ...]] = {
    "subway_station": ("subway_station/platform",),
    "shopping_mall": ("shopping_mall/indoor",),
    # neither stands alone: only what is seen from within and from the line
    "train": ("train_interior", "train_station/platform", "railroad_track"),
    "tram": ("train_interior", "railroad_track"),
    "car": ("car_interior",),
    "garden": (
        "botanical_garden",
        "formal_garden",
        "japanese_garden",
        "roof_garden",
        "topiary_garden",
        "vegetable_garden",
        "zen_garden",
    ),
    "road": ("desert_road", "field_road", "forest_road"),
}

AUDIOSET_SPELLING: dict[str, tuple[str, ...]] = {
    "Subway metro": ("Subway, metro, underground",),
    "Outside rural or natural": ("Outside, rural or natural",),
}


def places(scene: str) -> tuple[str, ...]:
    """The labels of Places365 that Table 1 asks for in a scene, each once.

    Raises:
        DataError: Table 1 has no such scene.
    """
    return _spelled(_row(scene).places365, PLACES365_SPELLING)


def sounds(scene: str) -> tuple[str, ...]:
    """The labels of AudioSet that Table 1 asks for in a scene, each once.

    Raises:
        DataError: Table 1 has no such scene.
    """
    return _spelled(_row(scene).audioset, AUDIOSET_SPELLING)


def _row(scene: str) -> Table1Row:
    if scene not in TABLE_1:
        raise DataError(f"{scene}: not a scene of Table 1; its scenes are {', '.join(TABLE_1)}")
    return TABLE_1[scene]


def _spelled(names: tuple[str, ...], spelling: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for name in names for label in spelling.get(name, (name,))))

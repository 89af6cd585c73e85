"""Label sets: the tree of scenes, the paper's Table 1, and the place where each sound is heard.

All of it is data. A sound of ESC-50, a scene of TAU or of field recordings is mapped to scenes of photographs
(MiniPlaces), so that recordings and photographs without a common source can be paired by label; `strength` says how
well the place follows from the sound.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

Strength = Literal["strong", "medium", "weak"]


class Table1Row(NamedTuple):
    """One row of the paper's Table 1: what YouTube-8M, Places365 and AudioSet call one scene."""

    youtube8m: str
    places365: tuple[str, ...]
    audioset: tuple[str, ...]


class Place(NamedTuple):
    """A scene of MiniPlaces, and how strongly a sound says that one is there."""

    scene: str
    strength: Strength
    also: tuple[str, ...] = ()
    """Further scenes of photographs that show it as well."""


Group = Literal["indoor", "outdoor", "transport"]
"""Of scenes, as in task 1B of DCASE 2020."""


class Scene(NamedTuple):
    """A scene in the tree: its group, and the scenes of photographs that show it, the best first."""

    group: Group
    photographs: tuple[str, ...]


# Table 1 as printed: its names are kept even where Places365 and AudioSet spell theirs otherwise.
TABLE_1: dict[str, Table1Row] = {
    "airport": Table1Row("Airport terminal", ("airport_terminal",), ("Aircraft", "Rail transport", "Subway metro")),
    "bus": Table1Row("Bus", ("bus_interior", "car_interior"), ("Truck", "Engine", "Bus", "Car", "Train")),
    "metro": Table1Row(
        "New York City Subway", ("subway_station", "train", "car"), ("Train wheels squealing", "Subway metro")
    ),
    "metro_station": Table1Row(
        "Train station", ("train_interior", "subway_station"), ("Train wheels squealing", "Rail transport", "Train")
    ),
    "park": Table1Row("National park", ("park", "garden", "orchard"), ("Outside rural or natural", "Insect", "Bird")),
    "public_square": Table1Row(
        "Times Square", ("picnic_area", "downtown"), ("Engine", "Car", "Vehicle", "Outside rural or natural")
    ),
    "street_traffic": Table1Row("Traffic", ("road", "highway", "street"), ("Motorcycle", "Engine", "Car", "Vehicle")),
    "shopping_mall": Table1Row("Shopping mall", ("shopping_mall",), ("Crowd", "Cheering", "Children shouting")),
    "street_pedestrian": Table1Row("Road", ("road", "crosswalk", "boardwalk", "highway"), ("Engine", "Car", "Vehicle")),
    "tram": Table1Row("Tram", ("tram", "train", "car"), ("Engine", "Subway metro", "Vehicle", "Train")),
}

# DCASE 2019 / TAU Urban Acoustic Scenes, also the names of AV-10; alphabetical as in meta.csv.
DCASE_SCENES: tuple[str, ...] = tuple(sorted(TABLE_1))

# Where each sound of ESC-50 is heard. The order is the data set's own: dog = 0 ... hand_saw = 49.
ESC50_SCENE: dict[str, Place] = {
    # animals
    "dog": Place("yard", "weak"),
    "rooster": Place("yard", "weak"),
    "pig": Place("shed", "weak"),
    "cow": Place("corn_field", "weak"),
    "frog": Place("swamp", "strong"),
    "cat": Place("living_room", "weak"),
    "hen": Place("yard", "weak"),
    "insects": Place("rainforest", "medium"),
    "sheep": Place("mountain", "weak"),
    "crow": Place("cemetery", "weak"),
    # natural soundscapes and water
    "rain": Place("rainforest", "weak"),
    "sea_waves": Place("coast", "strong"),
    "crackling_fire": Place("campsite", "strong"),
    "crickets": Place("golf_course", "weak"),
    "chirping_birds": Place("rainforest", "strong"),
    "water_drops": Place("shower", "weak"),
    "wind": Place("desert_sand", "medium"),
    "pouring_water": Place("kitchen", "strong"),
    "toilet_flush": Place("bathroom", "strong"),
    "thunderstorm": Place("valley", "weak"),
    # human, not speech
    "crying_baby": Place("bedroom", "medium"),
    "sneezing": Place("hospital_room", "weak"),
    "clapping": Place("auditorium", "strong"),
    "breathing": Place("locker_room", "weak"),
    "coughing": Place("hospital_room", "weak"),
    "footsteps": Place("corridor", "strong"),
    "laughing": Place("amphitheater", "weak"),
    "brushing_teeth": Place("bathroom", "strong"),
    "snoring": Place("bedroom", "strong"),
    "drinking_sipping": Place("bar", "medium"),
    # interior and domestic
    "door_wood_knock": Place("corridor", "strong"),
    "mouse_click": Place("office", "strong"),
    "keyboard_typing": Place("office", "strong"),
    "door_wood_creaks": Place("corridor", "strong"),
    "can_opening": Place("kitchen", "strong"),
    "washing_machine": Place("laundromat", "strong"),
    "vacuum_cleaner": Place("living_room", "strong"),
    "clock_alarm": Place("bedroom", "strong"),
    "clock_tick": Place("living_room", "medium"),
    "glass_breaking": Place("restaurant", "weak"),
    # exterior and urban
    "helicopter": Place("cockpit", "weak"),
    "chainsaw": Place("bamboo_forest", "weak"),
    "siren": Place("fire_station", "strong"),
    "car_horn": Place("highway", "medium"),
    "engine": Place("racecourse", "medium"),
    "train": Place("railroad_track", "strong"),
    "church_bells": Place("church_outdoor", "strong"),
    "airplane": Place("runway", "strong"),
    "fireworks": Place("skyscraper", "weak"),
    "hand_saw": Place("construction_site", "strong"),
}

ESC50_CLASSES: tuple[str, ...] = tuple(ESC50_SCENE)

# The ten that the table marks as `esc10`, all forty clips of each.
ESC10_CLASSES: tuple[str, ...] = (
    "chainsaw",
    "clock_tick",
    "crackling_fire",
    "crying_baby",
    "dog",
    "helicopter",
    "rain",
    "rooster",
    "sea_waves",
    "sneezing",
)

# The ten scenes of DCASE / TAU among the photographs of MiniPlaces.
TAU_SCENE: dict[str, Place] = {
    "airport": Place("airport_terminal", "strong"),
    "bus": Place("bus_interior", "strong"),
    "metro": Place("bus_interior", "weak"),
    "metro_station": Place("subway_station_platform", "strong"),
    "park": Place("botanical_garden", "medium"),
    "public_square": Place("courtyard", "medium"),
    "shopping_mall": Place("food_court", "medium"),
    "street_pedestrian": Place("market_outdoor", "medium"),
    "street_traffic": Place("highway", "medium"),
    "tram": Place("railroad_track", "weak"),
}

# The tree: three groups, and the scenes of each, those of DCASE by their exact names among them. A scene is one that
# field recordings are found of: at least eight recordings of at least three collections, or of a set made for it.
SCENES: dict[str, Scene] = {
    "airport": Scene("indoor", ("airport_terminal", "lobby")),
    "cafe": Scene("indoor", ("coffee_shop",)),
    "home": Scene("indoor", ("living_room", "kitchen", "bedroom")),
    "library": Scene("indoor", ("bookstore",)),
    "metro_station": Scene("indoor", ("subway_station_platform",)),
    "office": Scene("indoor", ("office",)),
    "restaurant": Scene("indoor", ("restaurant", "bar", "food_court")),
    "shopping_mall": Scene("indoor", ("clothing_store", "food_court")),
    "supermarket": Scene("indoor", ("supermarket",)),
    "train_station": Scene("indoor", ("subway_station_platform", "lobby")),
    "beach": Scene("outdoor", ("coast",)),
    "forest": Scene("outdoor", ("bamboo_forest", "rainforest")),
    "market": Scene("outdoor", ("market_outdoor",)),
    "park": Scene("outdoor", ("botanical_garden",)),
    "playground": Scene("outdoor", ("playground",)),
    "public_square": Scene("outdoor", ("courtyard", "fountain", "palace")),
    "residential": Scene("outdoor", ("driveway", "yard")),
    "street_pedestrian": Scene("outdoor", ("street", "market_outdoor")),
    "street_traffic": Scene("outdoor", ("highway", "street")),
    "bus": Scene("transport", ("bus_interior",)),
    "car": Scene("transport", ("highway", "parking_lot")),
    "metro": Scene("transport", ("bus_interior", "subway_station_platform")),
    "train": Scene("transport", ("railroad_track",)),
    "tram": Scene("transport", ("railroad_track", "bus_interior")),
}

PLACES_SCENE: dict[str, Place] = {
    name: Place(scene.photographs[0], "strong", scene.photographs[1:]) for name, scene in SCENES.items()
}


def groups_of(labels: Iterable[str]) -> dict[str, Group] | None:
    """{scene: group} where all labels are scenes of the tree, else None."""
    labels = tuple(labels)
    if not all(label in SCENES for label in labels):
        return None
    return {label: SCENES[label].group for label in labels}

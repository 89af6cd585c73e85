"""Protocols: which recordings are learnt from, which are answered, and what is measured. One file each.

`PROTOCOLS` names them; a rival is compared by one and a run is evaluated by one.
"""

from collections.abc import Callable
from pathlib import Path

from avgan.checkpoint import Checkpoint
from avgan.errors import ConfigError
from avgan.evaluation.protocols import esc50, folder, held_out, places, tau
from avgan.evaluation.protocols.protocol import Fold, Protocol, check_fold

PROTOCOLS: dict[str, Callable[[Path, Checkpoint | None], Protocol]] = {
    "esc50": esc50.esc50,
    "esc10": esc50.esc10,
    "folder": folder.folder,
    "places": places.by_recording,
    "places_collections": places.by_collection,
    "places_worlds": places.by_world,
    "tau2019": tau.tau2019,
    "tau2019_cities": tau.tau2019_cities,
    "tau_av_2021": tau.tau_av_2021,
    "test": held_out.test_part,
    "holdout": held_out.holdout,
}
"""Name on the command line -> (folder of the data, the run to be scored or None) -> Protocol."""


def read_protocol(name: str, data: Path, run: Checkpoint | None = None) -> Protocol:
    """The protocol of that name on the data below a folder, for a run where one is to be scored.

    Raises ConfigError where there is no such protocol or it needs a run, DataError where its data are missing or
    incomplete, LeakageError where a source stands in both sides of a fold.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"no protocol is called {name!r}: choose one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name](data, run)
    for fold in protocol.folds:
        check_fold(fold)
    return protocol


def select_folds(protocol: Protocol, names: tuple[str, ...]) -> tuple[Fold, ...]:
    """The folds of those names, all where none is named. Raises ConfigError for a fold that is not there."""
    known = {fold.name: fold for fold in protocol.folds}
    for name in names:
        if name not in known:
            raise ConfigError(f"{protocol.name} has no fold {name!r}: choose among {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) if names else protocol.folds

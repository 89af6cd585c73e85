"""Models: which are there, what they know, what they may be used for."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import App, Parameter

from avgan.cli.app import app, say

if TYPE_CHECKING:
    from avgan.runtime.bundle import Bundle

models = App(
    name="models",
    help="Models: what is installed, what it knows, what it may be used for.",
    help_format="plaintext",
)
app.command(models)


@models.default
def list_models(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """List the installed models: what they know, how well they do, what they may be used for.

    Parameters
    ----------
    as_json
        Write the whole cards, as JSON.
    """
    from avgan.runtime.bundle import installed

    found = installed()
    write_cards(sys.stdout, found, as_json=as_json)
    if not found:
        say("no model is installed; any bundle can be named with --model")


def write_cards(file: TextIO, bundles: Sequence["Bundle"], *, as_json: bool) -> None:
    """Write what bundles are: what they know, how well they do, what they may be used for."""
    if as_json:
        cards = [{"path": str(b.path), **b.card.model_dump(mode="json")} for b in bundles]
        file.write(json.dumps(cards, indent=1) + "\n")
        return
    for bundle in bundles:
        card = bundle.card
        file.write(f"{card.name} {card.version}: {card.description}\n")
        num_scenes = len(set(card.scenes))
        file.write(f"  knows     {len(card.labels)} {card.label_kind}s, {num_scenes} scenes; ")
        file.write(f"windows of {card.window_s:g} s at {card.sample_rate_hz} Hz\n")
        for name, measured in card.measured.items():
            low, high = measured.interval_95 or (None, None)
            interval = "" if low is None else f" [{low:g}, {high:g}]"
            file.write(f"  measured  {name} {measured.value:g}{interval} ({measured.protocol})\n")
        for source in card.data:
            file.write(
                f"  made of   {source.name}: {source.licence} {source.address}".rstrip() + "\n"
            )
        for name, licence in card.licences.items():
            file.write(f"  licence   {name}: {licence}\n")
        file.write(f"  in        {bundle.path}\n")

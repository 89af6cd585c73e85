"""Models: which are there, what they know, what they may be used for; adding and removing them."""

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import App, Parameter

from avgan.cli.app import UsageError, app, say, show_progress
from avgan.errors import printable

if TYPE_CHECKING:
    from avgan.runtime.bundle import Bundle

BOUND = re.compile(r"\bNC\b|commercial|research|education|academic", re.IGNORECASE)
"""Words in a licence that say: not for every purpose."""

models = App(
    name="models", help="Models: list, add, remove; what each knows and may be used for.", help_format="plaintext"
)
app.command(models)


@models.default
def list_models(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """List the models: what they know, how well they do, what they may be used for.

    Args:
        as_json: Write the whole cards, as JSON.
    """
    from avgan.runtime.bundle import installed
    from avgan.runtime.library import added

    found = [*installed(), *added(on_error=say)]
    write_cards(sys.stdout, found, as_json=as_json)
    if not found:
        say("no model is installed; any bundle can be named with --model")


@models.command
def add(source: str, /, *, sha256: str = "") -> None:
    """Add a model, once it has been checked: its card, its checksums, that it runs.

    Args:
        source: A bundle: a folder, a zip file, or the https address of one.
        sha256: Checksum that the zip file must have, as its publisher states it.
    """
    checksum = sha256.strip().lower()
    if checksum and not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise UsageError(f"--sha256 {sha256}: a SHA-256 has 64 hexadecimal digits")
    from avgan.runtime import library

    show_progress(f"checking {source}")
    bundle = library.add(source, sha256=checksum, say=say)
    show_progress("")
    write_cards(sys.stdout, [bundle], as_json=False)
    say(f"next: avgan classify RECORDING --model {bundle.card.name}")


@models.command
def remove(name: str, /) -> None:
    """Remove a model that was added.

    Args:
        name: Its name in `avgan models`.
    """
    from avgan.runtime import library

    say(f"removed {library.remove(name)}")


def write_cards(file: TextIO, bundles: Sequence["Bundle"], *, as_json: bool) -> None:
    """Write what bundles are: what they know, how well they do, what they may be used for."""
    if as_json:
        cards = [
            {"path": str(bundle.path), "origin": _origin(bundle)} | bundle.card.model_dump(mode="json")
            for bundle in bundles
        ]
        file.write(json.dumps(cards, indent=1) + "\n")
        return
    for line in (line for bundle in bundles for line in _described(bundle)):
        # A card comes from anybody, and a terminal obeys some characters.
        file.write(printable(line).rstrip() + "\n")


def _origin(bundle: "Bundle") -> str:
    from avgan.runtime.bundle import installed

    is_shipped = any(bundle.path == shipped.path for shipped in installed())
    return "shipped" if is_shipped else "added"


def _described(bundle: "Bundle") -> list[str]:
    card = bundle.card
    named = [f"{len(card.labels)} {card.label_kind}s"]
    if card.names_scenes and card.label_kind == "sound":
        named.append(f"{len(set(card.scenes))} scenes")
    if card.group_of_scene:
        named.append(f"{len(set(card.group_of_scene.values()))} groups")
    if card.tags:
        named.append(f"{len(card.tags.names)} sounds beside them")
    lines = [
        f"{card.name} {card.version} ({_origin(bundle)}): {card.description}",
        f"  knows     {', '.join(named)}; windows of {card.window_s:g} s at {card.sample_rate_hz} Hz",
    ]
    for name, measured in card.measured.items():
        low, high = measured.interval_95 or (None, None)
        interval = "" if low is None else f" [{low:.4g}, {high:.4g}]"
        lines.append(f"  measured  {name} {measured.value:.4g}{interval} ({measured.protocol})")
    lines += [f"  made of   {data.name}: {data.licence} {data.address}" for data in card.data]
    lines += [f"  licence   {name}: {licence}" for name, licence in card.licences.items()]
    bound = [data.name.split(",")[0] for data in card.data if BOUND.search(data.licence)]
    if bound:
        lines.append(f"  terms     the weights are not free for commercial use: {', '.join(bound)}")
    return [*lines, f"  in        {bundle.path}"]

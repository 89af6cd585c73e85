"""A recipe: a chain of runs, each the parent of the next, resumed wherever it was left.

    OUT/recipe.json            what was asked for
        1-vqvae/               a run each, numbered in their order
        2-imagination/
        3-classifier/
        4-sampler/         where the recipe has one

With rounds, the first two are repeated (Sec. 3): encoder and decoder train on beside a generator that is at rest, then
generator and critic beside them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from avgan import checkpoint
from avgan.checkpoint import RECIPE, Checkpoint
from avgan.config import Recipe, RoundsSection
from avgan.data.manifest import Manifest
from avgan.errors import ConfigError
from avgan.files import write_whole
from avgan.training import data as training_data
from avgan.training import distributed
from avgan.training.progress import say, say_if_long, say_once
from avgan.training.run import check_same, check_scenes, check_window, finished_parent, train_run


def train(
    recipe: Recipe,
    *,
    data: Path,
    out: Path,
    videos: Path | None = None,
    parent: Path | None = None,
    sounds: Manifest | None = None,
) -> Path:
    """Train the runs of a recipe into `out`, or go on where they were left. Returns `out`.

    `videos` is what pictures and imagination are learnt from, where it is not `data`; the classifier learns from
    `data`. `parent` is a finished run that the chain begins from: stages that it has done are left out. `sounds`,
    where given, are all that may be learnt from of the sounds in `data`.

    Raises what `train_run` does, and ConfigError where `out` holds another recipe.
    """
    roots = {kind: data if videos is None or kind == "classifier" else videos for kind in recipe.kinds}
    # what is known of the sounds of `data` says nothing of the videos
    known = {kind: sounds if roots[kind] == data else None for kind in recipe.kinds}
    recipe = resolve(recipe, roots)
    if checkpoint.newest(out) is None:
        check(recipe, roots, known, parent)
    keep(recipe, out)
    if is_finished(recipe, out):
        say("all stages are finished already")
    newest = parent
    for number, kind in enumerate(kinds(recipe, out, parent), start=1):
        newest = train_run(
            recipe.run(kind), data=roots[kind], out=out / f"{number}-{kind}", parent=newest, sounds=known[kind]
        )
    return out


def resolve(recipe: Recipe, roots: Mapping[str, Path]) -> Recipe:
    """The recipe with the names of the data sets that are found below the root of each stage."""
    for kind in recipe.kinds:
        stage = getattr(recipe, kind)
        recipe = recipe.changed(**{kind: stage.changed(data=training_data.resolve(stage.data, roots[kind]))})
    return recipe


def check(
    recipe: Recipe, roots: Mapping[str, Path], sounds: Mapping[str, Manifest | None], parent: Path | None
) -> None:
    """Read what every stage will learn from, so that nothing is wrong with the last one when the first is trained.

    Raises what `train_run` would raise of it.
    """
    done, trunk = 0, recipe.imagination.trunk
    if parent is not None:
        described = finished_parent(parent)
        done = num_done(recipe, described)
        trunk = trunk if done < 2 else described.imagination.trunk
    for kind in recipe.kinds[min(done, len(recipe.kinds) - 1) :]:
        stage = getattr(recipe, kind)
        if kind != "vqvae":
            check_window(stage, trunk)
        with say_if_long(f"looking through {roots[kind]}, each file once"):
            loaded = training_data.load(stage, roots[kind], seed=recipe.loop.seed, sounds=sounds[kind])
        check_scenes(stage, loaded)
        say_once(loaded.left_out)


def kinds(recipe: Recipe, out: Path, parent: Path | None) -> Iterator[str]:
    """The stages of a chain in their order; whether there is another round is asked when one is done."""
    done = 0 if parent is None else num_done(recipe, finished_parent(parent))
    number, num_rounds = 0, 0 if done >= 2 else recipe.rounds.num
    for turn in range(num_rounds):
        if turn or not done:
            number += 1
            yield "vqvae"
        number += 1
        yield "imagination"
        if turn + 1 < num_rounds and is_enough(recipe.rounds, out / f"{number}-imagination"):
            break
    # the last stage of a recipe is trained even where the parent has done one like it, on other data
    yield from recipe.kinds[max(2, min(done, len(recipe.kinds) - 1)) :]


def num_done(recipe: Recipe, parent: Checkpoint) -> int:
    """How many of a recipe's stages a parent has behind it."""
    kind = parent.config.stage.kind
    return recipe.kinds.index(kind) + 1 if kind in recipe.kinds else len(recipe.kinds)


def is_enough(rounds: RoundsSection, run: Path) -> bool:
    """Whether a round of imagination ends the rounds, by what it measured at its end."""
    if rounds.largest_gap is None:
        return False
    measured = checkpoint.describe(run).measured
    gap, diversity = measured["relative_gap"], measured["relative_diversity"]
    enough = gap < rounds.largest_gap and diversity >= rounds.least_diversity
    say(
        f"round done: gap {gap:.3f} (to go below {rounds.largest_gap:g}), diversity {diversity:.2f} "
        f"(to reach {rounds.least_diversity:g}): {'enough' if enough else 'another round'}"
    )
    return enough


def is_finished(recipe: Recipe, out: Path) -> bool:
    """Whether OUT holds all runs of a recipe."""
    if checkpoint.newest(out) is None:
        return False
    described = checkpoint.describe(out)
    return described.finished and described.config.stage.kind == recipe.kinds[-1]


def keep(recipe: Recipe, out: Path) -> None:
    """OUT/recipe.json, or the check that the chain to go on with is the same one."""
    path, ours = out / RECIPE, recipe.model_dump(mode="json")
    if path.exists() and checkpoint.newest(out) is not None:
        check_same(path, ours, "another recipe")
    elif (out / "config.json").exists():
        raise ConfigError(f"{out} holds a single run; choose another -o for a recipe")
    elif distributed.is_first():
        write_whole(path, json.dumps(ours, indent=2) + "\n")
    distributed.barrier()


def recipe_of(described: Checkpoint) -> Recipe:
    """The recipe that gives a run and its ancestors, as far as they go, with as many rounds as they had."""
    stages = {origin.config.stage.kind: origin.config.stage for origin in described.lineage}
    num_rounds = sum(origin.config.stage.kind == "imagination" for origin in described.lineage)
    config = described.config
    rounds = RoundsSection(num=max(1, num_rounds))
    return Recipe(preset=config.preset, loop=config.loop, rounds=rounds, **stages)

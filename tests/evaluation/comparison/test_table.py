"""The table: every number where it belongs, whatever the words hold."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avgan.baselines.method import Card
from avgan.data.manifest import Clip, Manifest
from avgan.evaluation.comparison.answers import Answers, Settings
from avgan.evaluation.comparison.table import (
    build_report,
    columns,
    counted,
    markdown,
    named,
    p_cell,
    page,
    plain,
    published,
    write_table,
)
from avgan.evaluation.protocols.protocol import Protocol, divide

SETTINGS = Settings(protocol="esc50", seed=4, budget_s=600.0)


@pytest.fixture
def protocol() -> Protocol:
    clips = tuple(
        Clip(id=str(n), source_id=f"s{n}", label="ab"[n % 2], audio_path="x", fold=str(n % 4 // 2 + 1))
        for n in range(40)
    )
    return Protocol(
        name="esc50",
        title="Made <here>",
        folds=divide(Manifest("made", Path(), clips), ("1", "2")),
        window_s=1.0,
        human=60.0,
        human_source="A study",
        parts={"unseen": frozenset(str(n) for n in range(0, 40, 4)), "nowhere": frozenset()},
    )


def answered(name: str, protocol: Protocol, *, wrong: set[int]) -> list[Answers]:
    """A method that is wrong on some clips."""
    folds = []
    for fold in protocol.folds:
        targets = ["ab".index(clip.label) for clip in fold.test.clips]
        says = [
            1 - target if int(clip.id) in wrong else target
            for clip, target in zip(fold.test.clips, targets, strict=True)
        ]
        folds.append(
            Answers(
                method=name,
                fold=fold.name,
                labels=["a", "b"],
                clip_ids=[clip.id for clip in fold.test.clips],
                sources=[clip.source_id for clip in fold.test.clips],
                targets=targets,
                probabilities=[[0.9, 0.1] if say == 0 else [0.1, 0.9] for say in says],
                fitting_s=100.0,
                answering_s=2.0,
                num_epochs=48,
                num_epochs_wanted=300,
                num_parameters=4_690_000,
                num_macs=1_234_000_000,
                identity="",
                data_sha256="",
            )
        )
    return folds


@pytest.fixture
def report(protocol: Protocol) -> dict[str, Any]:
    methods = {
        "good": answered("good", protocol, wrong={0, 1}),
        "bad": answered("bad", protocol, wrong={0, *range(10, 30)}),
        "none": [],
    }
    cards = {
        "good": Card(name="good", title="Good", source="A", published=83.7, pretrained_on="much"),
        "bad": Card(name="bad", title="Bad | <b>", source="B", follows=("one",), differs=("other & more",)),
    }
    return build_report(protocol, SETTINGS, methods, cards, older={"bad": "old"}, failed={"lost": "no <weights>"})


def test_rows_stand_by_accuracy_people_among_them(report: dict[str, Any]) -> None:
    assert [row["name"] for row in report["methods"]] == ["good", "human", "bad"]
    good, human, bad = report["methods"]
    assert good["accuracy"] == pytest.approx(38 / 40)
    assert bad["accuracy"] == pytest.approx(19 / 40)
    assert human["accuracy"] is None
    assert bad["paired_test"]["only_this_right"] == 1
    assert bad["paired_test"]["only_that_right"] == 20
    assert bad["paired_test"]["difference"] == pytest.approx(-19 / 40)
    assert bad["paired_test"]["num_sources"] == 40
    # each clip is a source of its own: McNemar's exact 2 * 22 / 2^21 is below what flips that are drawn can tell
    assert bad["paired_test"]["p"] < 0.001
    assert good["parts"]["unseen"]["accuracy"] == pytest.approx(9 / 10)
    assert good["parts"]["unseen"]["num_clips"] == 10
    assert "nowhere" not in good["parts"]


def test_another_reference_than_the_best(protocol: Protocol) -> None:
    methods = {name: answered(name, protocol, wrong={len(name)}) for name in ("a", "bb")}
    cards = {name: Card(name=name, title=name, source="") for name in methods}
    made = build_report(protocol, SETTINGS, methods, cards, against="bb")
    assert made["against"] == "bb"
    assert {row["name"]: row.get("paired_test") and row["paired_test"]["p"] for row in made["methods"]} == {
        "a": 1.0,
        "bb": None,
        "human": None,
    }


def test_markdown_has_a_cell_for_each_heading(report: dict[str, Any]) -> None:
    text = markdown(report)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
    assert widths == {len(columns(report)) + 2}
    good = next(line for line in lines if line.startswith("| Good"))
    assert "| 83.7 | 95.0 ± " in good
    assert "| 90.0 |  |" in good
    assert "| 4.69 M | 1.23 G | 100 | 100.0 | 48 of 300 | much |" in good
    assert "| Bad \\| <b>* |" in text
    assert "- not as there: other & more" in text
    assert "- * old" in text
    assert "- `lost`: no <weights>" in text
    assert "each fit had 10 min" in text


def test_the_page_escapes_what_it_is_given_and_asks_nobody(report: dict[str, Any]) -> None:
    text = page(report)
    assert "Made &lt;here&gt;" in text
    assert "Bad | &lt;b&gt;*" in text
    assert "no &lt;weights&gt;" in text
    assert "<b>" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert "--share:95.0%" in text
    assert "$" not in text


def test_a_terminal_gets_the_columns_that_matter(report: dict[str, Any]) -> None:
    first, second, *_ = plain(report).splitlines()
    assert first.split("  ")[0] == "method"
    assert second.startswith("Good")
    assert "95.0 ±" in second


def test_a_comparison_without_answers_is_an_empty_table(protocol: Protocol, tmp_path: Path) -> None:
    made = build_report(replace(protocol, human=None), SETTINGS, {}, {})
    write_table(made, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"compare.json", "compare.md", "compare.html", "compare.png"}


def test_a_figure_is_of_the_protocol_it_was_published_for() -> None:
    card = Card(name="a", title="", source="", published=44.3, published_on={"esc10": 72.7})
    assert published(card, "esc50", ("1",)) == 44.3
    assert published(card, "esc10", ("1",)) == 72.7
    assert published(card, "folder", ("1",)) is None
    by_fold = replace(card, published_by_fold={"1": 62.0, "2": 60.0, "3": 10.4})
    assert published(by_fold, "esc50", ("1", "2")) == 61.0
    assert published(by_fold, "esc10", ("1",)) == 72.7


@pytest.mark.parametrize(
    ("number", "shown"), [(None, ""), (7, "7"), (116_118, "116 k"), (4_690_000, "4.69 M"), (2.5e12, "2.5 T")]
)
def test_large_numbers_are_short(number: float | None, shown: str) -> None:
    assert counted(number) == shown


@pytest.mark.parametrize(("p", "shown"), [(0.0, "< 0.001"), (0.0123, "0.012"), (0.25, "0.25"), (1.0, "1.00")])
def test_probabilities_have_the_digits_that_matter(p: float, shown: str) -> None:
    assert p_cell(p) == shown


def test_a_plot_names_methods_with_the_folds_that_are_missing(report: dict[str, Any]) -> None:
    row = report["methods"][0]
    assert named(row, len(row["by_fold"])) == row["title"]
    assert named(row, len(row["by_fold"]) + 2).endswith(f"{len(row['by_fold'])} of {len(row['by_fold']) + 2} folds")
    assert named(row | {"by_fold": {}}, 5) == row["title"]  # people: nobody was asked

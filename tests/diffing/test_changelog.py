from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.diffing.changelog import item_of, read_changelog, with_data_item
from stages.diffing.comparison import compare
from tests.diffing.world import keyed, version

ITEM = "- From `v1` to `v2`, counted by `python -m stages.diff`:\n  - `pairs`: 1 -> 2 rows.\n"
OTHER = ITEM.replace("v1", "v0").replace("2 rows", "3 rows")
HEAD = "# Changelog\n\n## [Unreleased]\n"
OLDER = "\n## [1.0.0] - 2026-01-01\n\n### Data\n\n- First.\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n### Data\n\n- By hand.\n", f"\n### Data\n\n{ITEM}- By hand.\n"),
        ("\n### Data\n- By hand.\n", f"\n### Data\n\n{ITEM}- By hand.\n"),
        ("\n### Data\n", f"\n### Data\n\n{ITEM}"),
        ("\n### Data\n\n### Fixed\n\n- A.\n", f"\n### Data\n\n{ITEM}\n### Fixed\n\n- A.\n"),
        ("\n### Data\n\nA sentence.\n", f"\n### Data\n\n{ITEM}\nA sentence.\n"),
        ("\n### Added\n\n- A.\n", f"\n### Data\n\n{ITEM}\n### Added\n\n- A.\n"),
        ("", f"\n### Data\n\n{ITEM}"),
        (f"\n### Data\n\n- A.\n{OTHER}- B.\n", f"\n### Data\n\n- A.\n{ITEM}- B.\n"),
        (f"\n### Data\n\n{OTHER}\n### Fixed\n\n- A.\n", f"\n### Data\n\n{ITEM}\n### Fixed\n\n- A.\n"),
    ],
    ids=range(9),
)
def test_the_item_stands_under_data_of_what_is_unreleased_once(before: str, after: str) -> None:
    filled = with_data_item(f"{HEAD}{before}{OLDER}", ITEM)
    assert filled.rstrip("\n").replace("\n\n\n", "\n\n") == f"{HEAD}{after}{OLDER}".rstrip("\n")
    assert with_data_item(filled, ITEM) == filled
    assert with_data_item(with_data_item(f"{HEAD}{before}{OLDER}", OTHER), ITEM) == filled


def test_lines_end_as_they_did() -> None:
    text = f"{HEAD}\n### Data\n\n- By hand.\n{OLDER}"
    assert with_data_item(text.replace("\n", "\r\n"), ITEM) == with_data_item(text, ITEM).replace("\n", "\r\n")


def test_a_released_version_is_never_touched() -> None:
    released = OLDER.replace("- First.\n", OTHER)
    assert with_data_item(f"{HEAD}{released}", ITEM).endswith(released)


def test_the_item_has_a_line_a_dataset_that_differs() -> None:
    old = version("v`1", pairs=keyed("pairs", "a", "b", chosen="x"), sft=keyed("sft", "q"), gold=keyed("gold", "q"))
    new = version("v2", pairs=keyed("pairs", "b", "c", "d"), gold=keyed("gold", "q"), prompts=keyed("prompts", "q"))
    assert item_of(compare(old, new)).splitlines() == [
        "- From `v'1` to `v2`, counted by `python -m stages.diff`:",
        "  - `prompts`: new, 1 rows.",
        "  - `sft`: no longer there; it had 1 rows.",
        "  - `pairs`: 2 -> 3 rows; 2 added, 1 removed, 1 changed (chosen 1).",
        "  - The same in both: `gold`.",
    ]


def test_what_is_not_committed_is_shown_as_what_changed_since() -> None:
    item = item_of(compare(version("v1", gold=keyed("gold", "q")), version("workspace", gold=keyed("gold", "q"))))
    assert item.startswith("- Since `v1`, counted by")
    assert with_data_item(with_data_item(f"{HEAD}\n### Data\n\n{ITEM}{OLDER}", item), ITEM).count("counted by") == 1


def test_labels_and_ex_stand_in_the_item() -> None:
    def results(verdict: str) -> pl.DataFrame:
        return keyed("exec_results", "a", "b", verdict=verdict)

    verdicts = ("match", "no_sql")
    figures = [{"ex": ex, "ex_low": ex - 0.1, "ex_high": ex + 0.1} for ex in (0.5, 0.625)]
    old, new = (
        version(verdict, metrics={"e.json": ex, "f.json": figures[0]}, exec_results=results(verdict))
        for verdict, ex in zip(verdicts, figures, strict=True)
    )
    item = item_of(compare(old, new))
    assert "  - Labels: 2 of 2 candidates in both have another verdict (unknown 2).\n" in item
    assert item.endswith("  - EX in `e.json`: 50.0 (40.0–60.0) -> 62.5 (52.5–72.5).\n")


@pytest.mark.parametrize("text", ["# Changelog\n", "# Changelog\n\n## [1.0.0]\n\n### Data\n", "## Unreleased\n"])
def test_a_changelog_without_what_is_unreleased_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "C.md").write_text(text)
    with pytest.raises(UserError, match=r"C.md has no line `## \[Unreleased\]`"):
        read_changelog(tmp_path / "C.md")


def test_a_changelog_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"C.md cannot be read"):
        read_changelog(tmp_path / "C.md")

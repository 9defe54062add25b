import json
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import UserError
from stages.corpora.rewrites import apply_rewrites

OLD, NEW = "SELECT name FROM singer ORDER BY age LIMIT 1", "SELECT name FROM singer WHERE age = 30"
REWRITE = {"question_id": "demo/train/0001", "old_sql": OLD, "gold_sql": NEW, "problem": "a tie", "model": "strong"}


def rows(other_golds: str = "") -> list[dict[str, str]]:
    known = {"source": "demo", "split": "train", "origin": "human", "other_golds": other_golds}
    return [
        known | {"question_id": "demo/train/0001", "gold_sql": OLD},
        known | {"question_id": "demo/train/0002", "gold_sql": "SELECT 2"},
    ]


def written(folder: Path, *entries: Any) -> Path:
    path = folder / "rewrites.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def error_of(path: Path) -> list[str]:
    unchanged = rows()
    with pytest.raises(UserError) as caught:
        apply_rewrites(unchanged, path)
    assert unchanged == rows()
    return list(caught.value.sentences)


def test_a_rewrite_takes_the_place_of_the_gold_which_is_kept_beside_it(tmp_path: Path) -> None:
    changed = rows()
    assert apply_rewrites(changed, written(tmp_path, REWRITE)) == {"applied": 1, "without_question": 0}
    row = changed[0]
    assert (row["gold_sql"], row["origin"]) == (NEW, "rewrite")
    assert json.loads(row["other_golds"]) == {"before_rewrite": OLD}
    assert changed[1] == rows()[1]


def test_other_golds_stay(tmp_path: Path) -> None:
    changed = rows('{"version 2": "SELECT 3"}')
    apply_rewrites(changed, written(tmp_path, REWRITE))
    assert json.loads(changed[0]["other_golds"]) == {"version 2": "SELECT 3", "before_rewrite": OLD}


@pytest.mark.parametrize("changed", [{"question_id": "demo/train/0009"}, {"old_sql": "SELECT 9"}])
def test_a_rewrite_that_fits_no_question_is_counted(tmp_path: Path, changed: dict[str, str]) -> None:
    unchanged = rows()
    assert apply_rewrites(unchanged, written(tmp_path, REWRITE | changed)) == {"applied": 0, "without_question": 1}
    assert unchanged == rows()


def test_a_rewrite_of_a_gold_that_was_rewritten_is_not_applied_again(tmp_path: Path) -> None:
    changed = rows()
    path = written(tmp_path, REWRITE)
    apply_rewrites(changed, path)
    once = [dict(row) for row in changed]
    assert apply_rewrites(changed, path) == {"applied": 0, "without_question": 1} and changed == once


def test_an_empty_file_rewrites_nothing(tmp_path: Path) -> None:
    assert apply_rewrites(rows(), written(tmp_path)) == {"applied": 0, "without_question": 0}


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    nameless = {"old_sql": OLD, "gold_sql": NEW}
    path = written(tmp_path, nameless, REWRITE | {"gold_sql": None}, REWRITE | {"old_sql": 5}, [1])
    with path.open("a") as file:
        file.write("{\n")
    assert [sentence.removeprefix(f"{path}, ").split(";")[0][:35] for sentence in error_of(path)] == [
        "line 1: `question_id` is None", "line 2: `gold_sql` is None", "line 3: `old_sql` is 5",
        "line 4: [1] is no object", "line 5: this is not JSON (Expecting",
    ]  # fmt: skip


def test_a_missing_file_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    (sentence,) = error_of(tmp_path / "none.jsonl")
    assert "does not exist; make it with `python -m stages.synthesize --repair`" in sentence

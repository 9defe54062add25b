import pytest
from ruamel.yaml import YAML

from stages.synthesis.names_check import is_english, unused_names, words_of_database
from tests import FIXTURES

CASES: dict[str, dict[str, str]] = YAML(typ="safe").load(
    (FIXTURES / "synthesis/names.yaml").read_text(encoding="utf-8")
)
WORDS = words_of_database([
    "singer", "singer_id", "stage_name", "age", "country", "song", "song_id", "stage_name_length", "singerAward",
    "year",
])  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_question_names_is_looked_for_in_its_query(name: str) -> None:
    problem = unused_names(CASES[name]["question"], CASES[name]["sql"], WORDS)
    assert CASES[name].get("problem", "") in problem and bool(problem) == ("problem" in CASES[name])


def test_a_name_that_several_tables_spell_otherwise_may_be_used_in_either_spelling() -> None:
    words = words_of_database(["first_name", "FirstName"])
    assert unused_names("List the first names.", "SELECT FirstName FROM t", words) == ""
    assert unused_names("List the first names.", "SELECT 1 FROM t", words).startswith("the question names first_name")


@pytest.mark.parametrize(
    "question",
    [
        "How many singers are there?", "Show the names of singers from Perú.", "Singers of Peru?",
        "List Żółć and the other songs of Łódź",
    ],
)  # fmt: skip
def test_english_is_recognised(question: str) -> None:
    assert is_english(question)


@pytest.mark.parametrize(
    "question",
    [
        "¿Cuántos cantantes hay de cada país?", "Wie viele Lieder hat jeder Sänger geschrieben?", "有多少歌手？",
        "Combien de chanteurs viennent du Pérou?", "Сколько?", "",
    ],
)  # fmt: skip
def test_another_language_is_not_english(question: str) -> None:
    assert not is_english(question)

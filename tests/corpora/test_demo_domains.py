"""Domain files: what is refused, and what is drawn from them."""

from pathlib import Path

import pytest

from stages.core.errors import UserError
from stages.corpora.demo.databases import Database, draw_databases
from stages.corpora.demo.domains import Domain, read_domains
from tests import FIXTURES

GOOD = (FIXTURES / "domain.yaml").read_text()

MISTAKES = {
    "an unknown key": ("unique: true", "uniqe: true", "uniqe"),
    "a pool that is not there": ("pool: country", "pool: land", "no pool 'land'"),
    "two sources of values": ("int: [18, 60]", "int: [18, 60], pool: country", "exactly one of pool, int, real"),
    "a range the wrong way round": ("[18, 60]", "[60, 18]", "smaller number first"),
    "a number as a pool value": ("Norway", "7", "pools.country.1"),
    "a quote in a pool value": ("Norway", "O'Hara", "pools.country.1"),
    "a value twice in a pool": ("Norway", "Peru", "'Peru' stands twice"),
    "a pool too small": ("Peru, Norway, Ghana", "Peru, Norway", "has 2 values"),
    "a keyword as a name": ("[age, years]", "[age, order]", "SQL keyword"),
    "a name of a key": ("[age, years]", "[age, singer_id]", "name of a key"),
    "a column name twice": ("[age, years]", "[age, nation]", "'nation' stands twice"),
    "a column named like a table": ("[age, years]", "[age, album]", "'album' is a table and a column of singer"),
    "a parent that is not there": ("{singer: recorded by}", "{singers: recorded by}", "belongs to 'singers'"),
    "a table without a label": ("pool: title, unique: true", "pool: title", "table album needs"),
    "the same superlative twice": (
        "low: youngest}", "low: youngest}\n      - {name: [rank], int: [1, 9], high: oldest}", "'oldest' stands twice"
    ),
    "another domain's name": ("domain: domain", "domain: music", "must be the file's name"),
}


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    (tmp_path / "domain.yaml").write_text(GOOD)
    return read_domains(tmp_path)[0]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_domain_is_a_sentence_naming_the_file_and_the_field(tmp_path: Path, mistake: str) -> None:
    right, wrong, message = MISTAKES[mistake]
    assert right in GOOD
    (tmp_path / "domain.yaml").write_text(GOOD.replace(right, wrong, 1))
    with pytest.raises(UserError) as caught:
        read_domains(tmp_path)
    assert str(tmp_path / "domain.yaml") in str(caught.value)
    assert message in str(caught.value)


def test_mistakes_in_several_domains_are_reported_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("domain: [")
    with pytest.raises(UserError) as caught:
        read_domains(tmp_path)
    assert len(caught.value.sentences) == 2


def test_tables_that_belong_to_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "domain.yaml").write_text(
        GOOD.replace("- table: [singer, vocalist]", "- table: [singer, vocalist]\n    belongs_to: {album: singing on}")
    )
    with pytest.raises(UserError, match="in a circle"):
        read_domains(tmp_path)


def test_a_domain_with_too_few_names_is_refused_rather_than_repeated(domain: Domain) -> None:
    with pytest.raises(UserError, match="fewer than 99 different databases"):
        draw_databases(domain, 99, 1)


def drawn() -> list[Database]:
    return [database for domain in read_domains() for database in draw_databases(domain, 3, 11)]


def test_labels_are_unique_and_never_null() -> None:
    for database in drawn():
        for table in database.tables:
            for column in table.columns:
                if column.kind == "label":
                    assert len(column.stored) == table.rows


def test_every_parent_table_has_rows_without_children() -> None:
    for database in drawn():
        rows = {table.name: table.rows for table in database.tables}
        for table in database.tables:
            for parent, keys in table.keys.items():
                assert set(keys) < set(range(1, rows[parent] + 1))


def test_nulls_ties_and_repeated_values_occur() -> None:
    columns = [column for database in drawn() for table in database.tables for column in table.columns]
    assert sum(None in column.values for column in columns) > 0.1 * len(columns)
    numbers = [column for column in columns if column.kind == "number"]
    tied = sum(len(column.stored) < len(column.values) - column.values.count(None) for column in numbers)
    assert 0.3 < tied / len(numbers) < 0.9
    assert all(len(column.stored) < len(column.values) for column in columns if column.kind == "category")

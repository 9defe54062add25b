import re
from collections import Counter
from pathlib import Path

import pytest

from stages.core.errors import UserError
from stages.databases.paths import database_path
from stages.synthesis.taxonomy import least_used, read_taxonomy

TAXONOMY = read_taxonomy()


def test_every_domain_can_be_part_of_a_db_id_and_of_an_item_id() -> None:
    assert [domain for domain in TAXONOMY.domains if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", domain)] == []
    assert database_path(Path("x"), f"strong_{TAXONOMY.domains[0]}_0001").name.endswith("_0001.sqlite")


def test_every_domain_is_there_once() -> None:
    listed = [domain for domains in TAXONOMY.areas.values() for domain in domains]
    assert sorted(listed) == TAXONOMY.domains


def test_there_are_enough_domains_and_concepts_for_a_diverse_dataset() -> None:
    assert len(TAXONOMY.areas) >= 10 and len(TAXONOMY.domains) >= 100 and len(TAXONOMY.concepts) >= 20


def test_every_difficulty_is_wished_for() -> None:
    assert {level for _, level in TAXONOMY.wishes} == {"easy", "medium", "hard", "extra"}


def test_the_least_used_comes_first_so_that_none_is_over_represented() -> None:
    counts: Counter[object] = Counter()
    for _ in range(3 * len(TAXONOMY.domains)):
        counts[least_used(TAXONOMY.domains, counts, 1)] += 1
    assert set(counts.values()) == {3}


def test_the_order_of_equals_depends_on_the_seed_alone() -> None:
    order = {seed: least_used(TAXONOMY.domains, Counter(), seed) for seed in range(20)}
    assert len(set(order.values())) > 5
    assert order[0] == least_used(reversed(TAXONOMY.domains), Counter(), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("areas: {a: [b]}\n", "`concepts`: Field required"),
        ("areas: {}\nconcepts: {c: {difficulties: [easy], ask: x}}\n", "`areas`: Dictionary should have at least 1"),
        ("areas: {a: [b]}\nconcepts: {c: {difficulties: [simple], ask: x}}\n", "`concepts.c.difficulties.0`"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "taxonomy.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_taxonomy(tmp_path / "taxonomy.yaml")

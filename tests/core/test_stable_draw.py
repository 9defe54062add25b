"""Which questions are asked: the draw of some of them."""

from hypothesis import given
from hypothesis import strategies as st

from stages.core.stable_draw import stable_draw

IDS = [f"demo/train/{number:04}" for number in range(50)]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_a_higher_count_only_adds_questions(one: int, other: int, seed: int) -> None:
    few, many = sorted((one, other))
    assert stable_draw(IDS, few, seed) <= stable_draw(IDS, many, seed) <= set(IDS)
    assert len(stable_draw(IDS, few, seed)) == min(few, len(IDS))


def test_another_question_moves_none_of_the_others_to_another_place() -> None:
    assert stable_draw([*IDS, "other/dev/0000"], 20, 3) - {"other/dev/0000"} <= stable_draw(IDS, 20, 3)


def test_another_seed_draws_others_and_neither_takes_the_first() -> None:
    assert stable_draw(IDS, 10, 3) != stable_draw(IDS, 10, 4) != set(IDS[:10])

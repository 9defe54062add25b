"""Where curves lie in their SVG."""

from hypothesis import given
from hypothesis import strategies as st

from stages.reporting.charts import axes

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(st.integers(0, 1000), NUMBERS), min_size=1, max_size=20))
def test_every_point_lies_inside_the_axes(points: list[tuple[int, float]]) -> None:
    (curve,) = axes({"a": points})["curves"]
    places = [tuple(map(float, place.split(","))) for place in curve["points"].split()]
    assert len(places) == len(points)
    assert all(44 <= x <= 352 and 9.9 <= y <= 146.1 for x, y in places)


def test_ticks_are_round_and_reach_beyond_the_values() -> None:
    assert [tick["text"] for tick in axes({"a": [(0, 0.23), (9, 0.81)]})["rows"]] == ["0.2", "0.4", "0.6", "0.8", "1"]


def test_a_value_that_is_no_number_is_left_out() -> None:
    (curve,) = axes({"a": [(0, 1.0), (1, float("nan")), (2, 2.0)]})["curves"]
    assert len(curve["points"].split()) == 2

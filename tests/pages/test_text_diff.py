
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.display import visible
from stages.pages.text_diff import MOST_COMPARED, MOST_SHOWN, marked, shortened
from tests.pages.hostile import HOSTILE, parsed


@pytest.mark.parametrize(
    ("old", "new", "first", "second"),
    [
        ("SELECT a FROM t", "SELECT b FROM t", "SELECT <del>a</del> FROM t", "SELECT <ins>b</ins> FROM t"),
        ("SELECT a", "SELECT a, b", "SELECT a", "SELECT a<ins>, b</ins>"),
        ("x > 1.5", "x > 2.5", "x &gt; <del>1.5</del>", "x &gt; <ins>2.5</ins>"),
        ("one two three", "four five three", "<del>one two</del> three", "<ins>four five</ins> three"),
        ("don't go", "don't stay", "don&#39;t <del>go</del>", "don&#39;t <ins>stay</ins>"),
        ("a a", "a", "a<del> a</del>", "a"),
        ("same", "same", "same", "same"),
        ("", "new", "", "<ins>new</ins>"),
        ("", "", "", ""),
    ],
)
def test_what_only_one_text_has_is_marked(old: str, new: str, first: str, second: str) -> None:
    assert marked(old, new) == (first, second)


def test_the_tags_can_be_given() -> None:
    assert marked("a b", "a c", ("mark", "mark")) == ("a <mark>b</mark>", "a <mark>c</mark>")


TEXTS = st.text("ab <&'\n\u202e1.", max_size=30)


@given(TEXTS, TEXTS)
def test_both_texts_are_shown_whole_and_as_text(old: str, new: str) -> None:
    for html, text in zip(marked(old, new), (old, new), strict=True):
        page = parsed(html)
        assert "".join(page.texts) == visible(text)
        assert set(page.elements) <= {("del",), ("ins",)}


@given(TEXTS, TEXTS)
def test_what_is_not_marked_is_the_same_in_both(old: str, new: str) -> None:
    rests = [
        "".join(part.rpartition(f"</{tag}>")[2] for part in html.split(f"<{tag}>"))
        for html, tag in zip(marked(old, new), ("del", "ins"), strict=True)
    ]
    assert rests[0] == rests[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_wherever_it_stands(text: str) -> None:
    for old, new in ((text, ""), ("x", text), (f"{text} a", f"{text} b"), (text, text[1:])):
        for html in marked(old, new):
            assert set(parsed(html).elements) <= {("del",), ("ins",)}
            assert not set(html) & {"\u2028", "\u202e"}


def test_long_texts_are_cut_and_still_show_what_differs() -> None:
    same = "word " * 2_000
    first, second = marked(f"{same}old {same}", f"{same}new {same}")
    assert "<del>old</del>" in first and "<ins>new</ins>" in second
    assert len(first) < 3 * MOST_SHOWN and "… 9,401 more characters …" in first


def test_a_long_part_that_differs_is_cut() -> None:
    first, _ = marked("x" * 5_000, "y")
    assert first == f'<del>{"x" * MOST_SHOWN}<span class="soft">… 4,400 more characters …</span></del>'
    assert shortened("<" * 601) == "&lt;" * 600 + '<span class="soft">… 1 more characters …</span>'


@pytest.mark.timeout(120)  # by the product it would be days
def test_texts_with_too_many_tokens_to_compare_are_marked_from_where_they_differ_first() -> None:
    length = MOST_COMPARED  # tokens of each, the product being far beyond
    first, second = marked(f"same {'a ' * length} end", f"same {'b ' * length} end")
    assert first.startswith("same <del>a a") and second.endswith(" end")


def test_texts_with_many_differences_are_cut() -> None:
    numbers = range(200)
    first, _ = marked(" ".join(f"a{n} x" for n in numbers), " ".join(f"b{n} x" for n in numbers))
    assert first.count("<del>") == 100 and "more characters" in first

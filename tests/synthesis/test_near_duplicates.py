from hypothesis import given
from hypothesis import strategies as st

from stages.synthesis.near_duplicates import NearDuplicates, word_shingles

WORDS = [f"word{number}" for number in range(60)]


def test_the_same_text_is_new_once() -> None:
    known = NearDuplicates(0.9)
    assert known.is_new(word_shingles(WORDS)) and not known.is_new(word_shingles(WORDS))


def test_a_text_with_one_other_word_in_a_hundred_is_nearly_the_same() -> None:
    known = NearDuplicates(0.9)
    words = [f"word{number}" for number in range(200)]
    assert known.is_new(word_shingles(words)) and not known.is_new(word_shingles([*words[:-1], "other"]))


def test_texts_that_share_half_of_their_words_are_both_new() -> None:
    known = NearDuplicates(0.9)
    assert known.is_new(word_shingles(WORDS)) and known.is_new(word_shingles([*WORDS[:30], *reversed(WORDS[30:])]))


def test_what_is_not_new_is_not_kept() -> None:
    known = NearDuplicates(0.9)
    for words in (WORDS, WORDS, [*WORDS, "end"]):
        known.is_new(word_shingles(words))
    assert known.is_new(word_shingles(["end", *reversed(WORDS)]))


def test_no_shingles_are_like_no_shingles() -> None:
    known = NearDuplicates(0.9)
    assert known.is_new([]) and not known.is_new([])


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), max_size=20))
def test_the_verdicts_depend_on_nothing_but_the_texts_and_their_order(texts: list[list[str]]) -> None:
    first, second = NearDuplicates(0.9), NearDuplicates(0.9)
    assert [first.is_new(word_shingles(text)) for text in texts] == [
        second.is_new(word_shingles(text)) for text in texts
    ]


def test_a_shingle_is_a_run_of_three_words_or_the_whole_of_a_shorter_text() -> None:
    assert word_shingles(["a", "b", "c", "d"]) == ["a b c", "b c d"]
    assert word_shingles(["a", "b"]) == ["a b"] and word_shingles([]) == [""]

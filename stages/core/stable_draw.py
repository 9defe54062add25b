"""A draw that depends on each item alone, so that other items change nothing."""

from collections.abc import Collection

from stages.core.files import fingerprint


def stable_draw(question_ids: Collection[str], count: int, seed: int) -> set[str]:
    """`count` of these questions (all, if there are fewer), the first by a hash of seed and question_id: a higher count
    only adds some."""
    return set(sorted(question_ids, key=lambda question_id: fingerprint(seed, question_id))[:count])

"""A draw of questions that does not change for the others when a question is added or removed."""

from collections.abc import Collection

from stages.core.files import fingerprint


def stable_draw(question_ids: Collection[str], count: int, seed: int) -> set[str]:
    """Draws `count` of these questions, or all if there are fewer: the first by a hash of seed and question_id. So a
    higher count keeps the questions that a lower one draws."""
    return set(sorted(question_ids, key=lambda question_id: fingerprint(seed, question_id))[:count])

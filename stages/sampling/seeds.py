"""The seeds of completions, for engines that take one."""

import hashlib


def first_seed(seed: int, question_id: str) -> int:
    """The seed of a question's completion 0, of 30 bits; the seed of completion i is higher by i."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{question_id}".encode()).digest()[:4]) >> 2

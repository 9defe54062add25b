"""The seeds of samples, for engines that draw by a seed."""

import hashlib


def first_seed(seed: int, question_id: str) -> int:
    """The seed of a question's sample 0, of 30 bits; sample i has the seed that is i higher."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{question_id}".encode()).digest()[:4]) >> 2

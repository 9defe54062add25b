"""Finds near-duplicates by MinHash: texts whose sets of shingles overlap beyond a threshold."""

from collections.abc import Iterable

from datasketch import MinHash, MinHashLSH

_PERMUTATIONS = 64


class NearDuplicates:
    """What was kept so far. `threshold`: the Jaccard similarity of two sets from which on they count as the same.

    The estimate has an error of about 1/8 at 64 permutations; it is the same in every run.
    """

    def __init__(self, threshold: float) -> None:
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._count = 0

    def is_new(self, shingles: Iterable[str]) -> bool:
        """Whether nothing like this was kept before; it is kept then."""
        minhash = MinHash(num_perm=_PERMUTATIONS, seed=1)
        minhash.update_batch([shingle.encode() for shingle in set(shingles)])
        if self._index.query(minhash):
            return False
        self._index.insert(self._count, minhash)
        self._count += 1
        return True


def word_shingles(words: list[str], size: int = 3) -> list[str]:
    """Runs of `size` words; all words as one where there are fewer."""
    return [" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1))]

"""The order of difficulties, from the easiest to the hardest, in every report, table and plot."""

DIFFICULTIES = ("easy", "medium", "hard", "extra", "simple", "moderate", "challenging", "unknown")
"""Spider's levels, BIRD's, and `unknown`. A source may have others."""


def by_difficulty(name: str) -> tuple[int, str]:
    """A key to sort names of difficulties by. Others than DIFFICULTIES stand at the end, by name."""
    return DIFFICULTIES.index(name) if name in DIFFICULTIES else len(DIFFICULTIES), name

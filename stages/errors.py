"""How a stage tells a user of a mistake: whole sentences, all at once, exit status 2, no traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """One or more mistakes in params, files or flags. Each sentence names the field or file, its value, and the fix."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage's `main`; a UserError is printed as sentences on stderr and ends the process with status 2."""
    try:
        main()
    except UserError as error:
        for sentence in error.sentences:
            print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)

"""The line of requests to an endpoint: so many at once, so many a minute, none once one has shown that all are vain."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from stages.endpoints.request_form import Form

GRACE = 60.0  # seconds for answers that are under way when the run has to stop: they are paid for


class Line:
    """Lets so many requests through at once, and so many a minute; `counts` what they were, `form` is how they are
    asked. `next`: when the next one may start; `closed`: none starts any more."""

    def __init__(
        self, concurrency: int, per_minute: int, counts: Counter[str], form: Form, next_start: float
    ) -> None:
        self.places, self.gap, self.counts = asyncio.Semaphore(concurrency), 60 / per_minute, counts
        self.form = form
        self.next, self.closed = next_start, asyncio.Event()

    async def turn(self) -> None:
        """Waits until the next request may start."""
        start = max(self.next, time.monotonic())
        self.next = start + self.gap
        await self.pause(start - time.monotonic())

    async def pause(self, seconds: float) -> None:
        """Waits so long, or until the line is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()

    def hold(self, seconds: float) -> None:
        """No request starts for so long."""
        self.next = max(self.next, time.monotonic() + seconds)


async def all_of(line: Line, jobs: Sequence[asyncio.Task[None]]) -> None:
    """Waits for all jobs. Once one raises, no request starts, those under way may end, and it is raised again."""
    try:
        await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        line.closed.set()
        await asyncio.wait(jobs, timeout=GRACE)
    finally:
        for job in jobs:
            job.cancel()
        ended = await asyncio.gather(*jobs, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error

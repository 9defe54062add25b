"""Limits the requests to an endpoint: how many at once, how many a minute, and none once the run has to stop."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime

GRACE = 60.0  # seconds that requests in flight get to end when the run stops: they are paid for
_MAX_RETRY_AFTER = 120.0  # seconds


class RateLimiter:
    """Lets `concurrency` requests run at once and `per_minute` start in a minute; the first at `next_start`.

    `slots`: held while a request runs. `closed`: set once no request may start any more. Times are of the monotonic
    clock, in seconds.
    """

    def __init__(self, concurrency: int, per_minute: int, next_start: float) -> None:
        self.slots, self.interval = asyncio.Semaphore(concurrency), 60 / per_minute
        self.next_start, self.closed = next_start, asyncio.Event()

    async def acquire(self) -> None:
        """Waits until the next request may start."""
        start = max(self.next_start, time.monotonic())
        self.next_start = start + self.interval
        await self.sleep(start - time.monotonic())

    async def sleep(self, seconds: float) -> None:
        """Waits for `seconds`, or until the limiter is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()

    def back_off(self, seconds: float) -> None:
        """Lets no request start for `seconds`."""
        self.next_start = max(self.next_start, time.monotonic() + seconds)


async def run_all(limiter: RateLimiter, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Waits for all tasks. If one raises, closes the limiter, lets requests in flight end, and raises its error."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        limiter.closed.set()
        await asyncio.wait(tasks, timeout=GRACE)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def parse_retry_after(header: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or a date; at most 120. None if it is invalid."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(seconds, _MAX_RETRY_AFTER) if seconds >= 0 else None

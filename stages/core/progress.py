"""How far a piece of work is: a bar on a terminal, elsewhere a plain line from time to time. Both go to stderr."""

import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from math import inf
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from stages.core.display import show, visible_line

if TYPE_CHECKING:
    Bar = tqdm[Any]
else:
    Bar = tqdm

LINE_SECONDS = 30.0
"""Seconds between two lines where stderr is no terminal."""
BAR_SECONDS = 0.5
"""Seconds between two states of a bar on a terminal."""

_WIDTH = 80
"""Columns of a terminal on which a bar has its graphic, if its text leaves room for one."""
_LEAST_GRAPHIC = 20
"""Columns of the shortest graphic, with its percentage."""

_BAR = "{desc}: {percentage:.0f} %|{bar}| {figures}{postfix}"
_LINE = "{desc}: {figures}{postfix}"
_TIME = "{desc}: {elapsed} so far"


class _Bar(Bar):
    """The rate is the one at the last update, and the time left is counted down from there: computed anew at each
    drawing, it would rise until the next update."""

    last_update: tuple[float, float] | None = None  # seconds after the start, and the rate so far

    def update(self, n: float | None = 1) -> bool | None:
        result = super().update(n)
        if not self.disable and self.n > self.initial:
            seconds = max(time.time() - self.start_t, 1e-6)
            self.last_update = seconds, (self.n - self.initial) / seconds
        return result

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        values = super().format_dict
        if self.disable:
            return values
        figures = ", ".join(self._figures(values["elapsed"]))
        columns = (values["ncols"] or inf) + 1  # tqdm leaves the last one free
        if self.bar_format == _BAR and columns < max(_WIDTH, len(self.desc) + len(figures) + _LEAST_GRAPHIC):
            room = max(int(columns) - len(figures) - len(": ") - 1, 1)
            label = self.desc if len(self.desc) <= room else f"{self.desc[: room - 1]}…"
            return {**values, "figures": figures, "bar_format": _LINE, "prefix": label}
        return {**values, "figures": figures}

    def _figures(self, seconds: float) -> Iterator[str]:
        """Count, rate, time so far and time left, as far as they are known."""
        yield self._number(self.n) + (f" of {self._number(self.total)}" if self.total is not None else "")
        then, rate = self.last_update or (0.0, 0.0)
        if rate:
            yield f"{self._number(rate)}{self.unit}/s"
        if self.bar_format == _LINE:
            yield f"{self.format_interval(seconds)} so far"
        if rate and self.total is not None:
            yield f"{self.format_interval(max((self.total - self.n) / rate - (seconds - then), 0))} left"

    def _number(self, number: float) -> str:
        return self.format_sizeof(number) if self.unit_scale else number_text(number)


def number_text(number: float) -> str:
    """A count as `41,338`; a rate, with at most three significant digits, as `8,910` or `3.2`."""
    if isinstance(number, int):
        return f"{number:,}"
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


class _Lines(_Bar):
    """A bar whose states are lines of their own."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        show(str(self), sys.stderr)


@contextmanager
def progress(label: str, total: int | None, unit: str = "", initial: int = 0, shown: bool = True) -> Iterator[Bar]:
    """Shows how far the work inside is, at what rate, and how long the rest takes. Call `update(n)` on the bar
    after n more items; `set_postfix_str` adds a text.

    `total`: how many there are, in `unit`s ("questions"; "B" for bytes, shown as 1.2MB); None where that is not known.
    Without a unit the time alone is shown. `initial`: how many an earlier run did. `shown`: False in all processes but
    one. Only a thread of this function draws: drawing does not slow the work, and a long step shows that time passes.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    style = _TIME if not unit else _BAR if terminal and total else _LINE
    bar = (_Bar if terminal else _Lines)(
        desc=visible_line(label), total=total, unit=unit if unit == "B" else f" {unit}", initial=initial,
        unit_scale=unit == "B", bar_format=style, smoothing=0, miniters=inf, maxinterval=inf,
        delay=0 if terminal else inf, leave=False, disable=not shown, dynamic_ncols=True,
    )  # fmt: skip
    ended = Event()

    def draw() -> None:
        while not ended.wait(BAR_SECONDS if terminal else LINE_SECONDS):
            bar.refresh()

    thread = Thread(target=draw, daemon=True)
    if shown:
        thread.start()
    try:
        yield bar
    finally:
        ended.set()
        if shown:
            thread.join()
        bar.close()

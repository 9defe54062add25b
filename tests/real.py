"""Where the real questions, databases and predictions lie that tests marked `realdata` and the benchmarks use."""

from pathlib import Path

REAL = Path(__file__).parents[2] / "shared" / "real"

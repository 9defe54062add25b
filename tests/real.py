"""Where the real questions, databases and predictions lie that tests marked `realdata` and the benchmarks use."""

from tests import ROOT

REAL = ROOT.parent / "shared" / "real"

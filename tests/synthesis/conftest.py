import pytest

from stages.audit import gold_worker
from stages.execution import worker
from stages.synthesis import database_builder, first_rows


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `inline` run the work of workers here, without the limits that a process cannot get rid of."""
    for module in (gold_worker, worker, database_builder, first_rows):
        monkeypatch.setattr(module, "limit_process", lambda memory_mb: None)

import pytest

from tests.synthesis.world import work_here


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is not hostile: see `work_here`."""
    work_here(monkeypatch)

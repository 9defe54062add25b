"""Jobs that run side by side."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from stages.core.errors import UserError
from stages.searching.processes import open_pool, run_all


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    with open_pool(64) as pool:
        yield pool


def refuse(message: str) -> int:
    raise UserError(message)


def threads() -> int:
    import torch

    return torch.get_num_threads()


def test_results_stand_in_the_order_of_the_jobs_whichever_ends_first(pool: ProcessPoolExecutor) -> None:
    jobs = {name: partial(pow, 2, number) for number, name in enumerate("cab")}
    assert list(run_all(pool, "jobs", jobs).items()) == [("c", 1), ("a", 2), ("b", 4)]


def test_a_job_runs_in_another_process_with_its_share_of_the_cores(pool: ProcessPoolExecutor) -> None:
    assert run_all(pool, "jobs", {0: os.getpid})[0] != os.getpid()
    assert run_all(pool, "jobs", {0: threads}) == {0: 1}


def test_what_a_job_refuses_reaches_the_user(pool: ProcessPoolExecutor) -> None:
    with pytest.raises(UserError, match="no such model"):
        run_all(pool, "jobs", {0: partial(refuse, "no such model")})

"""Runs functions side by side in processes that share the cores."""

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from stages.core.progress import progress
from stages.execution.worker_pool import usable_cpus

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def open_pool(at_once: int) -> ProcessPoolExecutor:
    """So many processes, each with its share of the cores for PyTorch's threads."""
    threads = max(usable_cpus() // at_once, 1)
    return ProcessPoolExecutor(at_once, get_context("spawn"), _use_threads, (threads,))


def run_all(pool: ProcessPoolExecutor, label: str, jobs: Mapping[K, Callable[[], T]]) -> dict[K, T]:
    """The result of each job, in the order of the jobs. Raises what a job raises; those that wait are dropped."""
    futures = {pool.submit(job): key for key, job in jobs.items()}
    results: dict[K, T] = {}
    with progress(label, len(jobs), "jobs") as bar:
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {key: results[key] for key in jobs}


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)

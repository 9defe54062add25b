"""Searches the settings of preference learning that a plan lists, each beside SFT alone and beside its control `rft`.

Every setting is trained from the first SFT model and measured on dev. Of the settings that differ in numbers only, the
best on dev is then trained from SFT models of further seeds, and measured once on test. Prints a Markdown table, and
writes its figures to reports/search.json. What was trained stays in models/search, so that a search that was killed
goes on. It needs `dvc repro train_sft` before.
"""

import argparse
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.display import show
from stages.core.errors import run_stage
from stages.core.files import write_json
from stages.core.layout import model_path, report_file
from stages.core.receipts import open_dataset
from stages.datasets.sft import SFT
from stages.execution.worker_pool import worker_count
from stages.scoring.search import Measured, search_figures, search_table
from stages.search_setting import Sections, add_flags, make_pair_set, measure, read_sections, right_on, train_sft_model
from stages.searching.plan import Plan, Setting
from stages.searching.processes import open_pool, run_all
from stages.train_dpo import BASE


class Search:
    """A plan with all that its parts share: the SFT model of each seed, and the pair sets that are there."""

    def __init__(self, plan: Plan, sections: Sections, pool: ProcessPoolExecutor) -> None:
        self.plan, self.sections, self.pool = plan, sections, pool
        self.seeds = range(sections.train_sft.seed, sections.train_sft.seed + plan.seeds)
        self.bases: dict[int, Path] = {self.seeds[0]: model_path(BASE)}
        self.pair_sets: dict[tuple[str, Path], pl.DataFrame] = {}

    def train_bases(self) -> None:
        """Trains the SFT models of the further seeds; the first is the pipeline's own."""
        sft = open_dataset(SFT)
        jobs = {seed: partial(train_sft_model, self.sections, sft, seed) for seed in self.seeds[1:]}
        self.bases |= run_all(self.pool, "SFT models", jobs)

    def _sampler(self, name: str, seed: int) -> Path:
        """The model that a pair set is sampled from: the weak one is the same for all seeds."""
        model = self.plan.pair_sets[name].model
        return self.bases[seed] if model == BASE else model_path(model)

    def make_pair_sets(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Makes the pair sets of these names and seeds that are not there yet."""
        keys = {(name, self._sampler(name, seed)) for name, seed in wanted} - self.pair_sets.keys()
        jobs = {
            key: partial(make_pair_set, self.sections, self.plan.pair_sets[key[0]], key[1], self.plan.questions)
            for key in sorted(keys)
        }
        self.pair_sets |= run_all(self.pool, "pair sets", jobs)

    def measure(self, wanted: Sequence[tuple[Setting, int]], test_set: str) -> dict[tuple[int, int], Measured]:
        """What each setting, trained from the SFT model of a seed, answers to a test set: by its place in the plan and
        the seed."""
        self.make_pair_sets((setting.pairs, seed) for setting, seed in wanted)
        jobs = {
            (self.plan.settings.index(setting), seed): partial(
                measure, self.sections, self.plan, setting, self.bases[seed],
                self.pair_sets[setting.pairs, self._sampler(setting.pairs, seed)], test_set,
            )
            for setting, seed in wanted
        }  # fmt: skip
        return run_all(self.pool, f"settings on {test_set}", jobs)

    def measure_bases(self, seeds: Sequence[int], test_set: str) -> dict[int, pl.DataFrame]:
        """What the SFT models of these seeds answer to a test set."""
        jobs = {seed: partial(right_on, self.sections, self.bases[seed], test_set) for seed in seeds}
        return run_all(self.pool, f"SFT models on {test_set}", jobs)


def search(plan: Plan, sections: Sections, pool: ProcessPoolExecutor) -> dict[str, Any]:
    """The figures of all settings of a plan."""
    work, first = Search(plan, sections, pool), sections.train_sft.seed
    dev_base = work.measure_bases([first], plan.dev)
    on_dev = work.measure([(setting, first) for setting in plan.settings], plan.dev)
    finalists = best_of_groups(plan.settings, [on_dev[number, first] for number in range(len(plan.settings))])
    work.train_bases()
    test_base = work.measure_bases(work.seeds, plan.test)
    on_test = work.measure([(plan.settings[number], seed) for number in finalists for seed in work.seeds], plan.test)
    by_setting = {number: [on_test[number, seed] for seed in work.seeds] for number in finalists}
    dev = [on_dev[number, first] for number in range(len(plan.settings))]
    settings = [
        {"pair_set": setting.pairs, "objective": setting.objective, "rounds": setting.rounds, "params": setting.label}
        for setting in plan.settings
    ]
    return search_figures(
        settings, (plan.dev, dev_base[first], dev), (plan.test, list(test_base.values()), by_setting),
        sections.evaluate.seed, sections.evaluate.resamples,
    )  # fmt: skip


def best_of_groups(settings: Sequence[Setting], on_dev: Sequence[Measured]) -> list[int]:
    """The place of the setting of each group that is best on dev; of equal ones the first."""
    best: dict[tuple[str, str, int], int] = {}
    for number, (setting, measured) in enumerate(zip(settings, on_dev, strict=True)):
        leader = best.setdefault(setting.group, number)
        if measured.right["right"].sum() > on_dev[leader].right["right"].sum():
            best[setting.group] = number
    return sorted(best.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.search", description=__doc__)
    parser.add_argument("--at-once", type=worker_count, default=1, metavar="N", help="trainings that run side by side")
    add_flags(parser)
    plan, sections = read_sections(parser.parse_args())
    with open_pool(sections.args.at_once) as pool:
        figures = search(plan, sections, pool)
    write_json(report_file("search"), figures)
    show(search_table(figures))


if __name__ == "__main__":
    run_stage(main)

"""Stage `synthesize`: strong data, made up by a strong model or read from a file, verified item by item, and repaired.

A strong model is asked for databases of domains, and for questions with SQL about them. Every database is built and
every query executed here. An item is accepted if it passes each check, and if the votes (the question asked again,
without its SQL) return what its SQL returns. What fails goes back for repair, with the problem. The others stay in the
dataset with the reason of their refusal, so that what the checks changed can be measured; `sft` takes accepted ones.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.core.end_line import write_report
from stages.core.errors import UserError, run_stage
from stages.core.files import move_folder, write_text
from stages.core.layout import RAW, SYNTHETIC_DATABASES, model_path
from stages.core.params import read_params
from stages.core.receipts import open_dataset, open_datasets
from stages.core.tables import write_dataset
from stages.corpora.demo.corpus import DemoParams
from stages.datasets.gold import GOLD
from stages.datasets.questions import QUESTIONS
from stages.datasets.synthetic import SYNTHETIC
from stages.datasets.verdicts import GOLD_FLAGS
from stages.execution.cli_flags import add_execution_flags, check_paths, engine_of
from stages.execution.params import ExecutionParams
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.demo_model import DemoModel
from stages.synthesis.demo_report import mistakes_report
from stages.synthesis.endpoint_model import EndpointModel
from stages.synthesis.examples import draw_examples
from stages.synthesis.file_source import FileSource
from stages.synthesis.item_checks import Verifier
from stages.synthesis.items import Item
from stages.synthesis.mending import Mending
from stages.synthesis.params import SynthesizeParams
from stages.synthesis.rewriting import FLAGS, failing_golds, rewrite_golds
from stages.synthesis.rows import report_of, synthetic_rows
from stages.synthesis.strong_model import BudgetedModel, StrongModel
from stages.synthesis.synthesizer import ModelSource, Source, Synthesizer
from stages.synthesis.taxonomy import read_taxonomy

NO_REPORT: Mapping[str, Any] = {"source": "none", "in": 0, "out": 0, "dropped": {}, "repaired": 0}


def open_model(params: SynthesizeParams, cache: Cache) -> StrongModel | None:
    """The strong model that is asked; None where none is. Raises UserError as `open_endpoint` does."""
    if params.source == "demo":
        corpus = read_params("corpus.demo", DemoParams)
        if not corpus.strong_domains:
            problem = "`corpus.demo.strong_domains` is 0, so the demo's strong model has no domain"
            raise UserError(f"params.yaml: {problem}; set it to 1 or more, or `synthesize.source` to none")
        return DemoModel(params.seed, corpus, params.demo.mistake_rate)
    if params.source == "file" and not (params.votes or params.repair_rounds):
        return None
    return open_endpoint(params, cache)


def open_endpoint(params: SynthesizeParams, cache: Cache) -> EndpointModel:
    """The model at the endpoint. Raises UserError with all mistakes in its file, the environment and the budget."""
    path = model_path(str(params.endpoint))
    model = EndpointModel(path, params.temperature, params.max_tokens, params.seed, cache)
    if params.budget.cost is not None and model.cost(0, 0) is None:
        raise UserError(f"params.yaml: `synthesize.budget.cost` needs prices; give both in {path}, or set it to null")
    return model


def open_source(params: SynthesizeParams, model: BudgetedModel | None, maker: DatabaseMaker) -> Source:
    """Where the items come from. Raises UserError if a file cannot be read."""
    if params.source == "file":
        return FileSource(RAW / str(params.file), maker)
    assert model is not None
    taxonomy = read_taxonomy()
    domains = model.model.domains if isinstance(model.model, DemoModel) else taxonomy.domains
    examples = [] if isinstance(model.model, DemoModel) else draw_examples(open_dataset(QUESTIONS), params.seed)
    return ModelSource(model, maker, taxonomy, domains, params.questions_per_database, examples, params.seed)


def synthesize(
    params: SynthesizeParams, limits: ExecutionParams, args: argparse.Namespace, folder: Path
) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """The rows of `synthetic` and the report. Puts their databases into `folder`."""
    cache, executor = Cache(args.cache), engine_of(args)
    maker = DatabaseMaker(folder, limits.limits(), executor, params.repair_rounds)
    strong = open_model(params, cache)
    model = BudgetedModel(strong, params.budget) if strong else None
    source = open_source(params, model, maker)
    verifier = Verifier(params.step_budget, limits.limits(), executor, cache)
    mending = Mending(verifier, model, params.votes, params.repair_rounds)
    items, ended_by = Synthesizer(source, mending).run(params.items)
    rows = synthetic_rows(items, strong)
    _remove_unused(folder, items)
    report = report_of(params.source, ended_by, rows, maker.counts, source.refused, model)
    return rows, report | ({"mistakes": mistakes_report(strong, items)} if isinstance(strong, DemoModel) else {})


def write_rewrites(params: SynthesizeParams, limits: ExecutionParams, args: argparse.Namespace) -> None:
    """Writes the rewrites of golds that fail. Raises UserError with all mistakes, before anything is asked."""
    if params.endpoint is None or not params.repair_rounds:
        fix = "give `synthesize.endpoint`, and `synthesize.repair_rounds` of 1 or more"
        raise UserError(f"params.yaml: --repair asks an endpoint; {fix}")
    check_paths({}, {}, {"--repair": args.repair})
    cache, executor = Cache(args.cache), engine_of(args)
    strong = open_endpoint(params, cache)
    questions, gold = open_datasets(QUESTIONS, GOLD)
    items = failing_golds(questions, gold, args.flags)
    verifier = Verifier(params.step_budget, limits.limits(), executor, cache, tuple(args.flags))
    model = BudgetedModel(strong, params.budget)
    rewrites, report = rewrite_golds(items, Mending(verifier, model, params.votes, params.repair_rounds), strong)
    write_text(args.repair, "".join(json.dumps(rewrite, ensure_ascii=False) + "\n" for rewrite in rewrites))
    show(json.dumps(report | {"requests": model.counts["requests"], "spent": model.spent()}, indent=2))


def _remove_unused(folder: Path, items: list[Item]) -> None:
    """Removes the databases that no item asks."""
    used = {item.database.db_id for item in items}
    for database in folder.iterdir():
        if database.name not in used:
            shutil.rmtree(database)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.synthesize", description=__doc__)
    parser.add_argument(
        "--repair", type=Path, metavar="FILE.jsonl",
        help="asks the endpoint for other SQL of the questions whose gold fails, and writes it for `corpus.rewrites`",
    )  # fmt: skip
    parser.add_argument("--flags", nargs="+", choices=GOLD_FLAGS, default=FLAGS, help="audit flags that --repair mends")
    add_execution_flags(parser)
    args = parser.parse_args()
    params, limits = read_params("synthesize", SynthesizeParams), read_params("execution", ExecutionParams)
    if args.repair is not None:
        write_rewrites(params, limits, args)
        return
    folder = SYNTHETIC_DATABASES.with_name(f"{SYNTHETIC_DATABASES.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if params.source == "none":
        rows, report = synthetic_rows([], None), NO_REPORT
    else:
        rows, report = synthesize(params, limits, args, folder)
    move_folder(folder, SYNTHETIC_DATABASES)
    write_dataset(rows, SYNTHETIC)
    figures = f"{report['out']:,} accepted", f"{report['repaired']:,} of them repaired"
    write_report("synthesize", report, rows.height, report["dropped"], *figures, what="refused")


if __name__ == "__main__":
    run_stage(main)

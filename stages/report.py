"""Stage `report`: the figures that people compare, as DVC metrics and plots, and the page `reports/index.html`.

`reports/metrics.json` has, for each test set and model, EX, pass@k and maj@k (shares; k is the number of samples), and
the number of pairs. `reports/plots/samples.csv` has pass@k and maj@k for each k, `reports/plots/difficulty.csv` EX by
difficulty. The page has what the stages counted, and every question with its candidates, answers and pairs.
"""

import argparse
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from pydantic_core import PydanticCustomError

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.core.end_line import end_stage
from stages.core.errors import run_stage
from stages.core.files import read_json, write_json, write_text
from stages.core.layout import report_file
from stages.core.params import read_params
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.comparison import Contract
from stages.execution.params import ExecutionParams
from stages.execution.worker_pool import local
from stages.reporting.metrics import MODELS, metrics_of, read_evaluations, table, write_plots
from stages.reporting.page import meta_of, report_page
from stages.reporting.question_index import QuestionIndex
from stages.reporting.records import Tables, explorer_tables
from stages.reporting.sources import open_all, open_for_server, rows_of_question, served_files
from stages.reporting.times import keep_times, kept_times

PAGE, GOLD_PAGE = Path("reports/index.html"), Path("reports/gold.html")
_PORT = 8800


class TestSets(RootModel[list[str]]):
    """Section `test_sets` of params.yaml: `<source>-<split>` each."""

    model_config = ConfigDict(frozen=True, strict=True)

    @field_validator("root")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise PydanticCustomError("test_sets", "name each test set once")
        return names


class ComparisonParams(BaseModel):
    """How models are compared: three fields of section `evaluate` of params.yaml."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    contract: Contract
    resamples: int = Field(ge=100, le=10**6)
    seed: int = Field(ge=0, lt=2**63)


def make_report(args: argparse.Namespace, test_sets: list[str]) -> None:
    """Writes the metrics, the plots and the page, and prints the metrics."""
    limits, comparison = read_params("execution", ExecutionParams).limits(), read_params("evaluate", ComparisonParams)
    contract, executor, cache = read_json(report_file("exec_results"))["contract"], engine_of(args), Cache(args.cache)
    evaluations, pairs = read_evaluations(test_sets), read_json(report_file("pairs"))["out"]
    datasets = open_all(MODELS, test_sets)
    meta = meta_of(datasets, contract, MODELS if test_sets else (), served=False)
    tables = explorer_tables(datasets, contract, limits, executor, cache) if meta["explorer"] else None
    page = report_page(datasets, meta, tables, evaluations, comparison.model_dump(), kept_times())
    write_json(report_file("metrics"), metrics_of(pairs, evaluations))
    write_plots(evaluations)
    write_text(PAGE, page)
    show(table(pairs, evaluations))
    end_stage("report", PAGE, f"{len(page) / 1e6:.1f} MB, {meta['questions']:,} questions")


def serve_report(args: argparse.Namespace, test_sets: list[str]) -> None:
    """Serves the page and the questions until Ctrl-C."""
    from stages.reporting.server import application, listening_socket, serve

    limits, comparison = read_params("execution", ExecutionParams).limits(), read_params("evaluate", ComparisonParams)
    contract, listener = read_json(report_file("exec_results"))["contract"], listening_socket(args.port)
    files = served_files()
    datasets = open_for_server(MODELS, test_sets)
    meta = meta_of(datasets, contract, MODELS if test_sets else (), served=True)
    page = report_page(datasets, meta, None, read_evaluations(test_sets), comparison.model_dump(), kept_times())

    def tables_of(question_id: str) -> Tables | None:
        rows = rows_of_question(question_id, datasets, files)
        return None if rows is None else explorer_tables(rows, contract, limits, local(1), None)

    app = application(page, QuestionIndex(datasets, contract), tables_of, GOLD_PAGE)
    show(f"http://127.0.0.1:{listener.getsockname()[1]}/ shows the report; Ctrl-C ends it")
    serve(app, listener)


def port(text: str) -> int:
    """The value of `--port`. Raises argparse's error unless it is a whole number from 0 to 65535."""
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a whole number from 0 to 65535")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.report", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--figures", action="store_true", help="prints the metrics alone and writes nothing")
    what.add_argument("--serve", action="store_true", help="serves the page and the questions on 127.0.0.1")
    what.add_argument("--times", action="store_true", help="keeps the seconds of the last run for the page")
    parser.add_argument("--port", type=port, default=_PORT, help=f"of --serve; 0: any free one (default: {_PORT})")
    add_execution_flags(parser)
    args = parser.parse_args()
    if args.times:
        show(f"{keep_times()} has the seconds of the last run; `dvc repro report` puts them on the page")
        return
    test_sets = read_params("test_sets", TestSets).root
    if args.figures:
        show(table(read_json(report_file("pairs"))["out"], read_evaluations(test_sets)))
    else:
        (serve_report if args.serve else make_report)(args, test_sets)


if __name__ == "__main__":
    run_stage(main)

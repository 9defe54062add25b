"""Where everything lies. A name is enough: the dataset `pairs` is data/pairs.parquet, its suite schemas/pairs.json.

Paths are relative to the root of the repository, where every command is run.
"""

from pathlib import Path

RAW = Path("data/raw")
DATABASES = Path("data/databases")
SYNTHETIC_DATABASES = Path("data/synthetic_databases")
DICTIONARY = Path("data/README.md")
MODELS = Path("models")
EVALUATIONS = Path("reports/evaluate")
EXPORT = Path("reports/publish")
TIMES = Path("reports/times.jsonl")
"""The seconds of each stage that DVC ran on this machine. git ignores it: it is no result."""


def dataset_file(dataset: str) -> Path:
    """The Parquet file of a dataset."""
    return Path("data", f"{dataset}.parquet")


def answers_file(model: str, test_set: str) -> Path:
    """What a model said on a test set: a file of the dataset `answers`, by the name `answers/<model>-<test set>`."""
    return dataset_file(f"answers/{model}-{test_set}")


def suite_file(dataset: str) -> Path:
    """The Great Expectations suite of a dataset. Datasets of one folder, such as `answers/…`, share one."""
    return Path("schemas", f"{dataset.partition('/')[0]}.json")


def receipt_file(dataset: str) -> Path:
    """What `validate` found of a dataset."""
    return Path("reports", "validation", f"{dataset}.json")


def report_file(stage: str) -> Path:
    """The counts of a stage; of one item of a matrix by `<stage>/<item>`."""
    return Path("reports", f"{stage}.json")


def evaluation_file(model: str, test_set: str) -> Path:
    """The figures of a model on a test set."""
    return EVALUATIONS / f"{model}-{test_set}.json"


def model_path(model: str) -> Path:
    """The folder of a model: `sft/strong`, `sft/weak`, `dpo`, `imported`; or the file of an endpoint."""
    return MODELS / model


def plot_file(name: str) -> Path:
    """The figures of a plot of all models."""
    return Path("reports", "plots", f"{name}.csv")


def training_log(stage: str) -> Path:
    """The folder where DVCLive writes the curves of a training."""
    return Path("reports", stage)

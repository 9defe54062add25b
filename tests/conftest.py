"""What several tests share: a tiny SFT set, and a model and tokenizer small enough to make anew."""

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"  # on busy cores, threads of such small models mostly wait for each other

import polars as pl
import pytest
from hypothesis import settings
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.datasets.catalog import DATASETS
from stages.training.scratch_model import new_model, train_tokenizer
from tests.fake_endpoint import endpoint as endpoint  # fixtures, for all tests
from tests.fake_endpoint import opens as opens
from tests.real import REAL

settings.register_profile("busy", deadline=None)  # a busy machine takes its time
settings.load_profile("busy")

collect_ignore = [] if find_spec("vllm") else ["vllm"]  # it has an environment of its own: `make test-vllm`

DDL = "singer(singer_id, name, age, country)\nalbum(album_id, singer_id -> singer, title, year)"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The one place where a test marked `realdata` is skipped."""
    if item.get_closest_marker("realdata") and not REAL.is_dir():
        pytest.skip("needs the real data beside the repository (../shared/real)")


@pytest.fixture(scope="session", autouse=True)
def cache_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what is executed before a test has a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the result cache of this test lies, and of the processes it starts: not in the user's home."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "sense"


@pytest.fixture(scope="session")
def sft_rows() -> pl.DataFrame:
    """96 rows of the SFT set."""
    rows = []
    for number in range(96):
        table, label, column = [("singer", "name", "age"), ("album", "title", "year")][number % 2]
        rows.append({
            "question_id": f"demo/train/{number:04}",
            "prompt": f"{DDL}\nquestion: Which {table}s have a {column} above {number}?\nsql:\n",
            "completion": f"SELECT {label} FROM {table} WHERE {column} > {number}",
            "origin": "human",
        })
    return pl.DataFrame(rows, schema=DATASETS["sft"].columns)


@pytest.fixture(scope="session")
def tokenizer(sft_rows: pl.DataFrame) -> PreTrainedTokenizerFast:
    return train_tokenizer(sft_rows["prompt"] + sft_rows["completion"], vocab_size=320, max_length=128)


@pytest.fixture(scope="session")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    made = new_model(tokenizer, hidden_size=32, layers=2, heads=2, seed=7)
    made.eval()
    return made


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """Ctrl-C does in this process and its children what it does on a terminal: in the background of a shell it is
    ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

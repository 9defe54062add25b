"""The stage `synthesize` against vLLM's own server, with a model that is made here.

Its weights are random, so no answer is of use; but vLLM holds each answer to the form that the request asks for.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import polars as pl
import pytest
from ruamel.yaml import YAML
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from stages.cache.result_cache import Cache
from stages.core.files import read_json
from stages.synthesis.endpoint_model import EndpointModel
from stages.synthesis.requests import (
    FORMS,
    ask_database,
    ask_database_repair,
    ask_query_repair,
    ask_question,
    ask_vote,
)
from stages.synthesize import main
from tests.execution.world import make_database
from tests.vllm.server import serving
from tests.vllm.test_vllm_engine import SIZE, save
from tests.workplace import EXECUTION, put_rows, set_arguments, write_params

INPUT_PRICE, OUTPUT_PRICE = 2.0, 8.0
MAX_TOKENS = 512
SYNTHESIZE: dict[str, Any] = {
    "source": "endpoint", "endpoint": "endpoints/own.yaml", "file": None, "items": 4, "questions_per_database": 2,
    "votes": 2, "repair_rounds": 1, "budget": {"requests": 7, "tokens": None, "cost": None}, "step_budget": 1_000_000,
    "temperature": 1.0, "max_tokens": MAX_TOKENS, "seed": 1, "demo": {"mistake_rate": 0.0},
}  # fmt: skip
SCHEMA = "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, age INTEGER)"
ITEM = "strong/music/00", "music", "music", SCHEMA
REQUESTS = [
    request
    for number in range(1, 5)
    for request in (
        ask_database(f"music_{number}", "music", 2),
        ask_database_repair(f"music_{number}", "music", '{"tables": []}', "it has no table", 1),
        ask_question(f"strong/music/{number}", *ITEM[1:], "easy", "a condition", []),
        ask_vote(*ITEM, "Who is older than 40?", number),
        ask_query_repair(*ITEM, "Who is older than 40?", "SELECT nam FROM singer", "no such column", [], number),
    )
]
"""Four of each kind."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server on loopback."""
    config = LlamaConfig(**SIZE | {"max_position_embeddings": 8192, "initializer_range": 0.05})
    folder = save(tmp_path_factory.mktemp("served") / "strong", config, byte_tokenizer())
    with serving(folder, "strong") as address:
        yield address


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token, so that any JSON can be written, and its usual beginnings are shorter."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE["vocab_size"], special_tokens=["<pad>", "<end>"], initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    texts = [message["content"] for request in REQUESTS for message in request.messages()]
    tokenizer.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    made.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    return made


@pytest.fixture(autouse=True)
def workplace(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the file of the endpoint, a question about a database, and the server's address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    settings = {"model": "strong", "version": "1", "api": "chat", "logprobs": False}
    settings |= {"input_price": INPUT_PRICE, "output_price": OUTPUT_PRICE}
    Path("models/endpoints").mkdir(parents=True)
    with Path("models/endpoints/own.yaml").open("w") as file:
        YAML().dump({"endpoint": settings}, file)
    make_database(Path("data/databases"))
    put_rows("questions", [{
        "question_id": "demo/train/0000", "source": "demo", "split": "train", "db_id": "music", "evidence": "",
        "question": "Who is older than 40?", "gold_sql": "SELECT name FROM singer WHERE age > 40",
        "difficulty": "easy", "origin": "human",
    }])  # fmt: skip
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Runs the stage. Returns the rows of `synthetic`, and the report."""
    write_params(synthesize=SYNTHESIZE | changed, execution=EXECUTION)
    set_arguments(monkeypatch, "synthesize", "--workers=1")
    main()
    return pl.read_parquet("data/synthetic.parquet"), read_json(Path("reports/synthesize.json"))


def counted(server: str) -> dict[str, int]:
    """What the server counted since it started."""
    with urlopen(f"{server}/metrics", timeout=60) as response:
        text = response.read().decode()
    names = {
        "requests": "request_success_total", "prompt_tokens": "prompt_tokens_total",
        "completion_tokens": "generation_tokens_total",
    }  # fmt: skip
    return {
        name: sum(int(float(value)) for value in re.findall(rf"^vllm:{metric}{{.*}} (.+)$", text, re.MULTILINE))
        for name, metric in names.items()
    }


def test_an_answer_that_is_not_cut_has_the_form_that_is_asked_for(workplace: Path) -> None:
    model = EndpointModel(Path("models/endpoints/own.yaml"), 1.0, MAX_TOKENS, 1, Cache(workplace))
    answers = zip(REQUESTS, model.answer(REQUESTS), strict=True)
    whole = [(request, answer) for request, answer in answers if answer.finish_reason == "stop"]
    assert {request.kind for request, _ in whole} == set(FORMS)
    for request, answer in whole:
        assert json.loads(answer.text).keys() == FORMS[request.kind].model_fields.keys()
    assert any("\\" in answer.text for _, answer in whole)  # such as \n and \" of SQL


def test_the_budget_is_met_exactly_and_all_is_accounted_for(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = counted(server)
    rows, report = run(monkeypatch)
    spent = {name: value - before[name] for name, value in counted(server).items()}
    assert (rows.height, report["ended_by"], report["spent"]["requests"]) == (0, "requests", 7)
    assert report["requests"] == {"database": 4, "question": 0, "vote": 0, "repair_database": 3, "repair_query": 0}
    assert sum(report["databases"]["dropped"].values()) == 4
    cost = (spent["prompt_tokens"] * INPUT_PRICE + spent["completion_tokens"] * OUTPUT_PRICE) / 1e6
    assert report["spent"] == spent | {"cost": pytest.approx(cost, abs=1e-6)}
    assert min(spent.values()) > 0


def test_a_second_run_asks_nothing_and_gives_the_same_bytes(
    server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs = [Path("data/synthetic.parquet"), Path("reports/synthesize.json")]
    run(monkeypatch)
    first, before = [path.read_bytes() for path in outputs], counted(server)
    capfd.readouterr()
    run(monkeypatch)
    assert [path.read_bytes() for path in outputs] == first and counted(server) == before
    shown = re.findall("endpoint, in this run: requests ([0-9]+)", capfd.readouterr().err)
    assert shown and set(shown) == {"0"}


def test_it_votes_on_the_items_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    singers = [[1, "Ada", 30], [2, "Bea", 45], [3, "Cid", 51]]
    database = {"domain": "music", "schema": SCHEMA, "rows": {"singer": singers}}
    items = [
        {"question": "What are the names of the singers?", "sql": "SELECT name FROM singer"},
        {"question": "What is the highest age of all singers?", "sql": "SELECT max(age) FROM singer"},
    ]
    Path("data/raw/theirs").mkdir(parents=True)
    Path("data/raw/theirs/data.jsonl").write_text("".join(json.dumps(item | database) + "\n" for item in items))
    rows, report = run(monkeypatch, source="file", file="theirs", items=None, repair_rounds=0)
    assert (report["ended_by"], report["in"], report["no_item"]) == ("file", 2, {})
    assert report["requests"] == {"database": 0, "question": 0, "vote": 4, "repair_database": 0, "repair_query": 0}
    assert rows["votes"].to_list() == [2, 2] and rows["vote_share"].is_between(0, 1).all()

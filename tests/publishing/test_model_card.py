"""The Python on a model's card gives what the model was evaluated with: the greedy answer of our own engine."""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from stages.core.files import write_json
from stages.core.layout import evaluation_file
from stages.lm.completions import Decoding, PromptedQuestion
from stages.prompting.rendering import PromptsParams, prompt_schema, unseen_prompt
from stages.prompting.token_budget import estimate_tokens
from stages.publishing.models import example_prompt
from stages.sampling.transformers_engine import TransformersEngine
from tests.hub import OWNER, TOKEN, Hub, environment, hub_of
from tests.prompting.databases import make_database
from tests.publishing.workplace import FIGURES, MODEL, VERSION, Workplace
from tests.test_prompts import PLAIN

MAX_TOKENS = 12
TEMPLATE = "{{ bos_token }}{% for message in messages %}user: {{ message.content }}{% endfor %}answer: "
BASE = f"{OWNER}/base"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture
def workplace(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Workplace:
    """A workplace whose model dpo is a real one."""
    (tmp_path / "work").mkdir()
    workplace = Workplace(tmp_path / "work", monkeypatch)
    workplace.set("evaluate", max_tokens=MAX_TOKENS)
    save(model, tokenizer, Path("models/dpo"))
    return workplace


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def publish(hub: Hub, name: str, folder: Path) -> str:
    """Puts the files of a model folder on the Hub at the version's tag; returns the commit."""
    sha = hub.model(name).commit({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
    hub.model(name).tags[VERSION] = sha
    return sha


def code_of_card(workplace: Workplace, model: str = "dpo") -> str:
    workplace.run()
    card = (workplace.export / "models" / model / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    return str(code)


def printed(hub: Hub, home: Path, *codes: str) -> list[str]:
    """What each code prints, in a process that takes the test Hub for the Hub: transformers keeps the first that it
    asks for as long as a process lasts."""
    script = "\nprint('----')\n".join(codes)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(hub, home, TOKEN), cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n").split("\n----\n")


def greedy(folder: Path, prompt: str) -> str:
    """The greedy answer of the engine that `evaluate` and `ask` use."""
    question = PromptedQuestion("", "", prompt)
    ((completion,),) = TransformersEngine(folder, 1).sample([question], Decoding(1, 0.0, 1.0, MAX_TOKENS, 0), 0, 1)
    assert completion.completion
    return completion.completion


PROMPT = example_prompt(PLAIN)


def test_the_code_of_the_card_gives_the_greedy_answer(hub: Hub, workplace: Workplace, tmp_path: Path) -> None:
    publish(hub, MODEL, Path("models/dpo"))
    code = code_of_card(workplace)
    assert f'prompt = """{PROMPT}"""' in code and "chat" not in code
    assert printed(hub, tmp_path, code) == [greedy(Path("models/dpo"), PROMPT)]


def test_with_a_chat_template_the_prompt_is_one_user_message(
    hub: Hub, workplace: Workplace, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    plain, templated = greedy(Path("models/dpo"), PROMPT), copy.deepcopy(tokenizer)
    templated.chat_template = TEMPLATE
    save(model, templated, Path("models/dpo"))
    publish(hub, MODEL, Path("models/dpo"))
    (answer,) = printed(hub, tmp_path, code_of_card(workplace))
    assert answer == greedy(Path("models/dpo"), PROMPT) != plain


def test_what_a_base_model_wants_of_sampling_changes_no_answer(
    hub: Hub, workplace: Workplace, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    plain, penalised = greedy(Path("models/dpo"), PROMPT), copy.deepcopy(model)
    for name, value in {"repetition_penalty": 5.0, "do_sample": True, "temperature": 2.0, "top_k": 3}.items():
        setattr(penalised.generation_config, name, value)
    save(penalised, tokenizer, Path("models/dpo"))
    publish(hub, MODEL, Path("models/dpo"))
    code = code_of_card(workplace)
    answer, other_answer = printed(hub, tmp_path, code, code.replace(", repetition_penalty=1.0", ""))
    assert answer == plain != other_answer


def test_adapters_are_asked_with_their_base(
    hub: Hub, workplace: Workplace, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    save(model, tokenizer, Path("base"))
    commit = publish(hub, BASE, Path("base"))
    set_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(copy.deepcopy(model), config)
    weak = Path("models/sft/weak")
    adapted.save_pretrained(str(weak / "adapter"))
    (weak / "adapter" / "README.md").unlink()
    save(adapted.merge_and_unload(), tokenizer, weak)
    for test_set in ("demo-dev", "demo-test"):
        write_json(evaluation_file("sft/weak", test_set), FIGURES)
    workplace.set("train_sft.weak", base=BASE, revision=commit, scratch=None)
    workplace.set("publish", adapters=["sft/weak"], models={"sft/weak": MODEL}, licences={BASE: "mit"})
    code = code_of_card(workplace, "sft/weak")
    tokenizer.save_pretrained(weak / "adapter")
    publish(hub, MODEL, weak / "adapter")
    (answer,) = printed(hub, tmp_path, code)
    assert answer == greedy(weak, PROMPT) != greedy(Path("base"), PROMPT)


@pytest.mark.parametrize("style", ["compact", "create_table"])
@pytest.mark.parametrize("example_rows", [0, 2])
def test_the_prompt_of_the_card_is_one_as_the_pipeline_makes_it(tmp_path: Path, style: str, example_rows: int) -> None:
    params = PLAIN | {"style": style, "example_rows": example_rows}
    singer = "CREATE TABLE singer(singer_id INTEGER PRIMARY KEY, name TEXT, age INTEGER);"
    rows = "INSERT INTO singer VALUES (1, 'Ada', 36), (2, 'Bea', 29)"
    database = make_database(tmp_path / "singer.sqlite", f"{singer} {rows}")
    checked = PromptsParams.model_validate(params)
    question = "How many singers are older than 30?"
    prompt = unseen_prompt(prompt_schema(database, checked), question, "", checked, estimate_tokens)
    assert example_prompt(params) == prompt.text

"""The reward of each verdict, hostile SQL, and what TRL's own trainers make of the rewards."""

import copy
import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from stages.core.errors import UserError
from stages.execution.records import Budget
from stages.rewards.execution import ACCIDENT, LIMITS, ExecutionReward, reward_of, text_of
from tests.execution.world import CROSS_JOIN, ENDLESS, counting, make_database

GOLD = "SELECT name FROM singer WHERE age = 40"
RIGHT = "SELECT name FROM singer WHERE age BETWEEN 40 AND 40"
WRONG = "SELECT name FROM singer"
ACCIDENTAL = "SELECT name FROM singer WHERE singer_id IN (2, 3)"


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("databases")
    make_database(folder)
    return folder


@pytest.fixture(scope="module")
def reward(databases: Path) -> Iterator[ExecutionReward]:
    reward = ExecutionReward(databases, runs=0.1, workers=1)
    yield reward
    reward.close()


def rewards(reward: ExecutionReward, *completions: Any, gold: str = GOLD, **columns: Any) -> list[float | None]:
    """The rewards of completions of one question."""
    count = len(completions)
    return reward(["?"] * count, completions, db_id=["music"] * count, gold_sql=[gold] * count, **columns)


def test_each_verdict_has_its_reward(reward: ExecutionReward) -> None:
    completions = [RIGHT, WRONG, "SELECT nam FROM singer", ENDLESS, "I do not know.", ""]
    assert rewards(reward, *completions) == [1.0, 0.1, 0.0, 0.0, 0.0, 0.0]


def test_what_says_nothing_of_a_completion_has_no_reward(reward: ExecutionReward, databases: Path) -> None:
    assert rewards(reward, RIGHT, gold="SELECT absent FROM singer") == [None]
    narrow = ExecutionReward(databases, limits=replace(LIMITS, max_rows=1000), budget=Budget(10**9, 1), workers=1)
    many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) SELECT 'Bea' FROM n"
    gold = many.replace("5000", "500")
    assert rewards(narrow, many, "SELECT count(*) FROM singer", gold=gold.replace("500", "999")) == [0.0, 0.0]
    assert rewards(narrow, RIGHT, gold=many) == [None]
    narrow.close()


def test_the_share_for_a_query_that_runs_is_off_by_default(databases: Path) -> None:
    reward = ExecutionReward(databases, workers=1)
    assert rewards(reward, WRONG, RIGHT) == [0.0, 1.0]
    reward.close()


def test_hostile_sql_is_never_right_leaves_no_file_and_does_not_hang(
    databases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    before = {path: path.read_bytes() for path in databases.rglob("*") if path.is_file()}
    reward = ExecutionReward(databases, runs=0.1, workers=1)
    hostile = [
        ENDLESS, "ATTACH DATABASE 'x.sqlite' AS x", "VACUUM INTO 'x.sqlite'", "DROP TABLE singer",
        "PRAGMA query_only = 0", "SELECT zeroblob(1000000000)", "SELECT load_extension('x')", counting(10**9),
        "SELECT name FROM singer WHERE (", ENDLESS.replace("count(*)", "x"),
    ]  # fmt: skip
    assert 1.0 not in rewards(reward, *hostile, CROSS_JOIN)
    assert rewards(reward, RIGHT) == [1.0]
    reward.close()
    assert {path: path.read_bytes() for path in databases.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.iterdir())


def test_two_errors_do_not_match(reward: ExecutionReward) -> None:
    broken = "SELECT absent FROM singer"
    assert rewards(reward, broken, gold=broken) == [None]
    assert rewards(reward, ENDLESS, gold=ENDLESS) == [None]


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("SELECT 1", "SELECT 1"),
        ([{"role": "assistant", "content": "SELECT 1"}], "SELECT 1"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "SELECT"}, {"type": "text", "text": " 1"}]}],
         "SELECT 1"),
        ([{"role": "assistant", "content": "SELECT 0"}, {"role": "tool", "content": "0"},
          {"role": "assistant", "content": "SELECT 1"}], "SELECT 1"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_text_of_a_conversation_is_what_the_assistant_wrote_last(completion: Any, text: str) -> None:
    assert text_of(completion) == text


def test_sql_is_taken_out_of_the_text_around_it(reward: ExecutionReward) -> None:
    fenced = f"<think>SELECT 1</think>Here it is:\n```sql\n{RIGHT};\n```"
    assert rewards(reward, fenced, [{"role": "assistant", "content": fenced}]) == [1.0, 1.0]


def test_a_match_that_falls_on_a_counterexample_database_is_rewarded_as_a_mismatch(databases: Path) -> None:
    logged: dict[str, float] = {}
    reward = ExecutionReward(databases, runs=0.25, counterexamples=8, workers=1)
    values = rewards(reward, ACCIDENTAL, RIGHT, WRONG, GOLD, log_metric=logged.__setitem__)
    reward.close()
    assert values == [0.25, 1.0, 0.25, 1.0]
    assert logged["verdicts/match"] == 0.5 and logged["verdicts/mismatch"] == 0.5 and logged[ACCIDENT] == 0.25


def test_without_counterexamples_an_accident_counts_as_right(reward: ExecutionReward) -> None:
    assert rewards(reward, ACCIDENTAL) == [1.0]


def test_a_reward_does_not_depend_on_what_else_was_sampled(databases: Path) -> None:
    reward = ExecutionReward(databases, counterexamples=3, workers=1)
    completions = [ACCIDENTAL, RIGHT, WRONG, "SELECT name FROM singer WHERE age > 30 AND age < 50"]
    alone = [rewards(reward, completion)[0] for completion in completions]
    assert rewards(reward, *completions) == alone
    reward.close()


def test_an_order_that_the_audit_found_unstable_does_not_count(reward: ExecutionReward) -> None:
    gold, reordered = "SELECT name FROM singer ORDER BY country = 'Peru'", "SELECT name FROM singer ORDER BY name DESC"
    assert rewards(reward, reordered, gold=gold) == [0.1]
    assert rewards(reward, reordered, gold=gold, gold_flags=["order_unstable"]) == [1.0]


def test_shares_of_verdicts_and_the_verdict_of_each_completion_are_logged(reward: ExecutionReward) -> None:
    metrics: dict[str, float] = {}
    extras: dict[str, list[Any]] = {}
    rewards(reward, RIGHT, WRONG, "no", "nothing", log_metric=metrics.__setitem__, log_extra=extras.__setitem__)
    assert {name: share for name, share in metrics.items() if share} == {
        "verdicts/match": 0.25, "verdicts/mismatch": 0.25, "verdicts/no_sql": 0.5,
    }  # fmt: skip
    assert extras == {"verdict": ["match", "mismatch", "no_sql", "no_sql"]}


def test_workers_are_kept_between_calls_and_end_with_close(databases: Path) -> None:
    reward = ExecutionReward(databases, workers=1)
    before = set(multiprocessing.active_children())
    rewards(reward, RIGHT)
    [worker] = set(multiprocessing.active_children()) - before
    rewards(reward, WRONG)
    assert set(multiprocessing.active_children()) - before == {worker}
    worker.kill()
    worker.join()
    assert rewards(reward, RIGHT) == [1.0]
    reward.close()
    assert set(multiprocessing.active_children()) <= before


def test_a_database_that_changes_between_calls_is_an_error_and_no_wrong_label(tmp_path: Path) -> None:
    path = make_database(tmp_path)
    reward = ExecutionReward(tmp_path, workers=1)
    assert rewards(reward, RIGHT) == [1.0]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM singer")
        connection.commit()
    with pytest.raises(UserError, match=r"music.sqlite was changed"):
        rewards(reward, RIGHT)
    reward.close()


def test_every_wrong_argument_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        ExecutionReward(tmp_path / "absent", contract="loose", runs=1.0, counterexamples=-1)  # type: ignore[arg-type]  # what is tested
    assert [sentence.split(";")[0] for sentence in caught.value.sentences] == [
        f"{tmp_path / 'absent'} is no folder", "`contract` is 'loose'", "`runs` is 1.0", "`counterexamples` is -1",
    ]  # fmt: skip


def test_a_column_or_a_database_that_is_missing_is_named(reward: ExecutionReward) -> None:
    with pytest.raises(UserError, match=r"no column `gold_sql`; add it"):
        reward(["?"], [RIGHT], db_id=["music"])
    with pytest.raises(UserError, match=r"absent.sqlite does not exist"):
        reward(["?"], [RIGHT], db_id=["absent"], gold_sql=[GOLD])


# ---- in TRL's trainers ----

ROWS = [{"prompt": "sql:\n", "db_id": "music", "gold_sql": GOLD}]
SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 8, "max_steps": 2, "use_cpu": True,
    "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
    "logging_steps": 1,
}  # fmt: skip


class Prescribed(ExecutionReward):
    """Gives these verdicts for the completions, whatever they are."""

    def __init__(self, databases: Path, values: list[float | None]) -> None:
        super().__init__(databases, workers=1)
        self.values = values

    def __call__(self, *_: Any, **__: Any) -> list[float | None]:
        return self.values


def advantages(
    values: list[float | None], databases: Path, folder: Path, model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
) -> list[float]:  # fmt: skip
    """What TRL's own code makes of the rewards of one group."""
    config = GRPOConfig(output_dir=str(folder), **SETTINGS)
    trainer = GRPOTrainer(
        model=copy.deepcopy(model), reward_funcs=Prescribed(databases, values), args=config, processing_class=tokenizer,
        train_dataset=Dataset.from_list(ROWS),
    )  # fmt: skip
    rows: Any = ROWS * 4  # TRL types the rows of a text dataset as tensors
    output = trainer._generate_and_score_completions(rows)
    advantages: torch.Tensor = output["advantages"]
    return [round(value, 4) for value in advantages.tolist()]


def test_trl_gives_a_completion_without_a_reward_the_advantage_0_and_leaves_it_out_of_its_group(
    databases: Path, tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    shares = advantages([1.0, 0.0, 0.0, None], databases, tmp_path, model, tokenizer)
    std = (((2 / 3) ** 2 + 2 * (1 / 3) ** 2) / 2) ** 0.5
    assert shares == [pytest.approx(value / (std + 1e-4), abs=1e-3) for value in (2 / 3, -1 / 3, -1 / 3, 0.0)]
    assert shares[3] == 0.0


def test_a_group_without_any_reward_moves_nothing(
    databases: Path, tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert advantages([None] * 4, databases, tmp_path, model, tokenizer) == [0.0] * 4


@pytest.mark.parametrize(("trainer_class", "config_class"), [(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)])
def test_it_rewards_in_a_trainer_of_trl(
    trainer_class: Any, config_class: Any, databases: Path, tmp_path: Path, model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
) -> None:  # fmt: skip
    reward = ExecutionReward(databases, runs=0.1, workers=1)
    copied = tmp_path / "model"
    model.save_pretrained(copied)
    tokenizer.save_pretrained(copied)
    config = config_class(output_dir=str(tmp_path / "out"), **SETTINGS)
    trainer = trainer_class(
        model=str(copied), reward_funcs=reward, args=config, train_dataset=Dataset.from_list(ROWS * 4)
    )
    trainer.train()
    reward.close()
    entry = trainer.state.log_history[0]
    shares = [entry[f"verdicts/{verdict}"] for verdict in ("match", "mismatch", "exec_error", "no_sql")]
    assert sum(shares) == 1.0 and "rewards/execution/mean" in entry


def test_the_rewards_are_those_of_the_rule() -> None:
    assert [reward_of(verdict, 0.2) for verdict in ("match", "mismatch", "over_budget", "undecided")] == [
        1.0, 0.2, 0.0, None,
    ]  # fmt: skip

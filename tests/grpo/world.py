"""What the tests of GRPO share: questions about one small database, and a model that answers some of them."""

import copy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PARAMS: dict[str, Any] = {
    "lora": None, "seed": 1, "epochs": 2.0, "batch_size": 16, "micro_batch": None, "learning_rate": 1e-3, "warmup": 0.1,
    "max_length": 128, "precision": "float32", "gradient_checkpointing": False, "save_steps": 10,
    "engine": "transformers", "num_generations": 4, "temperature": 1.0, "top_p": 1.0, "max_tokens": 20, "beta": 0.0,
    "epsilon": 0.2, "contract": "strict", "runs": 0.1, "counterexamples": 0, "budget_floor": 100_000,
    "budget_factor": 50,
}  # fmt: skip
"""Section `train_grpo` of params.yaml without `models`."""


def write_database(folder: Path) -> None:
    """Singers and albums, whose ages and years a question can part."""
    path = folder / "music" / "music.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, age INTEGER, country TEXT)")
        connection.execute("CREATE TABLE album (album_id INTEGER PRIMARY KEY, singer_id INTEGER, title TEXT, year INT)")
        for number in range(0, 100, 5):
            connection.execute("INSERT INTO singer VALUES (?, ?, ?, 'Peru')", (number, f"S{number}", number))
            connection.execute("INSERT INTO album VALUES (?, ?, ?, ?)", (number, number, f"A{number}", number))
        connection.commit()


def questions_of(sft_rows: pl.DataFrame, count: int = 24) -> pl.DataFrame:
    """The first of the SFT rows as `train_grpo.questions_of` gives them."""
    rows = sft_rows.head(count).rename({"completion": "gold_sql"})
    return rows.select("question_id", "gold_sql", "prompt", db_id=pl.lit("music"), gold_flags=pl.lit(""))


def half_trained(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sft_rows: pl.DataFrame, steps: int = 60
) -> LlamaForCausalLM:
    """A copy of the model after a few steps of SFT: it is right now and then."""
    torch.manual_seed(1)
    trained = copy.deepcopy(model)
    trained.train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2)
    texts = [f"{row['prompt']}{row['completion']}{tokenizer.eos_token}" for row in sft_rows.to_dicts()]
    for step in range(steps):
        batch = tokenizer([texts[(16 * step + at) % len(texts)] for at in range(16)], return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        trained(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained.eval()
    return trained

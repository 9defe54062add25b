"""Samples n candidates for each train question from the weak model."""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pydantic import Field
from tqdm import tqdm

from stages.errors import UserError, run_stage
from stages.files import fingerprint, remove_folder, sha256_folder, work_folder, write_json
from stages.lm.loading import load_model
from stages.lm.sampling import Decoding, Sample, batches, sample_batch
from stages.params import Params, read_params
from stages.prompts.questions import prompts_of
from stages.prompts.render import extract_sql
from stages.receipts import require_receipts
from stages.tables import COLUMNS, read_table, write_table

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class CandidatesParams(Params):
    """Section `candidates` of params.yaml."""

    n: int = Field(gt=0)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0)
    seed: int = Field(ge=0)
    batch_size: int = Field(gt=0)

    def decoding(self) -> Decoding:
        return Decoding(self.n, self.temperature, self.top_p, self.max_tokens, self.seed)


def candidate_rows(
    questions: pl.DataFrame, samples: Sequence[Sequence[Sample]], decoding: Decoding, model: str, model_version: str
) -> pl.DataFrame:
    """The rows of `candidates` for the samples of `questions` (columns question_id, prompt), in their order."""
    setting = asdict(decoding)
    del setting["n"]  # more samples a question do not change those that are there
    rows = []
    asked = questions.select("question_id", "prompt").rows()
    for (question_id, prompt), completions in zip(asked, samples, strict=True):
        prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
        for number, sample in enumerate(completions):
            content = fingerprint(question_id, prompt_sha256, number, sample.completion, model_version, setting)
            rows.append({
                "candidate_id": content[:16], "question_id": question_id, "sample": number,
                "sql": extract_sql(sample.completion), "model": model, "model_version": model_version,
                "prompt_sha256": prompt_sha256, **setting, **asdict(sample),
            })
    return pl.DataFrame(rows, schema=COLUMNS["candidates"])


def sample_questions(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", questions: pl.DataFrame, params: CandidatesParams,
    name: str, version: str, work: Path,
) -> pl.DataFrame:
    """The candidates of `questions` (columns question_id, prompt). Each finished batch is kept in `work`."""
    parts, decoding = [], params.decoding()
    planned = list(batches(questions["prompt"].to_list(), tokenizer, params.batch_size))
    for number, indices in enumerate(tqdm(planned, desc="candidates", mininterval=5)):
        part = work / f"{number:06}.parquet"
        if not part.exists():
            batch = questions[indices]
            ids, prompts = batch["question_id"].to_list(), batch["prompt"].to_list()
            samples = sample_batch(model, tokenizer, ids, prompts, decoding)
            write_table(candidate_rows(batch, samples, decoding, name, version), part, "candidates")
        parts.append(read_table(part, "candidates"))
    return pl.concat(parts)


def report_of(questions: pl.DataFrame, prompts: pl.DataFrame, candidates: pl.DataFrame) -> dict[str, object]:
    """Counts: questions in and asked, candidates out, how they ended, how many have no SQL."""
    return {
        "in": questions.height,
        "asked": prompts.height,
        "dropped": {"not_train": questions.height - prompts.height},
        "out": candidates.height,
        "distinct_sql": candidates.select("question_id", "sql").n_unique(),
        "finish_reason": dict(sorted(candidates["finish_reason"].value_counts().rows())),
        "no_sql": int((candidates["sql"] == "").sum()),
        "tokens": int(candidates["tokens"].sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("questions", "questions-receipt", "databases", "model", "candidates", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = read_params("candidates", CandidatesParams)
    require_receipts({args.questions_receipt: args.questions})
    questions = read_table(args.questions, "questions")
    train = questions.filter(pl.col("split") == "train")
    if train.is_empty():
        raise UserError(f"{args.questions} has no question of split `train` to sample candidates for")
    prompts = train.with_columns(prompt=prompts_of(train, args.databases))
    model, tokenizer = load_model(args.model)
    version = sha256_folder(args.model)
    model.eval()
    key = fingerprint(params.model_dump(), args.model.name, version, prompts.select("question_id", "prompt").rows())
    work = work_folder(args.candidates, key)
    candidates = sample_questions(model, tokenizer, prompts, params, args.model.name, version, work)
    write_table(candidates, args.candidates, "candidates")
    write_json(args.report, report_of(questions, prompts, candidates))
    remove_folder(work)


if __name__ == "__main__":
    run_stage(main)

"""Samples n candidates for each train question from the weak model."""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl
from pydantic import Field

from stages.errors import UserError, run_stage
from stages.files import fingerprint, remove_folder, sha256_folder, work_folder, write_json
from stages.lm.loading import load_model
from stages.lm.sampling import Decoding, Sample, sample_all
from stages.params import Params, read_params
from stages.prompts.questions import prompts_of
from stages.prompts.render import extract_sql
from stages.receipts import require_receipts
from stages.tables import COLUMNS, read_table, write_table


class CandidatesParams(Params):
    """Section `candidates` of params.yaml."""

    n: int = Field(gt=0)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0)
    seed: int = Field(ge=0)
    batch_size: int = Field(gt=0)
    max_questions: int | None = Field(gt=0)

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


def drawn(train: pl.DataFrame, limit: int | None, seed: int) -> pl.DataFrame:
    """At most `limit` of the questions (all where it is None), the first by a hash of seed and question_id."""
    if limit is None or train.height <= limit:
        return train
    places = [fingerprint(seed, question_id) for question_id in train["question_id"]]
    chosen = sorted(range(train.height), key=places.__getitem__)[:limit]
    return train[sorted(chosen)]


def report_of(questions: pl.DataFrame, train: int, asked: int, candidates: pl.DataFrame) -> dict[str, object]:
    """Counts: questions in, of split train and asked, candidates out, how they ended, how many have no SQL."""
    return {
        "in": questions.height,
        "asked": asked,
        "dropped": {"not_train": questions.height - train, "over_max_questions": train - asked},
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
    asked = drawn(train, params.max_questions, params.seed)
    asked = asked.with_columns(prompt=prompts_of(asked, args.databases))
    model, tokenizer = load_model(args.model)
    name, version, decoding = args.model.name, sha256_folder(args.model), params.decoding()
    ids, prompts = asked["question_id"].to_list(), asked["prompt"].to_list()
    work = work_folder(args.candidates, fingerprint(params.model_dump(), version, ids, prompts))
    samples = sample_all(model.eval(), tokenizer, ids, prompts, decoding, params.batch_size, work)
    candidates = candidate_rows(asked, samples, decoding, name, version)
    write_table(candidates, args.candidates, "candidates")
    write_json(args.report, report_of(questions, train.height, asked.height, candidates))
    remove_folder(work)


if __name__ == "__main__":
    run_stage(main)

"""Candidates for the questions of one split: n samples each from a model, or predictions that lie in files."""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.asking import drawn, with_prompts
from stages.errors import UserError, run_stage
from stages.files import fingerprint, read_json, remove_folder, sha256_folder, work_folder, write_json
from stages.imported import imported_rows, read_imported, systems_of
from stages.lm.loading import load_model
from stages.lm.sampling import Decoding, Sample, sample_all
from stages.params import Params, read_params
from stages.prompting.render import extract_sql
from stages.receipts import require_receipts
from stages.tables import COLUMNS, read_table, write_table


class CandidatesParams(Params):
    """Section `candidates` of params.yaml."""

    engine: Literal["transformers", "file"]
    model: str = Field(min_length=1)
    split: Literal["train", "dev", "test"]
    n: int = Field(gt=0)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0)
    seed: int = Field(ge=0)
    batch_size: int = Field(gt=0)
    max_questions: int | None = Field(gt=0)

    @field_validator("model")
    @classmethod
    def _fit_the_engine(cls, model: str, info: ValidationInfo) -> str:
        engine = info.data.get("engine")
        if engine == "file" and model != "imported":
            raise PydanticCustomError("model", "give imported, as `engine` is file, or set `engine` to transformers")
        if engine == "transformers" and model == "imported":
            raise PydanticCustomError("model", "give a trained model (sft/weak), or set `engine` to file")
        return model

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


def report_of(questions: int, dropped: Mapping[str, int], candidates: pl.DataFrame) -> dict[str, Any]:
    """Counts: questions in, asked and dropped for each reason, candidates out, how they ended, how many have no SQL."""
    return {
        "in": questions,
        "asked": questions - sum(dropped.values()),
        "dropped": dropped,
        "out": candidates.height,
        "distinct_sql": candidates.select("question_id", "sql").n_unique(),
        "finish_reason": dict(sorted(candidates["finish_reason"].value_counts().rows())),
        "no_sql": int((candidates["sql"] == "").sum()),
        "tokens": int(candidates["tokens"].sum()),
    }


def sample_candidates(
    asked: pl.DataFrame, folder: Path, params: CandidatesParams, out: Path
) -> tuple[pl.DataFrame, Path]:
    """The rows of `candidates` for `asked` (columns question_id, prompt), from the model in `folder`.

    Also the work folder beside `out`, whose finished batches are not sampled again: to be removed once `out` is there.
    """
    model, tokenizer = load_model(folder)
    version, decoding = sha256_folder(folder), params.decoding()
    ids, prompts = asked["question_id"].to_list(), asked["prompt"].to_list()
    work = work_folder(out, fingerprint(params.model_dump(), version, ids, prompts))
    samples = sample_all(model.eval(), tokenizer, ids, prompts, decoding, params.batch_size, work)
    return candidate_rows(asked, samples, decoding, folder.name, version), work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    inputs = ("questions", "questions-receipt", "corpus-report", "prompts", "prompts-receipt", "model")
    for name in (*inputs, "candidates", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = read_params("candidates", CandidatesParams)
    require_receipts({args.questions_receipt: args.questions})
    questions = read_table(args.questions, "questions")
    of_split = questions.filter(pl.col("split") == params.split)
    if of_split.is_empty():
        raise UserError(f"{args.questions} has no question of split `{params.split}` to make candidates for")
    limit = params.max_questions if params.max_questions and params.engine != "file" else of_split.height
    asked = of_split.filter(pl.col("question_id").is_in(drawn(of_split["question_id"].to_list(), limit, params.seed)))
    dropped = {
        f"not_{params.split}": questions.height - of_split.height, "over_max_questions": of_split.height - asked.height,
    }  # fmt: skip
    if params.engine == "file":
        sets = read_json(args.corpus_report)["sets"]
        found = read_imported(asked, args.model, {name: counts["read"] for name, counts in sets.items()})
        candidates = imported_rows(found)
        dropped["no_predictions"] = asked.height - candidates["question_id"].n_unique()
        write_table(candidates, args.candidates, "candidates")
        write_json(args.report, report_of(questions.height, dropped, candidates) | systems_of(found))
        return
    require_receipts({args.prompts_receipt: args.prompts})
    asked = with_prompts(asked, read_table(args.prompts, "prompts"))
    candidates, work = sample_candidates(asked, args.model, params, args.candidates)
    write_table(candidates, args.candidates, "candidates")
    write_json(args.report, report_of(questions.height, dropped, candidates))
    remove_folder(work)


if __name__ == "__main__":
    run_stage(main)

"""Candidates for the questions of one split: n samples each from a model, or predictions that lie in files."""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.cache.result_cache import Cache, default_folder
from stages.core.end_line import shares_text, write_report
from stages.core.errors import UserError, run_stage
from stages.core.files import fingerprint, read_json
from stages.core.layout import model_path, report_file
from stages.core.params import Params, read_params
from stages.core.receipts import open_dataset
from stages.core.stable_draw import stable_draw
from stages.core.tables import write_dataset
from stages.datasets.candidates import CANDIDATES
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, held_back_databases, with_columns_of
from stages.endpoints.refusals import REASONS, TOO_LONG
from stages.extraction.extract import extract_sql
from stages.lm.completions import Completion, Decoding, Engine, PromptedQuestion, sample_all
from stages.predictions.imported_candidates import imported_rows, read_imported, systems_report
from stages.sampling.engines import open_engine
from stages.sampling.openai_engine import OpenaiEngine


class PreferenceShare(BaseModel):
    """The `preference_share` of section `sft`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    preference_share: float = Field(ge=0, lt=1)


class CandidatesParams(Params):
    """Section `candidates` of params.yaml."""

    engine: Literal["transformers", "vllm", "openai", "file"]
    model: str = Field(min_length=1)
    split: Literal["train", "dev", "test"]
    questions: Literal["all", "unseen"]
    n: int = Field(gt=0, le=10_000)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0, le=10**7)
    seed: int = Field(ge=0, lt=2**63)
    batch_size: int = Field(gt=0, le=10**6)
    max_questions: int | None = Field(gt=0, le=10**9)

    @field_validator("model")
    @classmethod
    def _fit_the_engine(cls, model: str, info: ValidationInfo) -> str:
        fit = {
            "file": (model == "imported", "imported"),
            "openai": (model.startswith("endpoints/"), "a file that tells of an endpoint (endpoints/example.yaml)"),
        }
        # Not dpo: it learns from the candidates.
        trained = model in ("sft/weak", "sft/strong"), "a trained model (sft/weak or sft/strong)"
        engine = info.data.get("engine")  # None where it is wrong itself
        fits, wanted = fit.get(str(engine), trained)
        if engine and not fits:
            raise PydanticCustomError("model", f"give {wanted}, as `engine` is {engine}, or set another `engine`")
        return model

    def decoding(self) -> Decoding:
        return Decoding(self.n, self.temperature, self.top_p, self.max_tokens, self.seed)


def candidate_rows(
    questions: Sequence[PromptedQuestion], samples: Sequence[Sequence[Completion]], decoding: Decoding, model: str,
    model_version: str,
) -> pl.DataFrame:  # fmt: skip
    """The rows of `candidates` for the samples of each of the questions."""
    setting = asdict(decoding)
    del setting["n"]  # more samples a question do not change those that are there
    rows = []
    for question, completions in zip(questions, samples, strict=True):
        prompt_sha256 = hashlib.sha256(question.prompt.encode()).hexdigest()
        for number, sample in enumerate(completions):
            content = (question.question_id, prompt_sha256, number, sample.completion, model_version, setting)
            rows.append({
                "candidate_id": fingerprint(*content)[:16], "question_id": question.question_id, "sample": number,
                "sql": extract_sql(sample.completion), "model": model, "model_version": model_version,
                "prompt_sha256": prompt_sha256, **setting, **asdict(sample),
            })
    return pl.DataFrame(rows, schema=CANDIDATES.columns)


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
    questions: pl.DataFrame, engine: Engine, decoding: Decoding, cache: Cache
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows of `candidates` for these questions (columns question_id, db_id, prompt), and how many are left out for
    each reason: a prompt longer than the model's context, or what an endpoint says. Raises UserError where all are."""
    prompted = [PromptedQuestion(*row) for row in questions.select("question_id", "db_id", "prompt").iter_rows()]
    reasons: dict[str, str] = {}
    frames, left_out = [], {TOO_LONG: 0}
    if isinstance(engine, OpenaiEngine):
        reasons, left_out = engine.left_out, dict.fromkeys(REASONS, 0)
    for positions, samples in sample_all(engine, prompted, decoding, cache):
        batch = [prompted[position] for position in positions]
        frames.append(candidate_rows(batch, samples, decoding, engine.name, engine.version))
        for question, completions in zip(batch, samples, strict=True):
            if not completions:
                left_out[reasons.get(question.question_id, TOO_LONG)] += 1
    if sum(left_out.values()) == len(prompted) > left_out[TOO_LONG]:
        counts = ", ".join(f"{reason} {count}" for reason, count in left_out.items() if count)
        raise UserError(
            f"the endpoint gives no samples of `{engine.name}` for any question ({counts}); ask another model"
        )
    if left_out[TOO_LONG] == len(prompted):
        raise UserError(
            f"no prompt fits the context of the model `{engine.name}` with {decoding.max_tokens} more tokens; lower "
            "`candidates.max_tokens` or `prompts.max_tokens`"
        )
    return pl.concat(frames), left_out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.candidates", description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_folder(), help="folder of the cache of samples")
    args = parser.parse_args()
    params = read_params("candidates", CandidatesParams)
    preference_share = read_params("sft", PreferenceShare).preference_share
    questions = open_dataset(QUESTIONS)
    drawn, dropped = draw_questions(questions, params, preference_share)
    if params.engine == "file":
        sizes = {name: counts["read"] for name, counts in read_json(report_file("corpus"))["sets"].items()}
        predictions = read_imported(drawn, model_path("imported"), sizes)
        candidates, counts = imported_rows(predictions), systems_report(predictions)
        dropped["no_predictions"] = drawn.height - candidates["question_id"].n_unique()
    else:
        drawn = with_columns_of(drawn, PROMPTS, open_dataset(PROMPTS), "prompt")
        cache = Cache(args.cache)  # before a model is loaded in vain
        engine = open_engine(params.engine, model_path(params.model), params.batch_size)
        candidates, left_out = sample_candidates(drawn, engine, params.decoding(), cache)
        dropped, counts = dropped | left_out, engine.report()
    write_dataset(candidates, CANDIDATES)
    report = report_of(questions.height, dropped, candidates) | counts
    figures = f"{report['no_sql']:,} without SQL", f"ended by {shares_text(report['finish_reason'])}"
    write_report("candidates", report, candidates.height, dropped, *figures, what="questions dropped")


def draw_questions(
    questions: pl.DataFrame, params: CandidatesParams, preference_share: float
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The questions of the split that candidates are made for, and how many are dropped for each reason. Raises
    UserError where no question is left."""
    of_split = questions.filter(pl.col("split") == params.split)
    if of_split.is_empty():
        raise UserError(f"{QUESTIONS.file} has no question of split `{params.split}` to make candidates for")
    available = of_split
    if params.questions == "unseen" and params.split == "train":
        held_back = held_back_databases(questions, preference_share)
        available = of_split.filter(pl.col("db_id").is_in(held_back))
        if available.is_empty():
            fix = "raise that, or set `candidates.questions` to all"
            raise UserError(f"`sft.preference_share` is {preference_share}, which holds back no database; {fix}")
    limit = params.max_questions if params.max_questions and params.engine != "file" else available.height
    question_ids = stable_draw(available["question_id"].to_list(), limit, params.seed)
    drawn = available.filter(pl.col("question_id").is_in(question_ids))
    return drawn, {
        f"not_{params.split}": questions.height - of_split.height, "seen_by_sft": of_split.height - available.height,
        "over_max_questions": available.height - drawn.height,
    }  # fmt: skip


if __name__ == "__main__":
    run_stage(main)

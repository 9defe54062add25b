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

from stages.cache.result_cache import Cache, default_folder
from stages.core.errors import UserError, run_stage
from stages.core.files import fingerprint, read_json, write_json
from stages.core.params import Params, read_params
from stages.core.receipts import require_receipts
from stages.core.stable_draw import stable_draw
from stages.core.tables import COLUMNS, read_table, write_table
from stages.datasets.questions import with_prompts
from stages.endpoints.refusals import REASONS, TOO_LONG
from stages.extraction.extract import extract_sql
from stages.lm.completions import Ask, Decoding, Engine, Sample, sample_all
from stages.predictions.imported_candidates import imported_rows, read_imported, systems_of
from stages.sampling.engines import open_engine
from stages.sampling.openai_engine import OpenaiEngine


class CandidatesParams(Params):
    """Section `candidates` of params.yaml."""

    engine: Literal["transformers", "vllm", "openai", "file"]
    model: str = Field(min_length=1)
    split: Literal["train", "dev", "test"]
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
    asks: Sequence[Ask], samples: Sequence[Sequence[Sample]], decoding: Decoding, model: str, model_version: str
) -> pl.DataFrame:
    """The rows of `candidates` for the samples of each of `asks`."""
    setting = asdict(decoding)
    del setting["n"]  # more samples a question do not change those that are there
    rows = []
    for ask, completions in zip(asks, samples, strict=True):
        prompt_sha256 = hashlib.sha256(ask.prompt.encode()).hexdigest()
        for number, sample in enumerate(completions):
            content = fingerprint(ask.question_id, prompt_sha256, number, sample.completion, model_version, setting)
            rows.append({
                "candidate_id": content[:16], "question_id": ask.question_id, "sample": number,
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
    asked: pl.DataFrame, engine: Engine, decoding: Decoding, cache: Cache
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows of `candidates` for `asked` (columns question_id, db_id, prompt), and how many are left out for each
    reason: a prompt longer than the model's context, or what an endpoint says. Raises UserError where all are."""
    asks = [Ask(*row) for row in asked.select("question_id", "db_id", "prompt").iter_rows()]
    reasons: dict[str, str] = {}
    frames, left_out = [], {TOO_LONG: 0}
    if isinstance(engine, OpenaiEngine):
        reasons, left_out = engine.left_out, dict.fromkeys(REASONS, 0)
    for positions, samples in sample_all(engine, asks, decoding, cache):
        batch = [asks[position] for position in positions]
        frames.append(candidate_rows(batch, samples, decoding, engine.name, engine.version))
        for ask, row in zip(batch, samples, strict=True):
            if not row:
                left_out[reasons.get(ask.question_id, TOO_LONG)] += 1
    if sum(left_out.values()) == len(asks) > left_out[TOO_LONG]:
        counts = ", ".join(f"{reason} {count}" for reason, count in left_out.items() if count)
        raise UserError(
            f"the endpoint gives no samples of `{engine.name}` for any question ({counts}); ask another model"
        )
    if left_out[TOO_LONG] == len(asks):
        raise UserError(
            f"no prompt fits the context of the model `{engine.name}` with {decoding.max_tokens} more tokens; lower "
            "`candidates.max_tokens` or `prompts.max_tokens`"
        )
    return pl.concat(frames), left_out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.candidates", description=__doc__)
    inputs = ("questions", "questions-receipt", "corpus-report", "prompts", "prompts-receipt", "model")
    for name in (*inputs, "candidates", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=default_folder(), help="folder of the cache of samples")
    args = parser.parse_args()
    params = read_params("candidates", CandidatesParams)
    require_receipts({args.questions_receipt: args.questions})
    questions = read_table(args.questions, "questions")
    of_split = questions.filter(pl.col("split") == params.split)
    if of_split.is_empty():
        raise UserError(f"{args.questions} has no question of split `{params.split}` to make candidates for")
    limit = params.max_questions if params.max_questions and params.engine != "file" else of_split.height
    drawn = stable_draw(of_split["question_id"].to_list(), limit, params.seed)
    asked = of_split.filter(pl.col("question_id").is_in(drawn))
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
    cache = Cache(args.cache)  # before a model is loaded in vain
    engine = open_engine(params.engine, args.model, params.batch_size)
    candidates, left_out = sample_candidates(asked, engine, params.decoding(), cache)
    write_table(candidates, args.candidates, "candidates")
    write_json(args.report, report_of(questions.height, dropped | left_out, candidates) | engine.report())


if __name__ == "__main__":
    run_stage(main)

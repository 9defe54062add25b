"""How fast is sampling? `python -m tests.benchmarks.sampling [--vllm] [part …]` prints one line a part.

The engine `transformers` against transformers' own `generate(num_return_sequences=16, do_sample=True)` with the same
batch of prompts and the same distribution: tokens a second, reading the prompts included, the two sides in turn,
several times. Medians, and in brackets the smallest and the largest. Needs data/prompts.parquet and models/sft/weak
(`dvc repro`), and a quiet machine; on a few processors, `OMP_NUM_THREADS=1 taskset -c 0` measures best.

- `weak`: the demo's weak model.
- `large`: a random Llama of 25 million weights, whose samples end as seldom as its vocabulary is large: nearly all of
  them have `max_tokens` tokens, so that none leaves the batch.
- `memory`: the most memory that the whole process takes, for 200 and for 2,000 questions.

--vllm: vLLM on the same checkpoint is a third side; for that run this with the Python of its environment
(`VLLM_ENABLE_V1_MULTIPROCESSING=0 .venv-vllm/bin/python -m tests.benchmarks.sampling --vllm`).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from stages.cache.result_cache import Cache
from stages.lm.completions import Decoding, Engine, PromptedQuestion, sample_all
from stages.sampling.transformers_engine import TransformersEngine
from tests import ROOT
from tests.benchmarks.speed import ran, said

WEAK = ROOT / "models" / "sft" / "weak"
DECODING = Decoding(n=16, temperature=1.0, top_p=1.0, max_tokens=80, seed=3)
BATCH = 128
QUESTIONS = {"weak": 128, "large": 32}
FEW, MANY = 200, 2_000


def first_asks(count: int) -> list[PromptedQuestion]:
    """The first questions of split train."""
    questions = pl.scan_parquet(ROOT / "data" / "questions.parquet").filter(pl.col("split") == "train")
    prompts = pl.scan_parquet(ROOT / "data" / "prompts.parquet")
    rows = prompts.join(questions.select("question_id"), on="question_id").sort("question_id").head(count)
    return [PromptedQuestion(*row) for row in rows.select("question_id", "db_id", "prompt").collect().rows()]


def save_large(folder: Path) -> Path:
    """A random Llama with the weak model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(WEAK)
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1664, num_hidden_layers=6, num_attention_heads=8,
        max_position_embeddings=384, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, tie_word_embeddings=True,
    ))  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def of_engine(engine: Engine, asks: Sequence[PromptedQuestion]) -> float:
    """Tokens a second of ours."""
    begin = time.perf_counter()
    rows = engine.sample(asks, DECODING, 0, DECODING.n)
    return sum(sample.tokens or 0 for row in rows for sample in row) / (time.perf_counter() - begin)


def of_generate(model: Any, tokenizer: Any, asks: Sequence[PromptedQuestion]) -> float:
    """Tokens a second of `generate`; what it adds behind a sample's end does not count."""
    import torch

    begin = time.perf_counter()
    batch = tokenizer([question.prompt for question in asks], return_tensors="pt", padding=True, padding_side="left")
    with torch.inference_mode():
        ids = model.generate(
            **batch.to(model.device), num_return_sequences=DECODING.n, do_sample=True, max_new_tokens=80, top_k=0
        )
    generated = ids[:, batch["input_ids"].shape[1] :]
    before = (generated == tokenizer.eos_token_id).cumsum(1) - (generated == tokenizer.eos_token_id).long()
    tokenizer.batch_decode(generated, skip_special_tokens=True)
    return int((before == 0).sum()) / (time.perf_counter() - begin)


def of_vllm(model: Any, asks: Sequence[PromptedQuestion]) -> float:
    """Tokens a second of vLLM, without seeds: its CPU build does not take them where it reads a prompt in pieces."""
    from vllm import SamplingParams

    begin = time.perf_counter()
    setting = SamplingParams(n=DECODING.n, max_tokens=DECODING.max_tokens)
    outputs = model.generate([question.prompt for question in asks], setting, use_tqdm=False)
    return sum(len(sample.token_ids) for output in outputs for sample in output.outputs) / (time.perf_counter() - begin)


def part_of(folder: Path, questions: int, turns: int, vllm: bool) -> str:
    from stages.lm.loading import load_model

    engine = TransformersEngine(folder, BATCH)
    model, tokenizer = load_model(folder)
    model.to(engine.model.device)
    asks = first_asks(questions)
    sides: list[Callable[[], float]] = [lambda: of_engine(engine, asks), lambda: of_generate(model, tokenizer, asks)]
    if vllm:
        from vllm import LLM

        other = LLM(str(folder), dtype=str(model.dtype).removeprefix("torch."), generation_config="vllm")
        sides.append(lambda: of_vllm(other, asks))
    ours, theirs, *others = zip(*[[side() for side in sides] for _ in range(turns)], strict=True)
    text = (
        f"{model.num_parameters() / 1e6:.1f} M weights, {questions} prompts × {DECODING.n}: {said(ours, 'tokens/s')}; "
        f"generate {said(theirs, 'tokens/s')}; ratio {median(ours) / median(theirs):.1f} (at least 3)"
    )
    for rates in others:
        text += f"; vLLM {said(rates, 'tokens/s')}; ratio {median(ours) / median(rates):.2f} (at least 1)"
    return text


def part_weak(turns: int, vllm: bool) -> str:
    return part_of(WEAK, QUESTIONS["weak"], turns, vllm)


def part_large(turns: int, vllm: bool) -> str:
    with TemporaryDirectory() as folder:
        return part_of(save_large(Path(folder)), QUESTIONS["large"], turns, vllm)


def part_memory(turns: int, vllm: bool) -> str:
    peaks = [
        ran([sys.executable, "-c", f"from tests.benchmarks.sampling import sample; sample({count})"]).own_mb
        for count in (FEW, MANY)
    ]
    return f"{FEW} questions × {DECODING.n}: {peaks[0]:.0f} MB at most; {MANY}: {peaks[1]:.0f} MB"


def sample(count: int) -> None:
    """Samples so many questions, and keeps nothing of them."""
    with TemporaryDirectory() as folder:
        for _ in sample_all(TransformersEngine(WEAK, BATCH), first_asks(count), DECODING, Cache(Path(folder))):
            pass


PARTS: dict[str, Callable[[int, bool], str]] = {"weak": part_weak, "large": part_large, "memory": part_memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all of them)")
    parser.add_argument("--turns", type=int, default=3, help="how often each side is measured (3)")
    parser.add_argument("--vllm", action="store_true", help="measure vLLM too")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"{', '.join(unknown)}: there is no such part; choose from {', '.join(PARTS)}")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    for part in args.parts or PARTS:
        print(f"{part}: {PARTS[part](args.turns, args.vllm)}", flush=True)


if __name__ == "__main__":
    main()

"""The engine `transformers`: shared attention against transformers' own generation and scoring."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from stages.core.errors import UserError
from stages.lm.completions import Completion, Decoding, PromptedQuestion
from stages.sampling import prefix_decoding
from stages.sampling.prefix_attention_check import use_prefix_attention
from stages.sampling.transformers_engine import TransformersEngine

PROMPTS = {
    "music": [
        "singer(singer_id, name)\nquestion: Who?\nsql:\n",
        "singer(singer_id, name)\nquestion: Which singers have an age above 3?\nsql:\n",
        "singer(singer_id, name)\nquestion: Who?\nsql:\n",
    ],
    "shop": ["a(b)\nquestion: b?\nsql:\n"],
    "album": ["album(album_id, title, year)\nquestion: Which?\nsql:\n", "title"],  # that share no beginning
}
QUESTIONS = [
    PromptedQuestion(f"demo/train/{group}/{number}", group, prompt)
    for group, prompts in PROMPTS.items()
    for number, prompt in enumerate(prompts)
]
SAMPLING = Decoding(n=4, temperature=1.0, top_p=1.0, max_tokens=12, seed=3)
GREEDY = replace(SAMPLING, n=1, temperature=0.0)
SIZE: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 128, "eos_token_id": 1,
    "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZE), "qwen2": Qwen2Config(**SIZE), "mistral": MistralConfig(**SIZE, sliding_window=None),
}  # fmt: skip

Opens = Callable[..., TransformersEngine]


def random_model(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.fixture
def opened(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Opens:
    """Saves a model beside the tokenizer, and opens it."""

    def open_it(model: Any, batch_size: int = 4) -> TransformersEngine:
        model.save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        return TransformersEngine(tmp_path / "base", batch_size)

    return open_it


@pytest.fixture
def engine(opened: Opens, model: LlamaForCausalLM) -> TransformersEngine:
    return opened(model)


def sample(
    engine: TransformersEngine, questions: Sequence[PromptedQuestion] = QUESTIONS, decoding: Decoding = SAMPLING
) -> dict[str, list[Completion]]:
    rows = engine.sample(questions, decoding, 0, decoding.n)
    return {question.question_id: row for question, row in zip(questions, rows, strict=True)}


def texts(samples: dict[str, list[Completion]]) -> dict[str, list[str]]:
    return {name: [sample.completion for sample in row] for name, row in samples.items()}


def generated(model: Any, tokenizer: Any, prompt: str) -> tuple[torch.Tensor, int]:
    """The tokens of transformers' own greedy generation, prompt first, and how many of them are the prompt's."""
    start = torch.tensor([tokenizer(prompt)["input_ids"]])
    ids = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=12, do_sample=False)
    return ids, start.shape[1]


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_decoding_equals_generate(name: str, opened: Opens) -> None:
    model = random_model(CONFIGS[name])
    engine = opened(model)
    tokenizer = engine.tokenizer  # transformers may load another class of tokenizer for another kind of model
    samples = texts(sample(engine, decoding=GREEDY))
    assert len({*map(tuple, samples.values())}) > 3  # they are not all alike
    for question in QUESTIONS:
        ids, start = generated(model, tokenizer, question.prompt)
        assert samples[question.question_id] == [
            str(tokenizer.decode(ids[0, start:])).removesuffix(str(tokenizer.eos_token))
        ]


def test_a_samples_logprob_is_that_of_scoring_it_alone(
    engine: TransformersEngine, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    coldest = replace(SAMPLING, temperature=1e-6)  # every sample is the greedy one, whose tokens generate gives
    samples = sample(engine, decoding=coldest)
    for question in QUESTIONS:
        ids, start = generated(model, tokenizer, question.prompt)
        with torch.no_grad():
            scores = model(ids).logits[0].log_softmax(-1)
        logprob = sum(scores[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1]))
        assert [completion.logprob for completion in samples[question.question_id]] == [
            pytest.approx(logprob, abs=1e-3)
        ] * 4


def test_a_questions_samples_do_not_depend_on_what_else_is_in_the_batch(engine: TransformersEngine) -> None:
    together = texts(sample(engine))
    alone = {name: row for question in QUESTIONS for name, row in texts(sample(engine, [question])).items()}
    assert (
        alone
        == together
        == texts(sample(engine, QUESTIONS[::-1]))
        == texts(sample(engine, QUESTIONS[2:4] + QUESTIONS[:1])) | alone
    )


def test_prompts_read_in_several_pieces_give_the_same_samples(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = texts(sample(engine))
    monkeypatch.setattr(prefix_decoding, "_MAX_SCORES", 1)
    assert texts(sample(engine)) == at_once


def test_samples_drawn_later_equal_those_drawn_at_once(engine: TransformersEngine) -> None:
    first, then, all_of_them = (engine.sample(QUESTIONS, SAMPLING, *span) for span in [(0, 4), (4, 8), (0, 12)])
    assert [row + more for row, more in zip(first, then, strict=True)] == all_of_them


def test_another_seed_gives_other_samples(engine: TransformersEngine) -> None:
    assert texts(sample(engine, decoding=replace(SAMPLING, seed=4))) != texts(sample(engine))


def test_the_smallest_nucleus_is_greedy(engine: TransformersEngine) -> None:
    nucleus = texts(sample(engine, decoding=replace(SAMPLING, top_p=1e-6)))
    assert nucleus == {name: row * 4 for name, row in texts(sample(engine, decoding=GREEDY)).items()}


def test_a_sample_cut_at_max_tokens_says_so(engine: TransformersEngine) -> None:
    for row in sample(engine, decoding=replace(SAMPLING, max_tokens=1)).values():
        assert all((completion.finish_reason, completion.tokens) in {("length", 1), ("stop", 1)} for completion in row)


def test_a_prompt_longer_than_the_context_has_no_samples(
    engine: TransformersEngine, tokenizer: PreTrainedTokenizerFast
) -> None:
    length = max(len(tokenizer(question.prompt)["input_ids"]) for question in QUESTIONS)
    context = engine.model.config.max_position_embeddings
    samples = sample(engine, decoding=replace(SAMPLING, max_tokens=context - length + 1))
    longest = [name for name, row in samples.items() if not row]
    assert longest == ["demo/train/music/1"]
    assert all(sample(engine, decoding=replace(SAMPLING, max_tokens=context - length)).values())


def test_the_model_runs_in_the_precision_it_was_saved_in(opened: Opens) -> None:
    half = opened(random_model(CONFIGS["qwen2"], torch.bfloat16))
    assert half.model.dtype == torch.bfloat16
    assert {len(row) for row in sample(half).values()} == {4}


class Watched:
    """How many tokens each run of the model reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens: list[int] = []
        forward = prefix_decoding.forward

        def watched(model: Any, tokens: torch.Tensor, *others: Any) -> torch.Tensor:
            self.tokens.append(len(tokens))
            return forward(model, tokens, *others)

        monkeypatch.setattr(prefix_decoding, "forward", watched)


def test_the_common_prefix_of_a_group_is_read_once(
    engine: TransformersEngine, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    engine.sample(QUESTIONS[:2], SAMPLING, 0, 12)
    who, which = (tokenizer(question.prompt)["input_ids"] for question in QUESTIONS[:2])
    alike = next(at for at in range(len(who)) if who[at] != which[at])
    assert alike > 8
    assert watched.tokens[:2] == [alike, len(who) + len(which) - 2 * alike]
    assert all(count <= 8 for count in watched.tokens[2:])  # 2 questions × 4 samples, for each four samples anew


def test_samples_that_have_ended_leave_the_batch(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [PromptedQuestion(str(number), "a", f"b{number}") for number in range(60)]
    ends = {}  # of each sample, the step that it ends at: with probability 0.2 each
    for question in questions:
        for number in range(4):
            uniform = np.random.default_rng([3, number, *question.question_id.encode()]).random(12)
            ends[question, number] = next((at for at in range(12) if uniform[at] < 0.2), 12)

    def ending(logits: torch.Tensor, uniform: torch.Tensor, *_: float) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.where(uniform < 0.2, engine.end_token, 5), torch.zeros(len(logits))

    monkeypatch.setattr(prefix_decoding, "sample_tokens", ending)
    watched = Watched(monkeypatch)
    samples = sample(engine, questions)
    assert {
        (question, number): completion.tokens
        for question in questions
        for number, completion in enumerate(samples[question.question_id])
    } == {key: min(end + 1, 12) for key, end in ends.items()}
    steps = watched.tokens[2:]
    for step, read in enumerate(steps):
        assert read * 0.9 <= sum(end > step for end in ends.values()) <= read
    assert steps[-1] < 40


def tensors_alive() -> int:
    return sum(tensor.nbytes for tensor in gc.get_objects() if type(tensor) is torch.Tensor)


def test_a_batch_leaves_nothing_behind_but_its_samples(engine: TransformersEngine) -> None:
    sample(engine)
    alive = tensors_alive()
    for seed in range(4):
        sample(engine, decoding=replace(SAMPLING, seed=seed))
        assert tensors_alive() == alive


def test_batches_hold_similar_lengths_and_do_not_split_a_group(engine: TransformersEngine) -> None:
    batches = [[QUESTIONS[position].question_id.removeprefix("demo/train/") for position in batch]
               for batch in engine.batches(QUESTIONS)]  # fmt: skip
    assert batches == [["shop/0", "album/0", "album/1"], ["music/0", "music/1", "music/2"]]


def test_only_a_group_larger_than_a_batch_is_split(engine: TransformersEngine) -> None:
    questions = [
        PromptedQuestion(str(number), "large" if number < 6 else "small", "?" * (7 - number)) for number in range(8)
    ]
    assert engine.batches(questions) == [[6, 7], [0, 1, 2, 3], [4, 5]]


def test_the_identity_depends_on_the_model_and_the_batch(engine: TransformersEngine) -> None:
    identity = engine.identity(QUESTIONS)
    assert identity == engine.identity(QUESTIONS)
    assert engine.identity(QUESTIONS[:3]) != identity
    engine.version = "other"
    assert engine.identity(QUESTIONS) != identity


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(**SIZE, sliding_window=16), "it has layers of sliding_attention"),
        (Gemma2Config(**SIZE, head_dim=8, layer_types=["full_attention"] * 2, sliding_window=None),
         "its scores are capped"),
        (BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=4),
         "its implementation takes no other attention"),
        (LlamaConfig(**SIZE, rope_parameters={
            "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16, "factor": 4.0,
            "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
         }), "the positions of rope longrope depend on the longest text read at once"),
        (LlamaConfig(**SIZE, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
         "the positions of rope dynamic depend on the longest text read at once"),
    ],
    ids=["sliding window", "soft capping", "own implementation", "long rope", "dynamic rope"],
)  # fmt: skip
def test_a_model_whose_attention_cannot_be_shared_is_refused(config: PreTrainedConfig, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        use_prefix_attention(random_model(config), Path("models/other"))
    assert str(caught.value) == (
        f"the attention of the model `models/other` cannot be shared between samples ({reason}); set `engine` to vllm"
    )


def test_a_model_whose_attention_does_what_its_config_does_not_tell_is_refused() -> None:
    model = random_model(CONFIGS["llama"])
    model.model.layers[1].self_attn.forward = Sinking(model.model.layers[1].self_attn)
    with pytest.raises(UserError, match="its own gives other logits"):
        use_prefix_attention(model, Path("models/other"))


class Sinking:
    """An attention a part of which goes to no token, but only in transformers' own implementations of it."""

    def __init__(self, attention: Any) -> None:
        self.attention, self.plain = attention, attention.forward

    def __call__(self, *args: Any, **others: Any) -> Any:
        output, weights = self.plain(*args, **others)
        return output * (1.0 if "parts" in others else 0.9), weights

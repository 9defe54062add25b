"""The text that a model reads for a prompt: its chat template's, where it has one."""

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

from stages.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DAY = date(2024, 7, 26)


def model_texts(tokenizer: "PreTrainedTokenizerBase", prompts: Iterable[str]) -> list[str]:
    """Each prompt as the one user message of a chat that the model is to answer; as it is without a chat template.

    Tokenizing a text gives one start token, whether template, tokenizer or both would add one. A template that writes
    today's date writes 26 July 2024, or the same data would train another model every day. Raises UserError where
    the template refuses such a chat.
    """
    if tokenizer.chat_template is None:
        return list(prompts)
    from jinja2 import TemplateError

    try:
        texts = [
            str(tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True,
                strftime_now=_DAY.strftime,
            ))
            for prompt in prompts
        ]  # fmt: skip
    except (TemplateError, ValueError) as error:
        raise UserError(
            f"the chat template of `{tokenizer.name_or_path}` does not take one user message ({error}); "
            "choose a model with another"
        ) from None
    return [text.removeprefix(_start(tokenizer)) for text in texts]


def _start(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The start token that the tokenizer puts before every text itself; empty where it puts none."""
    adds = tokenizer.bos_token is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if adds else ""

"""Renders prompts with a model's chat template."""

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

from stages.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE_DATE = date(2024, 7, 26)


def render_prompts(tokenizer: "PreTrainedTokenizerBase", prompts: Iterable[str]) -> list[str]:
    """Renders each prompt as the one user message of a chat that the model is to answer.

    Without a chat template, the prompts are returned as they are. Tokenizing a rendered prompt gives one start token,
    whether the template, the tokenizer or both add one. A template that writes today's date writes 26 July 2024:
    otherwise the same data would train another model every day. Raises UserError if the template refuses such a chat.
    """
    if tokenizer.chat_template is None:
        return list(prompts)
    from jinja2 import TemplateError

    try:
        rendered = [
            str(tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True,
                strftime_now=_TEMPLATE_DATE.strftime,
            ))
            for prompt in prompts
        ]  # fmt: skip
    except (TemplateError, ValueError) as error:
        raise UserError(
            f"the chat template of `{tokenizer.name_or_path}` does not take one user message ({error}); "
            "choose a model with another"
        ) from None
    adds_start = tokenizer.bos_token is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return [text.removeprefix(str(tokenizer.bos_token)) for text in rendered] if adds_start else rendered

"""Packing: several examples in one sequence, each of which attends only to itself."""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


def attend_within_examples(trainer: "SFTTrainer") -> None:
    """Makes the tokens of packed examples attend to their own example alone.

    If FlashAttention is installed, it reads TRL's batch: one long sequence with the bounds of examples. Any other
    attention would need a mask of all tokens by all tokens, so it gets one sequence a row and no padding mask:
    transformers then derives the mask from the positions, which start anew with each example. The first token of an
    example is no label, as the last token of the example before would have to predict it.
    """
    from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate = trainer.data_collator
    assert isinstance(collate, DataCollatorForLanguageModeling)
    if is_flash_attn_3_available() or is_flash_attn_2_available():
        name = "flash_attention_3" if is_flash_attn_3_available() else "flash_attention_2"
        cast("PreTrainedModel", trainer.model).set_attn_implementation(name)
        return
    padded = DataCollatorForLanguageModeling(collate.pad_token_id, return_position_ids=True)

    def collate_rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = padded(examples)
        del batch["attention_mask"]
        batch["labels"][batch["position_ids"] == 0] = -100
        return batch

    trainer.data_collator = collate_rows

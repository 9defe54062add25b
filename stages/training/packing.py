"""Packed rows: several examples in one sequence, each seeing only itself."""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


def see_only_own_row(trainer: "SFTTrainer") -> None:
    """Makes a trainer with packing use FlashAttention where it is installed, and else plain attention in the right way.

    FlashAttention reads TRL's batch, one long sequence, with the examples' bounds. Any other attention would hold a
    mask of all its tokens by all its tokens. It gets a sequence a row and no padding mask: then transformers sees from
    the positions, which start anew with each example, what may see what. An example's first token is no label, or the
    last one of the example before it would have to predict it.
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

    def rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = padded(examples)
        del batch["attention_mask"]
        batch["labels"][batch["position_ids"] == 0] = -100
        return batch

    trainer.data_collator = rows

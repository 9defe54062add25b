"""The log-probabilities of completions by the reference model, computed once at the start of training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.progress import progress

if TYPE_CHECKING:
    import torch
    from trl import DPOTrainer, KTOTrainer

_FILE = "reference_logps.safetensors"


def add_reference_logps(trainer: "DPOTrainer | KTOTrainer", columns: tuple[str, str]) -> None:
    """Adds two `columns` to the trainer's dataset: the result of `compute_ref_log_probs` before the first step.

    The model in training computes them, without its adapters and placed as it trains: whole, or in shards over the
    processes. TRL's own precomputation runs before, when only the first process of FSDP has weights. A resumed training
    reads them from a file beside its checkpoints.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    rows: Any = trainer.train_dataset
    logps = torch.zeros(len(rows), 2)

    class WithLogps(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(logps)

        def __getitem__(self, row: int) -> dict[str, Any]:
            return {**rows[row], **dict(zip(columns, logps[row].tolist(), strict=True))}

    class ComputeLogps(TrainerCallback):
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            file = Path(str(args.output_dir)) / _FILE
            if state.global_step == 0:
                computed = _compute_logps(trainer)
                if state.is_world_process_zero:
                    save_file({"logps": computed}, file)
                trainer.accelerator.wait_for_everyone()
            logps.copy_(load_file(file)["logps"])

    trainer.train_dataset = WithLogps()
    trainer.add_callback(ComputeLogps())


def _compute_logps(trainer: "DPOTrainer | KTOTrainer") -> "torch.Tensor":
    """The log-probabilities of all rows, (rows, 2)."""
    import torch

    rows: Any = trainer.train_dataset
    size = trainer.args.per_device_train_batch_size
    loader = torch.utils.data.DataLoader(rows, batch_size=size, collate_fn=trainer.data_collator)
    logps = []
    with progress("reference model", len(rows), "rows", shown=trainer.is_world_process_zero()) as bar:
        for batch in trainer.accelerator.prepare_data_loader(loader):
            pair = trainer.compute_ref_log_probs(trainer.model_wrapped, batch)  # type: ignore[no-untyped-call]  # TRL's
            logps.append(trainer.accelerator.gather_for_metrics(torch.stack(pair, dim=1)).float().cpu())
            bar.update(len(logps[-1]))
    return torch.cat(logps)

"""The log-probabilities of the rows at the start of training, computed once: the reference of a preference loss."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from trl import DPOTrainer, KTOTrainer

_FILE = "starts.safetensors"


def compare_with_start(trainer: "DPOTrainer | KTOTrainer", names: tuple[str, str]) -> None:
    """Gives the trainer's rows, under two `names`, what its `compute_ref_log_probs` finds before the first step.

    The model in training scores them itself, without its adapters and placed as it trains: whole, or in shards over the
    processes. TRL's own precomputing comes before that, when FSDP's processes but the first have no weights yet. A
    training that resumes reads them from a file beside its checkpoints.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    rows: Any = trainer.train_dataset
    starts = torch.zeros(len(rows), 2)

    class Started(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(starts)

        def __getitem__(self, row: int) -> dict[str, Any]:
            given: dict[str, Any] = rows[row]
            return given | dict(zip(names, starts[row].tolist(), strict=True))

    class Start(TrainerCallback):
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            file = Path(str(args.output_dir)) / _FILE
            if state.global_step == 0:
                found = _scored(trainer)
                if state.is_world_process_zero:
                    save_file({"starts": found}, file)
                trainer.accelerator.wait_for_everyone()
            starts.copy_(load_file(file)["starts"])

    trainer.train_dataset = Started()
    trainer.add_callback(Start())


def _scored(trainer: "DPOTrainer | KTOTrainer") -> "torch.Tensor":
    import torch

    rows: Any = trainer.train_dataset
    size = trainer.args.per_device_train_batch_size
    loader = torch.utils.data.DataLoader(rows, batch_size=size, collate_fn=trainer.data_collator)
    found = []
    for batch in trainer.accelerator.prepare_data_loader(loader):
        both = trainer.compute_ref_log_probs(trainer.model_wrapped, batch)  # type: ignore[no-untyped-call]
        scores = torch.stack(both, dim=1)
        found.append(trainer.accelerator.gather_for_metrics(scores).float().cpu())
    return torch.cat(found)

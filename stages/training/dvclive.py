"""Writes the metrics of a training with DVCLive, for `dvc plots show`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvclive.live import Live
    from transformers import TrainerCallback

_EXCLUDED = ("step", "num_tokens", "step_time")  # TRL counts tokens from 0 again in a resumed training; and no times


def live_callback(folder: Path) -> "TrainerCallback":
    """Writes the logged steps to `folder`: all to `plots/metrics/<name>.tsv`, the last also to `metrics.json`.

    Also makes the trainer log its last step. Values have six significant digits and no times, so the same training
    gives the same bytes. A resumed training first writes the steps in its checkpoint again, as DVC deletes the folder.
    Nothing else is written or sent: DVCLive's `next_step` and `end`, which notify git, VS Code and DVC Studio, are not
    called.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Writer(TrainerCallback):
        live: "Live | None" = None

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if state.is_world_process_zero:
                os.environ["DVC_STUDIO_OFFLINE"] = "true"  # otherwise opening posts to DVC Studio if a token is set
                from dvclive.live import Live

                self.live = Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
                for entry in state.log_history:
                    _write(self.live, entry)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            control.should_log |= state.global_step >= state.max_steps

        def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            if self.live is not None:
                _write(self.live, state.log_history[-1])

    return Writer()


def _write(live: "Live", entry: dict[str, float]) -> None:
    if "loss" not in entry:  # the last entry is a summary with run times
        return
    live.step = int(entry["step"])
    for name, value in sorted(entry.items()):  # as in a checkpoint
        if name not in _EXCLUDED and value is not None:  # None: the mean reward of steps without any
            live.log_metric(name, float(f"{value:.6g}"))
    live.make_summary()  # type: ignore[no-untyped-call]

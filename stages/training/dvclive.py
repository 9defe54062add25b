"""DVCLive's metrics and plots of a training: what `dvc plots show` reads while it runs and after."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvclive.live import Live
    from transformers import TrainerCallback

_LEFT_OUT = ("step", "num_tokens")  # TRL counts the tokens from 0 again in a training that resumes


def live_callback(folder: Path) -> "TrainerCallback":
    """Writes each logged step into `folder`: the last to `metrics.json`, all to `plots/metrics/<name>.tsv`.
    The last step of a training is logged too, whatever its number.

    Six significant digits and no times: the same training gives the same bytes. A training that resumes first writes
    the steps that its checkpoint knows, as DVC has deleted the folder. Nothing but these files is written or sent:
    DVCLive's `next_step` and `end`, which tell git, VS Code and DVC Studio, are not called.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Writer(TrainerCallback):
        live: "Live | None" = None

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if state.is_world_process_zero:
                self.live = _open(folder)
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


def _open(folder: Path) -> "Live":
    os.environ["DVC_STUDIO_OFFLINE"] = "true"  # opening would post to Studio where a token is set
    from dvclive.live import Live

    return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)


def _write(live: "Live", entry: dict[str, float]) -> None:
    if "loss" not in entry:  # the last entry sums the run up, with its time
        return
    live.step = int(entry["step"])
    for name, value in sorted(entry.items()):  # those of a checkpoint are sorted
        if name not in _LEFT_OUT:
            live.log_metric(name, float(f"{value:.6g}"))
    live.make_summary()  # type: ignore[no-untyped-call]

"""Shows how far a training is, as all other work is shown."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from stages.core.progress import Bar, progress

if TYPE_CHECKING:
    from transformers import TrainerCallback


def progress_callback(label: str, stack: ExitStack) -> "TrainerCallback":
    """Shows the steps of a training, its loss and the time left, from its first step until `stack` is left. A resumed
    training starts at the step of its checkpoint. Of several processes the first one shows."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Steps(TrainerCallback):
        bar: Bar

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            shown = state.is_world_process_zero
            self.bar = stack.enter_context(progress(label, state.max_steps, "steps", state.global_step, shown))
            self._show_loss(state)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            self._show_loss(state)

        def _show_loss(self, state: TrainerState) -> None:
            losses = [entry["loss"] for entry in state.log_history[-2:] if "loss" in entry]  # a summary may come last
            if losses:
                self.bar.set_postfix_str(f"loss {losses[-1]:.4g}", refresh=False)

    return Steps()

"""What a run tells while it goes on: lines for the terminal, a checkpoint every few minutes, the loss curve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transformers import TrainerControl, TrainerState, TrainingArguments

    Say: TypeAlias = Callable[[str], None]

LINE_EVERY_S = 30.0  # within an epoch, a line at most this often


def silent(_: str) -> None:
    """Say nothing."""


class Narrator(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
    """One line an epoch, and one every half minute within long epochs; `say` writes it."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self._loss: float | None = None
        self._epoch_began = self._last_line = time.monotonic()
        self._epoch_first_step = 0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Start the epoch's clock."""
        del args, control, rest
        self._epoch_began = self._last_line = time.monotonic()
        self._epoch_first_step = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        """Say how far it is, with the time left at this pace."""
        del control, rest
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_S or not state.is_world_process_zero:
            return
        self._last_line = now
        pace = (state.global_step - self._epoch_first_step) / (now - self._epoch_began)
        left_s = (state.max_steps - state.global_step) / max(pace, 1e-9)
        loss = "" if self._loss is None else f"  loss {self._loss:.4f}"
        epoch = f"{min(int(state.epoch) + 1, int(args.num_train_epochs))}/{int(args.num_train_epochs)}"
        self.say(
            f"epoch {epoch}  step {state.global_step}/{state.max_steps}{loss}  {pace:.2f} steps/s, {_span(left_s)}"
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **rest: Any,
    ) -> None:
        """Keep the latest training loss; a validation ends the epoch's line."""
        del control, rest
        logs = logs or {}
        self._loss = logs.get("loss", self._loss)
        if "eval_auc" in logs and state.is_world_process_zero:
            self.say(self._epoch_line(args, state) + _validation(logs))

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        """Without validation the epoch's line comes here."""
        del control, rest
        if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no" and state.is_world_process_zero:
            self.say(self._epoch_line(args, state))

    def _epoch_line(self, args: TrainingArguments, state: TrainerState) -> str:
        loss = "" if self._loss is None else f"  loss {self._loss:.4f}"
        spent_s = time.monotonic() - self._epoch_began
        return f"epoch {round(state.epoch)}/{int(args.num_train_epochs)}{loss}  {spent_s:.1f} s"


class SaveByTheClock(TrainerCallback):  # type: ignore[misc]
    """A checkpoint every so many minutes beside the one of each epoch, so that a killed run loses minutes."""

    def __init__(self, minutes: float) -> None:
        self.interval_s = minutes * 60
        self._last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        """Ask for a checkpoint when the time has come."""
        del args, state, rest
        if time.monotonic() - self._last >= self.interval_s:
            self._last = time.monotonic()
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        """Any checkpoint starts the clock anew."""
        del args, state, control, rest
        self._last = time.monotonic()


def _validation(logs: dict[str, float]) -> str:
    auc = logs["eval_auc"]
    return f"  val AUC {auc:.4f}  accuracy {logs['eval_accuracy']:.4f}  log loss {logs['eval_log_loss']:.4f}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def draw_curve(history: Sequence[dict[str, float]], kept_epoch: float | None, path: Path) -> None:
    """Training loss, validation log loss and AUC over epochs as a PNG; `kept_epoch` marks the weights that stayed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [(row["epoch"], row["loss"]) for row in history if "loss" in row]
    val = [row for row in history if "eval_log_loss" in row]
    if train:
        axes.plot(*zip(*train, strict=True), color="#0072B2", label="training loss")
    axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    if val:
        epochs = [row["epoch"] for row in val]
        axes.plot(epochs, [row["eval_log_loss"] for row in val], "o-", color="#D55E00", label="validation log loss")
        right = axes.twinx()
        right.plot(epochs, [row["eval_auc"] for row in val], "s--", color="#009E73", label="validation AUC (right)")
        right.set(ylabel="AUC", ylim=(0, 1.02))
        axes.plot([], [], "s--", color="#009E73", label="validation AUC (right)")
    if kept_epoch is not None:
        axes.axvline(kept_epoch, color="0.6", linewidth=1, linestyle=":", label="kept")
    axes.legend(loc="best", frameon=False)
    figure.savefig(path)

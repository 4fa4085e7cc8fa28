"""Fit any trainable detector with transformers' Trainer: validated by its own scores, resumable, whatever fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import find_executable_batch_size
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from defake.errors import BackendFailed
from defake.metrics.detection import auc

from .checkpoints import load_learnt, newest_checkpoint, save_learnt
from .examples import Examples, LabelledImages
from .progress import Narrator, SaveByTheClock, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .progress import Say
    from .recipe import Recipe

CHECKPOINTS = "checkpoints"


class Trainee(Protocol):
    """A detector under training; `model` is the module whose forward pass gives the loss."""

    model: Any

    def encode(self, images: Sequence[NDArray[np.uint8]], is_fake: Sequence[bool]) -> dict[str, torch.Tensor]:
        """A training batch, on the CPU: `model(**batch).loss` is minimised."""

    def fake_logits(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Log-odds of fake `(n,)`, computed as the finished detector computes them."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The trained detector with the weights that were kept, and how it went."""

    trainee: Trainee
    history: tuple[dict[str, float], ...]
    kept_epoch: float | None
    device_batch_size: int
    accumulation: int
    processes: int


class DetectorTrainer(Trainer):  # type: ignore[misc] # transformers is untyped here
    """transformers' Trainer whose validation asks the detector for its scores, in one pass a batch."""

    data_collator: Any

    def __init__(self, trainee: Trainee, **options: Any) -> None:
        self.trainee = trainee
        super().__init__(model=trainee.model, data_collator=self._encode, **options)
        # It prints to stdout, where the data go.
        self.remove_callback(PrinterCallback)

    def _encode(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return self.trainee.encode([row["image"] for row in rows], [row["is_fake"] for row in rows])

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Validation batches hold the pixels as they are: the detector prepares them itself."""
        training: Any = self.data_collator
        self.data_collator = _keep_pixels
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        save_learnt(self.model, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        load_learnt(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        load_learnt(self.model, Path(self.state.best_model_checkpoint))

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *rest: Any, **options: Any
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Log-odds of fake and the labels of one validation batch."""
        del model, rest, options
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = np.asarray(self.trainee.fake_logits(inputs["images"]), dtype=np.float32)
        return None, torch.as_tensor(logits, device=self.args.device), inputs["labels"].to(self.args.device)


def _keep_pixels(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    labels = torch.tensor([row["is_fake"] for row in rows], dtype=torch.long)
    return {"images": [row["image"] for row in rows], "labels": labels}


def measure(logits: NDArray[np.floating], is_fake: NDArray[np.bool_]) -> dict[str, float]:
    """AUC, accuracy at 0.5 and log loss of log-odds `(n,)`; an answer that is no number counts as wrong everywhere.

    `selection_auc` and `selection_log_loss` are what picks the kept epoch, higher is better; equal AUCs fall back on
    the log loss.
    """
    given = np.isfinite(logits)
    # The least favourable finite answer: sure of the wrong class.
    logits = np.where(given, logits, np.where(is_fake, -50.0, 50.0)).astype(np.float64)
    area = auc(is_fake, logits)
    assert area is not None, "validation holds both classes"
    log_loss = float(np.logaddexp(0.0, np.where(is_fake, -logits, logits)).mean())
    return {
        "auc": area,
        "accuracy": float(np.mean((logits >= 0) == is_fake)),
        "log_loss": log_loss,
        "answered": float(given.mean()),
        "selection_auc": area - 1e-6 * min(log_loss, 100.0),
        "selection_log_loss": -log_loss,
    }


def fit(
    make: Callable[[], Trainee],
    examples: Examples,
    recipe: Recipe,
    folder: Path,
    *,
    say: Say = silent,
    workers: int = 0,
) -> Fitted:
    """Train what `make` builds, from the newest whole checkpoint below `folder` if there is one.

    Where memory runs out, the images one device takes at once are halved and accumulation doubled, so that a step still
    sees `batch_size` images; the run goes on from its last checkpoint. `make` is called again for each attempt, after
    the seeds are set.

    Raises: BackendFailed if one image a device does not fit.
    """
    processes = int(PartialState().num_processes)
    size = recipe.device_batch_size or max(1, recipe.batch_size // processes)

    def halve() -> int:
        nonlocal size
        size //= 2
        if size:
            say(f"out of memory: going on with {size} image(s) a device at once, {_accumulation(size)} accumulated")
        return size

    def _accumulation(device_batch: int) -> int:
        return max(1, round(recipe.batch_size / max(1, device_batch * processes)))

    def attempt(device_batch: int) -> Fitted:
        plan = _Plan(recipe, folder / CHECKPOINTS, device_batch, _accumulation(device_batch), processes, workers)
        return _attempt(make, examples, plan, say)

    try:
        fitted: Fitted = find_executable_batch_size(attempt, size, halve)()
    except RuntimeError as error:
        if "No executable batch size" in str(error):
            raise BackendFailed(
                "out of memory even with one image a device; use a smaller model or --precision bfloat16"
            ) from error
        raise
    return fitted


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe laid out over devices."""

    recipe: Recipe
    checkpoints: Path
    device_batch: int
    accumulation: int
    processes: int
    workers: int

    def arguments(self, n_train: int, *, validated: bool) -> TrainingArguments:
        recipe = self.recipe
        steps_an_epoch = max(1, n_train // (self.device_batch * self.accumulation * self.processes))
        return TrainingArguments(
            output_dir=str(self.checkpoints),
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="constant",
            optim="adamw_torch",
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            per_device_train_batch_size=self.device_batch,
            per_device_eval_batch_size=self.device_batch,
            gradient_accumulation_steps=self.accumulation,
            bf16=resolve_precision(recipe.precision) == "bfloat16",
            seed=recipe.seed,
            data_seed=recipe.seed,
            eval_strategy="epoch" if validated else "no",
            save_strategy="epoch",
            save_total_limit=2,
            load_best_model_at_end=validated,
            metric_for_best_model=f"selection_{recipe.select}" if validated else None,
            greater_is_better=True if validated else None,
            logging_steps=max(1, steps_an_epoch // 10),
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            label_names=["labels"],
            dataloader_num_workers=self.workers,
            dataloader_pin_memory=torch.cuda.is_available(),
            # Towers may hold parts their captions never use (a pooler).
            ddp_find_unused_parameters=recipe.tune == "full" if self.processes > 1 else None,
        )


def _attempt(make: Callable[[], Trainee], examples: Examples, plan: _Plan, say: Say) -> Fitted:
    resumed = newest_checkpoint(plan.checkpoints)
    set_seed(plan.recipe.seed)
    trainee = make()
    validated = examples.val is not None
    trainer = DetectorTrainer(
        trainee,
        args=plan.arguments(len(examples.train), validated=validated),
        train_dataset=LabelledImages(examples.train),
        eval_dataset=None if examples.val is None else LabelledImages(examples.val),
        compute_metrics=lambda found: measure(found.predictions, found.label_ids.astype(bool)),
        callbacks=[Narrator(say), SaveByTheClock(plan.recipe.save_minutes)],
    )
    if resumed is not None:
        say(f"going on from {resumed.name} of {plan.checkpoints}")
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    history = tuple(row for row in trainer.state.log_history if "loss" in row or "eval_auc" in row)
    kept = _kept_epoch(history, trainer.state.best_global_step) if validated else None
    return Fitted(trainee, history, kept, plan.device_batch, plan.accumulation, plan.processes)


def _kept_epoch(history: Sequence[dict[str, float]], step: int | None) -> float | None:
    return next((row["epoch"] for row in history if "eval_auc" in row and row["step"] == step), None)


def resolve_precision(wanted: str | None) -> str:
    """`wanted`, or bfloat16 where a GPU computes in it, or else float32."""
    if wanted is not None:
        return wanted
    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def quieten() -> None:
    """Leave the telling to `say`: transformers reports errors only, and draws no bars."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

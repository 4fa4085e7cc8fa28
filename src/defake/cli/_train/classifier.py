"""`defake train classifier`: ResNet-50, DeiT, Xception or any image classifier learns real and fake."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _options as opt


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("classifier")(classifier)


def classifier(
    model: Annotated[
        str,
        typer.Option(help="resnet50, deit, xception (untrained), a hub name, a folder, or a file of timm's Xception."),
    ],
    train: opt.Train,
    out: opt.Out,
    val: opt.Val = None,
    root: opt.Root = None,
    generator: opt.Generators = None,
    epochs: opt.Epochs = 20,
    learning_rate: opt.Rate = 1e-4,
    batch_size: opt.Batch = 32,
    device_batch_size: opt.DeviceBatch = None,
    precision: opt.Precision = None,
    seed: opt.Seed = 42,
    select: opt.Select = "auc",
    val_fraction: opt.ValFraction = 0.1,
    save_minutes: opt.SaveMinutes = 10.0,
    workers: opt.Workers = 0,
    skip_bad_rows: opt.SkipBad = False,
    allow_fakebench: opt.FakeBench = False,
    overwrite: opt.Overwrite = False,
) -> None:
    """Train an image classifier with the classes real and fake; every weight learns.

    A run that was cut short goes on when the same command is given again.
    """
    opt.require_libraries("training a classifier")
    from defake.training.classifier import train_classifier
    from defake.training.examples import Choice, gather_examples
    from defake.training.recipe import Recipe

    recipe = Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        device_batch_size=device_batch_size,
        tune="full",
        seed=seed,
        precision=precision,
        select=select,
        val_fraction=val_fraction,
        save_minutes=save_minutes,
    )
    choice = Choice(tuple(generator or ()), allow_fakebench, skip_bad_rows)
    examples = gather_examples(train, val, root=root, val_fraction=val_fraction, seed=seed, choice=choice)
    opt.tell(train_classifier(model, examples, recipe, out, overwrite=overwrite, say=opt.say, workers=workers))

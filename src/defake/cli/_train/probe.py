"""`defake train probe`: logistic regression on frozen vision features."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _options as opt


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("probe")(probe)


def probe(
    features: Annotated[str, typer.Option(help="clip, blip2, a hub name or a folder of a vision model.")],
    train: opt.Train,
    out: opt.Out,
    val: opt.Val = None,
    root: opt.Root = None,
    generator: opt.Generators = None,
    layer: Annotated[str | None, typer.Option(help="Of BLIP-2: vision or qformer.", show_default="vision")] = None,
    inverse_penalty: Annotated[float, typer.Option(min=1e-9, help="C of the regression.")] = 1.0,
    seed: opt.Seed = 42,
    val_fraction: opt.ValFraction = 0.1,
    skip_bad_rows: opt.SkipBad = False,
    allow_fakebench: opt.FakeBench = False,
    overwrite: opt.Overwrite = False,
) -> None:
    """Fit a logistic regression on features that nobody trained for this."""
    opt.require_libraries("fitting a probe")
    from defake.training.examples import Choice, gather_examples
    from defake.training.probe import train_probe

    choice = Choice(tuple(generator or ()), allow_fakebench, skip_bad_rows)
    examples = gather_examples(train, val, root=root, val_fraction=val_fraction, seed=seed, choice=choice)
    opt.tell(
        train_probe(
            features,
            examples,
            out,
            layer=layer,
            inverse_penalty=inverse_penalty,
            seed=seed,
            overwrite=overwrite,
            say=opt.say,
        )
    )

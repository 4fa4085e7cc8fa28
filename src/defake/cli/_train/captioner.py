"""`defake train captioner`: BLIP-2, ViT-GPT2 or a chat model learns to caption images `real` or `fake`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _options as opt


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("captioner")(captioner)


def captioner(
    model: Annotated[str, typer.Option(help="Hub name or folder of a captioning or chat model.")],
    train: opt.Train,
    out: opt.Out,
    val: opt.Val = None,
    root: opt.Root = None,
    generator: opt.Generators = None,
    tune: Annotated[str, typer.Option(help="lora (an adapter) or full (every weight).")] = "lora",
    lora_rank: Annotated[int, typer.Option(min=1)] = 16,
    lora_alpha: Annotated[int, typer.Option(min=1)] = 32,
    lora_dropout: Annotated[float, typer.Option(min=0.0, max=0.99)] = 0.05,
    lora_target: Annotated[
        list[str] | None,
        typer.Option(help="Layer name; repeatable.", show_default="the decoder's query and key"),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="The question.", show_default="the family's own")] = None,
    fake: Annotated[str, typer.Option(help="Caption of generated images.")] = "fake",
    real: Annotated[str, typer.Option(help="Caption of photographs.")] = "real",
    epochs: opt.Epochs = 20,
    learning_rate: opt.Rate = 5e-5,
    batch_size: opt.Batch = 32,
    device_batch_size: opt.DeviceBatch = None,
    load_in_8bit: Annotated[
        bool | None,
        typer.Option(
            "--load-in-8bit/--no-load-in-8bit",
            help="Hold the frozen base in 8 bits.",
            show_default="on a GPU with bitsandbytes",
        ),
    ] = None,
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
    """Teach a captioning or chat model to caption images `real` or `fake`.

    The defaults are VLM-DETECT's recipe. A run that was cut short goes on when the same command is given again.
    """
    opt.require_libraries("training a captioner")
    from defake.training.captioner import Wording, train_captioner
    from defake.training.examples import Choice, gather_examples
    from defake.training.recipe import Recipe

    recipe = Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        device_batch_size=device_batch_size,
        tune=tune,
        lora_rank=lora_rank,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        lora_targets=tuple(lora_target or ()),
        seed=seed,
        precision=precision,
        load_in_8bit=load_in_8bit,
        select=select,
        val_fraction=val_fraction,
        save_minutes=save_minutes,
    )
    choice = Choice(tuple(generator or ()), allow_fakebench, skip_bad_rows)
    examples = gather_examples(train, val, root=root, val_fraction=val_fraction, seed=seed, choice=choice)
    wording = Wording(prompt, fake, real)
    opt.tell(
        train_captioner(
            model, examples, recipe, out, wording=wording, overwrite=overwrite, say=opt.say, workers=workers
        )
    )

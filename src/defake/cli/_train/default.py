"""`defake train default`: the weights that ship in the package, from labelled crops."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("default")(default)


def default(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="CSVs of crops: path, label, generator, source …")
    ],
    clip: Annotated[Path, typer.Option(metavar="DIR", help="CLIP ViT-B/16 image tower, Hugging Face layout.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Weights, recipe and figures; goes on if cut short.")],
    only_measure: Annotated[bool, typer.Option("--only-measure", help="Held-out figures, no weights.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The first blocks alone: proves the machinery.")] = False,
) -> None:
    """Fit the probes that ship: leave each matched collection out in turn, calibrate there, then learn from every crop.

    Writes the weights, recipe and card of default and fast (.onnx, .json, .md), the tower.bin they share, and
    figures.json. A run that was cut short goes on when the same command is given again.
    """
    from defake.registry import DETECTORS
    from defake.training.embedded import ship
    from defake.training.embedded.card import write_card
    from defake.training.embedded.crops import read_crops
    from defake.training.embedded.packed import PackedTower
    from defake.training.embedded.tower import Tower

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    plans = (ship.DEFAULT, ship.FAST)
    if quick:
        plans = (replace(ship.DEFAULT, taps=(1, 2)), replace(ship.FAST, taps=(1,)))
    crops, found = read_crops(manifests), {}
    tower = PackedTower(Tower(clip, max(max(plan.taps) for plan in plans)), out / "features")
    for plan in plans:
        bench = ship.Bench(plan, tower, crops, out / "features", say)
        found[plan.name] = ship.figures(bench)
        for part, where in (("degradations", "five"), ("packages", "packages")):
            for degradation, row in found[plan.name].get(part, {}).items():
                low, high = row["interval"] or (float("nan"),) * 2
                real, fake = row["photographs_called_fake"], row["generated_called_fake"]
                print(
                    f"{plan.name}, {where}, {degradation}: AUC {row['auc']:.3f} [{low:.3f}, {high:.3f}], "
                    f"called fake: photographs {real:.1%}, generated {fake:.1%}"
                )
        if not only_measure:
            path = ship.write_weights(tower, bench.fit(), plan, found[plan.name], out)
            card = write_card(plan.name, DETECTORS.get(plan.name).card.summary, json.loads(path.read_text()), out)
            path.with_suffix(".md").write_text(card, encoding="utf-8")
            print(path)
    (out / "figures.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

"""`defake detectors`: what is registered, with its card."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detectors")(detectors)


def detectors(
    name: Annotated[str | None, typer.Argument(help="Show one card whole.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All cards as one JSON object.")] = False,
) -> None:
    """List the detectors there are, with what each was trained on and what its score means."""
    from defake.registry import DETECTORS

    entries = [DETECTORS.get(name)] if name else [DETECTORS.get(known) for known in DETECTORS.names()]
    if as_json:
        cards = {entry.name: {"extra": entry.extra, **dataclasses.asdict(entry.card)} for entry in entries}
        print(json.dumps(cards, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for entry in entries:
        console.print(f"[bold]{entry.name}[/bold]  {entry.card.summary}")
        needs = f"pip install 'defake\\[{entry.extra}]'" if entry.extra else "nothing more: works offline"
        rows = {"needs": needs, **(dataclasses.asdict(entry.card) if name else {"licence": entry.card.licence})}
        for key, text in rows.items():
            if text and key != "summary":
                console.print(f"  [dim]{key.replace('_', ' ')}:[/dim] {text}")
    for plugin, failure in DETECTORS.failures.items():
        Console(stderr=True).print(f"[yellow]plug-in {plugin} did not load: {failure}[/yellow]")

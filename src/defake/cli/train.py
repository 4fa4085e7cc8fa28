"""`defake train`: fit a detector to images of your own; a subcommand is a module of `_train`."""

from __future__ import annotations

import importlib
import pkgutil

import typer

from . import _train


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        name="train",
        help="Fit a detector to labelled images: captioner, classifier or probe.",
        no_args_is_help=True,
    )
    for name in sorted(module.name for module in pkgutil.iter_modules(_train.__path__)):
        if not name.startswith("_"):
            importlib.import_module(f"{_train.__name__}.{name}").register(group)
    app.add_typer(group)

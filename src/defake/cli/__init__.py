"""The command line: one file a command; each turns errors into one line and exit code 2."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import typer

from defake.errors import DefakeError

app = typer.Typer(
    name="defake",
    help="Transparent defake: tell AI-generated images from photographs, say why, and measure who can.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# A command is a module of this folder with `register(app)`; dropping a file in is all it takes.
for _found in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
    importlib.import_module(f"{__name__}.{_found}").register(app)


def main() -> None:
    """Run the command line; a DefakeError is one line on stderr and exit code 2."""
    try:
        app()
    except DefakeError as error:
        print(f"defake: {error}", file=sys.stderr)
        sys.exit(2)

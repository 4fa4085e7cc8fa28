"""`python -m defake`."""

from .cli import main

main()

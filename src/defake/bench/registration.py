"""What Inspect finds through the entry point: importing this registers our tasks, scorers and model providers."""

from __future__ import annotations

from .tasks import fakeclass, fakeclue, fakeqa
from .verdicts import false_faults, figures, flips, outcome, outcomes, verdict

__all__ = ["fakeclass", "fakeclue", "fakeqa", "false_faults", "figures", "flips", "outcome", "outcomes", "verdict"]

"""What Inspect finds through the entry point: importing this registers our tasks, scorers and model providers."""

from __future__ import annotations

from defake.lmms import chat_provider, detector_provider

from .open_answers import open_answer
from .scripted import scripted_provider
from .tasks import fakeclass, fakeclue, fakeqa
from .verdicts import false_faults, figures, flips, outcome, outcomes, verdict

__all__ = [
    "chat_provider",
    "detector_provider",
    "fakeclass",
    "fakeclue",
    "fakeqa",
    "false_faults",
    "figures",
    "flips",
    "open_answer",
    "outcome",
    "outcomes",
    "scripted_provider",
    "verdict",
]

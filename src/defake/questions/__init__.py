"""Questions about an image's authenticity: a prompt, the answers it allows and their parser as one object."""

from __future__ import annotations

from .criteria import CRITERIA, CRITERION_IDS, Criterion, criterion, criterion_of

__all__ = ["CRITERIA", "CRITERION_IDS", "Criterion", "criterion", "criterion_of"]

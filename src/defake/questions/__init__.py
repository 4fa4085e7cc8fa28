"""Questions about an image's authenticity: a prompt, the answers it allows and their parser as one object."""

from __future__ import annotations

from .answers import Outcome, Reading
from .asking import (
    QUESTION_TYPES,
    Ability,
    Prompts,
    Question,
    criterion_question,
    detection_question,
    fault_finding_question,
    inference_question,
    own_criterion_question,
    polarity_pair,
    question_type,
)
from .criteria import CRITERIA, CRITERION_IDS, Criterion, criterion, criterion_of
from .forced import p_fake
from .parsing import read_faults, read_open, read_verdict, without_thoughts

__all__ = [
    "CRITERIA",
    "CRITERION_IDS",
    "QUESTION_TYPES",
    "Ability",
    "Criterion",
    "Outcome",
    "Prompts",
    "Question",
    "Reading",
    "criterion",
    "criterion_of",
    "criterion_question",
    "detection_question",
    "fault_finding_question",
    "inference_question",
    "own_criterion_question",
    "p_fake",
    "polarity_pair",
    "question_type",
    "read_faults",
    "read_open",
    "read_verdict",
    "without_thoughts",
]

"""Scores of a detector on labelled images, and figures a reviewer would accept."""

from .figures import FIGURES, Evaluation, Row, evaluate_scores
from .protocol import Protocol, Threshold
from .scoring import score_manifest, start_run

__all__ = ["FIGURES", "Evaluation", "Protocol", "Row", "Threshold", "evaluate_scores", "score_manifest", "start_run"]

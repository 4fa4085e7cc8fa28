"""One self-contained HTML file from stored runs: what was measured, how sure it is, how it errs."""

from .writing import write_report

__all__ = ["write_report"]

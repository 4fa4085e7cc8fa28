"""Captioning and chat models as detectors: the probability of one caption against another is the score."""

from .detector import Captioner, Reply
from .families import Loaded, load_captioner, make_reader

__all__ = ["Captioner", "Loaded", "Reply", "load_captioner", "make_reader"]

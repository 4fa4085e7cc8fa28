"""Detectors: images in, calibrated fake scores out."""

from .base import Detector, Examination
from .loading import load_detector

__all__ = ["Detector", "Examination", "load_detector"]

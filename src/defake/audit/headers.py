"""What a file gives away before a pixel is decoded: container, size, JPEG tables, length, metadata."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from defake.images import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Luma table of ITU-T T.81, Annex K, in natural order.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_METADATA = {
    "exif": ("exif",),
    "xmp": ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp"),
    "icc": ("icc_profile",),
    "photoshop": ("photoshop",),
    "comment": ("comment",),
    "dpi": ("dpi",),
    "adobe": ("adobe",),
}
# Keys Pillow sets of its own accord, none of which is text somebody wrote into the file.
_TECHNICAL = {
    *("jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression", "adobe_transform", "gamma"),
    *("srgb", "chromaticity", "transparency", "interlace", "mp", "mpoffset", "loop", "background", "timestamp"),
    *("duration", "compression", "default_image", "bits", "aspect", "version", "extension", "blend", "disposal"),
    *("resolution", "aspect_ratio"),
}


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of one file; what a format does not have is None."""

    bytes: int
    container: str
    mode: str
    width: int
    height: int
    metadata: frozenset[str]
    jpeg_quality: int | None = None
    jpeg_tables: str | None = None
    jpeg_sampling: str | None = None
    jpeg_progressive: bool | None = None


def read_header(path: Path) -> Header:
    """The facts of one file, from its header.

    Raises: OSError if it cannot be read, ValueError if it is no image.
    """
    size = path.stat().st_size
    try:
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            jpeg = _jpeg_facts(image) if image.format in ("JPEG", "MPO") else {}
            metadata = _metadata(image)
            return Header(size, image.format or "", image.mode, image.width, image.height, metadata, **jpeg)
    except OSError:
        raise
    except Exception as error:  # Pillow's parsers raise many kinds on damaged headers
        raise ValueError(f"header cannot be read: {error}") from error


def read_headers(paths: Sequence[Path]) -> tuple[list[Header | None], dict[int, str]]:
    """A header a path, None where there is none, and why, by index."""
    Image.init()
    found: list[Header | None] = []
    failures: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF and large pictures warn; neither is our question
        for index, path in enumerate(paths):
            try:
                found.append(read_header(path))
            except (OSError, ValueError) as error:
                found.append(None)
                failures[index] = "no such file" if isinstance(error, FileNotFoundError) else str(error)
    return found, failures


def estimate_quality(luma: Sequence[int]) -> int:
    """The quality 1..100 whose libjpeg luma table is nearest (mean absolute difference) to one in natural order."""
    distance = np.abs(_libjpeg_tables() - np.asarray(luma, dtype=np.int64)[:64]).mean(axis=1)
    # Several qualities may share a table at the top; the highest is the usual setting.
    return int(np.flatnonzero(distance == distance.min())[-1]) + 1


@cache
def _libjpeg_tables() -> NDArray[np.int64]:
    """Luma tables (100, 64) of the qualities 1..100. Source: jcparam.c of libjpeg."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    annex_k = np.array([int(step) for step in _LUMA.split()])
    return np.asarray(np.clip((annex_k * scale[:, None] + 50) // 100, 1, 255), dtype=np.int64)


def _jpeg_facts(image: Image.Image) -> dict[str, Any]:
    tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
    layers = getattr(image, "layer", [])
    text = repr(sorted((key, list(table)) for key, table in tables.items()))
    return {
        "jpeg_quality": estimate_quality(tables[min(tables)]) if tables and len(tables[min(tables)]) >= 64 else None,
        "jpeg_tables": hashlib.sha256(text.encode()).hexdigest()[:12] if tables else None,
        "jpeg_sampling": "-".join(f"{layer[1]}x{layer[2]}" for layer in layers) or None,
        "jpeg_progressive": bool(image.info.get("progressive")),
    }


def _metadata(image: Image.Image) -> frozenset[str]:
    keys = {key for key, value in image.info.items() if isinstance(key, str) and value not in (None, b"", "")}
    named = {name for name, spellings in _METADATA.items() if keys & set(spellings)}
    known = {spelling for spellings in _METADATA.values() for spelling in spellings}
    return frozenset(named | ({"text"} if keys - known - _TECHNICAL else set()))

"""Which parts of an image a tile detector looks at: native tiles and one resized global view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE_PX = 224


@dataclass(frozen=True, slots=True)
class View:
    """A square of `TILE_PX` pixels `(224, 224, 3)` uint8 and the rectangle of the original it shows, in pixels."""

    x: int
    y: int
    width: int
    height: int
    pixels: NDArray[np.uint8]


def native_tiles(pixels: NDArray[np.uint8], max_tiles: int) -> list[View]:
    """At least one and at most `max_tiles` non-overlapping native-resolution tiles, spread evenly over the image.

    An image smaller than a tile is repeated to fill it (after B-Free), so that no resampling touches its pixels.
    Deterministic.
    """
    height, width = pixels.shape[:2]
    columns, rows = max(1, width // TILE_PX), max(1, height // TILE_PX)
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    if len(cells) > max_tiles:
        picked = np.linspace(0, len(cells) - 1, max_tiles + 2)[1:-1].round().astype(int)
        cells = [cells[i] for i in sorted(set(picked.tolist()))]
    return [_tile(pixels, r, c, rows, columns) for r, c in cells]


def _tile(pixels: NDArray[np.uint8], row: int, column: int, rows: int, columns: int) -> View:
    height, width = pixels.shape[:2]
    y = _offset(height, row, rows)
    x = _offset(width, column, columns)
    part = pixels[y : y + TILE_PX, x : x + TILE_PX]
    h, w = part.shape[:2]
    if (h, w) != (TILE_PX, TILE_PX):
        part = np.tile(part, (-(-TILE_PX // h), -(-TILE_PX // w), 1))[:TILE_PX, :TILE_PX]
    return View(x, y, w, h, np.ascontiguousarray(part))


def _offset(length: int, index: int, count: int) -> int:
    if length <= TILE_PX:
        return 0
    if count == 1:
        return (length - TILE_PX) // 2
    return round(index * (length - TILE_PX) / (count - 1))


def global_view(pixels: NDArray[np.uint8]) -> View:
    """The whole image resized to one tile, whatever its aspect (bicubic, antialiased by Pillow)."""
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
    return View(0, 0, width, height, np.asarray(small, dtype=np.uint8))

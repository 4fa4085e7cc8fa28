"""Which parts of an image a tile detector looks at: native detail, and the same image reduced to a common size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE_PX = 224
# Longest side of the reduced image: what sites and messengers leave of a picture, so that such a copy looks the same.
REDUCED_SIDE_PX = 512


@dataclass(frozen=True, slots=True)
class View:
    """A square of pixels `(tile_px, tile_px, 3)` uint8 and the rectangle of the original it shows, in pixels."""

    x: int
    y: int
    width: int
    height: int
    pixels: NDArray[np.uint8]


def native_tiles(pixels: NDArray[np.uint8], count: int, tile_px: int = TILE_PX) -> list[View]:
    """`count` tiles at native resolution, evenly along the rising diagonal (two: lower left and upper right quarter).

    An image smaller than a tile is repeated to fill it (after B-Free), so that no resampling touches its pixels. Tiles
    that would show the same rectangle are given once. Deterministic.
    """
    return _along_diagonal(pixels, pixels.shape[:2], (count, tile_px), is_rising=True)


def reduced_tiles(pixels: NDArray[np.uint8], count: int, tile_px: int = TILE_PX) -> list[View]:
    """`count` tiles of the image reduced to a longest side of 512 px (Lanczos), evenly along the falling diagonal.

    An image that is smaller already is not enlarged: there these are native tiles of the other two quarters.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, REDUCED_SIDE_PX / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
    else:
        small = pixels
    return _along_diagonal(small, (height, width), (count, tile_px), is_rising=False)


def _along_diagonal(
    pixels: NDArray[np.uint8], original: tuple[int, ...], tiles: tuple[int, int], *, is_rising: bool
) -> list[View]:
    (count, side), (height, width) = tiles, pixels.shape[:2]
    found: dict[tuple[int, int], View] = {}
    for i in range(count):
        along = (i + 0.5) / count
        x = _offset(width, along, side)
        y = _offset(height, 1 - along if is_rising else along, side)
        part = pixels[y : y + side, x : x + side]
        shown = _in_original((x, y, part.shape[1], part.shape[0]), (height, width), original)
        found[x, y] = View(*shown, np.ascontiguousarray(repeat_to_fill(part, side)))
    return list(found.values())


def _offset(length: int, centre: float, side: int) -> int:
    return min(max(0, round(centre * length - side / 2)), max(0, length - side))


def _in_original(
    box: tuple[int, int, int, int], shape: tuple[int, ...], original: tuple[int, ...]
) -> tuple[int, int, int, int]:
    (x, y, w, h), (height, width) = box, shape
    left, right = (min(original[1], round(v * original[1] / width)) for v in (x, x + w))
    top, bottom = (min(original[0], round(v * original[0] / height)) for v in (y, y + h))
    left, top = min(left, original[1] - 1), min(top, original[0] - 1)
    return left, top, max(1, right - left), max(1, bottom - top)


def repeat_to_fill(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """The image, repeated along each side that is shorter than `size_px` and cut there to `size_px`."""
    height, width = pixels.shape[:2]
    if height < size_px:
        pixels = np.tile(pixels, (-(-size_px // height), 1, 1))[:size_px]
    if width < size_px:
        pixels = np.tile(pixels, (1, -(-size_px // width), 1))[:, :size_px]
    return pixels

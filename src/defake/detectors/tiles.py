"""Which parts of an image a tile detector looks at: tiles of the image reduced to a common size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
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


def centre_tile(pixels: NDArray[np.uint8], tile_px: int = TILE_PX) -> NDArray[np.uint8]:
    """The middle `(tile_px, tile_px, 3)` at native resolution, a smaller image repeated to fill it."""
    y, x = (_offset(length, 0.5, tile_px) for length in pixels.shape[:2])
    return repeat_to_fill(pixels[y : y + tile_px, x : x + tile_px], tile_px)


def views_of(pixels: NDArray[np.uint8], tiles: int, tile_px: int = TILE_PX, *, whole: bool = False) -> list[View]:
    """`reduced_tiles`, and with `whole` the middle square of the image reduced to one tile.

    The tiles show detail, the whole what is left of it in any copy. Views of the same rectangle are given once.
    """
    found = reduced_tiles(pixels, tiles, tile_px)
    if whole:
        found.append(_reduced(pixels, min(1.0, tile_px / min(pixels.shape[:2])), 1, tile_px)[0])
    return list({(view.x, view.y, view.width, view.height): view for view in found}.values())


def reduced_tiles(pixels: NDArray[np.uint8], tiles: int, tile_px: int = TILE_PX) -> list[View]:
    """`tiles` x `tiles` tiles of the image reduced to a longest side of 512 px (Lanczos), spread evenly.

    A smaller image is not enlarged, and one smaller than a tile is repeated to fill it (after B-Free), so that no
    resampling touches its pixels. Tiles that would show the same rectangle are given once. Deterministic.
    """
    return _reduced(pixels, min(1.0, REDUCED_SIDE_PX / max(pixels.shape[:2])), tiles, tile_px)


def _reduced(pixels: NDArray[np.uint8], scale: float, tiles: int, tile_px: int) -> list[View]:
    """`tiles` x `tiles` tiles of the image reduced by a factor, row by row."""
    height, width = pixels.shape[:2]
    small = max(1, round(height * scale)), max(1, round(width * scale))
    centres = [(i + 0.5) / tiles for i in range(tiles)]
    down, across = (dict.fromkeys(_offset(length, centre, tile_px) for centre in centres) for length in small)
    image = Image.fromarray(pixels) if scale < 1 else None
    found = []
    for y, x in product(down, across):
        if image is None:
            part = pixels[y : y + tile_px, x : x + tile_px]
        else:
            part = _reduced_part(image, small, (x, y, min(small[1], x + tile_px), min(small[0], y + tile_px)))
        found.append(_view(part, (x, y), small, (height, width), tile_px))
    return found


# Lanczos looks three pixels of the reduced image around; a margin gives a part the values it has in the whole.
_MARGIN_PX = 4


def _reduced_part(image: Image.Image, small: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The part `box` (left, top, right, bottom) of the image reduced to `small` (height, width)."""
    (height, width), (left, top, right, bottom) = small, box
    wide = (
        max(0, left - _MARGIN_PX),
        max(0, top - _MARGIN_PX),
        min(width, right + _MARGIN_PX),
        min(height, bottom + _MARGIN_PX),
    )
    across, down = image.width / width, image.height / height
    reduced = image.resize(
        (wide[2] - wide[0], wide[3] - wide[1]),
        Image.Resampling.LANCZOS,
        (wide[0] * across, wide[1] * down, wide[2] * across, wide[3] * down),
        reducing_gap=3.0,
    )
    return np.asarray(reduced.crop((left - wide[0], top - wide[1], right - wide[0], bottom - wide[1])))


def _view(
    part: NDArray[np.uint8], place: tuple[int, int], shape: tuple[int, int], original: tuple[int, int], side: int
) -> View:
    shown = _in_original((*place, part.shape[1], part.shape[0]), shape, original)
    return View(*shown, np.ascontiguousarray(repeat_to_fill(part, side)))


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

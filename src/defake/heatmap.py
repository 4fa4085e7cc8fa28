"""A picture of a verdict: the image with each tile tinted by its own score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .records import Verdict

# Blue = like a photograph, red = like a generated image; both ends survive the common colour-vision deficiencies.
_REAL, _FAKE = np.array([33, 102, 172]), np.array([178, 24, 43])
MAX_SIDE_PX, MIN_SIDE_PX, _BAR_PX = 1280, 480, 56


def draw_heatmap(pixels: NDArray[np.uint8], verdict: Verdict) -> Image.Image:
    """The image, at most 1280 px long, tiles tinted by fake_score and numbered in percent, a caption and a scale below.

    `pixels` is the upright image `(h, w, 3)` that the verdict is of. A part no tile covers stays as it is.
    """
    height, width = pixels.shape[:2]
    scale = min(MAX_SIDE_PX / max(width, height), max(1.0, MIN_SIDE_PX / max(width, height)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).convert("RGB")
    for tile in sorted(verdict.tiles, key=lambda tile: -tile.width * tile.height):  # the smaller ones on top
        box = tuple(round(v * scale) for v in (tile.x, tile.y, tile.x + tile.width, tile.y + tile.height))
        _tint(picture, (box[0], box[1], min(box[2], size[0]), min(box[3], size[1])), tile.fake_score)
    canvas = Image.new("RGB", (max(size[0], MIN_SIDE_PX), size[1] + _BAR_PX), "white")
    canvas.paste(picture, (0, 0))
    _caption(canvas, size[1], verdict)
    return canvas


def _colour(score: float) -> tuple[int, int, int]:
    mixed = _REAL + (_FAKE - _REAL) * score
    return int(mixed[0]), int(mixed[1]), int(mixed[2])


def _tint(picture: Image.Image, box: tuple[int, int, int, int], score: float) -> None:
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    part = picture.crop(box)
    # An undecided tile stays clear; a decided one is tinted by at most a half, so that the picture is still seen.
    picture.paste(Image.blend(part, Image.new("RGB", part.size, _colour(score)), abs(score - 0.5)), box[:2])
    draw = ImageDraw.Draw(picture)
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=_colour(score), width=2)
    _label(draw, (box[0] + 6, box[1] + 4), f"{score:.0%}", min(22, max(10, (box[2] - box[0]) // 6)))


def _label(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int) -> None:
    font = ImageFont.load_default(size)
    draw.text(at, text, fill="white", font=font, stroke_width=2, stroke_fill="black")


def _caption(canvas: Image.Image, top: int, verdict: Verdict) -> None:
    draw = ImageDraw.Draw(canvas)
    score = verdict.fake_score or 0.0
    text = f"{verdict.verdict}: {score:.0%} likely generated  ({verdict.detector})"
    draw.text((8, top + 6), text, fill="black", font=ImageFont.load_default(16))
    for x in range(200):
        draw.line((8 + x, top + 32, 8 + x, top + 44), fill=_colour(x / 199))
    legend = "0 % photograph  to  100 % generated, per tile"
    draw.text((216, top + 30), legend, fill="black", font=ImageFont.load_default(12))

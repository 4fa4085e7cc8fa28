"""The labelled crops: the manifest, which of them are learnt from, and the views they are seen through."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from defake.checking import COPY_QUALITY, COPY_SIDE_PX
from defake.detectors.tiles import REDUCED_SIDE_PX, TILE_PX, centre_tile, repeat_to_fill, views_of
from defake.errors import BadDataset
from defake.perturb import jpeg, long

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Collections that hold both classes in one format; what a model does here it does without help from the format.
MATCHED = ("laboratoriet_game", "ml72_playground", "gduteaud_autodetect", "dexer1_40", "avt_ai_images")
# Whole images of `scripts/outside_images.py`, by where they were published.
PACKAGES, PACKAGES_COUNT = ("deb_packages", "npm_packages", "pypi_packages"), 0.3


@dataclass(frozen=True, slots=True)
class Crop:
    """One labelled crop or whole image; `origin_side_px` is the longest side of the image it was cut from."""

    index: int
    path: Path
    is_fake: bool
    generator: str
    source: str
    origin_side_px: int

    def open(self) -> Image.Image:
        """The crop's pixels, RGB."""
        with Image.open(self.path) as image:
            return image.convert("RGB")


def read_crops(manifests: Sequence[Path]) -> list[Crop]:
    """The crops of manifests with the columns path, label, generator, source, origin_width, origin_height.

    Raises: BadDataset if a file or a column is missing, a label is unknown, or a class has no crop.
    """
    found: list[Crop] = []
    for manifest in manifests:
        try:
            with manifest.open(newline="", encoding="utf-8") as file:
                found += [_crop(len(found) + i, row, manifest.parent) for i, row in enumerate(csv.DictReader(file))]
        except (OSError, KeyError, ValueError) as error:
            raise BadDataset(f"cannot read the manifest {manifest}: {type(error).__name__} {error}") from error
    if len({crop.is_fake for crop in found}) < 2:
        raise BadDataset("training needs photographs and generated images, but the manifests hold one class")
    return found


def _crop(index: int, row: dict[str, str], folder: Path) -> Crop:
    if row["label"] not in ("fake", "real"):
        raise ValueError(f"label {row['label']!r}; expected 'fake' or 'real'")
    side = max(int(row["origin_width"] or 0), int(row["origin_height"] or 0))
    return Crop(index, folder / row["path"], row["label"] == "fake", row["generator"], row["source"], side)


def balanced(crops: Sequence[Crop]) -> NDArray[np.float64]:
    """The weight of each crop `(n,)`: classes equal, a collection counts by the root of its size; sum 1.

    The packages count `PACKAGES_COUNT` of that: they hold few fakes, and being whole must not become the label.
    """
    sizes = Counter((crop.source, crop.is_fake) for crop in crops)
    weight = np.array(
        [
            sizes[crop.source, crop.is_fake] ** -0.5 * (PACKAGES_COUNT if crop.source in PACKAGES else 1.0)
            for crop in crops
        ]
    )
    fake = np.array([crop.is_fake for crop in crops])
    for members in (fake, ~fake):
        weight[members] /= 2 * weight[members].sum()
    return weight


def rescale(image: Image.Image, scale: float) -> Image.Image:
    """The image resized by a factor (Lanczos), at least 8 px a side."""
    if abs(scale - 1) < 1e-3:
        return image
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def rescaled_view(crop: Crop, tile_px: int = TILE_PX) -> NDArray[np.uint8]:
    """The middle tile after a random shrinking, log-uniform down to one tile; the same for a crop each time.

    The scale is drawn alike for both classes, so that it does not tell the class.
    """
    rng, image = np.random.default_rng([6, crop.index]), crop.open()
    lowest = min(1.0, tile_px / min(image.size))
    return centre_tile(np.asarray(rescale(image, float(np.exp(rng.uniform(np.log(lowest), 0))))), tile_px)


def encoded_view(crop: Crop, tile_px: int = TILE_PX) -> NDArray[np.uint8]:
    """The middle tile after a random shrinking and a JPEG of quality 35 to 75; the same for a crop each time."""
    rng, image = np.random.default_rng([5, crop.index]), crop.open()
    lowest = min(1.0, tile_px / min(image.size))
    scale = float(np.exp(rng.uniform(np.log(lowest), 0))) if rng.random() < 0.7 else 1.0
    return centre_tile(jpeg(np.asarray(rescale(image, scale)), int(rng.integers(35, 76))), tile_px)


def placed_view(crop: Crop, tile_px: int = TILE_PX) -> NDArray[np.uint8]:
    """A tile anywhere after a random shrinking and a JPEG of quality 35 to 90, half of them mirrored."""
    rng, image = np.random.default_rng([22, crop.index]), crop.open()
    lowest = min(1.0, tile_px / min(image.size))
    shrunk = np.asarray(rescale(image, float(np.exp(rng.uniform(np.log(lowest), 0)))))
    pixels = jpeg(shrunk, int(rng.integers(35, 91)))
    y, x = (int(rng.integers(0, max(0, length - tile_px) + 1)) for length in pixels.shape[:2])
    tile = repeat_to_fill(pixels[y : y + tile_px, x : x + tile_px], tile_px)
    return tile[:, ::-1] if rng.random() < 0.5 else tile


def reduced_view(crop: Crop, tile_px: int = TILE_PX) -> NDArray[np.uint8]:
    """The middle tile at the scale at which the detector would see it in the image the crop was cut from.

    A crop is not shrunk below one tile: the rest of the original, which would fill the tile, is not there. Originals
    of the classes differ in size, so shrinking alone would become the label; whole photographs that were shrunk as far
    or further (`PACKAGES`) take that way out (docs/experiments.md).
    """
    image = crop.open()
    scale = min(1.0, max(REDUCED_SIDE_PX / max(crop.origin_side_px, 1), tile_px / min(image.size)))
    return centre_tile(np.asarray(rescale(image, scale)), tile_px)


# Name -> longest side and JPEG quality of a copy.
AS_STORED, COPY = "as stored", f"{COPY_SIDE_PX} px, JPEG {COPY_QUALITY}"
DEGRADATIONS: dict[str, tuple[int, int] | None] = {
    AS_STORED: None,
    COPY: (COPY_SIDE_PX, COPY_QUALITY),
    "384 px, JPEG 40": (384, 40),
}


def seen_views(crop: Crop, degradation: str, tiles: int, tile_px: int, *, whole: bool) -> list[NDArray[np.uint8]]:
    """What the detector looks at, were the crop, or a copy of it, given to it as an image of its own."""
    pixels, copy = np.asarray(crop.open()), DEGRADATIONS[degradation]
    if copy is not None:
        pixels = jpeg(long(pixels, copy[0]), copy[1])
    return [view.pixels for view in views_of(pixels, tiles, tile_px, whole=whole)]

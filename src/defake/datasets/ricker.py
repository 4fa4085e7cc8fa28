"""The layout of Ricker et al. (2210.14571): `{train,val,test}/{Real,ADM,DDPM,...}/*.png`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defake.errors import BadDataset

from .columns import Manifest
from .folders import SPLITS, image_files

if TYPE_CHECKING:
    from pathlib import Path

# Source: README of jonasricker/diffusion-model-deepfake-detection.
GENERATORS = {
    *("ProGAN", "StyleGAN", "ProjectedGAN", "Diff-StyleGAN2", "Diff-ProjectedGAN"),
    *("DDPM", "IDDPM", "ADM", "PNDM", "LDM"),
}


def is_ricker(folder: Path) -> bool:
    """Whether a folder, or each split in it, holds folders of the paper's generators, and no class folders."""
    return any(_has_generators(place) for place in _places(folder))


def read_ricker(folder: Path) -> Manifest:
    """The images of the data set; every folder beside `Real` is a generator, known or not; the source is LSUN's scene.

    Raises: BadDataset if there is no image.
    """
    columns: dict[str, list[object]] = {name: [] for name in ("path", "is_fake", "generator", "split")}
    for place in _places(folder):
        split = place.name.lower() if place.name.lower() in SPLITS else None
        prefix = "" if place == folder else f"{place.name}/"
        for group in sorted(child for child in place.iterdir() if child.is_dir() and not child.name.startswith(".")):
            is_fake = group.name.lower() != "real"
            for name in image_files(group):
                columns["path"].append(f"{prefix}{group.name}/{name}")
                columns["is_fake"].append(is_fake)
                columns["generator"].append(group.name if is_fake else None)
                columns["split"].append(split)
    if not columns["path"]:
        raise BadDataset(f"no image in {folder}; expected {{train,val,test}}/{{Real,ADM,...}}/*.png")
    return Manifest.from_columns(columns, folder, kind="ricker")


def _places(folder: Path) -> list[Path]:
    """The split folders, or the folder itself where it has none."""
    splits = sorted(child for child in folder.iterdir() if child.is_dir() and child.name.lower() in SPLITS)
    return splits or [folder]


def _has_generators(place: Path) -> bool:
    names = {child.name for child in place.iterdir() if child.is_dir()}
    return bool(names & GENERATORS) and not names & {"fake", "1_fake", "ai"}

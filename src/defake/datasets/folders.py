"""A folder per class: `real/` and `fake/`, `0_real/` and `1_fake/`, `nature/` and `ai/`, at any depth."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from defake.errors import BadDataset
from defake.images import SUFFIXES

from .columns import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Source: CNNDetection writes 0_real and 1_fake, GenImage nature and ai.
CLASS_OF = {"real": False, "0_real": False, "nature": False, "fake": True, "1_fake": True, "ai": True}
SPLITS = {"train", "val", "valid", "validation", "dev", "test"}


def image_files(folder: Path) -> Iterator[str]:
    """Paths of image files below a folder, relative, `/`-separated, sorted; hidden ones are passed over."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(parent, folder).replace(os.sep, "/")
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):  # noqa: PTH122 - speed
                yield name if inside == "." else f"{inside}/{name}"


def read_class_folders(folder: Path) -> Manifest:
    """The images of a folder, labelled by the deepest folder named after a class.

    A generated image's generator is the folder below its class (`fake/sdxl/1.png`), or else the nearest folder above it
    that is no split (`progan/1_fake/1.png`). A photograph's folder below its class is its source.

    Raises: BadDataset if no folder is named after a class or there is no image in them.
    """
    columns: dict[str, list[object]] = {name: [] for name in ("path", "is_fake", "generator", "source", "split")}
    seen = 0
    for path in image_files(folder):
        seen += 1
        parts = path.split("/")[:-1]
        at = max((i for i, part in enumerate(parts) if part.lower() in CLASS_OF), default=None)
        if at is None:
            continue
        is_fake = CLASS_OF[parts[at].lower()]
        below = parts[at + 1] if at + 1 < len(parts) else None
        above = next((part for part in reversed(parts[:at]) if part.lower() not in SPLITS), None)
        columns["path"].append(path)
        columns["is_fake"].append(is_fake)
        columns["generator"].append((below or above) if is_fake else None)
        columns["source"].append(None if is_fake else below)
        columns["split"].append(next((part.lower() for part in parts if part.lower() in SPLITS), None))
    if not columns["path"]:
        raise BadDataset(
            f"no labelled image in {folder} ({seen} images outside class folders); "
            f"expected folders named {', '.join(CLASS_OF)}"
        )
    return Manifest.from_columns(columns, folder, kind="class folders")

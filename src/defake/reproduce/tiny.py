"""A world small enough for a laptop: generators of our own making, photographs, and untrained models in miniature.

Nothing here says anything of real generators; it shows that the machinery works, offline, from data to table.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from defake.errors import MissingExtra
from defake.training.recipe import Recipe

from .vlm_detect import CONTENDERS, Contender

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIZE_PX = 64
# Photographs of scikit-image, by split: no photograph stands in two of them.
PHOTOGRAPHS = {
    "train": ("astronaut.png", "coffee.png", "motorcycle_left.png", "brick.png", "ihc.png", "retina.jpg"),
    "val": ("rocket.jpg", "gravel.png"),
    "test": ("chelsea.png", "hubble_deep_field.jpg", "grass.png", "coins.png"),
}
# Generators are named after how their decoder doubles the size, which is what marks their images.
GENERATORS = ("transposed", "nearest", "bilinear", "shuffle")
IMAGES = {"train": 300, "val": 60, "test": 120}  # per class, at budget 1
EPOCHS = 20  # of each model, at budget 1
STEPS = 250  # of auto-encoder training, at budget 1
NOTICE = (
    "TINY SCALE: crops of 12 photographs, four small auto-encoders as generators,\n"
    "small untrained models. It shows the machinery at work; its figures say nothing\n"
    "of real generators or of the published models."
)


class AutoEncoder(nn.Module):  # type: ignore[misc] # torch is untyped here
    """Two halvings to 8 channels and two doublings back; `up` is what doubles."""

    def __init__(self, up: str, width: int = 16) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            *(nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, 8, 4, 2, 1)),
        )
        self.decode = nn.Sequential(*_doubling(up, 8, width), nn.ReLU(), *_doubling(up, width, 3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images `(n, 3, h, w)` in [0, 1], seen through the bottleneck."""
        return self.decode(self.encode(pixels * 2 - 1)) / 2 + 0.5


def _doubling(up: str, channels: int, out: int) -> list[nn.Module]:
    if up == "transposed":
        return [nn.ConvTranspose2d(channels, out, 4, 2, 1)]
    if up == "shuffle":
        return [nn.Conv2d(channels, 4 * out, 3, 1, 1), nn.PixelShuffle(2)]
    options = {} if up == "nearest" else {"align_corners": False}
    return [nn.Upsample(scale_factor=2, mode=up, **options), nn.Conv2d(channels, out, 3, 1, 1)]


def train_generator(up: str, crops: NDArray[np.uint8], steps: int, rng: np.random.Generator) -> AutoEncoder:
    """An auto-encoder fitted to crops `(n, h, w, 3)` by mean absolute error; a fixed seed gives fixed weights."""
    torch.manual_seed(int(rng.integers(2**31)))
    model = AutoEncoder(up)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows, (top, left) = rng.integers(0, len(crops), 16), rng.integers(0, SIZE_PX // 2, 2) // 4 * 4
        batch = _tensor(crops[rows, top : top + SIZE_PX // 2, left : left + SIZE_PX // 2])
        optimiser.zero_grad()
        functional.l1_loss(model(batch), batch).backward()
        optimiser.step()
    model.eval()
    return model


def _tensor(crops: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(crops.astype(np.float32).transpose(0, 3, 1, 2) / 255)


def generate(model: AutoEncoder, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The crops `(n, h, w, 3)` as the generator makes them."""
    with torch.no_grad():
        out = torch.cat([model(_tensor(crops[start : start + 64])) for start in range(0, len(crops), 64)])
    return np.asarray((out.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())


def crop_photographs(split: str, count: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[str]]:
    """`count` crops `(n, SIZE_PX, SIZE_PX, 3)` of a split's photographs, halved in size first, and their names.

    Halving removes what JPEG and demosaicing left, so that a photograph is not told by its file's history.

    Raises: MissingExtra without scikit-image.
    """
    try:
        import skimage
    except ModuleNotFoundError as error:
        raise MissingExtra("--scale tiny", "reproduce", "skimage") from error
    folder = Path(skimage.__file__).parent / "data"
    photographs = []
    for name in PHOTOGRAPHS[split]:
        with Image.open(folder / name) as image:
            photographs.append(np.asarray(image.convert("RGB").reduce(2)))
    crops, names = np.empty((count, SIZE_PX, SIZE_PX, 3), np.uint8), []
    for i in range(count):
        which = i % len(photographs)
        height, width, _ = photographs[which].shape
        top, left = rng.integers(0, height - SIZE_PX + 1), rng.integers(0, width - SIZE_PX + 1)
        crop = photographs[which][top : top + SIZE_PX, left : left + SIZE_PX]
        crops[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
        names.append(Path(PHOTOGRAPHS[split][which]).stem)
    return crops, names


def make_images(folder: Path, *, seed: int, budget: float, say: Callable[[str], None]) -> Path:
    """Write photographs and generated images with a manifest below `folder`; the manifest's path.

    `budget` scales images and generator training. Each split's fakes are made of other crops than its photographs.
    """
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    rng = np.random.default_rng(seed)
    crops, _ = crop_photographs("train", max(64, round(1000 * budget)), rng)
    rows: list[tuple[str, str, str, str, str]] = []
    counts = {split: max(16, round(count * budget)) for split, count in IMAGES.items()}
    for split, count in counts.items():
        rows += _write(folder, split, None, *crop_photographs(split, count, rng))
    for up in GENERATORS:
        say(f"making the generator {up!r} and its images")
        model = train_generator(up, crops, max(60, round(STEPS * budget)), rng)
        for split, count in counts.items():
            photographs, names = crop_photographs(split, count, rng)
            rows += _write(folder, split, up, generate(model, photographs), names)
    draft = manifest.with_suffix(".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "generator", "source", "split"), *rows])
    draft.replace(manifest)
    return manifest


def _write(
    folder: Path, split: str, generator: str | None, images: NDArray[np.uint8], sources: list[str]
) -> list[tuple[str, str, str, str, str]]:
    place = folder / split / (generator or "Real")
    place.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (pixels, source) in enumerate(zip(images, sources, strict=True)):
        Image.fromarray(pixels).save(place / f"{number:04d}.png")
        path = f"{split}/{place.name}/{number:04d}.png"
        rows.append((path, "fake" if generator else "real", generator or "", source, split))
    return rows


def tiny_contenders(folder: Path, *, seed: int, budget: float) -> dict[str, Contender]:
    """Every model of the table in miniature, untrained, saved below `folder`; all weights of each learn."""
    epochs = max(2, round(EPOCHS * budget))
    recipe = Recipe(tune="full", epochs=epochs, learning_rate=1e-3, batch_size=32, max_grad_norm=1.0, seed=seed)
    places = save_models(folder, seed)
    known = {name: Contender(name, CONTENDERS[name].kind, place, recipe) for name, place in places.items()}
    known["probe"] = Contender("probe", "probe", places["blip2"], layer="qformer")
    return known


def save_models(folder: Path, seed: int) -> dict[str, str]:
    """Write the untrained miniatures; their folders by the name of the model each stands for."""
    from defake.training.trainer import quieten

    from . import miniatures

    quieten()

    places: dict[str, str] = {}
    for number, (name, build) in enumerate(miniatures.BUILDERS.items()):
        place = folder / name
        if not (place / "config.json").is_file():
            torch.manual_seed(seed + number)
            parts: tuple[Any, ...] = build()
            for part in reversed(parts):  # the model's config.json last
                part.save_pretrained(place)
        places[name] = str(place)
    return places

"""Make the example pictures: a small neural generator trained on a handful of free photographs, on a CPU.

    python examples/generate.py --out examples/generated          # needs torch and scikit-image

Two parts, as in a latent generative model. A convolutional autoencoder with a patch discriminator learns to draw
pixels from a latent grid a quarter of the picture's size; a patch sampler makes new latent grids, coarse to fine,
starting from noise. Every pixel of a result comes out of the neural decoder.

Source: the sampler follows Granot et al., "Drop the GAN: In Defense of Patches Nearest Neighbors as Single Image
Generative Models" (CVPR 2022), here on latents instead of pixels; the hinge loss is that of Lim and Ye, "Geometric GAN"
(2017). Network and training schedule are ours.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

LATENT_CHANNELS = 8
REDUCTION = 4  # the latent grid's side is the picture's divided by this
LATENT_NOISE = 0.05  # of a latent of unit scale, while training: neighbouring codes must decode alike
STEPS = 1500  # of training; about two minutes on an idle core
SHRINK = 0.75  # the sampler's levels shrink by this
COARSEST_PX = 14  # shorter side of the sampler's coarsest level, in latent cells
# File inside scikit-image's wheel -> longer side to train at (None: as it is). All CC0 or public domain: see README.md.
PHOTOGRAPHS = {
    "astronaut.png": None, "chelsea.png": None, "coffee.png": None, "rocket.jpg": None, "hubble_deep_field.jpg": 640,
    "retina.jpg": 706, "camera.png": None, "brick.png": None, "grass.png": None, "gravel.png": None,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One picture to make: the photograph whose patches are used, and how far to go from it."""

    name: str
    photograph: str
    height_px: int
    width_px: int
    noise: float  # strength of the noise at the coarsest level, in latent standard deviations
    seed: int
    flip: bool = False


RECIPES = (
    Recipe("coffee-1", "coffee.png", 384, 512, 1.0, 1),
    Recipe("coffee-2", "coffee.png", 320, 512, 2.5, 2),
    Recipe("cat-1", "chelsea.png", 300, 512, 0.6, 3),
    Recipe("cat-2", "chelsea.png", 384, 384, 1.2, 4, flip=True),
    Recipe("launch-1", "rocket.jpg", 384, 512, 0.8, 5),
    Recipe("launch-2", "rocket.jpg", 320, 512, 2.0, 6),
    Recipe("galaxies-1", "hubble_deep_field.jpg", 384, 384, 3.0, 7),
    Recipe("retina-1", "retina.jpg", 384, 384, 0.8, 8),
    Recipe("coffee-3", "coffee.png", 288, 288, 2.5, 21),
    Recipe("cat-3", "chelsea.png", 288, 288, 1.5, 22),
)


def load_photographs() -> dict[str, np.ndarray]:
    """The training photographs from scikit-image's wheel (no download): file name -> uint8 (h, w, 3)."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    photographs = {}
    for name, side in PHOTOGRAPHS.items():
        with Image.open(folder / name) as image:
            picture = image.convert("RGB")
        if side:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        photographs[name] = np.asarray(picture)
    return photographs


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (h, w, 3) -> float (1, 3, h', w') in [-1, 1], cut to multiples of the reduction."""
    height, width = (side // REDUCTION * REDUCTION for side in pixels.shape[:2])
    tensor = torch.from_numpy(pixels[:height, :width].copy()).float()
    return tensor.permute(2, 0, 1)[None] / 127.5 - 1


def to_pixels(tensor: Tensor) -> np.ndarray:
    """Float (1, 3, h, w) in [-1, 1] -> uint8 (h, w, 3)."""
    scaled = (tensor[0].float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(1, 2, 0).numpy()


class Residual(nn.Module):
    """x + a two-layer convolution of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return x + self.body(x)


class Autoencoder(nn.Module):
    """Picture (n, 3, h, w) <-> latents (n, 8, h/4, w/4)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(12, width // 2, 3, padding=1), Residual(width // 2),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1), Residual(width), Residual(width),
            nn.Conv2d(width, LATENT_CHANNELS, 1), nn.Tanh(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1), Residual(width), Residual(width), Residual(width),
            nn.Upsample(scale_factor=2), nn.Conv2d(width, width // 2, 3, padding=1), Residual(width // 2),
            nn.SiLU(), nn.Conv2d(width // 2, 12, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip

    def redraw(self, pixels: np.ndarray) -> np.ndarray:
        """A picture uint8 (h, w, 3) through both halves: the decoder's own drawing of it."""
        with torch.no_grad():
            return to_pixels(self.decoder(self.encoder(to_tensor(pixels))))


def build_discriminator(width: int = 24) -> nn.Module:
    """A critic of patches: (n, 3, h, w) -> (n, 1, h/8, w/8), positive = photograph."""
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(2 * width, 1, 3, padding=1))


def draw_batch(photographs: list[Tensor], rng: np.random.Generator, n: int, side: int) -> Tensor:
    """Random square crops, half of them mirrored, a third of them at half size: (n, 3, side, side)."""
    crops = []
    for _ in range(n):
        photograph = photographs[rng.integers(len(photographs))]
        scale = 2 if rng.random() < 1 / 3 else 1
        reach = side * scale
        top = rng.integers(photograph.shape[2] - reach + 1)
        left = rng.integers(photograph.shape[3] - reach + 1)
        crop = photograph[:, :, top : top + reach, left : left + reach]
        crop = functional.avg_pool2d(crop, scale) if scale > 1 else crop
        crops.append(crop.flip(3) if rng.random() < 0.5 else crop)
    return torch.cat(crops)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of pixels and of their differences to the next pixel (edges weigh double)."""
    across = functional.l1_loss(output.diff(dim=3), target.diff(dim=3))
    down = functional.l1_loss(output.diff(dim=2), target.diff(dim=2))
    return functional.l1_loss(output, target) + across + down


def train(photographs: list[Tensor], *, steps: int, seed: int, batch: int = 8, side: int = 64) -> Autoencoder:
    """Train the autoencoder; the discriminator joins for the last 40 % of the steps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, critic = Autoencoder().to(memory_format=torch.channels_last), build_discriminator()
    drawer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(drawer, 2e-3, total_steps=steps, pct_start=0.1)
    judge = torch.optim.Adam(critic.parameters(), lr=5e-4, betas=(0.5, 0.9))
    started = time.monotonic()
    for step in range(steps):
        target = draw_batch(photographs, rng, batch, side).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = model.encoder(target)
            output = model.decoder(latents + LATENT_NOISE * torch.randn_like(latents)).float()
            loss = reconstruction_loss(output, target)
            if adversarial := step >= 0.6 * steps:
                real, drawn = critic(target), critic(output.detach())
                judge_loss = functional.relu(1 - real).mean() + functional.relu(1 + drawn).mean()
                judge.zero_grad()
                judge_loss.backward()
                judge.step()
                loss = loss - 0.03 * critic(output).mean()
        drawer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        drawer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            note = "with critic" if adversarial else ""
            elapsed_s = time.monotonic() - started
            print(f"step {step:5d}  loss {loss.item():.4f}  {elapsed_s:5.0f} s {note}", file=sys.stderr)
    return model.eval()


def load_or_train(weights: Path | None, *, steps: int, seed: int) -> Autoencoder:
    """The autoencoder from `weights` if that file exists, else trained now (and written there)."""
    if weights and weights.is_file():
        state = torch.load(weights, weights_only=True)
    else:
        state = train([to_tensor(p) for p in load_photographs().values()], steps=steps, seed=seed).state_dict()
        if weights:
            weights.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, weights)
    model = Autoencoder()  # a fresh one: training's memory layout rounds differently from that of loaded weights
    model.load_state_dict(state)
    return model.eval()


def nearest_patches(query: Tensor, keys: Tensor, *, alpha: float = 0.01) -> Tensor:
    """For each query row (n, d) the index of the key row (m, d) that fits; keys used too often lose.

    Source: the normalised similarity of Granot et al., equation 2.
    """
    distances = (query**2).sum(1, keepdim=True) + (keys**2).sum(1) - 2 * query @ keys.T
    distances = distances.clamp_min_(0).div_(keys.shape[1])
    return distances.div_(alpha + distances.min(0).values).argmin(1)


def replace_patches(guess: Tensor, key: Tensor, value: Tensor, side: int) -> Tensor:
    """Rebuild `guess` (1, c, h, w) from patches of `value`, found by likeness to `key`; overlaps are averaged."""
    unfold = nn.Unfold(side)
    chosen = nearest_patches(unfold(guess)[0].T, unfold(key)[0].T)
    patches = unfold(value)[:, :, chosen]
    weight = torch.outer(torch.hann_window(side + 2)[1:-1], torch.hann_window(side + 2)[1:-1]).reshape(1, 1, -1, 1)
    weight = weight.expand(1, value.shape[1], -1, len(chosen)).reshape(1, -1, len(chosen))
    size = guess.shape[2:]
    return functional.fold(patches * weight, size, side) / functional.fold(weight, size, side)


def resize(latents: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with antialiasing."""
    return functional.interpolate(latents, (height, width), mode="bilinear", antialias=True, align_corners=False)


def sample_latents(
    source: Tensor, height: int, width: int, *, noise: float, generator: torch.Generator, side: int = 7
) -> Tensor:
    """New latents (1, c, height, width) that look like `source` (1, c, h, w) at every scale."""
    levels = [1.0]
    while min(source.shape[2:]) * levels[-1] * SHRINK >= COARSEST_PX:
        levels.append(levels[-1] * SHRINK)
    guess: Tensor | None = None
    for number, scale in enumerate(reversed(levels)):
        value = resize(source, round(source.shape[2] * scale), round(source.shape[3] * scale))
        shape = max(side, round(height * scale)), max(side, round(width * scale))
        if guess is None:
            start = resize(value, *shape)
            guess = start + noise * start.std() * torch.randn(start.shape, generator=generator)
            key = value
        else:
            guess = resize(guess, *shape)
            smaller = resize(value, round(value.shape[2] * SHRINK), round(value.shape[3] * SHRINK))
            key = resize(smaller, *value.shape[2:])
        for _ in range(8 if number == 0 else 2):
            guess = replace_patches(guess, key, value, side)
            key = value
    assert guess is not None
    return guess


def draw(model: Autoencoder, recipe: Recipe, photographs: dict[str, np.ndarray]) -> np.ndarray:
    """The picture of a recipe: uint8 (height, width, 3)."""
    photograph = photographs[recipe.photograph]
    source = to_tensor(photograph[:, ::-1] if recipe.flip else photograph)
    generator = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        shape = recipe.height_px // REDUCTION, recipe.width_px // REDUCTION
        latents = sample_latents(model.encoder(source), *shape, noise=recipe.noise, generator=generator)
        return to_pixels(model.decoder(latents))


def main() -> None:
    """Train (or load) the generator and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("examples/generated"), help="folder for the pictures")
    parser.add_argument("--weights", type=Path, help="keep the trained network here, and use it if it is there")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (with others, other rounding)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_or_train(options.weights, steps=options.steps, seed=options.seed)
    photographs = load_photographs()
    options.out.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        file = options.out / f"{recipe.name}.jpg"
        Image.fromarray(draw(model, recipe, photographs)).save(file, quality=93, subsampling=0)
        print(file)


if __name__ == "__main__":
    main()

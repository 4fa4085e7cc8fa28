"""Make the small annotated set that the package ships: pictures with planted faults, photographs, clues and answers.

    python scripts/make_demo_set.py --weights runs/generator.pt     # needs torch and scikit-image

Generated pictures are rendered scenes and edited photographs with faults put in on purpose, and samples of the
example generator (examples/generate.py); each is drawn anew, pixel by pixel, by that generator's decoder. Photographs
are crops of the CC0 and public-domain pictures in scikit-image's wheel. All are 288 px square and saved by the same
JPEG settings, so that neither size nor codec gives the label away. The texts stand in scripts/demo_set_texts.toml,
written by hand by looking at the pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch
from demo_scenes import SCENES, render
from PIL import Image, ImageFilter
from torch.nn import functional

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))
import generate  # noqa: E402 - the examples' generator, found by the line above

SIDE_PX = 288
# Name -> file in scikit-image's wheel, left, top, side of the square crop in its pixels.
PHOTOGRAPHS = {
    "cat": ("chelsea.png", 90, 0, 300), "espresso": ("coffee.png", 70, 0, 400),
    "spoon": ("coffee.png", 150, 112, 288), "astronaut": ("astronaut.png", 0, 0, 512),
    "smile": ("astronaut.png", 80, 0, 288), "suit": ("astronaut.png", 0, 224, 288),
    "launch-site": ("rocket.jpg", 107, 0, 427), "rocket": ("rocket.jpg", 180, 139, 288),
    "towers": ("rocket.jpg", 0, 139, 288), "galaxies": ("hubble_deep_field.jpg", 100, 100, 288),
    "retina": ("retina.jpg", 0, 0, 1411), "optic-disc": ("retina.jpg", 40, 420, 520),
    "cameraman": ("camera.png", 0, 0, 512), "camera": ("camera.png", 140, 40, 288),
    "bricks": ("brick.png", 0, 0, 512), "gravel": ("gravel.png", 100, 100, 288),
    "clock": ("clock_motion.png", 50, 0, 300), "macula": ("retina.jpg", 560, 480, 560),
    "helmet": ("astronaut.png", 224, 224, 288), "tripod": ("camera.png", 190, 224, 288),
}  # fmt: skip


def load_crop(name: str) -> np.ndarray:
    """A photograph of the set: uint8 (288, 288, 3)."""
    import skimage

    file, left, top, side = PHOTOGRAPHS[name]
    with Image.open(Path(skimage.__file__).parent / "data" / file) as image:
        crop = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS))


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel, float (288, 288)."""
    row, column = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(float)
    return row, column


def disc(row: float, column: float, high: float, wide: float, soft: float = 0.15) -> np.ndarray:
    """A soft elliptic mask (288, 288, 1) in [0, 1]."""
    rows, columns = grid()
    distance = np.hypot((rows - row) / high, (columns - column) / wide)
    return np.clip((1 - distance) / soft, 0, 1)[..., None]


def blend(below: np.ndarray, above: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`above` where the mask is 1, `below` where it is 0: uint8."""
    return (below * (1 - mask) + above * mask).round().astype(np.uint8)


def warp(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The picture read at other positions (288, 288), bilinearly: uint8."""
    where = torch.from_numpy(np.stack([columns, rows], -1) / (SIDE_PX - 1) * 2 - 1)[None].float()
    read = functional.grid_sample(generate.to_tensor(pixels), where, padding_mode="border", align_corners=True)
    return generate.to_pixels(read)


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def shifted(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """The picture moved, wrapping round."""
    return np.roll(pixels, (down, right), (0, 1))


def melted_camera() -> np.ndarray:
    """The camera is swirled like soft wax, and the man's gloved hands with it."""
    rows, columns = grid()
    down, right = rows - 118, columns - 154
    angle = 2.2 * np.clip(1 - np.hypot(down / 62, right / 50), 0, 1) ** 1.2
    return warp(load_crop("camera"), 118 + down * np.cos(angle) - right * np.sin(angle),
                154 + down * np.sin(angle) + right * np.cos(angle))  # fmt: skip


def three_eyed_cat() -> np.ndarray:
    """A third eye, the copy of the left one, on the cat's forehead."""
    cat = load_crop("cat")
    return blend(cat, shifted(cat, -58, 62), disc(55, 141, 40, 42, 0.35))


def waxy_cat() -> np.ndarray:
    """The fur is smeared to wax, all but the eyes and the nose, which stay sharp; no whiskers are left."""
    cat = Image.fromarray(load_crop("cat"))
    for _ in range(4):
        cat = cat.filter(ImageFilter.MedianFilter(9))
    smooth = blurred(np.asarray(cat), 1.5)
    sharp = np.maximum.reduce([disc(113, 78, 36, 42, 0.3), disc(130, 218, 32, 30, 0.3), disc(232, 165, 24, 32, 0.3)])
    return blend(smooth, load_crop("cat"), sharp)


def handleless_cup() -> np.ndarray:
    """The cup's handle is painted over, the spoon's is rubbed out, and so is a piece of the cup's rim."""
    cup = load_crop("espresso")
    rows, columns = grid()
    plain = warp(cup, rows, np.where(columns < 150, 150 + (150 - columns) * 0.25, columns))
    cup = blend(cup, blurred(plain, 2), disc(192, 112, 46, 34, 0.35))
    return blend(cup, shifted(cup, -8, -44), disc(84, 240, 62, 18, 0.3))


def galaxy_cup() -> np.ndarray:
    """The coffee in the cup is a field of galaxies."""
    stars = np.clip(load_crop("galaxies").astype(float) * 1.35, 0, 255)
    return blend(load_crop("espresso"), stars, disc(105, 154, 38, 59, 0.12))


def cat_moon() -> np.ndarray:
    """A giant cat's face stands in the sky beside the rocket like a moon."""
    site = load_crop("launch-site")
    cat = np.asarray(Image.fromarray(load_crop("cat")).resize((150, 150), Image.Resampling.LANCZOS))
    sky = site.copy()
    sky[12:162, 128:278] = cat
    return blend(site, sky, 0.92 * disc(88, 205, 70, 66, 0.3))


def neon_launch() -> np.ndarray:
    """The left half of the launch site mirrored to the right, all in blue and turquoise."""
    site = load_crop("launch-site")
    centre = 144
    mirrored = site.copy()
    mirrored[:, centre:] = site[:, centre - 1 :: -1][:, : SIDE_PX - centre]
    tone = mirrored.astype(float) / 255
    light = tone.mean(2, keepdims=True)
    dark, bright = np.array([0.35, 0.0, 0.55]), np.array([0.1, 1.0, 0.85])
    colour = dark + (bright - dark) * np.clip(light * 1.6, 0, 1)
    return (np.clip(0.25 * tone + 0.85 * colour, 0, 1) * 255).astype(np.uint8)


def haloed_astronaut() -> np.ndarray:
    """A pale ring cuts round the head, and the left half of the suit is blurred while the right half is sharp."""
    portrait = load_crop("astronaut")
    ring = disc(70, 118, 54, 50, 0.02) - disc(62, 118, 44, 41, 0.02)
    rim = blurred((np.clip(ring, 0, 1)[..., 0] * 255).astype(np.uint8), 2)[..., None] / 255.0
    portrait = blend(portrait, np.full_like(portrait, 250), 0.8 * rim)
    rows, columns = grid()
    left = (np.clip((112 - columns) / 8, 0, 1) * np.clip((rows - 130) / 10, 0, 1))[..., None]
    return blend(portrait, blurred(portrait, 4), left)


def floating_camera() -> np.ndarray:
    """The camera's tripod ends in the air: lawn goes on where it stood, one loose leg is left."""
    man = load_crop("cameraman")
    rows, columns = grid()
    moved = warp(man, rows, np.clip(columns + 62, 0, 285))
    lawn = disc(235, 178, 78, 66, 0.12)
    return blend(man, moved, lawn)


EDITS = {f.__name__.replace("_", "-"): f for f in (
    melted_camera, three_eyed_cat, waxy_cat, handleless_cup, galaxy_cup, cat_moon, neon_launch, haloed_astronaut,
    floating_camera,
)}  # fmt: skip
SAMPLES = {
    "sampled-cup": generate.Recipe("sampled-cup", "coffee.png", SIDE_PX, SIDE_PX, 2.5, 21),
    "sampled-cat": generate.Recipe("sampled-cat", "chelsea.png", SIDE_PX, SIDE_PX, 1.5, 22),
    "sampled-bricks": generate.Recipe("sampled-bricks", "brick.png", SIDE_PX, SIDE_PX, 4.0, 23),
}


def draw_fakes(model: generate.Autoencoder, seed: int) -> dict[str, np.ndarray]:
    """Every generated picture: name -> uint8 (288, 288, 3), drawn by the decoder."""
    pictures = {}
    for number, (name, scene) in enumerate(SCENES.items()):
        pictures[name] = model.redraw(render(scene(), SIDE_PX, np.random.default_rng(seed + number)))
    for name, edit in EDITS.items():
        pictures[name] = model.redraw(edit())
    photographs = generate.load_photographs()
    for name, recipe in SAMPLES.items():
        pictures[name] = generate.draw(model, recipe, photographs)
    return pictures


def write_set(folder: Path, fakes: dict[str, np.ndarray], texts: dict[str, dict], seed: int) -> None:
    """Write pictures and annotations.jsonl; files are shuffled and numbered, so that no name tells the label."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    header = {"format": "defake-annotated-set/1", "name": "defake demo set", "licence": "CC0-1.0"}
    rows = [header]
    order = np.random.default_rng(seed).permutation(len(texts))
    for number, name in enumerate(np.array(list(texts))[order], start=1):
        file, entry = f"images/{number:02d}.jpg", texts[name]
        fake = entry["label"] == "fake"
        pixels = fakes[name] if fake else load_crop(name)
        Image.fromarray(pixels).save(folder / file, quality=90, subsampling=0)
        clues = [{"criterion": c, "text": t} for c, t in entry.get("clues", {}).items()]
        row = {"image": file, "label": entry["label"], "source": entry["source"], "caption": entry["caption"],
               "content": entry["content"], "clues": clues, "answers": entry["answers"]}  # fmt: skip
        if fake:
            row["generator"] = "defake-example-generator"
        rows.append(row)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "annotations.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Make the set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "src/defake/bench/demo_set", help="folder of the set")
    parser.add_argument("--weights", type=Path, help="the example generator's weights; trained now where not there")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = generate.load_or_train(options.weights, steps=generate.STEPS, seed=options.seed)
    with (ROOT / "scripts/demo_set_texts.toml").open("rb") as file:
        texts = tomllib.load(file)
    write_set(options.out, draw_fakes(model, options.seed), texts, options.seed)
    print(f"{len(texts)} pictures in {options.out}")


if __name__ == "__main__":
    main()

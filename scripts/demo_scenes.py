"""Rendered scenes with planted faults for the demo set: a small ray tracer, and what is wrong in each scene.

The faults are put in by hand (a shadow of another lamp, a mirror that shows another object, a wheel left out), so that
the clues written for them are true by construction.

Source: ours; the geometry is textbook ray casting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

Vector = tuple[float, float, float]
FAR = 1e9


@dataclass(frozen=True)
class Shape:
    """An ellipsoid or a box, axis-aligned; y points up, the floor is y = 0, z grows away from the camera."""

    kind: str  # "ellipsoid" or "box"
    centre: Vector
    half: Vector
    colour: Vector
    mirror: float = 0.0
    seen: str = "everywhere"  # or "directly", "in mirrors"
    lamp: Vector | None = None  # the lamp whose shadow it casts, where that is not the scene's (a planted fault)
    casts_shadow: bool = True
    decal: np.ndarray | None = None  # uint8 (h, w, 3) on a box's front


@dataclass(frozen=True)
class Scene:
    """Shapes on a floor before a sky or wall."""

    shapes: tuple[Shape, ...]
    floor: Callable[[np.ndarray, np.ndarray], np.ndarray]  # x, z -> colour (n, 3)
    sky: tuple[Vector, Vector] = ((0.55, 0.68, 0.85), (0.86, 0.9, 0.94))  # top, horizon
    lamp: Vector = (-6.0, 9.0, -4.0)
    eye: Vector = (0.0, 1.6, -6.0)
    target: Vector = (0.0, 0.8, 0.0)
    field_of_view: float = 0.8  # half the picture's width at distance 1
    grain: float = 0.015


def checker(first: Vector, second: Vector, side: float = 1.0) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A floor of square tiles."""

    def colour(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        odd = ((np.floor(x / side) + np.floor(z / side)) % 2).astype(bool)
        return np.where(odd[:, None], first, second)

    return colour


def planks(colour: Vector, width: float = 0.45) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A wooden floor: boards along z with grain."""

    def shade(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        board = np.floor(x / width)
        tone = 0.85 + 0.15 * np.sin(board * 12.9898) + 0.05 * np.sin(40 * x + 3 * np.sin(1.3 * z + board))
        gap = np.abs(x / width - board - 0.5) > 0.48
        return np.array(colour) * np.where(gap, 0.45, tone)[:, None]

    return shade


def growing_tiles(first: Vector, second: Vector) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Tiles whose side grows with the distance: the planted fault of perspective."""

    def colour(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        depth = np.maximum(z + 7, 0.1)
        odd = ((np.floor(5.5 * x / depth) + np.floor(9 * np.log(depth))) % 2).astype(bool)
        return np.where(odd[:, None], first, second)

    return colour


def meadow(colour: Vector) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Grass as a mottled plane."""

    def shade(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        mottle = np.sin(9 * x + 4 * np.sin(5 * z)) * np.sin(7 * z + 3 * np.sin(6 * x))
        return np.array(colour) * (0.9 + 0.12 * mottle)[:, None]

    return shade


def meet(shape: Shape, origin: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """Distance along each ray (n, 3) to the shape, FAR where it misses: (n,)."""
    start, step = (origin - shape.centre) / shape.half, ray / shape.half
    if shape.kind == "ellipsoid":
        a, b, c = (step**2).sum(1), (start * step).sum(1), (start**2).sum(1) - 1
        root = b**2 - a * c
        distance = (-b - np.sqrt(np.maximum(root, 0))) / a
        return np.where((root > 0) & (distance > 1e-3), distance, FAR)
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    near, far = np.minimum((-1 - start) / step, (1 - start) / step), np.maximum((-1 - start) / step, (1 - start) / step)
    enter, leave = near.max(1), far.min(1)
    return np.where((enter < leave) & (enter > 1e-3), enter, FAR)


def normal_at(shape: Shape, point: np.ndarray) -> np.ndarray:
    """Unit normals (n, 3) of the shape's surface at points (n, 3)."""
    local = (point - shape.centre) / shape.half
    if shape.kind == "ellipsoid":
        normal = local / shape.half
    else:
        normal = np.where(np.abs(local) >= np.abs(local).max(1, keepdims=True) - 1e-6, np.sign(local), 0)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def surface_colour(shape: Shape, point: np.ndarray) -> np.ndarray:
    """The shape's own colour at points (n, 3)."""
    colour = np.broadcast_to(np.array(shape.colour), point.shape).copy()
    if shape.decal is not None:
        local = (point - shape.centre) / shape.half
        front = local[:, 2] < -0.999
        height, width = shape.decal.shape[:2]
        row = ((1 - local[front, 1]) / 2 * (height - 1)).astype(int)
        column = ((local[front, 0] + 1) / 2 * (width - 1)).astype(int)
        colour[front] = shape.decal[row, column] / 255
    return colour


def light_at(scene: Scene, point: np.ndarray, normal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light (n,) at points: ambient and the lamp, with soft shadows of 6 samples."""
    light = np.full(len(point), 0.0)
    samples = 6
    for _ in range(samples):
        jitter = rng.normal(0, 0.45, (len(point), 3))
        to_lamp = np.array(scene.lamp) + jitter - point
        to_lamp /= np.linalg.norm(to_lamp, axis=1, keepdims=True)
        lit = np.ones(len(point), bool)
        for shape in scene.shapes:
            if not shape.casts_shadow or shape.seen == "in mirrors":
                continue
            other = to_lamp
            if shape.lamp is not None:
                other = np.array(shape.lamp) + jitter - point
                other /= np.linalg.norm(other, axis=1, keepdims=True)
            lit &= meet(shape, point + 0.003 * normal, other) == FAR
        light += lit * np.maximum((normal * to_lamp).sum(1), 0)
    return 0.32 + 0.75 * light / samples


def sky_at(scene: Scene, ray: np.ndarray) -> np.ndarray:
    """Colour of the sky (n, 3) in the directions of rays."""
    height = np.clip(ray[:, 1:2] * 2.2, 0, 1)
    return np.array(scene.sky[1]) * (1 - height) + np.array(scene.sky[0]) * height


def trace(scene: Scene, origin: np.ndarray, ray: np.ndarray, rng: np.random.Generator, bounces: int = 2) -> np.ndarray:
    """Colours (n, 3) seen along rays; the first call sees directly, the next ones in mirrors."""
    hidden = "in mirrors" if bounces == 2 else "directly"
    shapes = [s for s in scene.shapes if s.seen != hidden]
    down = np.minimum(ray[:, 1], -1e-9)
    floor = np.where(ray[:, 1] < -1e-6, -origin[:, 1] / down, FAR)
    distances = np.stack([floor, *(meet(s, origin, ray) for s in shapes)])
    nearest, distance = distances.argmin(0), distances.min(0)
    colour = sky_at(scene, ray)
    for number in range(len(shapes) + 1):
        rows = np.flatnonzero((nearest == number) & (distance < FAR))
        if not len(rows):
            continue
        point = origin[rows] + distance[rows, None] * ray[rows]
        shape = shapes[number - 1] if number else None
        normal = normal_at(shape, point) if shape else np.tile([0.0, 1.0, 0.0], (len(rows), 1))
        own = surface_colour(shape, point) if shape else scene.floor(point[:, 0], point[:, 2])
        shaded = own * light_at(scene, point, normal, rng)[:, None]
        if shape and shape.mirror and bounces:
            bent = ray[rows] - 2 * (ray[rows] * normal).sum(1, keepdims=True) * normal
            mirrored = trace(scene, point + 0.003 * normal, bent, rng, bounces - 1)
            shaded = (1 - shape.mirror) * shaded + shape.mirror * mirrored
        haze = np.clip(distance[rows, None] / 60, 0, 1) if bounces == 2 else 0
        colour[rows] = shaded * (1 - haze) + np.array(scene.sky[1]) * haze
    return colour


def render(scene: Scene, side: int, rng: np.random.Generator) -> np.ndarray:
    """The scene as uint8 (side, side, 3), drawn at 1.5 times the size and reduced."""
    big = side * 3 // 2
    eye = np.array(scene.eye)
    forward = np.array(scene.target) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross([0, 1, 0], forward)
    right /= np.linalg.norm(right)
    axis = (np.arange(big) + 0.5) / big * 2 - 1
    across, up = np.meshgrid(axis * scene.field_of_view, -axis * scene.field_of_view)
    ray = forward + across.reshape(-1, 1) * right + up.reshape(-1, 1) * np.cross(forward, right)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    colour = trace(scene, np.tile(eye, (len(ray), 1)), ray, rng).reshape(big, big, 3)
    colour = np.clip(colour + rng.normal(0, scene.grain, colour.shape), 0, 1) ** (1 / 1.25)
    picture = Image.fromarray((colour * 255).astype(np.uint8))
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def ball(x: float, z: float, radius: float, colour: Vector, **more: object) -> Shape:
    """A ball that lies on the floor."""
    return Shape("ellipsoid", (x, radius, z), (radius,) * 3, colour, **more)  # type: ignore[arg-type]


def box(centre: Vector, half: Vector, colour: Vector, **more: object) -> Shape:
    """A box."""
    return Shape("box", centre, half, colour, **more)  # type: ignore[arg-type]


def blob(centre: Vector, half: Vector, colour: Vector, **more: object) -> Shape:
    """An ellipsoid anywhere."""
    return Shape("ellipsoid", centre, half, colour, **more)  # type: ignore[arg-type]


RED, GREEN, BLUE, YELLOW = (0.75, 0.13, 0.1), (0.15, 0.5, 0.2), (0.12, 0.25, 0.65), (0.85, 0.65, 0.12)
WHITE, GREY, DARK, BROWN = (0.9, 0.89, 0.86), (0.55, 0.55, 0.56), (0.07, 0.07, 0.08), (0.42, 0.26, 0.14)
SKIN = (0.83, 0.62, 0.5)


def sign(text: str) -> np.ndarray:
    """A shop sign as uint8 (200, 520, 3), its letters melted: rows slide and the last letters sag."""
    picture = Image.new("RGB", (520, 200), (236, 226, 200))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((8, 8, 511, 191), outline=(120, 30, 25), width=6)
    draw.text((32, 46), text, fill=(120, 30, 25), font=ImageFont.load_default(96))
    pixels = np.asarray(picture)
    row, column = np.mgrid[0:200, 0:520].astype(float)
    sag = 70 * np.clip((column - 150) / 260, 0, 1) * np.sin(column / 19) ** 2 * (row > 60)
    slide = 16 * np.sin(row / 11 + column / 60) * np.clip((column - 100) / 200, 0, 1)
    inside = (row > 20) & (row < 180) & (column > 20) & (column < 500)
    from_row = np.where(inside, np.clip(row - sag, 18, 182), row).astype(int)
    from_column = np.where(inside, np.clip(column + slide, 18, 502), column).astype(int)
    return pixels[from_row, from_column]


def shadows() -> Scene:
    """Lamp at the upper left; the green ball's shadow falls towards it, the yellow block has none."""
    return Scene(
        (
            ball(-2.2, 1.0, 0.7, RED),
            ball(0.3, -0.4, 0.7, GREEN, lamp=(7.0, 6.0, 0.2)),
            box((2.0, 0.6, 1.0), (0.6, 0.6, 0.6), YELLOW, casts_shadow=False),
        ),
        planks((0.72, 0.55, 0.38)), eye=(0, 4.2, -6.2), target=(0.1, 0.4, 0.4), lamp=(-7.0, 6.0, 0.6),
        field_of_view=0.47,
        sky=((0.75, 0.73, 0.7), (0.8, 0.78, 0.75)),
    )  # fmt: skip


def mirrors() -> Scene:
    """A wall mirror behind three balls: the red one is blue in it, the white one has no image."""
    return Scene(
        (
            box((0, 1.9, 3.2), (2.9, 1.7, 0.05), GREY, mirror=0.92),
            box((0, 1.9, 3.3), (3.05, 1.85, 0.08), BROWN),
            ball(-1.6, 0.6, 0.65, RED, seen="directly"),
            ball(-1.6, 0.6, 0.65, BLUE, seen="in mirrors"),
            ball(0.15, 0.2, 0.55, YELLOW),
            ball(1.7, 0.7, 0.7, WHITE, seen="directly"),
        ),
        checker((0.2, 0.2, 0.22), (0.8, 0.78, 0.74), 0.8), eye=(0.5, 2.3, -5.4), target=(0, 1.3, 1.5),
        field_of_view=0.5,
        sky=((0.62, 0.7, 0.66), (0.7, 0.76, 0.72)), lamp=(-4.0, 8.0, -4.0),
    )  # fmt: skip


def avenue() -> Scene:
    """Posts along a way: they get larger with distance, faster than perspective shrinks them; so do the tiles."""
    posts = []
    for number in range(5):
        z = -1.5 + 3.2 * number
        size = 0.4 + 0.42 * number
        for side in (-1, 1):
            x = side * (1.2 + 0.75 * number)
            posts.append(box((x, size, z), (0.12 * size + 0.05, size, 0.12 * size + 0.05), (0.7, 0.66, 0.6)))
            posts.append(blob((x, 2.15 * size, z), (0.3 * size, 0.24 * size, 0.3 * size), RED if side < 0 else BLUE))
    return Scene(
        tuple(posts), growing_tiles((0.35, 0.42, 0.36), (0.78, 0.76, 0.66)), eye=(0.5, 2.6, -7), target=(0, 1.7, 0),
        field_of_view=0.42,
    )  # fmt: skip


def portrait() -> Scene:
    """A doll's head: one eye large, high and green, the other small and brown; the right ear is missing."""
    return Scene(
        (
            blob((0, 1.75, 0), (0.95, 1.2, 0.9), SKIN),
            blob((0, 2.72, 0.15), (1.0, 0.55, 0.95), BROWN),
            blob((-0.36, 2.05, -0.74), (0.27, 0.2, 0.14), WHITE),
            blob((-0.36, 2.05, -0.86), (0.13, 0.13, 0.06), (0.1, 0.45, 0.15)),
            blob((0.4, 1.78, -0.78), (0.16, 0.1, 0.1), WHITE),
            blob((0.4, 1.78, -0.86), (0.07, 0.07, 0.05), BROWN),
            blob((0, 1.6, -0.93), (0.12, 0.24, 0.16), (0.8, 0.57, 0.46)),
            blob((0.05, 1.13, -0.75), (0.34, 0.07, 0.1), (0.65, 0.2, 0.2)),
            blob((-0.98, 1.75, 0), (0.14, 0.3, 0.2), (0.8, 0.57, 0.46)),
            blob((0, 0.1, 0.2), (1.5, 0.75, 0.7), BLUE),
        ),
        planks((0.6, 0.5, 0.4)), eye=(0, 1.9, -4.6), target=(0, 1.55, 0), field_of_view=0.5,
        sky=((0.5, 0.5, 0.48), (0.62, 0.61, 0.58)),
    )  # fmt: skip


def car() -> Scene:
    """A toy car: the front wheel is a block, the rear wheel is missing and nothing holds the rear up."""
    return Scene(
        (
            box((0, 0.95, 0), (2.0, 0.4, 0.85), RED),
            box((0.25, 1.65, 0), (1.05, 0.4, 0.75), RED),
            box((0.25, 1.67, -0.72), (0.9, 0.28, 0.05), (0.6, 0.72, 0.8)),
            box((-1.25, 0.45, -0.75), (0.45, 0.45, 0.16), DARK),
            blob((-1.25, 0.45, -0.92), (0.16, 0.16, 0.05), GREY),
            blob((-2.0, 1.0, -0.5), (0.08, 0.14, 0.14), YELLOW),
        ),
        checker((0.5, 0.5, 0.5), (0.56, 0.56, 0.55), 2.0), eye=(-1.4, 2.1, -6.4), target=(0, 0.9, 0),
        field_of_view=0.46,
    )  # fmt: skip


def table() -> Scene:
    """A table with two legs on one side only; a bowl floats above it and a ball sticks half through the top."""
    return Scene(
        (
            box((0, 1.5, 0), (1.9, 0.09, 1.0), BROWN),
            box((-1.7, 0.7, -0.8), (0.09, 0.71, 0.09), BROWN),
            box((-1.7, 0.7, 0.8), (0.09, 0.71, 0.09), BROWN),
            blob((-0.7, 2.65, 0.1), (0.5, 0.24, 0.5), WHITE),
            blob((-0.7, 2.78, 0.1), (0.2, 0.22, 0.2), YELLOW),
            blob((0.85, 1.5, -0.35), (0.45, 0.45, 0.45), GREEN),
        ),
        planks((0.66, 0.62, 0.56)), eye=(0.3, 2.2, -6.4), target=(0, 1.35, 0), field_of_view=0.48,
        sky=((0.78, 0.74, 0.66), (0.82, 0.79, 0.72)),
    )  # fmt: skip


def house() -> Scene:
    """A house with its door on the roof, one window past the wall's edge, and a tree that stands on its crown."""
    wall = (0.86, 0.8, 0.68)
    return Scene(
        (
            box((-0.6, 1.0, 1), (1.6, 1.0, 1.2), wall),
            box((-0.6, 2.2, 1), (1.8, 0.22, 1.4), RED),
            box((-0.6, 3.0, 0.9), (0.36, 0.6, 0.12), BROWN),
            blob((-0.36, 2.95, 0.76), (0.05, 0.05, 0.05), YELLOW),
            box((-1.3, 1.15, -0.22), (0.3, 0.34, 0.05), (0.35, 0.45, 0.55)),
            box((0.98, 1.15, -0.22), (0.34, 0.34, 0.05), (0.35, 0.45, 0.55)),
            blob((2.7, 0.75, 0.8), (0.85, 0.75, 0.85), GREEN),
            box((2.7, 2.1, 0.8), (0.14, 0.75, 0.14), BROWN),
        ),
        meadow((0.36, 0.5, 0.2)), eye=(0.5, 2.2, -7.6), target=(0.4, 1.4, 0), field_of_view=0.5,
    )  # fmt: skip


def shop() -> Scene:
    """A shop front with a sign whose letters melt, and a door without a handle."""
    return Scene(
        (
            box((0, 2.0, 2.0), (5, 3.2, 0.2), (0.55, 0.35, 0.28)),
            box((-0.1, 2.75, 1.7), (1.75, 0.66, 0.08), WHITE, decal=sign("BAKERY")),
            box((-1.1, 0.9, 1.75), (0.55, 0.9, 0.08), (0.25, 0.3, 0.22)),
            box((0.8, 1.15, 1.75), (0.8, 0.55, 0.08), (0.45, 0.58, 0.66), mirror=0.25),
            box((0.8, 0.15, 1.4), (0.9, 0.15, 0.3), BROWN),
        ),
        checker((0.48, 0.47, 0.46), (0.56, 0.55, 0.53), 1.2), eye=(-0.4, 1.8, -4.2), target=(-0.1, 1.75, 2),
        field_of_view=0.42, lamp=(-5, 8, -5),
    )  # fmt: skip


SCENES = {f.__name__: f for f in (shadows, mirrors, avenue, portrait, car, table, house, shop)}

"""The demo set that the package ships is complete, balanced, small, free, and gives no label away."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defake.datasets.annotated import read_annotated
from defake.records import Label

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "src" / "defake" / "bench" / "demo_set"
CRITERIA = {
    "texture", "edge", "clarity", "light_shadow", "layout", "symmetry", "reflection", "perspective", "shape", "theme",
    "content_deficiency", "distortion", "unrealistic", "overall_tone",
}  # fmt: skip


@pytest.fixture(scope="module")
def demo_set():
    """The set as the package's own reader gives it."""
    return read_annotated(FOLDER)


def test_every_row_is_usable_and_every_file_is_annotated(demo_set):
    """The reader leaves nothing out, and no picture lies there without a row."""
    assert demo_set.problems == ()
    assert {image.path.name for image in demo_set.images} == {file.name for file in (FOLDER / "images").iterdir()}


def test_the_set_is_balanced_and_large_enough(demo_set):
    """As many generated pictures as photographs, at least 24 together."""
    counts = Counter(image.label for image in demo_set.images)
    assert counts[Label.FAKE] == counts[Label.REAL] >= 12


def test_all_criteria_have_clues_and_answers_on_both_sides(demo_set):
    """Each of the 14 criteria has a clue, an answer for a generated picture and one for a photograph."""
    clues = {clue.criterion for image in demo_set.images for clue in image.clues}
    answers = {
        label: {c for image in demo_set.images if image.label is label for c in image.answers} for label in Label
    }
    assert clues == CRITERIA
    assert answers[Label.FAKE] == CRITERIA
    assert answers[Label.REAL] == CRITERIA


def test_generated_pictures_have_clues_that_their_answers_take_up(demo_set):
    """Two to five clues each, an answer for every clue's criterion, and one for a criterion without a fault."""
    for image in demo_set.images:
        if image.label is Label.FAKE:
            criteria = {clue.criterion for clue in image.clues}
            assert 2 <= len(image.clues) <= 5, image.image
            assert criteria <= set(image.answers), image.image
            assert image.fault_finding_reference().startswith("This is a fake image because")


def test_photographs_have_no_clue_and_several_answers(demo_set):
    """A photograph carries four answers or more and no telltale clue."""
    for image in demo_set.images:
        if image.label is Label.REAL:
            assert image.clues == ()
            assert len(image.answers) >= 4, image.image


def test_no_text_is_used_twice(demo_set):
    """Every clue and every answer was written for its own picture."""
    texts = Counter(text for image in demo_set.images for text in [*image.answers.values(), image.caption])
    texts.update(clue.text for image in demo_set.images for clue in image.clues)
    assert [text for text, count in texts.items() if count > 1] == []
    assert all(text.endswith(".") and len(text.split()) >= 4 for text in texts)


def test_neither_name_nor_size_nor_codec_tells_the_label(demo_set):
    """Same format, size and JPEG tables for all, no metadata, and names that are numbers in a shuffled order."""
    tables = set()
    for image in demo_set.images:
        with Image.open(image.path) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (288, 288), "RGB")
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            tables.add(json.dumps(picture.quantization))
    assert len(tables) == 1
    order = [image.label is Label.FAKE for image in sorted(demo_set.images, key=lambda image: image.image)]
    assert 10 <= int(np.abs(np.diff(np.array(order, int))).sum()) < len(order) - 1


def test_bytes_do_not_tell_the_label_well(demo_set):
    """The best threshold on the file's size, either way round, is right for less than 80 % of the pictures."""
    sizes = np.array([image.path.stat().st_size for image in demo_set.images])
    is_fake = np.array([image.label is Label.FAKE for image in demo_set.images])
    best = max(max(((sizes <= t) == is_fake).mean(), ((sizes > t) == is_fake).mean()) for t in sizes)
    assert best < 0.8


def test_the_set_is_free_and_small(demo_set):
    """CC0 by its header and its licence file, which names every photograph used; under 2.5 MB in all."""
    assert demo_set.licence == "CC0-1.0"
    licence = (FOLDER / "LICENSE.txt").read_text(encoding="utf-8")
    assert "CC0" in licence
    for image in demo_set.images:
        for word in image.source.split():
            if "." in word:
                assert word in licence, f"{word} of {image.image}"
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 2_500_000


@pytest.fixture(scope="module", autouse=True)
def scripts_are_importable():
    """The scripts' folder on the path, and off it afterwards (with what they put there themselves)."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path[:] = before


@pytest.fixture(scope="module")
def script():
    """scripts/make_demo_set.py as a module."""
    pytest.importorskip("torch")
    pytest.importorskip("skimage")
    import make_demo_set

    return make_demo_set


@pytest.fixture(scope="module")
def scenes():
    """scripts/demo_scenes.py as a module."""
    import demo_scenes

    return demo_scenes


def test_the_script_makes_the_photographs_of_the_set(script, demo_set):
    """Each photograph of the set is the crop that the script cuts, but for JPEG's rounding."""
    import tomllib

    texts = tomllib.loads((ROOT / "scripts" / "demo_set_texts.toml").read_text(encoding="utf-8"))
    by_caption = {image.caption: image for image in demo_set.images}
    for name, entry in texts.items():
        image = by_caption[entry["caption"]]
        assert image.answers == entry["answers"]
        assert {clue.criterion: clue.text for clue in image.clues} == entry.get("clues", {})
        if entry["label"] == "real":
            stored = np.asarray(Image.open(image.path)).astype(int)
            assert np.abs(stored - script.load_crop(name)).mean() < 6, name


def test_the_scenes_hold_their_planted_faults(scenes):
    """The bowl has air under it; the mirror sees no red ball; the rear wheel is missing; far posts are the tallest."""
    top, *_, bowl = scenes.table().shapes[:4]
    assert bowl.centre[1] - bowl.half[1] > top.centre[1] + top.half[1] + 0.3
    seen = {shape.colour: shape.seen for shape in scenes.mirrors().shapes}
    assert seen[scenes.RED] == "directly"
    assert seen[scenes.BLUE] == "in mirrors"
    wheels = [shape for shape in scenes.car().shapes if shape.colour == scenes.DARK]
    assert [(wheel.kind, wheel.centre[0] < 0) for wheel in wheels] == [("box", True)]
    posts = [(shape.centre[2], shape.half[1]) for shape in scenes.avenue().shapes if shape.kind == "box"]
    assert [height for _, height in sorted(posts)] == sorted(height for _, height in posts)


def test_shadows_fall_to_opposite_sides(scenes):
    """On the floor, the red ball darkens its right side, the green ball its left side, the yellow block neither."""
    scene = scenes.shadows()
    red, green, yellow = scene.shapes
    up, rng = np.tile([0.0, 1.0, 0.0], (40, 1)), np.random.default_rng(0)

    def light_beside(shape, side):
        x = shape.centre[0] + side * (shape.half[0] + np.linspace(-0.1, 0.6, 40))
        points = np.stack([x, np.zeros(40), np.full(40, shape.centre[2])], 1)
        return scenes.light_at(scene, points, up, rng).min()

    assert light_beside(red, 1) < 0.4 < light_beside(red, -1)
    assert light_beside(green, -1) < 0.4 < light_beside(green, 1)
    assert min(light_beside(yellow, side) for side in (-1, 1)) > 0.4


def test_a_ray_meets_an_ellipsoid_and_a_box_where_the_algebra_says(scenes):
    """A ray along z from (0, 0, -5) meets the unit ball at distance 4 and a box of half side 2 at 3; others miss."""
    origin, ray = np.array([[0, 0, -5.0], [0, 3, -5.0]]), np.array([[0, 0, 1.0], [0, 0, 1.0]])
    unit = scenes.blob((0, 0, 0), (1, 1, 1), scenes.RED)
    block = scenes.box((0, 0, 0), (2, 2, 2), scenes.RED)
    assert scenes.meet(unit, origin, ray).tolist() == [4.0, scenes.FAR]
    assert scenes.meet(block, origin, ray).tolist() == [3.0, scenes.FAR]

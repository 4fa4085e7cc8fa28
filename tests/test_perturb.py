"""defake.perturb: what a spec says is what the pixels get."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from defake import perturb
from defake.errors import BadConfig, BadImage, UnknownName
from defake.perturb import parse_levels, parse_perturbation

SPECS = [
    "jpeg:60",
    "webp:60",
    "resize:0.5",
    "downup:0.5",
    "long:40",
    "blur:1.5",
    "noise:8",
    "crop:0.5",
    "screenshot:64",
]


@pytest.fixture
def image():
    """A picture with gradients, edges and grain, `(60, 80, 3)`."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    base = np.stack([3 * y, 2 * x, 60 + 90 * ((x // 10 + y // 10) % 2)], axis=-1)
    return np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("encode", [perturb.jpeg_bytes, perturb.webp_bytes])
def test_the_file_grows_with_quality(encode, image):
    """File size rises strictly with quality: the encoder's quality parameter is the one that is set.

    A public copy of this code passes OpenCV `[factor, 90]` for `[IMWRITE_JPEG_QUALITY, factor]`, and every file comes
    out at the default quality.
    """
    sizes = [len(encode(image, quality)) for quality in range(10, 100, 5)]
    assert all(a < b for a, b in itertools.pairwise(sizes)), sizes


@pytest.mark.parametrize("quality", [10, 50, 75, 90, 96])
def test_the_jpeg_tables_are_those_of_the_quality(quality, image):
    """The luma table is the one of Annex K scaled by libjpeg's rule, worked out by hand for five steps."""
    with Image.open(io.BytesIO(perturb.jpeg_bytes(image, quality))) as file:
        table = file.quantization[0]
        sampling = file.layer
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    annex_k = {0: 16, 1: 11, 8: 12, 16: 14, 63: 99}
    assert {i: table[i] for i in annex_k} == {i: max(1, min(255, (v * scale + 50) // 100)) for i, v in annex_k.items()}
    assert [layer[1:3] for layer in sampling] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("spec", SPECS)
def test_the_input_is_not_changed_and_the_result_is_repeatable(spec, image):
    """A perturbation is pure: same image and seed, same pixels, in an array of its own."""
    before = image.copy()
    image.setflags(write=False)
    transform = parse_perturbation(spec).seeded(7)
    first, second = transform(image), transform(image)
    assert np.array_equal(image, before)
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert not np.shares_memory(first, image)
    assert not np.array_equal(first, image)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("none", (60, 80)),
        ("jpeg:90", (60, 80)),
        ("webp:90", (60, 80)),
        ("resize:0.5", (30, 40)),
        ("resize:1.5:nearest", (90, 120)),
        ("resize:0.01", (1, 1)),
        ("downup:0.25", (60, 80)),
        ("long40", (30, 40)),
        ("long:4000", (60, 80)),
        ("blur:2", (60, 80)),
        ("noise:5", (60, 80)),
        ("crop:0.5", (30, 40)),
        ("screenshot:101", (76, 100)),
        ("long40+crop:0.5+jpeg:60", (15, 20)),
    ],
)
def test_the_shape_is_what_the_name_says(spec, shape, image):
    """Only scaling and cropping change the size, by the stated factor; a screenshot has even sides."""
    assert parse_perturbation(spec).seeded(0)(image).shape == (*shape, 3)


def test_one_pixel_survives_everything():
    """An image of one pixel goes through every standard level."""
    pixel = np.full((1, 1, 3), 200, np.uint8)
    for perturbation in parse_levels(["standard"]):
        assert min(perturbation.seeded(0)(pixel).shape) >= 1


@pytest.mark.parametrize(
    ("family", "levels"),
    [
        ("jpeg", (95, 75, 30)),
        ("webp", (90, 50, 20)),
        ("downup", (0.75, 0.5, 0.25)),
        ("blur", (0.5, 1, 3)),
        ("noise", (2, 8, 30)),
    ],
)
def test_a_stronger_level_moves_the_pixels_further(family, levels, image):
    """The mean squared difference grows from the mild to the strong level."""
    moved = [
        float(((parse_perturbation(f"{family}:{level}").seeded(0)(image).astype(float) - image) ** 2).mean())
        for level in levels
    ]
    assert moved == sorted(moved)
    assert moved[0] > 0


def test_noise_has_the_sigma_it_was_given():
    """On grey, where nothing is clipped, the standard deviation of the difference is sigma within 1 %."""
    grey = np.full((400, 400, 3), 128, np.uint8)
    noisy = perturb.noise(grey, 10, rng=np.random.default_rng(3)).astype(float)
    assert noisy.std() == pytest.approx(10, rel=0.01)
    assert noisy.mean() == pytest.approx(128, abs=0.05)


def test_blur_is_gaussian(image):
    """Pillow's repeated box filter stays within two grey levels on average of SciPy's true Gaussian."""
    ours = perturb.blur(image, 2).astype(float)
    twin = ndimage.gaussian_filter(image.astype(float), (2, 2, 0), mode="nearest")
    assert np.abs(ours - twin).mean() < 2


def test_the_crop_is_central(image):
    """Half of each side from the middle, by slicing."""
    assert np.array_equal(perturb.crop(image, 0.5), image[15:45, 20:60])


def test_noise_depends_on_the_pixels_and_the_seed_not_on_the_order(image):
    """Another image or another seed gets other noise; scoring in another order changes nothing."""
    transform = parse_perturbation("noise:8").seeded(1)
    other = image[::-1].copy()
    first = transform(image)
    transform(other)
    assert np.array_equal(transform(image), first)
    assert not np.array_equal(parse_perturbation("noise:8").seeded(2)(image), first)
    assert not np.array_equal(transform(other)[::-1], first)


def test_a_chain_is_its_steps_in_order(image):
    """`a+b` is b after a."""
    chained = parse_perturbation("long40+jpeg:60").seeded(0)(image)
    assert np.array_equal(chained, perturb.jpeg(perturb.long(image, 40), 60))


def test_specs_have_one_normal_form():
    """Capitals, blanks and the short form do not make another perturbation; family and level are those of the curve."""
    p = parse_perturbation(" Long512 + JPEG:60 ")
    assert (p.spec, p.family, p.level) == ("long:512+jpeg:60", "long+jpeg", None)
    assert (parse_perturbation("jpeg60").spec, parse_perturbation("jpeg:60").level) == ("jpeg:60", 60)
    assert (parse_perturbation("none").family, parse_perturbation("none").level) == ("none", None)


def test_levels_expand():
    """Several levels, standard levels and everything; repeats once."""
    assert [p.spec for p in parse_levels(["jpeg:90, 70,50", "jpeg:70", "blur:1"])] == [
        *("jpeg:90", "jpeg:70", "jpeg:50", "blur:1"),
    ]
    assert [p.spec for p in parse_levels(["crop"])] == ["crop:0.9", "crop:0.75", "crop:0.5"]
    everything = parse_levels(["standard"])
    assert {p.family for p in everything} == set(perturb.FAMILIES) == set(perturb.STANDARD_LEVELS)


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ("sharpen:2", UnknownName, "unknown perturbation 'sharpen'; known: blur, crop"),
        ("", UnknownName, "known: blur"),
        ("jpeg", BadConfig, "expected jpeg:QUALITY_PCT"),
        ("jpeg:60:2", BadConfig, "expected jpeg:QUALITY_PCT"),
        ("jpeg:high", BadConfig, "must be a number, but got 'high'"),
        ("jpeg:0", BadConfig, r"\[1, 100\], but got 0"),
        ("jpeg:60.5", BadConfig, "whole number"),
        ("webp:101", BadConfig, "101"),
        ("blur:nan", BadConfig, "nan"),
        ("noise:-1", BadConfig, "-1"),
        ("crop:1.5", BadConfig, "1.5"),
        ("resize:0.5:magic", UnknownName, "kernel 'magic'; known: bicubic"),
        ("jpeg:60++blur:1", UnknownName, "unknown perturbation"),
    ],
)
def test_a_wrong_spec_is_told_at_once(spec, error, match):
    """The error names what was given, what is known or allowed, before any image is touched."""
    with pytest.raises(error, match=match):
        parse_perturbation(spec)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), "x.jpg"])
def test_what_is_no_rgb_array_is_refused(bad):
    """Anything but uint8 (h, w, 3) raises BadImage."""
    with pytest.raises(BadImage, match=r"uint8 \(h, w, 3\)"):
        parse_perturbation("blur:1")(bad, np.random.default_rng(0))

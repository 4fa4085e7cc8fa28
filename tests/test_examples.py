"""The example pictures are what their README says, and the generator that made them runs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
GENERATED = sorted((EXAMPLES / "generated").glob("*.*"))
PHOTOGRAPHS = sorted((EXAMPLES / "photographs").glob("*.*"))


@pytest.fixture(scope="module")
def generator():
    """The script examples/generate.py as a module."""
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("example_generator", EXAMPLES / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_there_are_enough_examples_and_they_are_small():
    """At least eight generated pictures and four photographs, under 2.5 MB together."""
    assert len(GENERATED) >= 8
    assert len(PHOTOGRAPHS) >= 4
    assert sum(file.stat().st_size for file in GENERATED) < 1_500_000
    assert sum(file.stat().st_size for file in PHOTOGRAPHS) < 1_000_000


@pytest.mark.parametrize("file", GENERATED, ids=lambda f: f.name)
def test_a_generated_picture_is_in_colour_and_tells_nothing_of_itself(file):
    """Sides of 256 to 512 px, three unequal channels, and neither EXIF nor a comment that gives the label away."""
    with Image.open(file) as picture:
        assert 256 <= min(picture.size) <= max(picture.size) <= 512
        assert not picture.getexif()
        assert not {"comment", "exif", "xmp", "icc_profile", "photoshop"} & set(picture.info)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.std() > 10
    assert np.ptp(pixels, axis=2).mean() > 1


def test_the_generated_pictures_differ():
    """No two are the same picture: their thumbnails are far apart."""
    thumbnails = [np.asarray(Image.open(f).convert("L").resize((16, 16))).astype(float) for f in GENERATED]
    for number, one in enumerate(thumbnails):
        for other in thumbnails[number + 1 :]:
            assert np.abs(one - other).mean() > 3


@pytest.mark.parametrize("file", PHOTOGRAPHS, ids=lambda f: f.name)
def test_a_photograph_is_the_file_as_shipped(file):
    """Each is byte for byte the file in scikit-image's wheel."""
    skimage = pytest.importorskip("skimage")
    assert file.read_bytes() == (Path(skimage.__file__).parent / "data" / file.name).read_bytes()


def test_the_readme_names_each_photograph_with_its_licence():
    """Every photograph has a row that ends in CC0 or public domain."""
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for file in PHOTOGRAPHS:
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{file.name}`")]
        assert row.rstrip(" |").endswith(("CC0", "public domain"))


def test_the_recipes_are_the_files(generator):
    """The script names exactly the pictures that lie here."""
    assert sorted(recipe.name for recipe in generator.RECIPES) == [file.stem for file in GENERATED]


def test_nearest_patches_agree_with_a_slow_loop(generator):
    """The matrix form picks the key that the definition picks, term by term."""
    import torch

    draw = torch.Generator().manual_seed(0)
    query, keys = torch.randn(9, 5, generator=draw), torch.randn(7, 5, generator=draw)
    distance = [[float(((q - k) ** 2).mean()) for k in keys] for q in query]
    closest = [min(row[j] for row in distance) for j in range(7)]
    expected = [min(range(7), key=lambda j: row[j] / (0.01 + closest[j])) for row in distance]
    assert generator.nearest_patches(query, keys).tolist() == expected


def test_replacing_patches_of_a_picture_by_its_own_changes_nothing(generator):
    """A guess that is the source already is a fixed point."""
    import torch

    source = torch.randn(1, 3, 12, 14, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(generator.replace_patches(source, source, source, 5), source, atol=1e-5)


def test_training_and_drawing_run_and_the_weights_are_kept(generator, tmp_path):
    """Two steps of training, a sample of the size asked for, and the same one again from the stored weights."""
    import torch

    rng = np.random.default_rng(0)
    photographs = {"a.png": rng.integers(0, 256, (144, 160, 3), dtype=np.uint8)}
    tensors = [generator.to_tensor(photograph) for photograph in photographs.values()]
    model = generator.train(tensors, steps=3, seed=0, batch=2, side=32)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again = generator.load_or_train(tmp_path / "weights.pt", steps=0, seed=0)
    recipe = generator.Recipe("x", "a.png", 64, 80, 1.0, 5)
    first, second = (generator.draw(m, recipe, photographs) for m in (model, again))
    assert first.shape == (64, 80, 3)
    assert first.dtype == np.uint8
    assert np.abs(first.astype(int) - second).max() <= 1

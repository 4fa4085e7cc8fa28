"""The embedded detector's mechanics, on a model small enough to compute by hand."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from defake.detectors.default import TOWER_FILE, EmbeddedDetector
from defake.detectors.tiles import TILE_PX, centre_tile, reduced_tiles, views_of
from defake.errors import WeightsMismatch
from defake.metrics.calibration import probability_of


@pytest.fixture
def folder(tmp_path):
    """A model whose logit is the view's mean brightness on a scale of -1 to 1."""
    nodes = [
        helper.make_node("ReduceMean", ["views", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array(2 / 255, np.float32), "scale"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("views", TensorProto.FLOAT, ["n", 3, TILE_PX, TILE_PX])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    content = model.SerializeToString()
    (tmp_path / "tiny.onnx").write_bytes(content)
    (tmp_path / TOWER_FILE).write_bytes(b"nothing points here")
    import hashlib

    recipe = {
        "sha256": hashlib.sha256(content + b"nothing points here").hexdigest(),
        "tile_px": TILE_PX,
        "tiles": 2,
        "whole": True,
        "calibration": {"slope": 0.5, "intercept": 0.1, "real_below": 0.4, "fake_above": 0.6},
    }
    (tmp_path / "tiny.json").write_text(json.dumps(recipe))
    assert onnx.checker.check_model(model) is None
    return tmp_path


@pytest.mark.parametrize("shape", [(300, 500), (100, 60), (224, 224), (1000, 90), (12, 4000)])
def test_the_score_is_the_stated_function_of_its_parts(folder, shape):
    """sigmoid(0.5 * mean(views) + 0.1), from the model's own logits; the score of a tile is that of its own logit."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    detector = EmbeddedDetector("tiny", folder)
    (found,) = detector.examine([image])
    logits = [2 * view.pixels.mean() / 255 - 1 for view in views_of(image, 2, whole=True)]
    assert found.fake_score == pytest.approx(float(probability_of(0.5 * np.mean(logits) + 0.1)), abs=1e-5)
    own = [tile.fake_score for tile in found.tiles]
    assert own == pytest.approx(probability_of(0.5 * np.array(logits) + 0.1), abs=1e-5)
    assert [reason.value for reason in found.reasons] == [found.fake_score]


@pytest.mark.parametrize("shape", [(300, 500), (100, 60), (160, 160), (1000, 900), (12, 4000), (161, 449), (1, 1)])
def test_tiles_lie_inside_the_image(shape):
    """Every rectangle is inside the original; every view has the model's size; no rectangle comes twice."""
    image = np.zeros((*shape, 3), np.uint8)
    views = views_of(image, 3, whole=True)
    for view in views:
        assert view.x + view.width <= shape[1]
        assert view.y + view.height <= shape[0]
        assert view.pixels.shape == (TILE_PX, TILE_PX, 3)
    assert len({(view.x, view.y, view.width, view.height) for view in views}) == len(views)
    assert reduced_tiles(image, 0) == []


def test_tiles_are_spread_over_the_image():
    """Two a side: the corners of a square of 512 px overlap nowhere by more than they must; one: the middle."""
    image = np.zeros((1024, 1024, 3), np.uint8)
    assert [(view.x, view.y, view.width) for view in reduced_tiles(image, 2)] == [
        (32, 32, 448), (544, 32, 448), (32, 544, 448), (544, 544, 448),
    ]  # fmt: skip
    assert [(view.x, view.y) for view in reduced_tiles(image[:512], 2)] == [(32, 0), (544, 0), (32, 64), (544, 64)]
    assert [(view.x, view.y) for view in reduced_tiles(image, 1)] == [(288, 288)]


def test_the_whole_is_the_middle_square_reduced_to_a_tile():
    """Its shorter side fills the view; of an image no larger than a tile it is the tile itself, given once."""
    from PIL import Image

    rng = np.random.default_rng(6)
    image = np.kron(rng.integers(0, 256, (60, 100, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    *tiles, whole = views_of(image, 2, whole=True)
    assert [(view.x, view.width) for view in tiles] == [(view.x, view.width) for view in reduced_tiles(image, 2)]
    assert (whole.x, whole.y, whole.width, whole.height) == (198, 0, 601, 600)
    middle = np.asarray(Image.fromarray(image[:, 198:799]).resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS))
    assert np.abs(whole.pixels.astype(int) - middle).mean() < 3
    (only,) = views_of(image[:200, :200], 2, whole=True)
    assert (only.width, only.height) == (200, 200)


def test_no_resampling_touches_a_small_image():
    """Tiles of an image of 512 px or less are its own pixels; one smaller than a tile is repeated."""
    image = np.random.default_rng(3).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    for view in reduced_tiles(image, 2):
        assert (view.pixels == image[view.y : view.y + TILE_PX, view.x : view.x + TILE_PX]).all()
    assert (centre_tile(image) == image[88:312, 138:362]).all()
    for small in (reduced_tiles(image[:50, :70], 1)[0].pixels, centre_tile(image[:50, :70])):
        assert (small[:50, :70] == image[:50, :70]).all()
        assert (small[:50, :70] == small[50:100, 70:140]).all()


def test_a_reduced_copy_shows_the_same_reduced_tiles():
    """Shrunk to 512 px, a picture gives the same reduced tiles as the original."""
    ramp = np.linspace(0, 255, 2048)
    image = np.stack([np.add.outer(ramp[:1024], ramp) / 2] * 3, 2).astype(np.uint8)
    from PIL import Image

    copy = np.asarray(Image.fromarray(image).resize((512, 256), Image.Resampling.LANCZOS))
    for ours, theirs in zip(reduced_tiles(image, 2), reduced_tiles(copy, 2), strict=True):
        assert np.abs(ours.pixels.astype(int) - theirs.pixels).max() <= 2
        assert (ours.x, ours.width) == (theirs.x * 4, theirs.width * 4)


@pytest.mark.parametrize("shape", [(1000, 900), (600, 2000), (1201, 1777), (520, 300), (4000, 5000)])
def test_a_reduced_tile_is_cut_from_the_whole_reduced_image(shape):
    """Reducing only the part that is looked at gives what reducing all of it gives, up to rounding."""
    from PIL import Image

    rng = np.random.default_rng(5)
    image = np.kron(rng.integers(0, 256, (shape[0] // 10 + 1, shape[1] // 10 + 1, 3)), np.ones((10, 10, 1)))
    image = image[: shape[0], : shape[1]].astype(np.uint8)
    scale = 512 / max(shape)
    size = (round(shape[1] * scale), round(shape[0] * scale))
    whole = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    for view in reduced_tiles(image, 2, 160):
        x, y = round(view.x * scale), round(view.y * scale)
        part = whole[y : y + 160, x : x + 160].astype(int)
        # Beyond a sixfold reduction Pillow averages blocks first, from another corner: close, not equal.
        assert np.abs(view.pixels[: part.shape[0], : part.shape[1]] - part).mean() <= (0.5 if scale > 1 / 6 else 3)


def test_batch_mates_change_nothing(folder):
    """An image's score is the same to the last bit, alone and among others."""
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (260, 300, 3), dtype=np.uint8) for _ in range(5)]
    detector = EmbeddedDetector("tiny", folder)
    together = detector.score(images)
    assert together.tolist() == [detector.score([image])[0] for image in images]


def test_corrupted_weights_are_named(folder):
    """One changed byte, a missing file, a damaged recipe: WeightsMismatch, and nothing is scored."""
    for name in (TOWER_FILE, "tiny.onnx"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(WeightsMismatch, match="corrupted: expected sha256"):
            EmbeddedDetector("tiny", folder)
        (folder / name).write_bytes(whole)
    for name in (TOWER_FILE, "tiny.onnx"):
        (folder / name).unlink()
        with pytest.raises(WeightsMismatch, match=f"cannot read the weights .*{name}"):
            EmbeddedDetector("tiny", folder)
    (folder / "tiny.json").write_text("{}")
    with pytest.raises(WeightsMismatch, match="cannot read"):
        EmbeddedDetector("tiny", folder)


def test_callers_side_by_side_share_one_session(folder, monkeypatch, tmp_path):
    """It is opened before they come: two of them on four files open the weights once, not twice."""
    from PIL import Image

    from defake import check_many
    from defake.detectors import default

    opened, real = [], default._open_session
    monkeypatch.setattr(default, "_open_session", lambda *wanted: opened.append(wanted) or real(*wanted))
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.fromarray(np.random.default_rng(2).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    found = list(check_many(paths, EmbeddedDetector("tiny", folder), workers=2))
    assert [verdict.error for verdict in found] == [None] * 4
    assert len(opened) == 1

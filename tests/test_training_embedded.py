"""Training of the embedded detectors, on random crops and a random tower small enough for a test."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from defake.cli import app
from defake.detectors.default import TOWER_FILE, EmbeddedDetector
from defake.detectors.tiles import View
from defake.errors import BadConfig, BadDataset, WeightsMismatch
from defake.training.embedded import ship
from defake.training.embedded.crops import (
    MATCHED,
    PACKAGES,
    Crop,
    balanced,
    read_crops,
    seen_views,
)
from defake.training.embedded.graph import TOP, Probe, quantise, smooth
from defake.training.embedded.heldout import calibrate, interval
from defake.training.embedded.packed import PackedTower
from defake.training.embedded.probe import VIEWS, Plan, features_of, fit_probe, logits_of
from defake.training.embedded.tower import Tower

RNG = np.random.default_rng(0)
CALIBRATION = {"calibration": {"slope": 1.0, "intercept": 0.0, "real_below": 0.4, "fake_above": 0.6}}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder like CLIP ViT-B/16's with two random blocks."""
    torch.manual_seed(0)
    state = {
        "embeddings.class_embedding": torch.randn(768) * 0.1,
        "embeddings.patch_embedding.weight": torch.randn(768, 3, 16, 16) * 0.02,
        "embeddings.position_embedding.weight": torch.randn(197, 768) * 0.1,
        **_norm("pre_layrnorm"),
    }
    for i in range(2):
        p = f"encoder.layers.{i}."
        state |= _norm(f"{p}layer_norm1") | _norm(f"{p}layer_norm2")
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= _linear(f"{p}self_attn.{name}", 768, 768)
        state |= _linear(f"{p}mlp.fc1", 3072, 768) | _linear(f"{p}mlp.fc2", 768, 3072)
    folder = tmp_path_factory.mktemp("clip")
    save_file({f"vision_model.{name}": value for name, value in state.items()}, folder / "model.safetensors")
    return folder


def _norm(name):
    return {f"{name}.weight": torch.ones(768), f"{name}.bias": torch.zeros(768)}


def _linear(name, rows, columns):
    return {f"{name}.weight": torch.randn(rows, columns) * columns**-0.5, f"{name}.bias": torch.zeros(rows)}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Crops whose fakes are striped; half the collections hold both classes."""
    folder = tmp_path_factory.mktemp("crops")
    rows = ["path,label,generator,source,origin_width,origin_height"]
    for source in (*MATCHED, "photos", "fakes", *PACKAGES):
        for i in range(4):
            is_fake = source == "fakes" or (source != "photos" and i % 2 == 0)
            pixels = RNG.integers(0, 256, (240, 250, 3), dtype=np.uint8)
            if is_fake:
                pixels[::4] = 0
            name = f"{source}{i}.png"
            Image.fromarray(pixels).save(folder / name)
            rows.append(f"{name},{'fake' if is_fake else 'real'},{'striper' if is_fake else ''},{source},800,600")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def packed(clip, tmp_path_factory):
    """The same tower in integers."""
    return PackedTower(Tower(clip, 2), tmp_path_factory.mktemp("packed"))


@pytest.mark.parametrize("tile_px", [224, 160])
def test_the_integers_give_what_torch_gives(clip, packed, tmp_path, tile_px):
    """Features and logits of torch in bfloat16 and of ONNX in integers agree up to rounding, for both sizes of tile."""
    plan = Plan("tiny", (1, 2), tile_px, decay=0.1, tiles=1, whole=False)
    views = np.stack([RNG.integers(0, 256, (tile_px, tile_px, 3), dtype=np.uint8) // (1 + i % 3) for i in range(12)])
    features = Tower(clip, 2)(torch.from_numpy(views).permute(0, 3, 1, 2), plan.taps).flatten(1).numpy()
    seen = packed.seeing(plan.taps, tile_px)(views)
    assert np.linalg.norm(seen - features) < 0.05 * np.linalg.norm(features)
    probe = fit_probe(features, np.arange(12) % 2 == 0, np.full(12, 1 / 12), plan)
    ship.write_weights(packed, probe, plan, CALIBRATION, tmp_path)
    detector = EmbeddedDetector("tiny", tmp_path)
    ours, theirs = (
        detector.logits_of([View(0, 0, tile_px, tile_px, view) for view in views]),
        logits_of(probe, features),
    )
    assert np.abs(ours - theirs).max() < 0.1 * np.ptp(theirs)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    assert ours == pytest.approx(logits_of(probe, seen), abs=1e-3)


def test_smoothing_changes_no_product(clip):
    """What a channel is divided by where it is made, it is multiplied by where it is used; wide ones get narrower."""
    plain = Tower(clip, 2).arrays()
    even = smooth(plain, {f"{i}.{name}": np.linspace(1, 50, 768) for i in range(2) for name in ("qkv", "proj", "fc1")})

    def products(weights):
        first = weights["1.ln1.weight"][0]
        yield weights["0.ln1.weight"] * weights["0.qkv.weight"][:-768]  # queries and keys
        yield weights["1.ln2.weight"] * weights["1.fc1.weight"]
        yield weights["1.qkv.weight"][-768:, 0] * first * weights["1.proj.weight"]  # values

    for before, after in zip(products(plain), products(even), strict=True):
        assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    assert even["0.ln1.weight"][-1] < 0.2 * even["0.ln1.weight"][0]
    assert plain["0.ln1.weight"].tolist() == [1.0] * 768


def test_the_command_writes_what_ships(clip, manifest, tmp_path):
    """`defake train default` measures held-out collections and writes two detectors; again, it reads its features."""
    arguments = ["train", "default", str(manifest), "--clip", str(clip), "--out", str(tmp_path), "--quick"]
    results = [CliRunner().invoke(app, arguments, catch_exceptions=False) for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 0]
    assert "default, five, as stored: AUC" in results[0].output
    assert "fast, packages, 384 px, JPEG 40: AUC" in results[0].output
    assert "default, rescaled: 40 of 40 images" in results[0].output
    assert "images" not in results[1].output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["fast"]["degradations"]["512 px, JPEG 60"]["collections"]) == set(MATCHED)
    assert set(figures["fast"]["packages"]["as stored"]["collections"]) == set(PACKAGES)
    assert [row["coverage"] for row in figures["default"]["risk"]][-1] == 1
    card = (tmp_path / "default.md").read_text()
    assert "| packages |" in card
    assert "turns" in card
    image = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for name in ("default", "fast"):
        (score,) = EmbeddedDetector(name, tmp_path).score([image])
        assert 0 <= score <= 1


def test_features_of_other_manifests_are_not_taken(packed, manifest, tmp_path):
    """A second manifest in the same folder is refused before anything is computed."""
    plan = Plan("tiny", (1,), 160, decay=0.1, tiles=1, whole=False)
    ship.Bench(plan, packed, read_crops([manifest]), tmp_path, lambda _: None)
    with pytest.raises(BadConfig, match="other manifests"):
        ship.Bench(plan, packed, read_crops([manifest, manifest]), tmp_path, lambda _: None)


def test_the_level_of_a_collection_is_not_explained_by_its_pixels():
    """One feature marks a collection of mostly photographs, one tells the class: with levels the mark weighs less."""
    rng, n = np.random.default_rng(7), 2000
    marked = np.arange(n) < n // 2
    is_fake = rng.random(n) < np.where(marked, 0.1, 0.9)
    features = rng.standard_normal((n, 2)).astype(np.float32) * 0.3
    features[:, 0] += marked
    features[:, 1] += is_fake
    plan = Plan("tiny", (1,), 160, decay=0.001, tiles=1, whole=False)
    plain, levelled = (
        fit_probe(features, is_fake, np.full(n, 1 / n), plan, level).weight
        for level in (None, np.where(marked, 0, 1).astype(np.int64))
    )
    assert abs(levelled[0]) < 0.6 * abs(plain[0])
    assert levelled[1] > 0.8 * plain[1]


def test_features_of_other_blocks_are_not_taken(packed, manifest, tmp_path):
    """A plan of other depth in the same folder computes its own: --quick first, then the whole."""
    crops, said = read_crops([manifest]), []
    for taps in ((1,), (2,), (2,)):
        plan = Plan("tiny", taps, 160, decay=0.1, tiles=1, whole=False)
        features_of(packed.seeing(taps, 160), crops, "encoded", plan, tmp_path, say=said.append)
    assert len(said) == 2


def test_without_clip_nothing_is_trained(tmp_path):
    """An empty folder is named: no random tower takes CLIP's place."""
    with pytest.raises(WeightsMismatch, match=r"expected model\.safetensors"):
        Tower(tmp_path, 1)


def test_eight_bits_lose_little():
    """Relative error under 1.2 %, whatever the scale of the matrix; no integer beyond the limit."""
    for scale in (1e-3, 1.0, 30.0):
        matrix = (RNG.standard_normal((96, 256)) * scale).astype(np.float32)
        whole, scales = quantise(matrix)
        assert (whole.shape, scales.shape) == ((256, 96), (96,))
        assert np.abs(whole).max() <= TOP
        assert np.linalg.norm(whole.T * scales[:, None] - matrix) < 0.012 * np.linalg.norm(matrix)


def test_detectors_of_one_tower_share_its_file(packed, tmp_path):
    """Two probes of different depth: the second writes the same `tower.bin`, and both still load."""
    found = []
    for name, taps in (("deep", (1, 2)), ("shallow", (1,))):
        plan = Plan(name, taps, 160, decay=0.1, tiles=1, whole=False)
        probe = Probe(taps, np.full(1536 * len(taps), 0.01, np.float32), 0.0)
        ship.write_weights(packed, probe, plan, CALIBRATION, tmp_path)
        found.append((tmp_path / TOWER_FILE).read_bytes())
    assert found[0] == found[1]
    image = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert all(0 <= EmbeddedDetector(name, tmp_path).score([image])[0] <= 1 for name in ("deep", "shallow"))


def test_views_have_the_size_of_a_tile_and_repeat(tmp_path):
    """Whatever the crop and the history, a view is one tile, the same each time."""
    for size, side in (((40, 300), 300), ((448, 448), 4000), ((448, 448), 448)):
        Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "a.png")
        crop = Crop(3, tmp_path / "a.png", is_fake=True, generator="g", source="s", origin_side_px=side)
        for view in (*VIEWS.values(), _whole_of_a_copy):
            assert view(crop).shape == (224, 224, 3)
            assert (view(crop) == view(crop)).all()


def _whole_of_a_copy(crop):
    """The last of the views of a copy."""
    return seen_views(crop, "384 px, JPEG 40", 2, 224, whole=True)[-1]


def test_the_features_of_an_image_are_the_mean_over_its_views(packed, tmp_path):
    """The logit of the mean is the mean of the logits, which is what the detector scores."""
    Image.fromarray(RNG.integers(0, 256, (448, 448, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    crop = Crop(0, tmp_path / "a.png", is_fake=True, generator="g", source="s", origin_side_px=448)
    plan, see = Plan("tiny", (1,), 160, decay=0.1, tiles=2, whole=True), packed.seeing((1,), 160)
    views = np.stack(seen_views(crop, "as stored", 2, 160, whole=True))
    assert len(views) == 5
    each = see(views)
    (row,) = features_of(see, [crop], "as stored", plan, tmp_path, say=lambda _: None)
    assert row == pytest.approx(each.mean(0), abs=2e-3)


def test_classes_and_collections_are_balanced(manifest, tmp_path):
    """Half of the weight is fake; a collection four times as large weighs twice as much, packages three tenths."""
    crops = read_crops([manifest])
    assert len({crop.path for crop in crops}) == len(crops) == 40
    assert balanced(crops)[[crop.is_fake for crop in crops]].sum() == pytest.approx(0.5)
    sources = ["large"] * 4 + ["small", PACKAGES[0]]
    crops = [Crop(i, tmp_path, i == 6, "", source, 1) for i, source in enumerate([*sources, "fakes"])]
    weight = balanced(crops)
    assert weight.sum() == pytest.approx(1)
    assert weight[:4].sum() == pytest.approx(2 * weight[4])
    assert weight[5] == pytest.approx(0.3 * weight[4])


def test_manifests_are_joined_in_their_order(manifest):
    """Crops of the first keep their number, so that adding a manifest changes none of their views."""
    one, two = read_crops([manifest]), read_crops([manifest, manifest])
    assert two[: len(one)] == one
    assert [crop.index for crop in two] == list(range(2 * len(one)))


def test_a_bad_manifest_is_named(tmp_path):
    """A missing file, a missing column, an unknown label, one class alone: BadDataset."""
    with pytest.raises(BadDataset, match="cannot read the manifest"):
        read_crops([tmp_path / "none.csv"])
    (tmp_path / "m.csv").write_text("path,label\na.png,maybe\n")
    with pytest.raises(BadDataset, match="maybe"):
        read_crops([tmp_path / "m.csv"])
    (tmp_path / "m.csv").write_text("path,label,generator,source,origin_width,origin_height\na.png,fake,g,s,9,9\n")
    with pytest.raises(BadDataset, match="one class"):
        read_crops([tmp_path / "m.csv"])


def test_the_band_lets_few_photographs_through(tmp_path):
    """Of each collection but the one set aside few photographs reach `fake_above`; a shift moves the intercept only."""
    crops = [Crop(i, tmp_path, i % 2 == 0, "g", f"s{i % 10}", 1) for i in range(4000)]
    odd = [Crop(i, tmp_path, is_fake=False, generator="", source="odd", origin_side_px=1) for i in range(50)]
    fake = np.array([crop.is_fake for crop in crops])
    logit = np.concatenate([np.random.default_rng(4).standard_normal(4000) + 1.5 * fake, np.full(50, 9.0)])
    found = calibrate([*crops, *odd], logit)
    score = 1 / (1 + np.exp(-(found["slope"] * logit + found["intercept"])))
    assert 0.005 < (score[:4000][~fake] >= found["fake_above"]).mean() <= 0.08
    assert found["real_below"] <= found["fake_above"]
    moved = calibrate([*crops, *odd], logit + 3)
    assert moved["slope"] == pytest.approx(found["slope"], abs=1e-3)
    assert moved["fake_above"] == pytest.approx(found["fake_above"], abs=1e-3)


def test_the_interval_holds_the_value():
    """The percentile interval of a mean holds it and narrows with more images."""
    values = RNG.standard_normal(400)
    widths = []
    for n in (50, 400):
        low, high = interval(lambda i, n=n: float(values[:n][i].mean()), np.zeros(n), np.random.default_rng(0))
        assert low < values[:n].mean() < high
        widths.append(high - low)
    assert widths[1] < widths[0]

"""defake.audit: planted shortcuts are found, clean sets are let go, and FakeBench's leak is named."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from defake.audit import audit_manifest, zero_pixel_null
from defake.audit.findings import confounding
from defake.audit.headers import estimate_quality, read_header, read_headers
from defake.cli import app
from defake.datasets.manifest import read_manifest
from defake.errors import BadDataset


def texture(rng, width=64, height=48):
    """A random picture with structure at several scales."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height))
    grain = rng.integers(-20, 20, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def build(tmp_path, save, n=120, columns=""):
    """A set of n random pictures, half fake, 8 sources that hold both; `save(image, stem, fake, i)` -> file name."""
    rng = np.random.default_rng(5)
    lines = [f"path,label,source,split{columns}"]
    for i in range(n):
        fake = i % 2 == 0
        name = save(texture(rng, *rng.integers(60, 90, 2)), tmp_path / f"{i:03d}", fake, i)
        lines.append(f"{name},{'fake' if fake else 'real'},s{i // 2 % 8},{'train' if i % 3 else 'test'}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    return read_manifest(tmp_path / "m.csv")


def as_jpeg(quality):
    """Save with a quality that may depend on the label."""

    def save(image, stem, fake, _):
        image.save(stem.with_suffix(".jpg"), quality=quality(fake))
        return stem.name + ".jpg"

    return save


def probes_of(result):
    """Probes by name."""
    return {probe.probe: probe for probe in result.probes}


def test_a_clean_set_is_let_go(tmp_path):
    """Same container, same sizes, same quality in both classes: no probe's lower end reaches 0.60."""
    result = audit_manifest(build(tmp_path, as_jpeg(lambda _: 88)), rng=np.random.default_rng(0))
    assert result.verdict.startswith("No leak found")
    assert result.sentences == ()
    assert set(probes_of(result)) == {
        *("extension", "container", "image size", "JPEG settings", "quantisation tables", "file size"),
        *(["metadata"] if "metadata" in probes_of(result) else []),
        "all of these",
    }
    assert probes_of(result)["extension"].auc == 0.5
    assert result.duplicates.n_pairs == 0
    assert result.sources.one_class_share == 0


def test_a_quality_leak_is_found(tmp_path):
    """Fakes at quality 95, photographs at 75, which is what the public benchmarks did: found by tables and settings."""
    result = audit_manifest(build(tmp_path, as_jpeg(lambda fake: 95 if fake else 75)), rng=np.random.default_rng(0))
    probes = probes_of(result)
    assert probes["JPEG settings"].auc == probes["quantisation tables"].auc == 1.0
    assert probes["quantisation tables"].by_source
    assert probes["container"].auc == 0.5
    assert "about file formats" in result.verdict


@pytest.mark.parametrize("leak", ["container", "image size", "metadata", "file size"])
def test_each_planted_leak_is_found_by_its_probe(tmp_path, leak):
    """PNG fakes under a .jpg name, larger fakes, photographs with EXIF, padded files: each probe sees its own."""

    def save(image, stem, fake, _):
        path = stem.with_suffix(".jpg")
        exif = Image.Exif()
        exif[0x010F] = "Canon"
        if leak == "container" and fake:
            image.save(path, format="PNG")
        elif leak == "image size" and fake:
            image.resize((128, 128)).save(path, quality=88)
        elif leak == "metadata" and not fake:
            image.save(path, quality=88, exif=exif)
        else:
            image.save(path, quality=88)
        if leak == "file size" and fake:
            path.write_bytes(path.read_bytes() + bytes(20_000))
        return path.name

    probes = probes_of(audit_manifest(build(tmp_path, save), rng=np.random.default_rng(0), duplicates=False))
    assert probes[leak].auc > 0.95
    assert probes["all of these"].auc > 0.95
    assert probes["extension"].auc == 0.5


def test_a_leak_in_a_column_is_found_and_content_columns_are_left_alone(tmp_path):
    """`origin_format` is a file fact and is probed; `caption` is content and is not."""
    rows = [
        f"{i}.jpg,{'fake' if i % 2 else 'real'},{'PNG' if i % 2 else 'JPEG'},{'a robot' if i % 2 else 'a dog'},{i % 7}"
        for i in range(80)
    ]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,origin_format,caption,width_px", *rows]))
    result = audit_manifest(read_manifest(tmp_path / "m.csv"), rng=np.random.default_rng(0))
    probes = probes_of(result)
    assert set(probes) == {"extension", "column origin_format", "column width_px", "all of these"}
    assert probes["column origin_format"].auc == 1.0
    assert probes["column origin_format"].rule_accuracy == 1.0
    assert probes["column width_px"].rule_accuracy is None
    assert len(result.missing) == 80
    assert result.duplicates is None


@pytest.mark.shared
def test_fakebench_is_about_file_names(shared):
    """The extension rule alone scores 76.15 % on FakeBench's own query file, and the verdict says so."""
    manifest = read_manifest(shared / "fakebench" / "FakeClass.json")
    result = audit_manifest(manifest, rng=np.random.default_rng(0))
    probe = probes_of(result)["extension"]
    assert probe.rule_accuracy == pytest.approx(0.7615, abs=1e-12)
    assert probe.low > 0.85
    assert not probe.by_source
    assert "about file formats: 'extension'" in result.verdict
    assert any("76.15%" in sentence for sentence in result.sentences)
    assert len(result.missing) == 6000
    null = zero_pixel_null(manifest, rng=np.random.default_rng(0))
    assert 0.85 < null.low <= null.auc <= null.high < 0.91


def test_the_auc_of_one_word_is_the_one_worked_by_hand(tmp_path):
    """Of 500 fakes 300 are .png, 200 .jpg, all 500 reals .jpg: AUC = 0.6 + 0.4/2 = 0.8, the rule 800/1000.

    Out of fold it is a little less: a fold with more fakes leaves fewer to learn from.
    """
    rows = [f"{i}.{'png' if i < 300 else 'jpg'},{'fake' if i < 500 else 'real'}" for i in range(1000)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *rows]))
    probe = audit_manifest(read_manifest(tmp_path / "m.csv"), rng=np.random.default_rng(0)).probes[0]
    assert probe.auc == pytest.approx(0.8, abs=0.02)
    assert probe.low < 0.8 < probe.high
    assert probe.rule_accuracy == 0.8
    assert probe.rule == ".jpg = real, .png = fake"


def test_a_leak_that_is_only_the_source_is_told_as_such(tmp_path):
    """Width names the source and each source is one class: near 1 with the same sources, unknown across them."""
    widths = [100, 200, 300, 400, 500, 600, 700, 800]
    rows = [f"{i}.jpg,{'fake' if i % 2 else 'real'},s{i % 8},{widths[i % 8]}" for i in range(240)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,source,width", *rows]))
    result = audit_manifest(read_manifest(tmp_path / "m.csv"), rng=np.random.default_rng(0))
    probe = probes_of(result)["column width"]
    assert probe.by_source
    assert probe.auc_same_sources > 0.99
    assert probe.auc < 0.9
    assert result.sources.one_class_share == 1.0
    assert any("learn the source" in sentence for sentence in result.sentences)


def test_source_confounding_is_counted_by_hand(tmp_path):
    """Sources a (3 fake), b (2 real), c (1 fake, 3 real), one row without: 5 of 9 in one-class sources, rule 8 of 9."""
    rows = ["fake,a"] * 3 + ["real,b"] * 2 + ["fake,c"] + ["real,c"] * 3 + ["fake,"]
    (tmp_path / "m.csv").write_text("path,label,source\n" + "\n".join(f"{i},{row}" for i, row in enumerate(rows)))
    found = confounding(read_manifest(tmp_path / "m.csv"))
    assert (found.n_sources, found.n_with_source, found.one_class_sources) == (3, 9, 2)
    assert found.one_class_share == pytest.approx(5 / 9)
    assert found.rule_accuracy == pytest.approx(8 / 9)


@pytest.mark.parametrize("labels", [["fake"] * 9, ["fake"] * 8 + ["real"]])
def test_one_class_or_one_image_of_it_is_undefined_not_zero(tmp_path, labels):
    """No probe invents an AUC; the verdict says nothing can be told."""
    (tmp_path / "m.csv").write_text("path,label\n" + "\n".join(f"{i}.{'jp'[i % 2]}g,{x}" for i, x in enumerate(labels)))
    result = audit_manifest(read_manifest(tmp_path / "m.csv"), rng=np.random.default_rng(0))
    assert {probe.auc for probe in result.probes} == {None}
    assert result.verdict.startswith("Nothing can be told")


def test_the_same_seed_gives_the_same_audit(tmp_path):
    """Folds and intervals come from the generator that was passed in."""
    manifest = build(tmp_path, as_jpeg(lambda fake: 95 if fake else 75), n=40)
    first, second = (audit_manifest(manifest, rng=np.random.default_rng(3)).as_dict() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("quality", [*range(5, 100, 10), 96, 100])
def test_the_jpeg_quality_is_read_from_the_tables(tmp_path, quality):
    """The estimate is the quality Pillow saved with."""
    texture(np.random.default_rng(0)).save(tmp_path / "a.jpg", quality=quality, progressive=True, subsampling=0)
    header = read_header(tmp_path / "a.jpg")
    assert header.jpeg_quality == quality
    assert header.jpeg_progressive
    assert header.jpeg_sampling == "1x1-1x1-1x1"
    assert (header.container, header.width, header.height) == ("JPEG", 64, 48)


def test_other_tables_get_the_nearest_quality():
    """A table between those of 80 and 81 gets one of the two; all ones is 100."""
    assert estimate_quality([1] * 64) == 100
    assert estimate_quality([255] * 64) < 10


def test_damaged_files_are_listed_and_the_rest_probed(tmp_path):
    """Text, an empty file, a broken PNG and a missing file are told by name; the sound file's header is read."""
    texture(np.random.default_rng(0)).save(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:20])
    names = ["good.png", "text.jpg", "empty.jpg", "broken.png", "gone.jpg"]
    headers, failures = read_headers([tmp_path / name for name in names])
    assert headers[0].container == "PNG"
    assert headers[0].jpeg_tables is None
    assert headers[1:] == [None] * 4
    assert sorted(failures) == [1, 2, 3, 4]
    assert failures[4] == "no such file"


def test_the_command_says_it_in_words(tmp_path):
    """Counts, a table, and the verdict, at 80 columns; --json and --out give the record."""
    build(tmp_path, as_jpeg(lambda fake: 95 if fake else 75), n=60)
    with (tmp_path / "m.csv").open("a") as file:
        file.write("\ngone.jpg,fake,s1,train\nx.jpg,what,s1,train\n")
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "m.csv")], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert "1 rows left out: row 62: label 'what'" in " ".join(done.stdout.split())
    assert "1 files missing" in done.stdout
    assert "This data set is about file formats" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    done = CliRunner().invoke(
        app, ["audit", str(tmp_path / "m.csv"), "--json", "--no-duplicates", "--out", str(tmp_path / "deep" / "a.json")]
    )
    record = json.loads(done.stdout)
    assert record["missing"] == ["gone.jpg"]
    assert record["duplicates"] is None
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == record


def test_a_wrong_split_is_an_error_that_names_the_splits(tmp_path):
    """The command passes the manifest's own words on."""
    build(tmp_path, as_jpeg(lambda _: 90), n=4)
    with pytest.raises(BadDataset, match="there are: test, train"):
        CliRunner().invoke(app, ["audit", str(tmp_path / "m.csv"), "--split", "dev"], catch_exceptions=False)

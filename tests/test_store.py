"""Run folders: nothing lost, nothing mixed."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from defake.errors import BadConfig, BadDataset
from defake.store import RunFolder, Scores, read_scores, versions, write_json, write_scores


def rows(*names, score=0.25, error=None):
    """Scored reals of these names."""
    n = len(names)
    words = {name: np.full(n, None, dtype=object) for name in ("generator", "source", "split")}
    return Scores(
        path=np.array(names, dtype=object),
        is_fake=np.zeros(n, dtype=bool),
        fake_score=np.full(n, score),
        error=np.full(n, error, dtype=object),
        **words,
    )


SETTINGS = {"detector": "default", "manifest_sha256": "ab"}


def test_rows_come_back(tmp_path):
    """What is appended is read, before and after the run is finished, whatever its names are."""
    run = RunFolder.start(tmp_path / "run", SETTINGS, {"manifest": "m.csv"})
    run.append(rows("a.png", "ü ,\"'.png"))
    run.append(rows("b.png", score=np.nan, error="empty: 0 bytes"))
    run.append(rows())
    for _ in range(2):
        found = RunFolder.open(tmp_path / "run").scores()
        assert list(found.path) == ["a.png", "ü ,\"'.png", "b.png"]
        assert list(found.error) == [None, None, "empty: 0 bytes"]
        np.testing.assert_array_equal(found.fake_score, [0.25, 0.25, np.nan])
        assert not found.is_fake.any()
        run.finish()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.json", "scores.parquet"]
    assert pq.read_table(tmp_path / "run" / "scores.parquet").column_names == [
        "path", "label", "generator", "source", "split", "fake_score", "error",
    ]  # fmt: skip


def test_a_killed_run_goes_on(tmp_path):
    """The same settings find the rows; errors are tried once more, and the last try counts."""
    run = RunFolder.start(tmp_path / "run", SETTINGS)
    run.append(rows("a.png"))
    run.append(rows("b.png", score=np.nan, error="backend_failed: out of memory"))
    run.append(rows("c.png", score=np.nan))
    again = RunFolder.start(tmp_path / "run", SETTINGS)
    assert again.done() == {"a.png", "c.png"}
    again.append(rows("b.png", score=0.75))
    assert dict(zip(again.scores().path, again.scores().fake_score, strict=True))["b.png"] == 0.75
    assert len(again.scores()) == 3


def test_killed_between_gathering_and_tidying(tmp_path):
    """Rows that are in both places count once."""
    run = RunFolder.start(tmp_path / "run", SETTINGS)
    run.append(rows("a.png", "b.png"))
    write_scores(run.scores(), tmp_path / "run" / "scores.parquet")
    assert len(RunFolder.open(tmp_path / "run").scores()) == 2


def test_half_a_file_is_never_read(tmp_path):
    """A draft left by a kill is no part; finishing removes it."""
    run = RunFolder.start(tmp_path / "run", SETTINGS)
    run.append(rows("a.png"))
    (tmp_path / "run" / "parts" / "00000009-1-1.parquet.77.draft").write_bytes(b"PAR1 half")
    assert list(RunFolder.open(tmp_path / "run").scores().path) == ["a.png"]
    run.finish()
    assert not (tmp_path / "run" / "parts").exists()


def test_another_config_is_refused(tmp_path):
    """Other weights or another manifest: every difference is named, and nothing is touched."""
    RunFolder.start(tmp_path / "run", {"detector": "default", "calibration": {"slope": 1.0}})
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(BadConfig, match=r"calibration\.slope is 1\.0 there and 2\.0 here") as caught:
        RunFolder.start(tmp_path / "run", {"detector": "other", "calibration": {"slope": 2.0}})
    assert "detector is 'default' there and 'other' here" in str(caught.value)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_other_versions_are_refused(tmp_path):
    """A decoder of another version may score otherwise: rows are not mixed."""
    RunFolder.start(tmp_path / "run", SETTINGS)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["versions"] == versions()
    config["versions"]["pillow"] = "1.0"
    write_json(tmp_path / "run" / "config.json", config)
    with pytest.raises(BadConfig, match=r"versions\.pillow is '1\.0' there"):
        RunFolder.start(tmp_path / "run", SETTINGS)


def test_foreign_folders_are_left_alone(tmp_path):
    """A folder of something else, a file, a newer schema, a damaged config."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(BadConfig, match="holds no run"):
        RunFolder.start(tmp_path / "photos", SETTINGS)
    with pytest.raises(BadConfig, match="holds no run"):
        RunFolder.start(tmp_path / "photos" / "a.png", SETTINGS)
    with pytest.raises(BadConfig, match="no run folder"):
        RunFolder.open(tmp_path / "nowhere")
    run = RunFolder.start(tmp_path / "run", SETTINGS)
    with pytest.raises(BadDataset, match="no scores yet"):
        run.scores()
    run.finish()
    write_json(tmp_path / "run" / "config.json", {"schema_version": 99})
    with pytest.raises(BadConfig, match="update defake"):
        RunFolder.open(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(BadConfig, match="cannot be read"):
        RunFolder.start(tmp_path / "run", SETTINGS)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_foreign_scores_are_read(tmp_path, suffix):
    """Scores of any tool: three columns are enough, labels in any case, unknown columns are left alone."""
    file = tmp_path / f"scores.{suffix}"
    if suffix == "csv":
        file.write_text("path,label,fake_score,mood\n1,Fake,0.5,x\nb, real ,,y\nc,real,nan,z\n")
    else:
        columns = {"path": ["1", "b", "c"], "label": ["Fake", " real ", "real"], "fake_score": [0.5, None, np.nan]}
        pq.write_table(pa.table({**columns, "mood": ["x", "y", "z"]}), file)
    found = read_scores(file)
    assert list(found.path) == ["1", "b", "c"]
    assert list(found.is_fake) == [True, False, False]
    np.testing.assert_array_equal(found.fake_score, [0.5, np.nan, np.nan])
    assert list(found.generator) == [None] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,score\na,1\n", "lacks label, fake_score; it has path, score"),
        ("path,label,fake_score\na,0,0.5\nb,1,0.5\n", "2 rows whose label is neither fake nor real: row 1: 0"),
        ("path,label,fake_score\na,fake,1.5\nb,real,-3\n", r"2 rows whose fake_score is not in \[0, 1\]: row 1: 1.5"),
        ("path,label,fake_score\na,fake,inf\n", "not in"),
        ("path,label,fake_score\na,fake,high\n", "must be a number"),
        ("path,label,fake_score\na,fake,1\nb,real,0\na,fake,1\n", "1 rows that repeat a path: row 3: a"),
        ("path,label,fake_score\n,fake,1\n", "without a path"),
        ("", "cannot read"),
        ("path,label,fake_score\na,fake\n", "cannot read"),
    ],
)
def test_scores_that_cannot_be_trusted(tmp_path, text, says):
    """Each fault is named with its rows."""
    file = tmp_path / "scores.csv"
    file.write_text(text)
    with pytest.raises(BadDataset, match=says):
        read_scores(file)


def test_files_that_are_no_scores(tmp_path):
    """Missing, or no Parquet."""
    with pytest.raises(BadDataset, match="cannot read"):
        read_scores(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(BadDataset, match="expected Parquet"):
        read_scores(tmp_path / "text.parquet")


def test_columns_of_one_length():
    """A table that does not line up is refused at the door."""
    good = rows("a", "b").columns()
    with pytest.raises(BadDataset, match="one length"):
        Scores(**{**good, "fake_score": np.zeros(3)})


def test_two_processes_do_not_overwrite_each_other(tmp_path):
    """Part names hold the process: the same number twice is two files."""
    one = RunFolder.start(tmp_path / "run", SETTINGS)
    one.append(rows("a.png"))
    name = next((tmp_path / "run" / "parts").iterdir()).name
    assert str(os.getpid()) in name

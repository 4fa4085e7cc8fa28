"""defake.datasets: every format in, one Manifest out, nothing lost in silence."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from defake.datasets.manifest import read_manifest, write_manifest
from defake.errors import BadDataset, MissingExtra
from defake.records import Label

CSV = """path,label,generator,source,split,camera
a/1.jpg,fake,sdxl,web,train,
a/2.jpg,real,,coco,train,Canon
a/3.jpg,FAKE,dalle,web,dev,
a/4.jpg, Real ,,bsds,dev,"Nikon, D80"
"""


def written(tmp_path, text, name="m.csv"):
    """A file with this content."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_manifest_is_read_whole(tmp_path):
    """Labels in any case, empty cells as None, unknown columns kept, paths relative to the file's folder."""
    m = read_manifest(written(tmp_path, CSV))
    assert m.paths.tolist() == ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg"]
    assert m.is_fake.tolist() == [True, False, True, False]
    assert m.generators.tolist() == ["sdxl", None, "dalle", None]
    assert m.sources.tolist() == ["web", "coco", "web", "bsds"]
    assert m.splits.tolist() == ["train", "train", "dev", "dev"]
    assert m.extra("camera").tolist() == [None, "Canon", None, "Nikon, D80"]
    assert m.resolve(1) == tmp_path / "a/2.jpg"
    assert m.problems == ()
    samples = list(m.samples())
    assert samples[3].label is Label.REAL
    assert samples[3].extra == {"camera": "Nikon, D80"}
    assert samples[0].extra == {}


def test_another_root_may_be_named(tmp_path):
    """`root` replaces the file's folder; absolute paths stay."""
    m = read_manifest(written(tmp_path, "path,label\nx.png,fake\n/abs/y.png,real\n"), root="/data")
    assert [str(m.resolve(i)) for i in range(2)] == ["/data/x.png", "/abs/y.png"]


def test_every_bad_row_is_listed_and_the_rest_goes_on(tmp_path):
    """Wrong labels, short rows, empty paths and repeats are each told with their row; good rows stay."""
    text = (
        "path,label\n1.jpg,fake\n2.jpg,1\n3.jpg\n,real\n1.jpg,fake\n6.jpg,real\n7.jpg,maybe\n8.jpg,fake\n8.jpg,real\n"
    )
    m = read_manifest(written(tmp_path, text))
    assert m.paths.tolist() == ["1.jpg", "6.jpg"]
    assert m.rows.tolist() == [1, 6]
    told = {p.row: p.message for p in m.problems}
    assert sorted(told) == [2, 3, 4, 5, 7, 8, 9]
    assert "different things" in told[2]
    assert told[3] == "1 fields, expected 2"
    assert told[4] == "no path"
    assert "row 1 already" in told[5]
    assert "'maybe'" in told[7]
    assert "both fake and real" in told[8]
    assert "both fake and real" in told[9]


def test_a_file_without_usable_rows_is_an_error_that_says_why(tmp_path):
    """All labels wrong, or header only: BadDataset with the first reasons and their count."""
    with pytest.raises(BadDataset, match=r"7 row\(s\) left out: row 1: .*and 2 more"):
        read_manifest(written(tmp_path, "path,label\n" + "".join(f"{i}.jpg,2\n" for i in range(7))))
    with pytest.raises(BadDataset, match="empty"):
        read_manifest(written(tmp_path, "path,label\n"))


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("m.csv", "file,klass\na,b\n", "columns file, klass"),
        ("m.csv", "", "header line"),
        ("m.csv", "path,path\na,b\n", "distinct column names"),
        ("m.parquet", "no parquet", "as Parquet"),
        ("m.json", "{", "as JSON"),
        ("m.json", '[{"a": 1}]', "not FakeClass.json"),
        ("m.doc", "x", "cannot tell the format"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, name, text, match):
    """The error names the file, what was found and what is expected."""
    with pytest.raises(BadDataset, match=match):
        read_manifest(written(tmp_path, text, name))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    """A wrong path is an error before anything else."""
    with pytest.raises(BadDataset, match="no such file or folder"):
        read_manifest(tmp_path / "none.csv")


def test_spreadsheet_habits_are_forgiven(tmp_path):
    """A byte order mark, semicolons, capital header words, CRLF and Latin-1 are read; the last with a warning."""
    m = read_manifest(written(tmp_path, b'\xef\xbb\xbfPath;Label\r\na.jpg;fake\r\n"b\n.jpg";real\r\n'))
    assert m.paths.tolist() == ["a.jpg", "b\n.jpg"]
    m = read_manifest(written(tmp_path, "path,label\ncafé.jpg,fake\n".encode("latin-1")))
    assert m.paths.tolist() == ["café.jpg"]
    assert m.problems[0].row == 0
    assert "Latin-1" in str(m.problems[0])


def test_own_columns_may_not_be_shadowed(tmp_path):
    """A file with columns called `row` or `is_fake` keeps the labels and the row numbers ours."""
    m = read_manifest(written(tmp_path, "path,label,row,is_fake\na,fake,77,no\n"))
    assert m.rows.tolist() == [1]
    assert m.is_fake.tolist() == [True]
    assert m.extra("row (file)").tolist() == ["77"]


def test_vlm_detect_writes_one_for_fake(tmp_path):
    """`image,text,label` is recognised, 1 is fake, and a text that contradicts its label is left out."""
    text = "image,text,label\na.png,fake,1\nb.png,real,0\nc.png,real,1\nd.png,fake,x\n"
    m = read_manifest(written(tmp_path, text))
    assert m.kind == "vlm-detect"
    assert m.is_fake.tolist() == [True, False]
    assert [p.row for p in m.problems] == [3, 4]
    assert "contradicts" in m.problems[0].message


def touch(folder, *names):
    """Empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_folder_per_class_is_read(tmp_path):
    """CNNDetection's, GenImage's and plain layouts; the deepest class folder decides; other files are no images."""
    touch(
        tmp_path,
        *(
            "test/progan/1_fake/a.png",
            "test/progan/0_real/b.png",
            "midjourney/val/ai/c.PNG",
            "midjourney/val/nature/d.jpeg",
        ),
        *("fake/sdxl/e.webp", "real/coco/f.jpg", "fake/notes.txt", "elsewhere/g.jpg", "real/.hidden.jpg"),
    )
    m = read_manifest(tmp_path)
    rows = {s.path: (str(s.label), s.generator, s.source, s.split) for s in m.samples()}
    assert rows == {
        "test/progan/1_fake/a.png": ("fake", "progan", None, "test"),
        "test/progan/0_real/b.png": ("real", None, None, "test"),
        "midjourney/val/ai/c.PNG": ("fake", "midjourney", None, "val"),
        "midjourney/val/nature/d.jpeg": ("real", None, None, "val"),
        "fake/sdxl/e.webp": ("fake", "sdxl", None, None),
        "real/coco/f.jpg": ("real", None, "coco", None),
    }


def test_a_folder_without_classes_says_what_it_found(tmp_path):
    """The error counts the images that no class folder holds."""
    touch(tmp_path, "a.jpg", "b/c.jpg")
    with pytest.raises(BadDataset, match="2 images outside class folders"):
        read_manifest(tmp_path)


def test_the_layout_of_ricker_is_read(tmp_path):
    """Every folder beside Real is a generator, with or without the split folders above."""
    touch(tmp_path, "test/Real/1.png", "test/ADM/1.png", "test/MyNewModel/2.png", "train/LDM/3.png", "train/Real/9.png")
    m = read_manifest(tmp_path)
    assert m.kind == "ricker"
    rows = {s.path: (str(s.label), s.generator, s.split) for s in m.samples()}
    assert rows == {
        "test/Real/1.png": ("real", None, "test"),
        "test/ADM/1.png": ("fake", "ADM", "test"),
        "test/MyNewModel/2.png": ("fake", "MyNewModel", "test"),
        "train/LDM/3.png": ("fake", "LDM", "train"),
        "train/Real/9.png": ("real", None, "train"),
    }
    assert read_manifest(tmp_path / "test").generators.tolist() == ["ADM", "MyNewModel", None]


def test_fakeclass_writes_zero_for_fake(tmp_path):
    """FakeBench's `authenticity` is turned over; rows that cannot be read are listed."""
    queries = [
        {"image_id": "sd-1.png", "question": "Is this a fake image, yes or no?", "answer": "yes", "authenticity": 0},
        {"image_id": "n01_4.JPEG", "question": "?", "answer": "real", "authenticity": 1},
        {"image_id": "", "authenticity": 1},
        {"image_id": "x.jpg", "authenticity": True},
        "no object",
    ]
    m = read_manifest(written(tmp_path, json.dumps(queries), "FakeClass.json"))
    assert m.is_fake.tolist() == [True, False]
    assert m.generators.tolist() == ["sd", None]
    assert m.extra("question").tolist() == ["Is this a fake image, yes or no?", "?"]
    assert [p.row for p in m.problems] == [3, 4, 5]


@pytest.mark.shared
def test_fakebench_has_three_thousand_of_each(shared):
    """The public query file: 3,000 photographs and 300 fakes of each of ten generators."""
    m = read_manifest(shared / "fakebench" / "FakeClass.json")
    names, counts = np.unique(m.generators[m.is_fake].astype(str), return_counts=True)
    assert (len(m), int(m.is_fake.sum()), len(names), set(counts.tolist())) == (6000, 3000, 10, {300})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    """Writing elsewhere keeps every column, every label and every resolved file."""
    m = read_manifest(written(tmp_path, CSV))
    write_manifest(m, tmp_path / "deep" / f"out{suffix}")
    again = read_manifest(tmp_path / "deep" / f"out{suffix}")
    assert [again.resolve(i).resolve() for i in range(4)] == [m.resolve(i).resolve() for i in range(4)]
    assert again.is_fake.tolist() == m.is_fake.tolist()
    assert again.generators.tolist() == m.generators.tolist()
    assert again.extra("camera").tolist() == m.extra("camera").tolist()
    write_manifest(m, tmp_path / f"beside{suffix}")
    assert read_manifest(tmp_path / f"beside{suffix}").sha256() == m.sha256()


def test_an_unknown_suffix_is_not_written(tmp_path):
    """A manifest is CSV or Parquet."""
    with pytest.raises(BadDataset, match=r"\.csv or \.parquet"):
        write_manifest(read_manifest(written(tmp_path, CSV)), tmp_path / "m.xlsx")


def test_conditions_combine(tmp_path):
    """Split, generators (photographs stay), sources, label and a mask all narrow; unknown names list the known ones."""
    m = read_manifest(written(tmp_path, CSV))
    assert m.where(split="dev").paths.tolist() == ["a/3.jpg", "a/4.jpg"]
    assert m.where(generators=["sdxl"]).paths.tolist() == ["a/1.jpg", "a/2.jpg", "a/4.jpg"]
    assert m.where(m.is_fake, split="train").paths.tolist() == ["a/1.jpg"]
    assert m.where(sources=["coco", "bsds"]).rows.tolist() == [2, 4]
    assert len(m.where(label=Label.FAKE, sources=["coco"])) == 0
    with pytest.raises(BadDataset, match="no row has split 'test'; there are: dev, train"):
        m.where(split="test")
    with pytest.raises(BadDataset, match="collection of names"):
        m.where(generators="sdxl")
    with pytest.raises(BadDataset, match=r"shape \(4,\)"):
        m.where(np.ones(3, bool))
    with pytest.raises(BadDataset, match="no column 'x'; there are: camera"):
        m.extra("x")


def test_missing_files_are_a_list(tmp_path):
    """All missing files are found; the error counts them and names ten."""
    touch(tmp_path, "a/1.jpg")
    m = read_manifest(written(tmp_path, CSV))
    assert m.missing() == [1, 2, 3]
    with pytest.raises(BadDataset, match=r"3 of 4 files are missing(.|\n)*row 2: a/2.jpg(.|\n)*row 4: a/4.jpg"):
        m.require_files()
    m.where(np.array([True, False, False, False])).require_files()


def test_the_hash_tells_contents_apart(tmp_path):
    """Same rows, same hash; a changed label, order or split changes it; an extra column does not."""
    first = read_manifest(written(tmp_path, "path,label,split\na,fake,dev\nb,real,dev\n"))
    same = read_manifest(written(tmp_path, "path,label,split,note\na,fake,dev,x\nb,real,dev,y\n", "n.csv"))
    assert first.sha256() == same.sha256()
    for other in ("path,label,split\na,real,dev\nb,real,dev\n", "path,label,split\nb,real,dev\na,fake,dev\n"):
        assert read_manifest(written(tmp_path, other, "o.csv")).sha256() != first.sha256()
    assert first.where(split="dev").sha256() == first.sha256()


def test_parquet_keeps_typed_columns(tmp_path):
    """A Parquet manifest with numbers and dictionary columns is read; extras become text in samples."""
    table = pa.table(
        {
            "path": ["a", "b"],
            "label": pa.array(["fake", "real"]).dictionary_encode(),
            "generator": pa.array(["x", None]).dictionary_encode(),
            "width": [512, 640],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    m = read_manifest(tmp_path / "m.parquet")
    assert m.extra("width").tolist() == [512, 640]
    assert next(m.samples()).extra == {"width": "512"}


BIG = """
import resource, sys
from defake.datasets.manifest import read_manifest
m = read_manifest(sys.argv[1])
assert len(m) == 1_000_000 and not m.problems
m.paths, m.is_fake, m.generators, m.sources, m.splits, m.sha256()
assert len(m.where(split="dev")) == 100_000
assert sum(s.label == "fake" for s in m.samples()) == 500_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_million_rows_fit_in_two_gigabytes(tmp_path):
    """Reading, every array, the hash, a filter and a walk over all samples stay under 2 GB."""
    path = tmp_path / "big.csv"
    with path.open("w") as file:
        file.write("path,label,generator,source,split\n")
        file.writelines(
            f"images/collection_{i % 50:02d}/{i:012d}_photograph.jpg,{('fake', 'real')[i % 2]},"
            f"{'' if i % 2 else f'gen{i % 40}'},source{i % 50},{'dev' if i % 10 == 0 else 'train'}\n"
            for i in range(1_000_000)
        )
    done = subprocess.run([sys.executable, "-c", BIG, path], check=True, capture_output=True, text=True, env=os.environ)
    assert int(done.stdout) < 2000


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    """Without pyarrow the pip line is in the error."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'defake\[evaluate\]'"):
        read_manifest(written(tmp_path, CSV))

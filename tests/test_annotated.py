"""Annotated sets: read, written, and what happens to bad rows."""

import json

import pytest

from defake.datasets.annotated import AnnotatedImage, Clue, is_annotated_set, read_annotated, write_annotated
from defake.errors import BadDataset
from defake.records import Label


def lay_out(folder, rows, *, files=("a.png", "b.jpg")):
    """Write rows and stand-in files into a folder."""
    for name in files:
        (folder / name).write_bytes(b"x")
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "annotations.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


FAKE = {"image": "a.png", "label": "fake", "generator": "sd", "clues": [{"criterion": "edge", "text": "It melts."}],
        "answers": {"edge": "It melts.", "texture": "Waxy."}}  # fmt: skip
REAL = {"image": "b.jpg", "label": "real", "content": ["photo", "people"], "answers": {"edge": "Crisp."}}


def test_a_set_is_read_with_its_header(tmp_path):
    """Name, licence, clues and answers come back as written."""
    header = {"format": "defake-annotated-set/1", "name": "tiny", "licence": "CC0-1.0"}
    got = read_annotated(lay_out(tmp_path, [header, FAKE, REAL]))
    assert (got.name, got.licence, got.problems) == ("tiny", "CC0-1.0", ())
    fake, real = got.images
    assert (fake.label, fake.clues, fake.generator) == (Label.FAKE, (Clue("edge", "It melts."),), "sd")
    assert real.content == ("photo", "people")
    assert is_annotated_set(tmp_path)


def test_references_are_made_of_clues_unless_written(tmp_path):
    """Without a written reference the clues and the label make one; a photograph has no faults to find."""
    written = {**FAKE, "image": "b.jpg", "fault_finding": "Mine.", "inference": "Mine too."}
    made, own = read_annotated(lay_out(tmp_path, [FAKE, written])).images
    assert made.fault_finding_reference() == "This is a fake image because: Edge: It melts."
    assert made.inference_reference() == "Edge: It melts. The image is fake."
    assert (own.fault_finding_reference(), own.inference_reference()) == ("Mine.", "Mine too.")
    photo = AnnotatedImage("b.jpg", tmp_path / "b.jpg", Label.REAL, answers={"edge": "Crisp."})
    assert photo.fault_finding_reference() is None
    assert photo.inference_reference() == "Crisp. The image is real."


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({**FAKE, "image": "b.jpg", "label": "0"}, "unknown label '0'"),
        ({**FAKE, "image": "b.jpg", "clues": [{"criterion": "smell", "text": "x"}]}, "unknown criterion 'smell'"),
        ({**FAKE, "image": "b.jpg", "answers": {"smell": "x"}}, "unknown criteria in answers: smell"),
        ({**FAKE, "image": "b.jpg", "clues": ["edge"]}, "expected each clue to be an object"),
        ({**FAKE, "image": "b.jpg", "answers": ["edge"]}, "expected 'answers' to be an object"),
        ({**FAKE, "image": "../b.jpg"}, "lies outside"),
        ({**FAKE, "image": "c.png"}, "missing file 'c.png'"),
        ({**FAKE, "image": "b.jpg", "label": "real"}, "real image has telltale clues"),
        ({**FAKE}, "annotated on line 1 already"),
        ({"label": "fake"}, "expected 'image'"),
        ("{not json", "not a JSON object"),
        ("[1, 2]", "expected a JSON object"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_read(tmp_path, bad, message):
    """One bad row costs that row alone, and is reported with its line number."""
    got = read_annotated(lay_out(tmp_path, [FAKE, bad]))
    assert [i.image for i in got.images] == ["a.png"]
    [(number, text)] = got.problems
    assert number == 2
    assert message in text


def test_a_set_without_a_usable_row_is_refused(tmp_path):
    """An empty folder, an unknown format and a file of bad rows raise, saying why."""
    with pytest.raises(BadDataset, match="no annotated set"):
        read_annotated(tmp_path)
    lay_out(tmp_path, [{**FAKE, "label": "?"}])
    with pytest.raises(BadDataset, match="first problem, line 1"):
        read_annotated(tmp_path)
    lay_out(tmp_path, [{"format": "other/9"}, FAKE])
    with pytest.raises(BadDataset, match="'other/9'"):
        read_annotated(tmp_path)


def test_csv_says_the_same_as_jsonl(tmp_path):
    """The two forms of one set give the same images."""
    lay_out(tmp_path, [FAKE, REAL])
    (tmp_path / "set.csv").write_text(
        "image,label,generator,content,clue_edge,answer_edge,answer_texture\n"
        "a.png,fake,sd,,It melts.,It melts.,Waxy.\nb.jpg,real,,photo; people,,Crisp.,\n"
    )
    assert read_annotated(tmp_path / "set.csv").images == read_annotated(tmp_path).images
    assert is_annotated_set(tmp_path / "set.csv")
    (tmp_path / "plain.csv").write_text("path,label\na.png,fake\n")
    assert not is_annotated_set(tmp_path / "plain.csv")


def test_writing_and_reading_is_the_identity(tmp_path):
    """What is written comes back equal."""
    images = read_annotated(lay_out(tmp_path, [FAKE, REAL])).images
    write_annotated(images, tmp_path, name="again", licence="CC0-1.0")
    again = read_annotated(tmp_path)
    assert again.images == images
    assert again.licence == "CC0-1.0"

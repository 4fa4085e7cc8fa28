"""FakeBench's files, annotated sets and manifests as benchmark items."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from defake.datasets.benchmarks import read_items
from defake.datasets.fakebench import GENERATORS, NOTICE, read_fakebench
from defake.datasets.items import Asked, Subject, rotated_kinds
from defake.errors import BadDataset
from defake.questions import Ability, Prompts
from defake.questions.asking import PAPER_FAULTFINDING, PAPER_INFERENCE
from defake.records import Label


def small_release(folder, *, split=True):
    """Four fakes and four photographs in the release's form, with one FakeQA question missing."""
    fakes = [f"{g}-{i:05d}.png" for g in ("sd", "dalle2") for i in range(2)]
    reals = ["n01534433_4223.JPEG", "000000579171.jpg", "0394x4.png", "n04023962_1.JPEG"]
    wordings = {"what": ("What is the authenticity of this image, fake or real?", "fake", "real"),
                "fake": ("Is this a fake image, yes or no?", "yes", "no")}  # fmt: skip
    rows = []
    for names, authenticity in ((fakes, 0), (reals, 1)):
        for i, name in enumerate(names):
            question, *answers = wordings["what" if i % 2 else "fake"]
            rows.append(
                {"image_id": name, "question": question, "answer": answers[authenticity], "authenticity": authenticity}
            )
    clue = {"image_caption": "A cat.", "content_categories": "creature, photo", "telltale_clues": "",
            "faultfinding_mode": PAPER_FAULTFINDING, "inference_mode": PAPER_INFERENCE}  # fmt: skip
    qa = {"Q1": "How is the texture regarding the authenticity of this image?", "A1": "",
          "Q2": "How is the shape? ", "A2": ""}  # fmt: skip
    write = lambda name, content: (folder / name).write_text(json.dumps(content))  # noqa: E731
    write("FakeClass.json", rows)
    write("FakeClue.json", [{**clue, "image_id": n, "generation_model": n.split("-")[0]} for n in fakes])
    write("FakeQA.json", [{**qa, "image_id": n} for n in fakes])
    for names, place in ((fakes, "fake_images"), (reals, "real_images")):
        where = folder / (place if split else "images")
        where.mkdir(exist_ok=True)
        for name in names:
            (where / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    return folder


@pytest.mark.shared
@pytest.mark.parametrize(
    ("ability", "count"),
    [("fakeclass", 6_000), ("faultfinding", 3_000), ("inference", 3_000), ("fakeqa", 41_971)],
)
def test_the_release_holds_its_counts(shared, tmp_path, ability, count):
    """The official query files pass the count check; without images every one of them is reported missing."""
    found = read_fakebench(shared / "fakebench", Ability(ability), images=tmp_path, missing="skip")
    images = 6_000 if ability == "fakeclass" else 3_000
    assert (len(found.items), len(found.missing)) == (0, images)
    with pytest.raises(BadDataset, match=f"{images:,} of {images:,} images are not under"):
        read_fakebench(shared / "fakebench", Ability(ability), images=tmp_path)
    for row in json.loads((shared / "fakebench" / "FakeClass.json").read_text()):
        (tmp_path / row["image_id"]).touch()
    items = read_fakebench(shared / "fakebench", Ability(ability), images=tmp_path).items
    assert len(items) == count == len({item.id for item in items})
    if ability == "fakeclass":
        fakes = Counter(i.subject.generator for i in items if i.subject.label is Label.FAKE)
        assert fakes == dict.fromkeys(GENERATORS, 300)
        reals = Counter(i.subject.source for i in items if i.subject.label is Label.REAL)
        assert reals == {"imagenet": 1_569, "coco": 1_411, "div2k": 20}


@pytest.mark.parametrize("split", [True, False])
def test_images_are_found_merged_or_split(tmp_path, split):
    """Fakes and reals in one folder or two give the same items."""
    found = read_items(small_release(tmp_path, split=split), Ability.FAKECLASS, partial=True)
    assert len(found.items) == 8
    assert found.notice == NOTICE
    first = found.items[0]
    assert (first.subject.generator, first.subject.content, first.subject.caption) == (
        "sd",
        ("creature", "photo"),
        "A cat.",
    )
    assert first.question.right_answer(first.subject.label) == "yes"


def test_a_part_of_the_release_must_be_meant(tmp_path):
    """Other counts than the release's raise unless a part is asked for."""
    with pytest.raises(BadDataset, match="8 questions about 8 images; the release holds 6,000 about 6,000"):
        read_items(small_release(tmp_path), Ability.FAKECLASS)


def test_missing_images_are_all_named(tmp_path):
    """Absent files stop the run with their number, or are left out by name."""
    small_release(tmp_path)
    (tmp_path / "fake_images" / "sd-00001.png").unlink()
    with pytest.raises(BadDataset, match=r"1 of 8 images are not under .* \(sd 1\); first: sd-00001.png"):
        read_items(tmp_path, Ability.FAKECLASS, partial=True)
    found = read_items(tmp_path, Ability.FAKEQA, partial=True, missing="skip")
    assert (len(found.items), found.missing) == (6, ("sd-00001.png",))


def test_criteria_come_from_the_words(tmp_path):
    """A FakeQA question at the wrong index is mapped by its words; its slot stays for the submission."""
    items = read_items(small_release(tmp_path), Ability.FAKEQA, partial=True).items
    assert [(i.question.criterion, i.slot) for i in items[:2]] == [("texture", "Q1"), ("shape", "Q2")]


def test_pairs_and_reals_go_beyond_the_paper(tmp_path):
    """Pairs ask both ways of each image; photographs are asked for faults only on request."""
    small_release(tmp_path)
    pairs = read_items(tmp_path, Ability.FAKECLASS, Asked(pairs=True), partial=True).items
    assert Counter(i.question.kind for i in pairs) == {"fake_yn": 8, "real_yn": 8}
    assert len({i.pair for i in pairs}) == 8
    assert len(read_items(tmp_path, Ability.FAULTFINDING, partial=True).items) == 4
    more = read_items(tmp_path, Ability.FAULTFINDING, Asked(Prompts.FIXED, reals=True), partial=True).items
    assert Counter(i.subject.label for i in more) == {Label.FAKE: 4, Label.REAL: 4}


def test_training_is_refused(tmp_path):
    """FakeBench is not handed to training unless the licence is overridden in so many words."""
    small_release(tmp_path)
    with pytest.raises(BadDataset, match="not handed to training"):
        read_fakebench(tmp_path, Ability.FAKECLASS, partial=True, for_training=True)
    assert read_fakebench(tmp_path, Ability.FAKECLASS, partial=True, for_training=True, override_licence=True).items


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"authenticity": 2}, "authenticity must be 0"),
        ({"answer": "real"}, "contradicts authenticity"),
        ({"question": "Fake?"}, "not a question of FakeClass"),
    ],
)
def test_damaged_queries_are_refused(tmp_path, change, message):
    """A query that contradicts itself is not asked."""
    small_release(tmp_path)
    rows = json.loads((tmp_path / "FakeClass.json").read_text())
    rows[0] |= change
    (tmp_path / "FakeClass.json").write_text(json.dumps(rows))
    with pytest.raises(Exception, match=message):
        read_items(tmp_path, Ability.FAKECLASS, partial=True)


def test_files_that_are_no_queries_are_refused(tmp_path):
    """Broken JSON, another structure and an absent file say what was expected."""
    small_release(tmp_path)
    (tmp_path / "FakeQA.json").write_text("{oops")
    with pytest.raises(BadDataset, match="is not JSON"):
        read_items(tmp_path, Ability.FAKEQA, partial=True)
    (tmp_path / "FakeQA.json").write_text("{}")
    with pytest.raises(BadDataset, match="must be a list"):
        read_items(tmp_path, Ability.FAKEQA, partial=True)
    (tmp_path / "FakeQA.json").unlink()
    with pytest.raises(BadDataset, match=r"no FakeQA.json"):
        read_items(tmp_path, Ability.FAKEQA, partial=True)


def test_two_files_of_one_name_are_refused(tmp_path):
    """An image that is there twice, differently, is not guessed."""
    small_release(tmp_path)
    (tmp_path / "sd-00001.png").write_bytes(b"another")
    with pytest.raises(BadDataset, match="two different files are called"):
        read_items(tmp_path, Ability.FAKECLASS, partial=True)


def test_any_manifest_can_be_asked(tmp_path):
    """A folder for each class gives FakeClass questions, the three kinds balanced within a class; nothing else."""
    for label in ("fake", "real"):
        (tmp_path / label).mkdir()
        for i in range(8):
            Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / label / f"{i}.png")
    items = read_items(tmp_path, Ability.FAKECLASS).items
    kinds = Counter((i.subject.label, i.question.kind) for i in items)
    assert kinds == {(label, kind): n for label in Label for kind, n in (("what", 4), ("fake_yn", 2), ("real_yn", 2))}
    with pytest.raises(BadDataset, match="labels only"):
        read_items(tmp_path, Ability.FAKEQA)


def test_the_three_kinds_turn_within_each_generator(tmp_path):
    """No generator's column is confounded with a wording."""
    subjects = [Subject(f"{g}{i}", tmp_path, Label.FAKE, g) for i in range(4) for g in "ab"]
    items = rotated_kinds(subjects, Asked())
    for generator in "ab":
        kinds = Counter(i.question.kind for i in items if i.subject.generator == generator)
        assert kinds == {"what": 2, "fake_yn": 1, "real_yn": 1}

"""One verdict for each file, whatever the file is."""

import json
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from odd_files import photo, write_bad, write_good
from PIL import Image
from scripted import BrightnessDetector, FailingDetector, FineDetailDetector, SilentDetector

from defake.checking import check, check_many, find_images
from defake.errors import BadImage
from defake.images import Limits
from defake.records import VerdictWord


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(3)


@pytest.fixture
def bright(rng):
    """A textured image whose mean is near 0.8."""
    return (180 + photo(rng).astype(int) * 60 // 255).astype(np.uint8)


def test_the_word_follows_the_band(bright):
    """At least fake_above is fake, below real_below is real, between them unsure."""
    detector = BrightnessDetector()
    words = [check(image, detector).verdict for image in (bright, 255 - bright, (bright // 2 + 30))]
    assert words == [VerdictWord.FAKE, VerdictWord.REAL, VerdictWord.UNSURE]


def test_tiny_and_flat_images_are_unsure_and_say_why(bright):
    """Under 128 px, nearly one colour, or a drawing: no verdict is given, and the reason comes first."""
    tiny = check(bright[:100, :100], BrightnessDetector())
    board = (np.indices((400, 400)).sum(0) // 50 % 2 * 255).astype(np.uint8)
    drawing = check(board, BrightnessDetector())
    assert (drawing.verdict, drawing.reasons[0].criterion) == (VerdictWord.UNSURE, "graphic")
    flat = check(np.full((300, 300, 3), 250, np.uint8), BrightnessDetector())
    assert (tiny.verdict, tiny.reasons[0].criterion) == (VerdictWord.UNSURE, "too_small")
    assert (flat.verdict, flat.reasons[0].criterion) == (VerdictWord.UNSURE, "flat")


def test_a_batch_goes_on_after_every_bad_file(tmp_path, rng):
    """Twenty bad files among twenty good ones: forty rows in order, each scored or named."""
    bad, good = write_bad(tmp_path, rng), write_good(tmp_path, rng)
    paths = [p for pair in zip(bad, good, strict=True) for p in pair]
    rows = list(check_many(paths, BrightnessDetector()))
    assert [row.path for row in rows] == [str(p) for p in paths]
    assert [row.error is None for row in rows] == [False, True] * 20
    for row in rows:
        json.dumps(row.as_dict(), allow_nan=False)


def test_a_fake_that_a_copy_would_turn_real_is_unsure(rng):
    """Fine grain that JPEG takes away gives `unsure` and the copy's score; coarse detail that stays gives `fake`."""
    smooth = np.repeat(np.linspace(60, 200, 600)[None, :, None], 500, axis=0).repeat(3, axis=2)
    grain = smooth + rng.choice([-14, 14], size=(500, 600, 1)) * [1, -0.5, 0.4]
    blocks = smooth + np.kron(rng.choice([-50, 50], size=(125, 150, 1)), np.ones((4, 4, 3)))
    found = [check(np.clip(x, 0, 255).astype(np.uint8), FineDetailDetector()) for x in (grain, blocks)]
    assert [one.verdict for one in found] == [VerdictWord.UNSURE, VerdictWord.FAKE]
    assert found[0].fake_score >= 0.6
    assert found[0].reasons[0].criterion == "flips"
    assert found[0].reasons[0].value < 0.4


def test_only_an_accusation_is_tried_again(bright):
    """One call of the detector for `real`, two for `fake`."""
    calls = []
    for image in (255 - bright, bright):
        detector = BrightnessDetector()
        check(image, detector)
        calls.append(detector.calls)
    assert calls == [1, 2]


@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_files_side_by_side_keep_their_order(tmp_path, rng, workers):
    """Any number of workers gives the same rows in the same order, bad files among them."""
    bad, good = write_bad(tmp_path, rng), write_good(tmp_path, rng)
    paths = [p for pair in zip(good, bad, strict=True) for p in pair]
    rows = [replace(row, elapsed_s=0) for row in check_many(paths, BrightnessDetector(), workers=workers)]
    assert rows == [replace(row, elapsed_s=0) for row in check_many(paths, BrightnessDetector())]
    assert [row.path for row in rows] == [str(p) for p in paths]


def test_files_are_taken_a_few_ahead_and_no_more(tmp_path, bright):
    """An endless list is no trouble, and a caller who stops early stops the work."""
    Image.fromarray(bright).save(tmp_path / "a.png")
    taken = []
    rows = check_many((taken.append(1) or tmp_path / "a.png" for _ in count()), BrightnessDetector(), workers=2)
    assert next(rows).fake_score is not None
    rows.close()
    assert len(taken) <= 6


def test_a_failing_detector_costs_its_image_alone(bright, tmp_path):
    """BackendFailed becomes the row's error; the next file is scored."""
    Image.fromarray(bright).save(tmp_path / "a.png")
    Image.fromarray(255 - bright).save(tmp_path / "b.png")
    rows = list(check_many([tmp_path / "b.png", tmp_path / "a.png"], FailingDetector()))
    assert rows[0].error.code == "backend_failed"
    assert rows[1].fake_score == 0.5


def test_no_answer_is_an_error_not_a_number(bright):
    """A NaN score raises BadImage 'undecided' and never becomes a probability."""
    with pytest.raises(BadImage) as caught:
        check(bright, SilentDetector())
    assert caught.value.code == "undecided"


def test_limits_reach_the_decoder(bright):
    """A limit given to check is the one that refuses."""
    with pytest.raises(BadImage, match="megapixels"):
        check(bright, BrightnessDetector(), Limits(max_megapixels=0.01))


def test_find_images_expands_and_keeps_named_files(tmp_path, rng):
    """Folders give images by name or content, patterns their matches; a named file always comes."""
    image = Image.fromarray(photo(rng))
    (tmp_path / "sub").mkdir()
    image.save(tmp_path / "b.jpg")
    image.save(tmp_path / "sub" / "a.PNG")
    image.save(tmp_path / "disguised.txt", format="JPEG")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.jpg").write_text("")
    found = [p.relative_to(tmp_path).as_posix() for p in find_images([tmp_path])]
    assert found == ["b.jpg", "disguised.txt", "sub/a.PNG"]
    assert [p.name for p in find_images([str(tmp_path / "**" / "*.PNG")])] == ["a.PNG"]
    assert list(find_images([tmp_path / "notes.txt", tmp_path / "gone.jpg"])) == [
        tmp_path / "notes.txt",
        tmp_path / "gone.jpg",
    ]


def test_a_name_with_brackets_is_a_file_first(tmp_path, rng):
    """`shot[1].png` that exists is that file, not a pattern."""
    path = tmp_path / "shot[1].png"
    Image.fromarray(photo(rng)).save(path)
    assert list(find_images([str(path)])) == [path]


def test_a_folder_loop_ends(tmp_path, rng):
    """Links that lead back up are followed once, and each file comes once."""
    (tmp_path / "deep").mkdir()
    Image.fromarray(photo(rng)).save(tmp_path / "deep" / "a.png")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "deep" / "self").symlink_to(tmp_path / "deep" / "self")
    assert [p.name for p in find_images([tmp_path])] == ["a.png"]

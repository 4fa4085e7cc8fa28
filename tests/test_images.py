"""Any file to upright RGB, or a named refusal."""

import io
import os
import threading
import warnings

import numpy as np
import pytest
from odd_files import bomb, photo, write_bad, write_good
from PIL import Image

from defake.errors import BadImage
from defake.images import Limits, read_image


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(7)


def test_every_usual_file_is_read(tmp_path, rng):
    """Greyscale, CMYK, palette, alpha, 16-bit, animated, rotated, mis-named: all give (h, w, 3) uint8."""
    for path in write_good(tmp_path, rng):
        picture = read_image(path)
        assert picture.pixels.dtype == np.uint8, path
        assert picture.pixels.shape == (picture.height, picture.width, 3), path
        assert len(picture.sha256) == 64


def test_every_broken_file_is_named(tmp_path, rng):
    """Each damaged file raises BadImage with the documented code, and nothing else."""
    known = {"missing", "unreadable", "empty", "not_an_image", "truncated", "too_large", "too_small"}
    for path, code in write_bad(tmp_path, rng).items():
        with pytest.raises(BadImage) as caught:
            read_image(path)
        assert caught.value.code in known, path
        assert code is None or caught.value.code == code, (path, caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """All eight EXIF orientations give the upright picture."""
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = 255
    flips = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
             6: np.rot90(upright, 1), 7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, 3)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flips[orientation])).save(buffer, "PNG", exif=exif)
    picture = read_image(buffer.getvalue())
    assert (picture.pixels == upright).all()
    assert any("upright" in note for note in picture.notes) == (orientation != 1)


def test_sixteen_bit_is_scaled_not_clipped():
    """65535 becomes 255 and 257 becomes 1; Pillow's own conversion would clip at 255."""
    values = np.array([[0, 257, 32896, 65535]] * 8, np.uint16).repeat(4, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    picture = read_image(buffer.getvalue())
    assert picture.pixels[0, ::4, 0].tolist() == [0, 1, 128, 255]
    assert (read_image(values).pixels == picture.pixels).all()


def test_transparency_is_laid_over_white():
    """A fully transparent pixel becomes white, an opaque one keeps its colour, and a note says so."""
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8] = (200, 10, 10, 255)
    picture = read_image(rgba)
    assert picture.pixels[0, 0].tolist() == [200, 10, 10]
    assert picture.pixels[15, 0].tolist() == [255, 255, 255]
    assert any("transparent" in note for note in picture.notes)


def test_the_first_frame_is_scored_and_said(tmp_path, rng):
    """An animation gives its first frame and a note with the number of frames."""
    first, second = Image.fromarray(photo(rng)), Image.fromarray(photo(rng))
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    picture = read_image(tmp_path / "a.webp")
    assert (picture.pixels == np.asarray(first)).all()
    assert any("first of 2 frames" in note for note in picture.notes)


def test_a_bomb_is_refused_before_decoding_and_the_limit_moves():
    """The pixel limit is checked on the header; raising it lets the same file through to the decoder."""
    with pytest.raises(BadImage, match="3600 megapixels; the limit is 100") as caught:
        read_image(bomb())
    assert caught.value.code == "too_large"
    small = bomb(300, 300)
    with pytest.raises(BadImage) as caught:
        read_image(small, Limits(max_megapixels=0.05))
    assert caught.value.code == "too_large"
    assert read_image(small, Limits(max_megapixels=0.1)).width == 300


def test_a_pipe_does_not_block(tmp_path):
    """A named pipe, a device and a folder are refused at once."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero", tmp_path):
        with pytest.raises(BadImage) as caught:
            read_image(path)
        assert caught.value.code == "not_an_image"


def test_a_large_file_is_refused_unread(tmp_path):
    """The file-size limit needs no read: a sparse gigabyte is refused."""
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(BadImage, match="the limit is 512 MB"):
        read_image(tmp_path / "big.png")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 4, 3), np.uint8),
        np.zeros((32, 32, 2), np.uint8),
        np.zeros((0, 32, 3), np.uint8),
        np.full((32, 32), np.nan),
        np.full((32, 32), 7.5),
        np.zeros((32, 32), np.int64),
        np.zeros(32, np.uint8),
    ],
)
def test_a_wrong_array_is_named(array):
    """Shape, dtype or range outside the contract raises BadImage, which says what was expected."""
    with pytest.raises(BadImage, match=r"must|holds no pixels"):
        read_image(array)


def test_every_source_gives_the_same_pixels(tmp_path, rng):
    """Path, str, bytes, PIL image and array agree."""
    pixels = photo(rng)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    for source in (path, str(path), path.read_bytes(), Image.open(path), pixels, pixels / 255.0):
        assert (read_image(source).pixels == pixels).all()


def test_reading_leaves_pillows_limit_and_the_warnings_alone(rng):
    """The global bomb limit and the filters of warnings are as before, also when many threads read."""
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    buffer = io.BytesIO()
    Image.fromarray(photo(rng)).save(buffer, "PNG")
    threads = [threading.Thread(target=lambda: [read_image(buffer.getvalue()) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == Image.MAX_IMAGE_PIXELS
    assert filters == warnings.filters

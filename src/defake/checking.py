"""Score single images and streams of files: one verdict each, whatever the file is."""

from __future__ import annotations

import glob
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .detectors import Detector, load_detector
from .errors import BadImage, DefakeError
from .images import SUFFIXES, Limits, Picture, read_image
from .perturb import jpeg, long
from .records import Problem, Reason, Verdict, VerdictWord

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# A file under way holds its whole picture in memory.
MOST_WORKERS = 8
# Below this a face or object has too few pixels to carry traces; scores there err both ways (field reports).
MIN_TRUSTED_SIDE_PX = 128
# Standard deviation, on the 0..255 scale, under which an image is a flat field.
FLAT_BELOW = 4.0
# Share of pixels equal to their right neighbour: hardly ever over 0.8 in photographs and generated pictures, 0.89 and
# more in drawings, silhouettes and charts, which no detector here was measured on.
GRAPHIC_FROM = 0.85
# Looking at every row took longer than decoding the file. Every eighth gives the same word for all but 8 of 1,752
# photographs, drawings and screenshots, which lie at the limit.
GRAPHIC_ROW_STEP = 8
# The copy that a messenger or site makes of a picture: longest side in px, JPEG quality.
COPY_SIDE_PX, COPY_QUALITY = 512, 60


def check(
    source: str | Path | bytes | Image.Image | NDArray[Any],
    detector: str | Detector = "default",
    limits: Limits | None = None,
) -> Verdict:
    """Score one image: a path, bytes, PIL image or array (see `defake.images.read_image`).

    Returns a verdict with a calibrated `fake_score`, the reasons and the tiles.

    Raises: BadImage if it cannot be scored; UnknownName, MissingExtra, WeightsMismatch for the detector.
    """
    model = _detector(detector)
    path = str(source) if isinstance(source, (str, Path)) else None
    return _examine(path, read_image(source, limits), model, time.perf_counter())


def check_many(
    paths: Iterable[str | Path],
    detector: str | Detector = "default",
    limits: Limits | None = None,
    workers: int | None = None,
) -> Iterator[Verdict]:
    """Score files in the order given; one that cannot be scored yields a verdict with its error, and the rest go on.

    `workers` files are under way at a time; None is one a core (at most `MOST_WORKERS`) for a detector that may be
    called from several threads, and one for any other.
    """
    model = _detector(detector)
    if workers is None:
        workers = min(os.cpu_count() or 1, MOST_WORKERS) if model.is_thread_safe else 1
    workers = max(1, min(workers, len(paths)) if isinstance(paths, Sized) else workers)
    if workers > 1:
        model = model.shared_by(workers)

    def one(path: str | Path) -> Verdict:
        start = time.perf_counter()
        try:
            return _examine(str(path), read_image(path, limits), model, start)
        except DefakeError as error:
            elapsed = time.perf_counter() - start
            return Verdict(str(path), model.name, error=Problem.of(error), elapsed_s=elapsed)

    return map(one, paths) if workers == 1 else _side_by_side(one, paths, workers)


def _side_by_side(one: Callable[[str | Path], Verdict], paths: Iterable[str | Path], workers: int) -> Iterator[Verdict]:
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Verdict]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(one, path))
                # A few files ahead keep every worker busy behind a slow one; more would only hold memory.
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@cache
def _loaded(spec: str) -> Detector:
    return load_detector(spec)


def _detector(detector: str | Detector) -> Detector:
    return _loaded(detector) if isinstance(detector, str) else detector


def _examine(path: str | None, picture: Picture, detector: Detector, start: float) -> Verdict:
    (found,) = detector.examine([picture.pixels])
    if np.isnan(found.fake_score):
        raise BadImage("undecided", f"detector {detector.name!r} gave no answer for this image")
    word = detector.calibration.word(found.fake_score)
    doubts = _doubts(picture)
    if word is VerdictWord.FAKE and not doubts:
        doubts = _flip(picture, detector)
    if doubts:
        word = VerdictWord.UNSURE
    notes = tuple(Reason("input", note, 0.0) for note in picture.notes)
    return Verdict(
        path,
        detector.name,
        word,
        found.fake_score,
        (*doubts, *found.reasons, *notes),
        found.tiles,
        elapsed_s=time.perf_counter() - start,
    )


def _doubts(picture: Picture) -> tuple[Reason, ...]:
    """Why an image lies outside what any detector here was measured on."""
    found = []
    short = min(picture.width, picture.height)
    if short < MIN_TRUSTED_SIDE_PX:
        text = f"only {picture.width}x{picture.height} px: under {MIN_TRUSTED_SIDE_PX} px a score means little"
        found.append(Reason("too_small", text, float(short)))
    spread = float(picture.pixels[::4, ::4].std())
    if spread < FLAT_BELOW:
        found.append(Reason("flat", f"nearly one colour (standard deviation {spread:.1f} of 255)", spread))
    rows = picture.pixels[::GRAPHIC_ROW_STEP]
    equal = float((rows[:, 1:] == rows[:, :-1]).all(axis=2).mean())
    if equal >= GRAPHIC_FROM and spread >= FLAT_BELOW:
        found.append(
            Reason("graphic", f"a drawing, chart or text: {equal:.0%} of the pixels equal their neighbour", equal)
        )
    return tuple(found)


def _flip(picture: Picture, detector: Detector) -> tuple[Reason, ...]:
    """Why the word `fake` does not stand: a lossy copy of the same picture would be called real.

    Only this direction is tried: it is an accusation, and trying every photograph again would double the time.
    """
    copy = jpeg(long(picture.pixels, COPY_SIDE_PX), COPY_QUALITY)
    (score,) = detector.score([copy])
    if np.isnan(score) or detector.calibration.word(float(score)) is not VerdictWord.REAL:
        return ()
    text = f"the verdict flips: a copy of {COPY_SIDE_PX} px, JPEG quality {COPY_QUALITY}, scores {score:.2f}"
    return (Reason("flips", text, float(score)),)


def find_images(arguments: Iterable[str | Path]) -> Iterator[Path]:
    """Expand files, folders and glob patterns to files, in a stable order.

    A named file comes whatever it is, also when it is missing: it deserves a row. Of a folder come the files that are
    images by name or by their first bytes; hidden files do not. Links to folders are followed once.
    """
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            yield from _walk(path, set())
        elif not os.path.lexists(path) and glob.has_magic(str(argument)):
            matches = sorted(glob.glob(str(argument), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            yield from (find_images(matches) if matches else [path])
        else:
            yield path


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder  # a row that says why it cannot be read
        return
    # A link may lead back up: each folder is entered once.
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif entry.suffix.lower() in SUFFIXES or _looks_like_image(entry):
            yield entry


_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")


def _looks_like_image(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")

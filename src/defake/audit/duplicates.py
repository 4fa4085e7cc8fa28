"""Images that are nearly the same, found by perceptual hash without comparing all with all."""

from __future__ import annotations

import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from defake.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from defake.datasets.manifest import Manifest

BITS = 64
# Of 64 bits. A re-encoded or resized copy differs in 0..4, two different photographs in 32 on average. Source: ours,
# measured on JPEG 50 and half-size copies in tests/test_duplicates.py.
MAX_DISTANCE = 4
# A flat image has (almost) no bit set and would be everybody's duplicate; a hash of a picture has about half.
MIN_BITS_SET = 16
_BITS_OF_BYTE = np.array([byte.bit_count() for byte in range(256)])
# Pairs named in the report; all are counted.
MAX_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows of a manifest whose images nearly agree, and in how many of 64 bits they do not."""

    first: str
    second: str
    distance: int
    across_splits: bool
    contradicting: bool


@dataclass(frozen=True, slots=True)
class Duplicates:
    """How many pairs of near-duplicates there are; `pairs` names up to 1,000, the worst kind first.

    `images_in_pairs_across_splits` counts distinct images. `unhashed`: files that could not be read, or are too flat to
    be told from others.
    """

    hashed: int
    unhashed: int
    n_pairs: int
    n_across_splits: int
    images_in_pairs_across_splits: int
    n_contradicting: int
    pairs: tuple[Pair, ...]


def find_duplicates(
    manifest: Manifest, *, workers: int = 2, progress: Callable[[int], None] | None = None
) -> Duplicates:
    """Hash every image and compare those that share a part of the hash.

    Raises: MissingExtra without imagehash.
    """
    hashes = hash_images([manifest.resolve(i) for i in range(len(manifest))], workers=workers, progress=progress)
    usable = np.flatnonzero(_count_bits(hashes) >= MIN_BITS_SET)
    splits, is_fake = manifest.splits, manifest.is_fake
    counts: Counter[str] = Counter()
    touched: set[int] = set()
    named: list[Pair] = []
    for left, right, distance in near_pairs(hashes[usable]):
        first, second = int(usable[left]), int(usable[right])
        across, contradicting = splits[first] != splits[second], bool(is_fake[first] != is_fake[second])
        counts.update({"all": 1, "across": across, "contradicting": contradicting})
        if across:
            touched |= {first, second}
        # Of an endless list keep the worst: across splits or contradicting ones push out the harmless.
        if len(named) < MAX_NAMED or across or contradicting:
            named.append(Pair(manifest.paths[first], manifest.paths[second], distance, across, contradicting))
        if len(named) > 2 * MAX_NAMED:
            named = sorted(named, key=_severity)[:MAX_NAMED]
    return Duplicates(
        hashed=len(usable),
        unhashed=len(hashes) - len(usable),
        n_pairs=counts["all"],
        n_across_splits=counts["across"],
        images_in_pairs_across_splits=len(touched),
        n_contradicting=counts["contradicting"],
        pairs=tuple(sorted(named, key=_severity)[:MAX_NAMED]),
    )


def hash_images(
    paths: Sequence[Path], *, workers: int = 2, progress: Callable[[int], None] | None = None
) -> NDArray[np.uint64]:
    """The 64-bit DCT hash of each image (n,), 0 where it cannot be read; `progress` gets the number done."""
    try:
        import imagehash
    except ModuleNotFoundError as error:
        raise MissingExtra("finding near-duplicates", "evaluate", "imagehash") from error
    from PIL import Image

    Image.init()

    def hash_of(path: Path) -> int:
        try:
            with Image.open(path) as image:
                image.draft("L", (128, 128))  # JPEG decoders can shrink while they decode, many times faster
                return int(str(imagehash.phash(image)), 16)
        except Exception:  # noqa: BLE001 - Pillow raises many kinds on damaged files; the count of unhashed tells
            return 0

    hashes = np.zeros(len(paths), np.uint64)
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        for index, value in enumerate(pool.map(hash_of, paths)):
            hashes[index] = value
            if progress:
                progress(index + 1)
    return hashes


def near_pairs(hashes: NDArray[np.uint64], max_distance: int = MAX_DISTANCE) -> Iterator[tuple[int, int, int]]:
    """Pairs (i, j, distance), i < j, of hashes (n,) that differ in at most `max_distance` bits; each pair once.

    Cut into `max_distance` + 1 bands, two such hashes agree in at least one band, so only images that share a band are
    compared. Source: the pigeonhole principle; Manku, Jain & Das Sarma (2007) for near-duplicate pages.
    """
    edges = np.linspace(0, BITS, max_distance + 2).astype(int)
    bands = [
        (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1) for low, high in pairwise(edges.tolist())
    ]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        cuts = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, cuts):
            for at, left in enumerate(bucket[:-1]):
                rest = bucket[at + 1 :]
                distance = _count_bits(hashes[left] ^ hashes[rest])
                for right, bits in zip(rest[distance <= max_distance], distance[distance <= max_distance], strict=True):
                    # A pair that shares an earlier band was found there.
                    if not any(earlier[left] == earlier[right] for earlier in bands[:number]):
                        yield min(int(left), int(right)), max(int(left), int(right)), int(bits)


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.asarray(_BITS_OF_BYTE[words.view(np.uint8)].reshape(-1, 8).sum(axis=1), dtype=np.int64)


def _severity(pair: Pair) -> tuple[bool, bool, int, str]:
    return not pair.across_splits, not pair.contradicting, pair.distance, pair.first

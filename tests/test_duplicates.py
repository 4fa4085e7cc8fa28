"""defake.audit.duplicates: copies are found whatever they went through; the fast search is the slow one."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from defake.audit.duplicates import MAX_DISTANCE, find_duplicates, hash_images, near_pairs
from defake.datasets.manifest import read_manifest


def brute_force(hashes, most):
    """All pairs, one by one."""
    return {
        (i, j, (int(hashes[i]) ^ int(hashes[j])).bit_count())
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= most
    }


@pytest.mark.parametrize("most", [0, 1, 4, 7])
def test_the_bucketed_search_finds_what_brute_force_finds(most):
    """On random hashes with planted neighbours at every distance: the same pairs, each once."""
    rng = np.random.default_rng(most)
    hashes = rng.integers(0, 2**64, 150, dtype=np.uint64)
    planted = []
    for distance in range(9):
        for original in hashes[:8]:
            flips = rng.choice(64, distance, replace=False)
            planted.append(original ^ np.uint64(sum(1 << int(bit) for bit in flips)))
    hashes = np.concatenate([hashes, np.array(planted, np.uint64)])
    found = list(near_pairs(hashes, most))
    assert len(found) == len(set(found))
    assert set(found) == brute_force(hashes, most)
    assert found


@pytest.fixture(scope="module")
def photographs():
    """Real photographs that scikit-image carries."""
    return {name: Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "chelsea")}


def test_copies_are_near_and_others_far(photographs, tmp_path):
    """JPEG 50, half size, PNG and grey copies stay within 4 bits; different photographs differ in more than 16."""
    paths = []
    for name, image in photographs.items():
        image.save(tmp_path / f"{name}.png")
        image.save(tmp_path / f"{name}.jpg", quality=50)
        image.resize((image.width // 2, image.height // 2)).save(tmp_path / f"{name}_half.jpg", quality=85)
        image.convert("L").save(tmp_path / f"{name}_grey.webp", quality=70)
        paths += [tmp_path / f"{name}{end}" for end in (".png", ".jpg", "_half.jpg", "_grey.webp")]
    hashes = hash_images(paths)
    distance = np.array([[(int(a) ^ int(b)).bit_count() for a in hashes] for b in hashes])
    same = np.kron(np.eye(3, dtype=bool), np.ones((4, 4), bool))
    assert distance[same].max() <= MAX_DISTANCE
    assert distance[~same].min() > 16


def test_pairs_across_splits_and_contradictions_come_first(photographs, tmp_path):
    """A copy in another split, a copy with the other label and a harmless one are told apart; flat images count not."""
    for name, image in photographs.items():
        image.save(tmp_path / f"{name}.png")
        image.save(tmp_path / f"{name}2.jpg", quality=70)
    Image.new("RGB", (50, 50), "white").save(tmp_path / "flat1.png")
    Image.new("RGB", (50, 50), "white").save(tmp_path / "flat2.png")
    (tmp_path / "broken.png").write_bytes(b"x")
    (tmp_path / "m.csv").write_text(
        "path,label,split\nchelsea.png,real,train\nchelsea2.jpg,real,train\nastronaut.png,real,train\n"
        "astronaut2.jpg,real,test\ncoffee.png,real,train\ncoffee2.jpg,fake,train\nflat1.png,real,train\n"
        "flat2.png,fake,test\nbroken.png,real,test\n"
    )
    ticks = []
    found = find_duplicates(read_manifest(tmp_path / "m.csv"), progress=ticks.append)
    assert (found.n_pairs, found.n_across_splits, found.n_contradicting, found.images_in_pairs_across_splits) == (
        3,
        1,
        1,
        2,
    )
    assert (found.hashed, found.unhashed) == (6, 3)
    assert [pair.first for pair in found.pairs] == ["astronaut.png", "coffee.png", "chelsea.png"]
    assert [(pair.across_splits, pair.contradicting) for pair in found.pairs] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert ticks[-1] == 9

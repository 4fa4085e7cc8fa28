"""scripts/outside_images.py checks what it unpacks, goes on after what it cannot have, and never fetches twice."""

import csv
import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("outside_images", ROOT / "scripts" / "outside_images.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def encode(colour, suffix="PNG"):
    """The bytes of a small picture."""
    file = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(file, suffix)
    return file.getvalue()


CAT, DOG, OWL = encode("red"), encode("green", "JPEG"), encode("blue")


def sha256(content):
    """The digest that a list names."""
    return hashlib.sha256(content).hexdigest()


def write_tar(file, members):
    """A gzipped tar with these members."""
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def write_zip(file, members):
    """A zip with these members."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


class Shelf:
    """A fetcher that knows three packages, fails for any other, and remembers what it was asked for."""

    def __init__(self, script):
        self.script = script
        self.asked = []

    def __call__(self, package, folder):
        """The package's archive, made on the spot."""
        self.asked.append(package.name)
        if package.name == "wheel":
            write_zip(folder / "wheel-1-py3-none-any.whl", {"demo/cat.png": CAT, "demo/__init__.py": b""})
            return folder / "wheel-1-py3-none-any.whl"
        if package.name == "sdist":
            write_tar(folder / "sdist-1.tar.gz", {"sdist-1/dog.JPG": DOG, "../x.png": OWL})
            return folder / "sdist-1.tar.gz"
        if package.name == "npm":
            write_tar(folder / "npm-1.tgz", {"package/owl.png": OWL})
            return folder / "npm-1.tgz"
        if package.name == "damaged":
            (folder / "damaged-1.tgz").write_bytes(b"\x1f\x8b no gzip")
            return folder / "damaged-1.tgz"
        raise self.script.Unavailable("npm is not installed")


def write_list(file, *rows):
    """A list with these rows of package, member and sha256."""
    lines = ["registry,package,version,archive,member,label,generator,sha256"]
    lines += [f"npm,{package},1,tgz,{member},real,,{digest}" for package, member, digest in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


GOOD = (
    ("wheel", "demo/cat.png", sha256(CAT)),
    ("sdist", "sdist-1/dog.JPG", sha256(DOG)),
    ("npm", "package/owl.png", sha256(OWL)),
)


def read_manifest(out):
    """The rows that were written."""
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_pictures_of_a_wheel_an_sdist_and_an_npm_package_come_with_a_manifest(script, tmp_path, capsys):
    """Each is written under its hash with the listed bytes, and its row has origin and split."""
    pictures = script.read_list(write_list(tmp_path / "list.csv", *GOOD))
    assert script.collect(pictures, tmp_path / "out", Shelf(script)) == 3
    assert capsys.readouterr().err == ""
    rows = read_manifest(tmp_path / "out")
    assert [sha256((tmp_path / "out" / row["path"]).read_bytes()) for row in rows] == [digest for *_, digest in GOOD]
    assert rows[1] == {
        "path": f"images/{sha256(DOG)[:16]}.jpg", "label": "real", "generator": "", "source": "npm_packages",
        "package": "sdist",
        "split": "train", "origin_format": "JPEG", "origin_width": "12", "origin_height": "8",
        "origin_jpeg_quality": "", "camera": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (("npm", "package/owl.png", "0" * 64), "npm-npm 1: package/owl.png: another sha256 in npm-1.tgz"),
        (("npm", "package/ant.png", sha256(OWL)), "npm-npm 1: package/ant.png: not in npm-1.tgz"),
        (("sdist", "../x.png", sha256(OWL)), "npm-sdist 1: ../x.png: not a path inside an archive"),
        (("damaged", "a.png", sha256(OWL)), "npm-damaged 1: damaged-1.tgz cannot be unpacked"),
        (("gone", "a.png", sha256(OWL)), "npm-gone 1: npm is not installed"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_the_rest_goes_on(script, tmp_path, capsys, bad, said):
    """Another hash, no such member, a path out of the archive, damage, no client: one line, and the others come."""
    pictures = script.read_list(write_list(tmp_path / "list.csv", bad, *GOOD[:2]))
    assert script.collect(pictures, tmp_path / "out", Shelf(script)) == len(read_manifest(tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_what_is_there_whole_is_not_fetched_again(script, tmp_path):
    """The second run asks only for the package of the picture that was cut off."""
    pictures = script.read_list(write_list(tmp_path / "list.csv", *GOOD))
    script.collect(pictures, tmp_path / "out", Shelf(script))
    (tmp_path / "out" / pictures[2].path).write_bytes(OWL[:20])
    shelf = Shelf(script)
    assert script.collect(pictures, tmp_path / "out", shelf) == 3
    assert shelf.asked == ["npm"]


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="only Debian has dpkg-deb")
def test_a_debian_package_is_read_without_unpacking_it_to_disk(script, tmp_path):
    """Members are named without the leading ./ of Debian's archives."""
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(
        "Package: demo\nVersion: 1\nArchitecture: all\nMaintainer: Demo <demo@example.org>\nDescription: demo\n",
        encoding="utf-8",
    )
    (tmp_path / "tree" / "cat.png").write_bytes(CAT)
    built = tmp_path / "demo_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", built], check=True, capture_output=True)
    assert list(script.read_members(built, {"cat.png"})) == [("cat.png", CAT)]


def test_a_client_that_is_not_there_is_named(script, tmp_path):
    """No npm, no apt-get: a line, no traceback."""
    with pytest.raises(script.Unavailable, match="no-such-client is not installed"):
        script.run("no-such-client", folder=tmp_path)


def test_the_list_in_docs_is_sorted_and_every_row_is_usable(script):
    """It names each picture once, of a known kind, by a path inside the archive."""
    pictures = script.read_list(ROOT / "docs" / "outside-images.csv")
    assert pictures == sorted(pictures)
    assert len({picture.path for picture in pictures}) == len(pictures) > 500
    kinds = {(picture.package.registry, picture.package.archive) for picture in pictures}
    assert kinds <= {("deb", "deb"), ("npm", "tgz"), ("pypi", "wheel"), ("pypi", "sdist")}
    assert {picture.label for picture in pictures} == {"real", "fake"}
    assert all(".." not in Path(picture.member).parts and picture.member[0] != "/" for picture in pictures)
    assert all(bool(picture.generator) == (picture.label == "fake") for picture in pictures)


def test_a_wheel_is_not_taken_for_an_sdist(script):
    """What an older pip lists beside the sdist, and other versions, are passed over."""
    listing = """
      Found link https://host/a/pics-2.0-py3-none-any.whl#sha256=0 (from https://host/pics/), version: 2.0
      Found link https://host/b/pics-2.0.tar.gz#sha256=1 (from https://host/pics/) (requires-python:>=3), version: 2.0
      Found link https://host/c/pics-1.0.tar.gz#sha256=2 (from https://host/pics/), version: 1.0
    """
    assert script.sdist_urls(listing, "2.0") == ["https://host/b/pics-2.0.tar.gz"]
    assert script.sdist_urls(listing, "3.0") == []

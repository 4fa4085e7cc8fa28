"""Fetch the pictures in public packages that the default detector also learns from, and write their manifest.

    python scripts/outside_images.py docs/outside-images.csv OUT

The pictures are whole files that lie in packages of Debian 12, npm and PyPI: photographs, wallpapers, test images, and
generated pictures in the galleries of workflow tools. The rights in them are their owners', many under terms of their
own, so this repository does not redistribute them: the list names package, version, path in the archive and sha256, and
everyone fetches their own copies, for research use.

Each package is fetched once with its registry's own client: `apt-get download` (on Debian 12, after `apt-get update`),
`npm pack`, `pip download`. An sdist is found by `pip index` on the index that pip is set up for, and fetched without
pip, which would run its build; an index with a password does not work for those. Nothing is installed or executed.

OUT gets images/<first 16 digits of the sha256>.<suffix> and manifest.csv. What lies there is not fetched again: give
the command again after a break. What cannot be had is one line on stderr each, the rest goes on, and the exit code is
1. Standard library and Pillow.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import http.client
import lzma
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import warnings
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANIFEST_COLUMNS = (
    "path", "label", "generator", "source", "split", "origin_format", "origin_width", "origin_height",
    "origin_jpeg_quality", "camera", "package",
)  # fmt: skip
# The largest listed picture has 14 MB; a member beyond this is not one of them.
MEMBER_LIMIT_BYTES = 100_000_000
TIMEOUT_S = 900
# The lines of apt-get, npm, pip and Python that say what is wrong, without pip's enumeration of all versions.
CLIENT_ERRORS = r"^(?:E: |npm error |ERROR: (?!Ignored)|.*No module named ).*?(?= \(from versions|$)"
PIP = (sys.executable, "-m", "pip")
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


class Unavailable(Exception):  # noqa: N818 - the house names errors by what is wrong
    """A package that cannot be fetched or unpacked; the text says why, in one line."""


class Package(NamedTuple):
    """What a registry is asked for."""

    registry: str  # deb, npm or pypi
    name: str
    version: str
    archive: str  # deb, tgz, wheel or sdist


class Picture(NamedTuple):
    """A row of the list."""

    package: Package
    member: str
    label: str
    generator: str
    sha256: str

    @property
    def path(self) -> str:
        """Where it lies, relative to OUT; made of nothing that an archive says."""
        return f"images/{self.sha256[:16]}{PurePosixPath(self.member).suffix.lower()}"


def read_list(file: Path) -> list[Picture]:
    """The pictures of a list, in its order.

    Raises: `ValueError` for a missing column or a sha256 that is none.
    """
    pictures = []
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                package = Package(row["registry"], row["package"], row["version"], row["archive"])
                picture = Picture(package, row["member"], row["label"], row["generator"], row["sha256"])
            except KeyError as error:
                raise ValueError(f"{file} has no column {error}") from error
            if not re.fullmatch("[0-9a-f]{64}", picture.sha256):
                raise ValueError(f"{file}: expected a sha256 of 64 hexadecimal digits, got {picture.sha256!r}")
            pictures.append(picture)
    return pictures


def run(*command: str, folder: Path) -> str:
    """What a client prints. Raises: `Unavailable` if there is no such client, or it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=TIMEOUT_S)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} took longer than {TIMEOUT_S} s") from error
    if done.returncode:
        said = re.findall(CLIENT_ERRORS, done.stderr.decode(errors="replace"), re.MULTILINE)
        raise Unavailable("; ".join(said[:2]) or f"{command[0]} failed with exit code {done.returncode}")
    return done.stdout.decode(errors="replace")


def sdist_urls(listing: str, version: str) -> list[str]:
    """Where the sdists of a version lie, in what `pip index versions -vv` prints."""
    links = re.findall(r"Found link (\S+) .*version: (\S+)\s*$", listing, re.MULTILINE)
    urls = [url.partition("#")[0] for url, found in links if found == version]
    return [url for url in urls if not url.endswith(".whl")]  # pip 23 lists wheels whatever it is told


def fetch_sdist(package: Package, folder: Path) -> None:
    """The sdist that pip finds, without running its build."""
    options = ("--pre", "--no-binary", ":all:", "--ignore-requires-python", "-vv")
    found = run(*PIP, "index", "versions", *options, package.name, folder=folder)
    urls = sdist_urls(found, package.version)
    if not urls:
        raise Unavailable("pip finds no sdist of this version")
    tls = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    try:
        with urllib.request.urlopen(urls[0], timeout=60, context=tls) as answer:
            (folder / PurePosixPath(urls[0]).name).write_bytes(answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{urls[0]}: {error}") from error


def fetch(package: Package, folder: Path) -> Path:
    """The package's archive, put into an empty folder by its registry's client. Raises: `Unavailable`."""
    match package.registry, package.archive:
        case "deb", "deb":
            try:
                run("apt-get", "-q", "download", f"{package.name}={package.version}", folder=folder)
            except Unavailable:  # mirrors drop old versions; the sha256 says whether the one at hand will do
                run("apt-get", "-q", "download", package.name, folder=folder)
        case "npm", "tgz":
            run("npm", "pack", "--ignore-scripts", f"{package.name}@{package.version}", folder=folder)
        case "pypi", "wheel":
            options = ("-q", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--ignore-requires-python")
            run(*PIP, "download", *options, f"{package.name}=={package.version}", folder=folder)
        case "pypi", "sdist":
            fetch_sdist(package, folder)
        case registry, archive:
            raise Unavailable(f"unknown kind {registry}/{archive}; known: deb/deb, npm/tgz, pypi/wheel, pypi/sdist")
    files = list(folder.iterdir())
    if len(files) != 1:
        raise Unavailable(f"expected one archive, got {len(files)}")
    return files[0]


def read_members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted files of an archive: name, content; nothing is unpacked to disk. Raises: one of `DAMAGED`."""
    if archive.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                if entry.filename in wanted and entry.file_size <= MEMBER_LIMIT_BYTES:
                    yield entry.filename, file.read(entry)
        return
    with contextlib.ExitStack() as stack:
        if archive.suffix == ".deb":
            command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            unpacking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            stream = stack.enter_context(unpacking).stdout
            tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
        else:
            tar = stack.enter_context(tarfile.open(archive, mode="r|*"))
        for member in tar:
            name = member.name.removeprefix("./")
            if name in wanted and member.isfile() and member.size <= MEMBER_LIMIT_BYTES:
                content = tar.extractfile(member)
                assert content
                yield name, content.read()


def is_there(picture: Picture, out: Path) -> bool:
    """Whether the picture lies in OUT, whole."""
    file = out / picture.path
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == picture.sha256


def unpack(archive: Path, pictures: list[Picture], out: Path) -> Iterator[str]:
    """Write the pictures of one archive that have the right sha256 to OUT; yields a line for each that has not."""
    problems = dict.fromkeys(pictures, f"not in {archive.name}")
    for picture in pictures:
        if PurePosixPath(picture.member).is_absolute() or ".." in PurePosixPath(picture.member).parts:
            problems[picture] = "not a path inside an archive"
    wanted = {picture.member for picture, problem in problems.items() if problem.startswith("not in")}
    try:
        for member, content in read_members(archive, wanted):
            for picture in [picture for picture in problems if picture.member == member]:
                if hashlib.sha256(content).hexdigest() == picture.sha256:
                    (out / picture.path).write_bytes(content)
                    del problems[picture]
                else:
                    problems[picture] = f"another sha256 in {archive.name}"
    except DAMAGED as error:
        yield f"{archive.name} cannot be unpacked: {error}"
    else:
        yield from (f"{picture.member}: {problem}" for picture, problem in problems.items())


def manifest_row(picture: Picture, out: Path) -> dict[str, str | int]:
    """The picture's row. Raises: `OSError` if Pillow cannot read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd headers; the bytes are the listed ones
        with Image.open(out / picture.path) as image:
            kind, (width, height) = image.format or "", image.size
    return {
        "path": picture.path, "label": picture.label, "generator": picture.generator, "split": "train",
        "source": f"{picture.package.registry}_packages",
        "package": picture.package.name,
        "origin_format": kind, "origin_width": width, "origin_height": height, "origin_jpeg_quality": "", "camera": "",
    }  # fmt: skip


def collect(pictures: list[Picture], out: Path, fetcher: Callable[[Package, Path], Path] = fetch) -> int:
    """Fetch what OUT lacks, write its manifest, and say on stderr what cannot be had: how many pictures it holds."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    lacking: dict[Package, list[Picture]] = {}
    for picture in pictures:
        if not is_there(picture, out):
            lacking.setdefault(picture.package, []).append(picture)
    for package, members in lacking.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                problems = list(unpack(fetcher(package, Path(folder)), members, out))
            except Unavailable as error:
                problems = [str(error)]
        for problem in problems:
            print(f"{package.registry}-{package.name} {package.version}: {problem}", file=sys.stderr, flush=True)
    rows = []
    for picture in (picture for picture in pictures if is_there(picture, out)):
        try:
            rows.append(manifest_row(picture, out))
        except OSError as error:
            print(f"{picture.path}: {error}", file=sys.stderr)
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as manifest:
        writer = csv.DictWriter(manifest, MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="docs/outside-images.csv")
    parser.add_argument("out", type=Path, help="folder for images/ and manifest.csv")
    arguments = parser.parse_args()
    try:
        pictures = read_list(arguments.list)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    count = collect(pictures, arguments.out)
    print(f"{count} of {len(pictures)} pictures in {arguments.out}")
    return 0 if count == len(pictures) else 1


if __name__ == "__main__":
    sys.exit(main())

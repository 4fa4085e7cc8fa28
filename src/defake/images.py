"""Any file or array to upright 8-bit RGB, safely: every refusal is a `BadImage` with a stable code.

Codes: `missing`, `unreadable`, `empty`, `not_an_image`, `truncated`, `too_large`, `too_small`, `bad_array`.
"""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import BadImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Only decoders that run in the process and read pixels: no EPS (starts Ghostscript), no PDF, no scientific containers.
FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
_SUFFIXES = """.avif .avifs .bmp .dib .gif .ico .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .mpo .pbm .pgm .png .apng .pnm .ppm
.tga .tif .tiff .webp .heic .heif"""
SUFFIXES = frozenset(_SUFFIXES.split())
_SUFFIX_OF = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif", ".avifs"},
}
_ISOBMFF_HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
# Pillow's bomb limit is a module global, so it is lifted under a lock; ours is checked instead, per call.
_OPENING = threading.Lock()


class _Quiet:
    """Silences warnings while any thread is inside: filters are global, so the last one out puts them back."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._filters is None:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._filters is not None:
                self._filters.__exit__(None, None, None)
                self._filters = None


_QUIET = _Quiet()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before any pixel is decoded."""

    max_megapixels: float = 100.0
    max_file_mb: float = 512.0
    min_side_px: int = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """Upright RGB pixels `(height, width, 3)` uint8 and what was done to get them."""

    pixels: NDArray[np.uint8]
    format: str
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Pixels across, after orientation."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels down, after orientation."""
        return int(self.pixels.shape[0])


def read_image(source: str | Path | bytes | Image.Image | NDArray[Any], limits: Limits | None = None) -> Picture:
    """Decode a file, bytes, PIL image or array to upright 8-bit RGB.

    The first frame of an animation; EXIF orientation applied; alpha laid over white; 16 bit scaled by 1/257; greyscale
    repeated; CMYK converted without a profile. `notes` says each of these where it was done.
    Arrays are `(h, w)`, `(h, w, 1|3|4)`; uint8 0..255, uint16 0..65535, bool or floats in [0, 1].

    Raises: BadImage with a stable code.
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _finish(source, "PIL", "", limits, [])
    if isinstance(source, (str, Path)):
        content, name = _read_file(Path(source), limits), Path(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        content, name = bytes(source), None
    else:
        raise BadImage("bad_array", f"expected a path, bytes, a PIL image or an array, but got {type(source).__name__}")
    if not content:
        raise BadImage("empty", "the file is empty (0 bytes)")
    return _decode(content, name, limits)


def _read_file(path: Path, limits: Limits) -> bytes:
    try:
        status = path.stat()
        # A pipe or device would block or never end; a folder is no image.
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
            raise BadImage("not_an_image", f"expected a file, but it is {kind}")
        if status.st_size > limits.max_file_mb * 1e6:
            raise BadImage(
                "too_large", f"the file has {status.st_size / 1e6:.0f} MB; the limit is {limits.max_file_mb:g} MB"
            )
        return path.read_bytes()
    except FileNotFoundError:
        text = "broken link: its target does not exist" if path.is_symlink() else "no such file"
        raise BadImage("missing", text) from None
    except NotADirectoryError:
        raise BadImage("missing", "no such file: a part of the path is not a folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadImage("unreadable", f"cannot be read: {reason}") from error


def _decode(content: bytes, name: Path | None, limits: Limits) -> Picture:
    try:
        # Damaged EXIF, TIFF tags and the like warn; the pixels decide.
        with _QUIET:
            image = _open(content)
            _check_size(image.width, image.height, limits)
            notes = [] if name is None else _suffix_note(name, image.format or "")
            frames = int(getattr(image, "n_frames", 1))
            if frames > 1 and image.format != "MPO":
                notes.append(f"animated or multi-page: the first of {frames} frames was scored")
            image.load()
            return _finish(image, image.format or "", hashlib.sha256(content).hexdigest(), limits, notes)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not_an_image", _unknown_format(content)) from None
    except Image.DecompressionBombError as error:
        raise BadImage("too_large", f"decompression bomb: {error}") from None
    except MemoryError:
        raise BadImage("too_large", "decoding it needs more memory than there is") from None
    # Pillow's decoders raise many kinds on damaged data: OSError, SyntaxError, ValueError, struct.error, IndexError …
    except Exception as error:
        raise BadImage("truncated", f"damaged or truncated: {error}") from error


def _open(content: bytes) -> Image.Image:
    if content[4:8] == b"ftyp" and content[8:12] in _ISOBMFF_HEIC:
        return _open_heic(content)
    with _OPENING:
        Image.init()
        formats = [name for name in FORMATS if name in Image.OPEN]  # a Pillow may be built without AVIF or WebP
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open_heic(content: bytes) -> Image.Image:
    try:
        import pillow_heif
    except ModuleNotFoundError:
        raise BadImage(
            "not_an_image", "HEIC needs a decoder that is not installed; install it: pip install pillow-heif"
        ) from None
    heic: Image.Image = pillow_heif.open_heif(io.BytesIO(content)).to_pillow()
    heic.format = "HEIF"
    return heic


def _unknown_format(content: bytes) -> str:
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "not an image: it is an HTML page (a failed download?)"
    if start.startswith((b"<svg", b"<?xml")):
        return "not a raster image: SVG or XML; render it to pixels first"
    if content.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")):
        return "starts like an image, but its header is damaged or of a kind that cannot be decoded"
    return f"not an image in a known format ({', '.join(FORMATS)})"


def _suffix_note(name: Path, found: str) -> list[str]:
    suffix = name.suffix.lower()
    if suffix in SUFFIXES and suffix not in _SUFFIX_OF.get(found, {suffix}):
        return [f"the name says {suffix}, the content is {found}; the content was used"]
    return []


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_megapixels * 1e6:
        raise BadImage(
            "too_large",
            f"{width}x{height} px is {width * height / 1e6:.0f} megapixels; the limit is {limits.max_megapixels:g}"
            " (--max-megapixels raises it)",
        )
    if min(width, height) < limits.min_side_px:
        raise BadImage("too_small", f"{width}x{height} px; expected at least {limits.min_side_px} px on each side")


def _finish(image: Image.Image, found: str, digest: str, limits: Limits, notes: list[str]) -> Picture:
    _check_size(image.width, image.height, limits)
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - EXIF is a hint; damaged EXIF must not cost the picture
        upright = image
    if upright.size != image.size or (image.getexif().get(0x0112, 1) not in (0, 1)):
        notes.append("turned upright by its EXIF orientation")
    rgb = _to_rgb(upright, notes)
    pixels = np.asarray(rgb, dtype=np.uint8)
    return Picture(pixels, found, digest or hashlib.sha256(pixels.tobytes()).hexdigest(), tuple(notes))


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        notes.append("more than 8 bits a channel: scaled to 8")
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.mode == "CMYK":
        notes.append("CMYK: converted to RGB without a colour profile")
        return image.convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if np.asarray(rgba.getchannel("A")).min() < 255:
            notes.append("transparent parts laid over white")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    wide = np.nan_to_num(values.astype(np.float64))
    top = 65535.0 if wide.max(initial=0) > 255 else 255.0
    if values.dtype.kind == "f" and wide.max(initial=0) <= 1:
        top = 1.0
    return np.asarray(np.clip(np.rint(wide * (255.0 / top)), 0, 255), dtype=np.uint8)


def _from_array(array: NDArray[Any], limits: Limits) -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadImage("bad_array", f"an array must have shape (h, w) or (h, w, 1|3|4), but got shape {array.shape}")
    if not array.size:
        raise BadImage("empty", f"the array holds no pixels: shape {array.shape}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise BadImage("bad_array", "a float array must be finite and in [0, 1]; scale it or convert it to uint8")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise BadImage("bad_array", f"an array must be uint8, uint16, bool or float in [0, 1], but got {array.dtype}")
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return _finish(Image.fromarray(np.ascontiguousarray(flat)), "array", "", limits, [])

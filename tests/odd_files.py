"""Files as the world hands them over: twenty that can be scored, twenty that cannot."""

import struct
import zlib

import numpy as np
from PIL import Image


def photo(rng, width=300, height=260):
    """A smooth colourful picture `(height, width, 3)` uint8."""
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def png_chunk(kind, body):
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width=60_000, height=60_000):
    """A small PNG that claims 3,600 megapixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 17))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def write_good(folder, rng):
    """Twenty files that must be scored; returns their paths."""
    image = Image.fromarray(photo(rng))
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide16 = Image.fromarray(np.linspace(0, 65535, 300 * 260).reshape(260, 300).astype(np.uint16))
    frames = [Image.fromarray(photo(rng)) for _ in range(3)]
    writers = {
        "plain.jpg": lambda p: image.save(p, quality=90),
        "progressive.jpeg": lambda p: image.save(p, progressive=True),
        "grey.jpg": lambda p: image.convert("L").save(p),
        "cmyk.jpg": lambda p: image.convert("CMYK").save(p),
        "rotated.jpg": lambda p: image.save(p, exif=exif),
        "plain.png": image.save,
        "alpha.png": rgba.save,
        "palette.png": lambda p: image.quantize(64).save(p),
        "palette_alpha.png": lambda p: rgba.quantize(64).save(p),
        "bilevel.png": lambda p: image.convert("1").save(p),
        "sixteen.png": wide16.save,
        "sixteen.tif": wide16.save,
        "animated.gif": lambda p: frames[0].save(p, save_all=True, append_images=frames[1:]),
        "animated.webp": lambda p: frames[0].save(p, save_all=True, append_images=frames[1:]),
        "plain.webp": image.save,
        "plain.bmp": image.save,
        "wrong_extension.png": lambda p: image.save(p, format="JPEG"),
        "ünïcödé 画像 🙂.jpg": image.save,
        "very_wide.png": lambda p: image.resize((6000, 12)).save(p),
        "smaller_than_a_tile.png": lambda p: image.resize((40, 60)).save(p),
    }
    for name, write in writers.items():
        write(folder / name)
    return [folder / name for name in writers]


def write_bad(folder, rng):
    """Twenty files that must give an error row; returns path -> expected code."""
    image = Image.fromarray(photo(rng))
    image.save(folder / "whole.jpg", quality=95)
    jpeg = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    image.save(folder / "whole.png")
    png = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    contents = {
        "empty.jpg": (b"", "empty"),
        "empty.png": (b"", "empty"),
        "text.jpg": (b"not an image at all", "not_an_image"),
        "html.png": (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
        "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        "zeros.webp": (bytes(4096), "not_an_image"),
        "noise.jpg": (rng.bytes(4096), "not_an_image"),
        "pdf.jpg": (b"%PDF-1.7\n" + bytes(200), "not_an_image"),
        "postscript.tif": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "header_only.jpg": (jpeg[:200], None),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "crc.png": (png[:60] + b"\0\0\0\0" + png[64:], None),
        "signature_only.png": (png[:8], "not_an_image"),
        "bomb.png": (bomb(), "too_large"),
        "riff.webp": (b"RIFF\x00\x00\x00\x00WEBP", None),
        "gif_header.gif": (b"GIF89a\x01\x00", None),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    Image.new("RGB", (1, 1)).save(folder / "one_pixel.png")
    Image.new("RGB", (4000, 2)).save(folder / "two_high.png")
    (folder / "broken_link.jpg").symlink_to(folder / "nowhere")
    expected = {name: code for name, (_, code) in contents.items()}
    expected |= {"one_pixel.png": "too_small", "two_high.png": "too_small", "broken_link.jpg": "missing"}
    return {folder / name: code for name, code in expected.items()}

"""A picture as a model sees it: 8 bits a channel, upright, opaque. Every source's pictures go through here."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from contextlib import suppress
from functools import cache
from typing import IO

import numpy as np
from PIL import Image, ImageColor, ImageFile

from harness.data.download import in_one_line

Ground = tuple[int, int, int]
WHITE: Ground = (255, 255, 255)

# what Pillow raises for files that are cut off, are no pictures, or unpack to more pixels than it allows
DAMAGE = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
UNREAD = frozenset({"MPEG", "EPS"})  # Pillow knows their headers alone, or starts Ghostscript
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

# What they remark on is dealt with below, or named as damage; they would break into a progress bar.
warnings.filterwarnings("ignore", module=r"PIL\b")
logging.getLogger("PIL").addHandler(logging.NullHandler())


# Pillow tries its formats in the order in which they were loaded. Loaded all at once, some that look into each file
# come before JPEG, and opening a JPEG takes twice as long (findings/pillow_opens_by_the_order_of_loading.sh).
Image.preinit()
# Of these the first bytes are a sure sign, so they may be tried first where the name says so.
SURE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


@cache
def extensions() -> frozenset[str]:
    """The endings of file names, in lower case, of the formats that Pillow decodes here."""
    known = Image.registered_extensions()  # loads all of Pillow's formats
    return frozenset(ending for ending, kind in known.items() if kind in Image.OPEN and kind not in UNREAD | _stubs())


def ground(color: str) -> Ground:
    """The colour behind transparent pictures: white, #808080. Raises ValueError for a word that is none."""
    try:
        found = ImageColor.getrgb(color)
    except ValueError as error:
        raise ValueError(f"background={color!r} is no colour; write white, black or #808080") from error
    if len(found) > 3:
        raise ValueError(f"background={color!r} is itself transparent; write white, black or #808080")
    return found[0], found[1], found[2]


def read(file: str | IO[bytes], name: str, behind: Ground = WHITE) -> Image.Image:
    """The picture of a file (its first frame) in mode L or RGB. Raises ValueError with `name` where it is damaged."""
    try:
        with opened(file, name) as image:
            return eight_bit(image, behind)
    except DAMAGE as error:
        raise ValueError(f"{damage(name, error)}; replace or delete it") from error


def damage(name: str, error: BaseException) -> str:
    """Why a file is no picture, without a remedy."""
    if isinstance(error, Image.DecompressionBombError):
        return f"{name} unpacks to more pixels than Pillow allows ({in_one_line(error)})"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"{name} cannot be read as a picture (no format that Pillow knows)"
    return f"{name} cannot be read as a picture ({in_one_line(error)})"


def opened(file: str | IO[bytes], name: str) -> Image.Image:
    """The picture whose header was read: by the format of its name's ending, or by all that Pillow knows."""
    if kind := SURE.get(name[name.rfind(".") :].lower()):
        with suppress(Image.UnidentifiedImageError):
            return Image.open(file, formats=(kind,))
    return Image.open(file)


def check(file: IO[bytes], name: str, decode: bool) -> None:
    """Raises one of DAMAGE where the file is no picture by its header; decode: or its pixels are damaged."""
    with opened(file, name) as image:
        if decode:
            image.load()
            if image.mode not in ("L", "RGB") or "transparency" in image.info:  # else nothing more can fail
                eight_bit(image)


def eight_bit(image: Image.Image, behind: Ground = WHITE) -> Image.Image:
    """The picture in mode L, where it is grey, or RGB; all other modes of Pillow become one of these.

    It is turned as its EXIF orientation says. What is transparent shows the ground `behind`; a grey picture with
    transparency stays grey on a grey ground. Deep greys are scaled to 0..255: of I;16 from 0..65535; of I from 0..65535
    where all of the picture's pixels are within it (16-bit PNG and PGM), else from its own extremes; of F from 0..1
    where all are within it, else from its own extremes. Colours of 16 bits a channel lose their lower eight in Pillow.
    Raises one of DAMAGE where it cannot be decoded.
    """
    image.load()
    found = _upright(image)
    if found.mode == "1":
        found = found.convert("L")
    elif found.mode in ("I", "F") or found.mode.startswith("I;16"):
        found = _scaled(found)
    grey = found.mode in ("L", "LA", "La")
    if found.mode in ("La", "RGBa"):  # colours that were multiplied by their alpha
        found = found.convert(found.mode.upper())
    if found.mode in ("LA", "PA", "RGBA") or "transparency" in found.info:
        opaque = Image.new("RGBA", found.size, (*behind, 255))
        opaque.alpha_composite(found.convert("RGBA"))
        found = opaque.convert("RGB")
        grey = grey and len(set(behind)) == 1
    return found.convert("L" if grey else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    with suppress(*DAMAGE):  # an EXIF block that is damaged says nothing of the pixels
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
        return image if turn is None else image.transpose(turn)
    return image


def _scaled(image: Image.Image) -> Image.Image:
    """Deep greys in mode L; LA where one value stands for transparency."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are no finite numbers")
    low, high = 0.0, 1.0 if image.mode == "F" else 65535.0
    if values.min() < low or values.max() > high:
        low, high = values.min(), values.max()
    grey = Image.fromarray(np.rint((values - low) / (high - low) * 255).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


@cache
def _stubs() -> frozenset[str]:
    """Formats of which Pillow reads the header alone, unless another program decodes them."""
    stubs = {
        kind for kind, (factory, _) in Image.OPEN.items()
        if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    }  # fmt: skip
    return frozenset(stubs)

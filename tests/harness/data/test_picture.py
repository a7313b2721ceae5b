"""A picture of any mode becomes 8 bits a channel, upright and opaque; what cannot is one sentence with its name."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from harness.data import picture
from harness.data.picture import WHITE, eight_bit, ground, read


def packed(image, kind="PNG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    file.seek(0)
    return file


def pixels(file, behind=WHITE):
    return np.asarray(read(file, "a.png", behind))


RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040  # 16-bit greys from 0 to 65520


@pytest.mark.parametrize(("kind", "how"), [("PNG", {}), ("TIFF", {}), ("PPM", {}), ("TIFF", {"big": True})])
def test_sixteen_bit_greys_keep_their_brightness(kind, how):
    array = RAMP.astype(">u2") if how.pop("big", False) else RAMP
    shown = pixels(packed(Image.fromarray(array), kind, **how))
    assert shown.shape == (8, 8)
    np.testing.assert_array_equal(shown, np.rint(RAMP / 257).astype(np.uint8))
    clipped = np.asarray(Image.fromarray(RAMP).convert("RGB"))[..., 0]  # planted: what Pillow itself makes of them
    assert (clipped == 255).sum() > 50


def test_deep_greys_are_scaled_by_what_their_mode_or_their_pixels_say():
    within = eight_bit(Image.fromarray(RAMP.astype(np.int32)))  # 16 bits in mode I
    np.testing.assert_array_equal(np.asarray(within), np.rint(RAMP / 257).astype(np.uint8))
    beyond = eight_bit(Image.fromarray(RAMP.astype(np.int32) * 20 - 70000))
    np.testing.assert_array_equal(np.asarray(beyond), np.rint(RAMP / 65520 * 255).astype(np.uint8))
    share = eight_bit(Image.fromarray(np.full((2, 2), 0.5, np.float32)))  # F of 0..1
    assert np.asarray(share).tolist() == [[128, 128]] * 2
    hot = eight_bit(packed_and_opened(np.array([[-3.0, 7.0, 17.0]], np.float32)))
    assert np.asarray(hot).tolist() == [[0, 128, 255]]
    with pytest.raises(ValueError, match="no finite numbers"):
        eight_bit(Image.fromarray(np.array([[0, np.nan]], np.float32)))


def packed_and_opened(array):
    return Image.open(packed(Image.fromarray(array), "TIFF"))


HIDDEN = (10, 200, 30)  # a colour that is wholly transparent


def transparent(mode):
    """Two pixels, the left one of a colour under full transparency, the right one opaque."""
    if mode == "palette":
        image = Image.new("P", (2, 1))
        image.putpalette([*HIDDEN, 90, 80, 70])
        image.putpixel((1, 0), 1)
        return packed(image, transparency=b"\x00\xff")
    if mode == "one palette entry":
        return packed(Image.open(transparent("palette")), "GIF", transparency=0)
    if mode == "key":
        image = Image.new("RGB", (2, 1), HIDDEN)
        image.putpixel((1, 0), (90, 80, 70))
        return packed(image, transparency=HIDDEN)
    image = Image.new("RGBA", (2, 1), (*HIDDEN, 0))
    image.putpixel((1, 0), (90, 80, 70, 255))
    return packed(image, {"webp": "WEBP"}.get(mode, "PNG"), **({"lossless": True} if mode == "webp" else {}))


@pytest.mark.parametrize("mode", ["RGBA", "webp", "palette", "one palette entry", "key"])
def test_what_is_transparent_shows_the_ground(mode):
    assert pixels(transparent(mode)).tolist() == [[[255, 255, 255], [90, 80, 70]]]
    assert pixels(transparent(mode), (0, 0, 255)).tolist() == [[[0, 0, 255], [90, 80, 70]]]
    assert np.asarray(Image.open(transparent(mode)).convert("RGB"))[0, 0].tolist() != [255] * 3  # planted


def test_half_of_an_alpha_is_half_of_the_ground():
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert pixels(packed(half))[0, 0].tolist() == [127] * 3


@pytest.mark.parametrize("mode", ["LA", "key", "deep key", "bit key"])
def test_grey_with_transparency_stays_grey_on_a_grey_ground(mode):
    if mode == "LA":
        file = packed(Image.fromarray(np.array([[[7, 0], [90, 255]]], np.uint8)))
        right = 90
    elif mode == "key":
        file, right = packed(Image.fromarray(np.array([[7, 90]], np.uint8)), transparency=7), 90
    elif mode == "deep key":
        file, right = packed(Image.fromarray(np.array([[1799, 23130]], np.uint16)), transparency=1799), 90
    else:
        file, right = packed(Image.fromarray(np.array([[False, True]])), transparency=0), 255
    assert pixels(file).tolist() == [[255, right]]
    file.seek(0)
    assert pixels(file, (0, 0, 255)).tolist() == [[[0, 0, 255], [right] * 3]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_orientation_says(kind, orientation):
    upright = Image.new("RGB", (32, 16))
    upright.paste((255, 0, 0), (0, 0, 16, 8))  # red at the top left
    upright.paste((0, 255, 0), (16, 0, 32, 8))
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turn = picture.TURNS.get(back)
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[picture.ORIENTATION] = orientation
    shown = np.asarray(read(packed(stored, kind, exif=exif), "a")).astype(int)
    assert shown.shape == (16, 32, 3)
    assert abs(shown - np.asarray(upright)).mean() < 8  # JPEG and AVIF lose a little at the edges
    if orientation > 1:
        assert np.asarray(stored).shape != shown.shape or abs(np.asarray(stored).astype(int) - shown).mean() > 20


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_leaves_the_picture_as_it_is():
    file = packed(Image.new("RGB", (4, 2), (9, 9, 9)), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert pixels(file).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.new("1", (2, 2), 1), "L"),
        (Image.new("L", (2, 2), 255), "L"),
        (Image.new("P", (2, 2)), "RGB"),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 0)), "RGB"),
        (Image.new("YCbCr", (2, 2), (255, 128, 128)), "RGB"),
        (Image.new("HSV", (2, 2), (0, 0, 255)), "RGB"),
        (Image.new("RGBX", (2, 2), (255,) * 4), "RGB"),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 0)).convert("RGBa"), "RGB"),
        (Image.new("LA", (2, 2), (0, 0)).convert("La"), "L"),
        (Image.new("LAB", (2, 2), (255, 128, 128)), "RGB"),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_every_mode_becomes_grey_or_rgb(image, mode):
    shown = eight_bit(image)
    assert shown.mode == mode
    if image.mode != "P":
        assert np.asarray(shown).min() >= 254


def test_only_the_first_frame_is_read():
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    assert pixels(packed(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0].tolist() == [255, 0, 0]


def test_formats_that_pillow_decodes_are_known_by_their_endings():
    assert {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".ppm"} <= picture.extensions()
    assert not {".h5", ".hdf", ".grib", ".mpg", ".eps", ".ps", ".pdf", ".txt", ""} & picture.extensions()


@pytest.mark.parametrize("words", ["no colour", "#1234", "#ffffff80"])
def test_a_ground_that_is_no_colour_is_refused(words):
    with pytest.raises(ValueError, match=r"background='.*write white, black or #808080"):
        ground(words)
    assert ground("white") == WHITE
    assert ground("#010203") == (1, 2, 3)


def test_too_many_pixels_are_one_sentence(monkeypatch):
    file = packed(Image.new("L", (50, 50)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(
        ValueError, match=r"^a\.png unpacks to more pixels than Pillow allows .*; replace or delete it$"
    ):
        read(file, "a.png")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))


def test_what_is_no_picture_is_named():
    said = r"^a\.png cannot be read as a picture \(.*\); replace or delete it$"
    for content in (b"", b"<html>", packed(NOISE).read()[:500]):
        with pytest.raises(ValueError, match=said) as error:
            read(io.BytesIO(content), "a.png")
        assert "BytesIO" not in str(error.value)


def test_a_check_decodes_where_it_is_told_to():
    cut = packed(NOISE).read()[:500]
    picture.check(io.BytesIO(cut), "a.png", decode=False)
    with pytest.raises(picture.DAMAGE):
        picture.check(io.BytesIO(cut), "a.png", decode=True)
    with pytest.raises(picture.DAMAGE):
        picture.check(io.BytesIO(b""), "a.png", decode=False)


def test_no_other_format_looks_into_a_file_before_its_own():
    """Loaded all at once, Pillow's formats IM and IMT parse the head of every JPEG first: half of an open's time."""
    ours = "from harness.data import picture; picture.extensions()"
    plain = "from PIL import Image; Image.registered_extensions()"
    for start, first in ((ours, True), (plain, False)):
        code = f"{start}\nfrom PIL import Image\nprint(Image.ID.index('JPEG') < Image.ID.index('IM'))"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert said.strip() == str(first)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG"])
def test_a_file_is_read_by_its_content_whatever_its_ending_says(kind):
    file = io.BytesIO()
    NOISE.convert("L").save(file, kind)
    kept = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("L"))
    for name in ("a.jpg", "a.PNG", "a.webp", "a.tga", "a"):
        picture.check(io.BytesIO(file.getvalue()), name, decode=True)
        np.testing.assert_array_equal(np.asarray(read(io.BytesIO(file.getvalue()), name).convert("L")), kept)


def test_pillows_warnings_do_not_reach_the_terminal(tmp_path):
    Image.new("P", (2, 2)).save(tmp_path / "palette.png", transparency=b"\x80\xff")
    bad = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"
    Image.new("RGB", (2, 2)).save(tmp_path / "exif.jpg", exif=bad)
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    files = [str(file) for file in tmp_path.iterdir()]
    start = f"import sys; from PIL import Image; Image.MAX_IMAGE_PIXELS = 1000; files = {files!r}; "
    plain = start + "[Image.open(f).convert('RGB').getexif() for f in files]"
    ours = start + "from harness.data.picture import read; [read(f, f) for f in files]"
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
            for code in (plain, ours)]  # fmt: skip
    assert "DecompressionBombWarning" in said[0]
    assert "Palette images" in said[0]
    assert said[1] == ""

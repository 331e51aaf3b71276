from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcore.data.index import Item, MaskFormat
from segcore.data.reading import UnreadableError, read_item

# A colour of the web palette, which palette images therefore hold exactly.
RED = (204, 51, 51)


@pytest.fixture
def item(tmp_path: Path) -> Item:
    """An 8 x 4 red image and a trimap whose columns are 1 1 2 2 3 3 2 2."""
    item = Item("a", tmp_path / "a.jpg", tmp_path / "a.png", "trainval", None)
    Image.new("RGB", (8, 4), RED).save(item.image, quality=100, subsampling=0)
    Image.fromarray(np.tile(np.array([1, 1, 2, 2, 3, 3, 2, 2], np.uint8), (4, 1))).save(item.mask)
    return item


def assert_unreadable(item: Item, reason: str, mask_format: MaskFormat = "trimap") -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_item(item, 4, mask_format)


def test_image_is_resized_bicubic_and_trimap_nearest(item: Item) -> None:
    pattern = np.random.default_rng(0).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    Image.fromarray(pattern).save(item.image, format="PNG")
    image, codes = read_item(item, 4, "trimap")
    # PIL's default filter is bicubic: the default is the oracle.
    np.testing.assert_array_equal(image, np.asarray(Image.fromarray(pattern).resize((4, 4))))
    np.testing.assert_array_equal(codes, np.tile([1, 2, 3, 2], (4, 1)))
    assert image.dtype == codes.dtype == np.uint8


@pytest.mark.parametrize(
    ("mode", "format"), [("P", "GIF"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("RGB", "BMP"), ("RGB", "WEBP")]
)
def test_any_mode_and_format_under_the_name_jpg(item: Item, mode: str, format: str) -> None:
    Image.new("RGB", (8, 4), RED).convert(mode).save(item.image, format=format)
    image, _ = read_item(item, 4, "trimap")
    np.testing.assert_allclose(image, np.broadcast_to(RED, (4, 4, 3)), atol=5)


def test_greyscale_of_8_and_16_bits(item: Item) -> None:
    Image.new("L", (8, 4), 150).save(item.image, quality=100)
    np.testing.assert_allclose(read_item(item, 4, "trimap")[0], 150, atol=2)
    Image.fromarray(np.full((4, 8), 150 * 256, np.uint16)).save(item.image, format="PNG")
    np.testing.assert_array_equal(read_item(item, 4, "trimap")[0], 150)


def test_orientation_in_exif_is_not_applied(item: Item) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pattern = np.zeros((4, 8, 3), np.uint8)
    pattern[:, :4] = 255
    Image.fromarray(pattern).save(item.image, quality=100, exif=exif)
    image, _ = read_item(item, 4, "trimap")
    assert image[:, 0].min() > 240
    assert image[:, 3].max() < 15


def test_all_background_is_valid(item: Item) -> None:
    Image.new("L", (8, 4), 2).save(item.mask)
    np.testing.assert_array_equal(read_item(item, 4, "trimap")[1], 2)


def test_missing_files(item: Item) -> None:
    item.mask.unlink()
    assert_unreadable(item, r"the trimap a\.png is missing")
    item.image.unlink()
    assert_unreadable(item, r"the image a\.jpg is missing")


def test_truncated_jpeg(item: Item) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(item.image)
    item.image.write_bytes(item.image.read_bytes()[:2000])
    assert_unreadable(item, r"a\.jpg cannot be read: .*truncated")


@pytest.mark.parametrize("content", [b"", b"<html>no picture</html>"])
def test_no_picture(item: Item, content: bytes) -> None:
    item.image.write_bytes(content)
    assert_unreadable(item, "no picture of a known format")


def test_trimap_of_another_size(item: Item) -> None:
    Image.new("L", (4, 8), 1).save(item.mask)
    assert_unreadable(item, "the mask is 4 x 8 pixels, its image 8 x 4")


@pytest.mark.parametrize(("value", "reason"), [(0, "from 0 to 2"), (4, "from 2 to 4"), (255, "from 2 to 255")])
def test_trimap_with_other_values(item: Item, value: int, reason: str) -> None:
    trimap = np.full((4, 8), 2, np.uint8)
    trimap[3, 7] = value
    Image.fromarray(trimap).save(item.mask)
    assert_unreadable(item, reason)


def test_trimap_in_colour(item: Item) -> None:
    Image.new("RGB", (8, 4), (1, 1, 1)).save(item.mask)
    assert_unreadable(item, "mode RGB; it must have one channel")


def test_decompression_bomb(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert_unreadable(item, "exceeds limit")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.warns(Image.DecompressionBombWarning):
        assert_unreadable(item, "8 x 4 pixels, too many")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_binary_masks_of_any_mode(item: Item, mode: str) -> None:
    foreground = np.tile([0, 0, 1, 1, 1, 1, 0, 0], (4, 1)).astype(bool)
    if mode == "I;16":
        mask = Image.fromarray(foreground.astype(np.uint16) * 256)
    elif mode == "P":
        mask = Image.fromarray(foreground.astype(np.uint8) * 7).convert("P")
        # Of a palette the index counts: here background is white and foreground black.
        mask.putpalette([255] * 3 + [0] * 765)
    else:
        mask = Image.fromarray(foreground.astype(np.uint8) * 255).convert(mode)
    mask.save(item.mask)
    np.testing.assert_array_equal(read_item(item, 4, "binary")[1], np.tile([2, 1, 1, 2], (4, 1)))


def test_transparent_pixels_of_a_mask_are_background(item: Item) -> None:
    mask = np.full((4, 8, 4), 255, np.uint8)
    mask[:, 4:, 3] = 0
    Image.fromarray(mask).save(item.mask)
    np.testing.assert_array_equal(read_item(item, 4, "binary")[1], np.tile([1, 1, 2, 2], (4, 1)))


def test_a_jpeg_is_no_mask(item: Item) -> None:
    Image.new("L", (8, 4), 255).save(item.mask, format="JPEG")
    assert_unreadable(item, "save it as PNG", "binary")


def test_a_file_that_would_start_another_program_is_no_picture(item: Item) -> None:
    """Pillow hands EPS to Ghostscript, whatever the file's ending."""
    item.image.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 4\n%%EndComments\nshowpage\n")
    with Image.open(item.image) as image:
        assert image.format == "EPS"
    assert_unreadable(item, "no picture of a known format")

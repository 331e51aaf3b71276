"""Damaged pictures and trimaps through the reading of the data: Pillow's own pixels, or a reason to skip them."""

import io
import random
import resource
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcore.data.index import Item
from segcore.data.reading import UnreadableError, read_item
from tests.faults.damage import damaged, tell, try_reader

# As for users, to whom a warning of Pillow's is no error.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZE, WIDTH, HEIGHT = 32, 40, 30
GIB = 2**20  # of the kibibytes in which Linux counts


def texture(channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT // 5, WIDTH // 5, channels), dtype=np.uint8)
    return values.repeat(5, 0).repeat(5, 1)


def stored(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures() -> dict[str, bytes]:
    """One picture in every mode and format that people have."""
    rgb = Image.fromarray(texture())
    made = {
        "jpeg": stored(rgb, "jpeg"),
        "progressive": stored(rgb, "jpeg", progressive=True),
        "cmyk": stored(rgb.convert("CMYK"), "jpeg"),
        "grey jpeg": stored(rgb.convert("L"), "jpeg"),
        "16 bit": stored(Image.fromarray(texture(1)[..., 0].astype(np.uint16) * 257), "png"),
        "16 bit tiff": stored(Image.fromarray(texture(1)[..., 0].astype(np.uint16) * 257), "tiff"),
        "float tiff": stored(Image.fromarray(texture(1)[..., 0].astype(np.float32)), "tiff"),
        "animated gif": stored(rgb, "gif", save_all=True, append_images=[rgb.rotate(180)]),
        "animated webp": stored(rgb, "webp", save_all=True, append_images=[rgb.rotate(180)]),
        "animated png": stored(rgb, "png", save_all=True, append_images=[rgb.rotate(180)]),
        "lossless webp": stored(rgb, "webp", lossless=True),
        "lzw tiff": stored(rgb, "tiff", compression="tiff_lzw"),
    }
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA"):
        made[f"png {mode}"] = stored(rgb.convert(mode), "png")
    for kind in ("bmp", "gif", "tiff", "webp", "ppm", "tga", "jpeg2000", "pcx"):
        made[kind] = stored(rgb, kind)
    return made


def trimaps() -> dict[str, bytes]:
    """A trimap as the dataset has it, and in other forms."""
    values = np.random.default_rng(1).integers(1, 4, (HEIGHT, WIDTH), dtype=np.uint8)
    image = Image.fromarray(values)
    palette = Image.fromarray(values, mode="L").convert("P", colors=4)
    return {
        "png": stored(image, "png"),
        "tiff": stored(image, "tiff"),
        "gif": stored(image, "gif"),
        "palette": stored(palette, "png"),
        "16 bit": stored(Image.fromarray(values.astype(np.uint16)), "png"),
    }


def cases(originals: dict[str, bytes], number: int, seed: int) -> Iterator[bytes]:
    """Each as it is, each as nothing, then so many damaged ones; of half of these only the pixels are hit."""
    yield from originals.values()
    yield from (b"", b"\0", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\nshowpage\n", b"<svg/>")
    draw = random.Random(seed)
    for _ in range(number):
        content = draw.choice(list(originals.values()))
        head = draw.choice([0, min(len(content) - 1, 200)])
        yield content[:head] + damaged(content[head:], draw)


def pixels_of_pillow(content: bytes) -> np.ndarray:
    """What Pillow makes of a picture, without anything of ours."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        is_deep = image.mode.startswith("I;16")
        shown = Image.fromarray((np.asarray(image) // 256).astype(np.uint8)) if is_deep else image
        return np.asarray(shown.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def fuzz_images(folder: Path, number: int, seed: int) -> Counter[str]:
    """Images, beside a trimap of every size that damage may give them: the one that fits is made for each."""
    path, mask = folder / "image.jpg", folder / "trimap.png"

    def read(image: Path) -> np.ndarray:
        with Image.open(image) as opened:
            size = opened.size if opened.width * opened.height < 1_000_000 else (WIDTH, HEIGHT)
        Image.new("L", size, 1).save(mask)
        return read_item(Item("a", image, mask, "", None), SIZE, "trimap")[0]

    def read_or_refuse(image: Path) -> np.ndarray:
        try:
            return read(image)
        except UnreadableError:
            raise
        # Pillow could not tell the size in the lines above: so the reading must not be able to, either.
        except Exception:
            return read_item(Item("a", image, mask, "", None), SIZE, "trimap")[0]

    def check(pixels: np.ndarray, content: bytes) -> None:
        assert pixels.shape == (SIZE, SIZE, 3)
        np.testing.assert_array_equal(pixels, pixels_of_pillow(content))

    return try_reader(read_or_refuse, UnreadableError, check, path, cases(pictures(), number, seed))


def fuzz_trimaps(folder: Path, number: int, seed: int) -> Counter[str]:
    image, path = folder / "image.png", folder / "trimap.png"
    Image.fromarray(texture()).save(image)

    def check(codes: np.ndarray, content: bytes) -> None:
        assert set(np.unique(codes)) <= {1, 2, 3}
        with Image.open(io.BytesIO(content)) as trimap:
            values = np.asarray(trimap).astype(np.uint8)
        assert values.shape == (HEIGHT, WIDTH)
        resized = Image.fromarray(values).resize((SIZE, SIZE), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(codes, np.asarray(resized))

    def read(mask: Path) -> np.ndarray:
        return read_item(Item("a", image, mask, "", None), SIZE, "trimap")[1]

    return try_reader(read, UnreadableError, check, path, cases(trimaps(), number, seed))


def with_size(png: bytes, width: int, height: int) -> bytes:
    """A PNG whose header claims another size, with a right checksum."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


@pytest.mark.parametrize(
    ("width", "height"), [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (10_000, 10_000), (0, 5)]
)
def test_a_picture_that_claims_billions_of_pixels_takes_no_memory(tmp_path, width, height):
    png = pictures()["png RGB"]
    image, mask = tmp_path / "a.png", tmp_path / "b.png"
    image.write_bytes(with_size(png, width, height))
    mask.write_bytes(with_size(png, width, height))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for item in (Item("a", image, tmp_path / "c.png", "", None), Item("a", tmp_path / "a.png", mask, "", None)):
        with pytest.raises(UnreadableError):
            read_item(item, SIZE, "trimap")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIB / 4


def test_every_format_is_read_as_pillow_reads_it(tmp_path):
    counts = fuzz_images(tmp_path, 0, 0)
    assert counts == {"cases": len(pictures()) + 5, "accepted": len(pictures()) - 1, "refused": 6}  # float: no range


def test_a_sample_of_damaged_images_and_trimaps(tmp_path):
    for fuzz in (fuzz_images, fuzz_trimaps):
        counts = fuzz(tmp_path, 400, 2)
        assert counts["accepted"] > 5
        assert counts["refused"] > 100


@pytest.mark.faults
def test_thousands_of_damaged_images_and_trimaps(tmp_path):
    images, masks = fuzz_images(tmp_path, 6000, 3), fuzz_trimaps(tmp_path, 3000, 4)
    tell("damaged images", images)
    tell("damaged trimaps", masks)
    assert min(images["accepted"], images["refused"], masks["accepted"], masks["refused"]) > 100

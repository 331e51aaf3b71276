from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from segcore.data import Border
from segcore.data.reading import UnreadableError
from segcore.photos import Photo, read_photo, read_truth, turn


def gradient(width: int = 7, height: int = 5) -> Image.Image:
    values = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    return Image.fromarray(np.stack([values, values[::-1], values * 3], axis=-1))


def oriented(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient().save(path, exif=exif)
    return path


def equal(first: Image.Image, second: Image.Image) -> bool:
    return np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_upright_as_pillow_turns_it_and_goes_back(tmp_path: Path, orientation: int) -> None:
    path = oriented(tmp_path / "photo.png", orientation)
    photo = read_photo(path)
    with Image.open(path) as stored:
        assert equal(photo.image, ImageOps.exif_transpose(stored))
    assert equal(photo.as_stored(photo.image), gradient())


def test_an_orientation_out_of_range_is_none(tmp_path: Path) -> None:
    assert equal(read_photo(oriented(tmp_path / "photo.png", 77)).image, gradient())


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0x80FF, 0xFFFF]], np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(read_photo(tmp_path / "deep.png").image)[0, :, 0].tolist() == [0, 0x80, 0xFF]


def test_the_first_frame_of_a_moving_gif_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_photo(tmp_path / "moving.gif").image.getpixel((0, 0)) == (255, 0, 0)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UnreadableError, match=r"cannot be read|no picture"):
        read_photo(tmp_path / "text.jpg")
    gradient(200, 200).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-400])
    with pytest.raises(UnreadableError, match=r"cannot be read|no picture"):
        read_photo(tmp_path / "cut.jpg")
    with pytest.raises(UnreadableError, match="is missing"):
        read_photo(tmp_path / "absent.jpg")
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UnreadableError, match="mode F"):
        read_photo(tmp_path / "float.tif")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_with_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient().save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 34)
    with pytest.raises(UnreadableError, match="too many"):
        read_photo(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("border", "pet", "valid"),
    [("pet", [1, 0, 1], None), ("background", [1, 0, 0], None), ("ignore", [1, 0, 0], [1, 1, 0])],
)
def test_a_trimap_follows_the_border_rule(
    tmp_path: Path, border: Border, pet: list[int], valid: list[int] | None
) -> None:
    Image.fromarray(np.array([[1, 2, 3]], np.uint8)).save(tmp_path / "trimap.png")
    truth, counted = read_truth(tmp_path / "trimap.png", Photo(Image.new("RGB", (3, 1)), 1), border)
    assert truth[0].tolist() == pet
    assert (counted is None) == (valid is None)
    if counted is not None:
        assert counted[0].tolist() == valid


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(np.array([[0, 255, 7]], np.uint8)),
        Image.fromarray(np.array([[0, 1, 1]], np.uint8)),
        Image.fromarray(np.array([[0, 1, 1]], bool)),
        Image.fromarray(np.array([[[0, 0, 0], [0, 0, 1], [9, 9, 9]]], np.uint8)),
        Image.fromarray(np.array([[[9, 9, 9, 0], [0, 1, 0, 255], [9, 9, 9, 5]]], np.uint8)),
    ],
    ids=["grey", "classes", "bits", "rgb", "transparent"],
)
def test_of_any_other_mask_all_but_black_is_pet(tmp_path: Path, mask: Image.Image) -> None:
    mask.save(tmp_path / "mask.png")
    truth, counted = read_truth(tmp_path / "mask.png", Photo(Image.new("RGB", (3, 1)), 1), "pet")
    assert truth[0].tolist() == [False, True, True]
    assert counted is None


def test_a_mask_turns_with_its_photo(tmp_path: Path) -> None:
    photo = read_photo(oriented(tmp_path / "photo.png", 6))
    mask = Image.fromarray(np.asarray(gradient())[..., 0] > 20)
    mask.save(tmp_path / "mask.png")
    truth, _ = read_truth(tmp_path / "mask.png", photo, "pet")
    assert np.array_equal(truth, np.asarray(turn(mask, 6)))
    assert truth.shape == (7, 5)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(UnreadableError, match="is 4 x 4 pixels, its image 3 x 1"):
        read_truth(tmp_path / "mask.png", Photo(Image.new("RGB", (3, 1)), 1), "pet")

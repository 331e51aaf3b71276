"""The network of most tests is one 1 x 1 convolution whose logit is 30 (brightness - 0.5): bright is pet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate
from typer.testing import CliRunner

from segcore.ablation import read_preset
from segcore.build import build_model
from segcore.checkpoint import save_checkpoint
from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.models import MODELS
from segcore.pictures import Mask, Pixels
from segcore.predict import app

Command = Callable[..., Any]

SIZE = (48, 30)


def make_config() -> RunConfig:
    settings = Layer("test", {"data.image_size": 64, "data.batch_size": 2})
    config = resolve([read_preset("base")[0], settings], 42, Problems())
    assert config is not None
    return config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = nn.Conv2d(3, 1, 1)
    nn.init.constant_(model.weight, 10)
    assert model.bias is not None
    nn.init.constant_(model.bias, -15)
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    save_checkpoint(path, model, {"settings": make_config().model_dump(), "threshold": 0.45})
    return path


@pytest.fixture
def predict(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Calls the command with the bright network's checkpoint; outputs lie in tmp_path/out."""
    monkeypatch.setitem(
        MODELS, "resnet34_unet", lambda in_channels, out_channels: nn.Conv2d(in_channels, out_channels, 1)
    )
    fixed = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
    return lambda *arguments: CliRunner().invoke(app, [*fixed, *map(str, arguments)])


def left_half() -> Mask:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[:, : SIZE[0] // 2] = True
    return mask


def photo() -> Image.Image:
    return Image.fromarray(left_half()).convert("L")


def written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def read(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture)


def read_mask(tmp_path: Path, name: str) -> Pixels:
    return read(tmp_path / "out" / f"{name}_mask.png")


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "jpg"), ("CMYK", "jpg"), ("L", "jpg"), ("P", "gif"), ("RGBA", "png"), ("LA", "png"), ("P", "png"),
     ("1", "png"), ("I;16", "png"), ("RGB", "webp")],
)  # fmt: skip
def test_any_picture_gives_a_mask_of_its_own_size(predict: Command, tmp_path: Path, mode: str, suffix: str) -> None:
    picture = photo() if mode == "I;16" else photo().convert(mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    picture.save(tmp_path / f"cat.{suffix}")
    result = predict(tmp_path / f"cat.{suffix}")
    assert result.exit_code == 0, result.output
    assert written(tmp_path) == ["cat_mask.png", "cat_overlay.png", "sheet.png"]
    mask = read_mask(tmp_path, "cat")
    assert set(np.unique(mask)) == {0, 255}
    assert mask.shape == (SIZE[1], SIZE[0])
    assert ((mask > 0) == left_half()).mean() > 0.95
    assert read(tmp_path / "out" / "cat_overlay.png").shape == (SIZE[1], SIZE[0], 3)


def test_the_mask_of_a_turned_photo_fits_its_file_and_the_overlay_is_upright(predict: Command, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo().save(tmp_path / "phone.png", exif=exif)
    assert predict(tmp_path / "phone.png").exit_code == 0
    assert ((read_mask(tmp_path, "phone") > 0) == left_half()).mean() > 0.95
    assert read(tmp_path / "out" / "phone_overlay.png").shape == (*SIZE, 3)


def test_the_threshold_is_the_stored_one_unless_given(predict: Command, tmp_path: Path) -> None:
    # Grey 125: logit 30 (125 / 255 - 0.5) = -0.294, probability 0.427.
    Image.new("RGB", SIZE, (125, 125, 125)).save(tmp_path / "grey.png")
    result = predict(tmp_path / "grey.png")
    assert "threshold 0.45 (chosen on validation images)" in result.stdout
    assert not read_mask(tmp_path, "grey").any()
    assert predict(tmp_path / "grey.png", "--threshold", "0.42").exit_code == 0
    assert read_mask(tmp_path, "grey").all()


def test_names_that_occur_twice_do_not_overwrite_each_other(predict: Command, tmp_path: Path) -> None:
    for folder, brightness in (("a", 0), ("b", 255)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", SIZE, (brightness,) * 3).save(tmp_path / folder / "cat.png")
    result = predict(tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 0
    assert not read_mask(tmp_path, "cat").any()
    assert read_mask(tmp_path, "cat_2").all()
    assert "written as cat_2" in result.stdout


def test_many_pictures_fill_several_sheets(predict: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(9):
        photo().save(tmp_path / "in" / f"{number}.png")
    assert predict(tmp_path / "in").exit_code == 0
    assert [name for name in written(tmp_path) if name.startswith("sheet")] == ["sheet.png", "sheet_2.png"]
    assert len(read(tmp_path / "out" / "sheet.png")) > len(read(tmp_path / "out" / "sheet_2.png"))


def test_unreadable_pictures_are_named_and_the_others_done(predict: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo().save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    result = predict(tmp_path / "in")
    assert result.exit_code == 1
    assert "bad.jpg" in result.stderr
    assert "1 of 2 pictures" in result.stdout
    assert written(tmp_path) == ["good_mask.png", "good_overlay.png", "sheet.png"]


def test_nothing_readable_writes_nothing(predict: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    result = predict(tmp_path / "bad.jpg")
    assert result.exit_code == 2
    assert "bad.jpg" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jpg"], "no such file or folder"),
        (["--threshold", "1.5"], "between 0 and 1"),
        (["--threshold", "nan"], "between 0 and 1"),
        (["--device", "tpu"], "execution.device"),
        (["--device", "cuda:97"], "CUDA devices"),
        (["--truth", "absent"], "no such folder"),
        (["--run", "abcd"], "either --run RUN"),
        (["--checkpoint", "absent.safetensors"], "no such checkpoint"),
    ],
)
def test_wrong_requests_write_nothing(predict: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    photo().save(tmp_path / "cat.png")
    result = predict(tmp_path / "cat.png", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_truth_adds_the_dice_and_a_column(predict: Command, tmp_path: Path) -> None:
    photo().save(tmp_path / "cat.png")
    (tmp_path / "truth").mkdir()
    # Truth: the whole picture, so with half of it found Dice = 2 * 0.5 / (0.5 + 1) = 2 / 3.
    Image.new("L", SIZE, 1).save(tmp_path / "truth" / "cat.png")
    assert predict(tmp_path / "cat.png").exit_code == 0
    plain_width = read(tmp_path / "out" / "sheet.png").shape[1]
    result = predict(tmp_path / "cat.png", "--truth", tmp_path / "truth")
    assert result.exit_code == 0, result.output
    shown = float(result.stdout.split("mean Dice ")[1].split()[0])
    found = (read_mask(tmp_path, "cat") > 0).mean()
    assert shown == pytest.approx(2 * found / (found + 1), abs=1e-4)
    assert shown == pytest.approx(2 / 3, abs=0.03)
    assert read(tmp_path / "out" / "sheet.png").shape[1] > plain_width


def test_truth_of_another_size_is_named_and_the_mask_still_written(predict: Command, tmp_path: Path) -> None:
    photo().save(tmp_path / "cat.png")
    (tmp_path / "truth").mkdir()
    Image.new("L", (5, 5), 1).save(tmp_path / "truth" / "cat.png")
    result = predict(tmp_path / "cat.png", "--truth", tmp_path / "truth")
    assert result.exit_code == 1
    assert "5 x 5" in result.stderr
    assert "cat_mask.png" in written(tmp_path)


def test_a_real_network_is_fed_as_in_training(tmp_path: Path) -> None:
    config = make_config()
    model = build_model(config, torch.device("cpu")).eval()
    with torch.no_grad():  # else an untrained network says nearly the same everywhere
        list(model.parameters())[-2].mul_(300)
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, model, {"settings": config.model_dump()})
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    resized = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))
    with torch.inference_mode():
        probabilities = model(torch.from_numpy(resized.copy()).permute(2, 0, 1)[None] / 255).sigmoid()
    expected = interpolate(probabilities, (50, 70), mode="bilinear")[0, 0].numpy()
    threshold = float(np.median(expected))
    arguments = [tmp_path / "noise.png", "--checkpoint", path, "--output", tmp_path / "out", "--threshold", threshold]
    result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    clear = np.abs(expected - threshold) > 1e-4
    assert clear.mean() > 0.5
    assert np.array_equal((read_mask(tmp_path, "noise") > 0)[clear], (expected > threshold)[clear])

"""A test set of four pictures and a network whose logit is 30 (brightness - 0.5), so that all can be done by hand."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from segcore.ablation import read_preset
from segcore.build import build_index
from segcore.checkpoint import read_checkpoint, save_checkpoint, write_checkpoint
from segcore.config import Layer, Problems, resolve
from segcore.evaluate import app
from segcore.models import MODELS

Command = Callable[..., Any]

SIZE = 64
# Grey 125 has probability 0.427: pet at 0.4, background at 0.45 and 0.5.
GREY, WHITE = 125, 255
# Name: (brightness of the picture's pet, its rows, the truth's rows).
TEST_SET = {
    "cat_1": (WHITE, slice(0, 32), slice(0, 32)),  # Dice 1
    "cat_2": (WHITE, slice(0, 32), slice(16, 48)),  # Dice 1/2
    "dog_1": (WHITE, slice(0, 0), slice(0, 0)),  # both empty: Dice 1
    "dog_2": (GREY, slice(0, 32), slice(0, 32)),  # Dice 0; at 0.4: 1
}
TRAINVAL = {f"cat_{number}": TEST_SET["cat_1"] for number in range(3, 13)}


def write_pets(root: Path) -> None:
    """The official layout, with a class column, so that breeds are known."""
    (root / "images").mkdir(parents=True)
    (root / "annotations" / "trimaps").mkdir(parents=True)
    for part, pictures in (("trainval", TRAINVAL), ("test", TEST_SET)):
        for name, (brightness, bright_rows, pet_rows) in pictures.items():
            image, trimap = np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE), 2, np.uint8)
            image[bright_rows], trimap[pet_rows] = brightness, 1
            # PNG inside, so that no pixel changes.
            Image.fromarray(image).save(root / "images" / f"{name}.jpg", format="PNG")
            Image.fromarray(trimap).save(root / "annotations" / "trimaps" / f"{name}.png")
        lines = [f"{name} 1 1 1\n" for name in pictures]
        (root / "annotations" / f"{part}.txt").write_text("".join(lines))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pets/ and best.safetensors, a checkpoint that was trained on them."""
    folder = tmp_path_factory.mktemp("world")
    write_pets(folder / "pets")
    settings = {
        "data.root": str(folder / "pets"),
        "data.cache_dir": str(folder / "cache"),
        "data.image_size": SIZE,
        "data.batch_size": 2,
        "execution.device": "cpu",
        "execution.threads": 1,
    }
    config = resolve([read_preset("base")[0], Layer("test", settings)], 42, Problems())
    assert config is not None
    model = nn.Conv2d(3, 1, 1)
    nn.init.constant_(model.weight, 10)
    assert model.bias is not None
    nn.init.constant_(model.bias, -15)
    fingerprint = build_index(config).fingerprint
    metadata = {"settings": config.model_dump(), "epoch": 3, "threshold": 0.45, "data_fingerprint": fingerprint}
    save_checkpoint(folder / "best.safetensors", model, metadata)
    return folder


@pytest.fixture(scope="module", autouse=True)
def bright_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            MODELS, "resnet34_unet", lambda in_channels, out_channels: nn.Conv2d(in_channels, out_channels, 1)
        )
        yield


@pytest.fixture(scope="module")
def tested(world: Path) -> tuple[Path, str]:
    """The folder that a plain call with --masks writes, and what it prints."""
    arguments = ["--checkpoint", world / "best.safetensors", "--output", world / "out", "--masks"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return world / "out", result.stdout


@pytest.fixture
def evaluate(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Calls the command, without its sheets, which cost the most; outputs lie in tmp_path/out."""
    monkeypatch.setattr("segcore.evaluate.write_sheets", lambda *arguments: None)
    fixed = ["--checkpoint", str(world / "best.safetensors"), "--output", str(tmp_path / "out")]
    return lambda *arguments: CliRunner().invoke(app, [*fixed, *map(str, arguments)])


def read_results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


def test_metrics_are_those_done_by_hand(tested: tuple[Path, str]) -> None:
    content = read_results(tested[0])
    assert content["threshold"] == 0.45
    assert content["epoch"] == 3
    assert content["data"]["name"] == "pets"
    assert content["data"]["num_images"] == 4
    assert content["notes"] == []
    assert content["metrics"] == pytest.approx(
        {
            # tp, fp, fn in half pictures of 2,048 pixels: 1, 0, 0; 0.5, 0.5, 0.5; 0, 0, 0; 0, 0, 1.
            "test/dice_per_image": (1 + 1 / 2 + 1 + 0) / 4,
            "test/dice_dataset": 2 * 1.5 / (2 * 1.5 + 0.5 + 1.5),
            "test/iou_per_image": (1 + 1 / 3 + 1 + 0) / 4,
            "test/iou_dataset": 1.5 / (1.5 + 0.5 + 1.5),
            "test_at_0.4/dice_per_image": (1 + 1 / 2 + 1 + 1) / 4,
            "test_at_0.4/dice_dataset": 2 * 2.5 / (2 * 2.5 + 0.5 + 0.5),
            "test_at_0.4/iou_per_image": (1 + 1 / 3 + 1 + 1) / 4,
            "test_at_0.4/iou_dataset": 2.5 / (2.5 + 0.5 + 0.5),
            "test_at_0.4/dice_batch": (2 * 1.5 / (2 * 1.5 + 0.5 + 0.5) + 1) / 2,
            "test_at_0.5/dice_per_image": (1 + 1 / 2 + 1 + 0) / 4,
            "test_at_0.5/dice_dataset": 2 * 1.5 / (2 * 1.5 + 0.5 + 1.5),
            "test_at_0.5/iou_per_image": (1 + 1 / 3 + 1 + 0) / 4,
            "test_at_0.5/iou_dataset": 1.5 / (1.5 + 0.5 + 1.5),
        }
    )


def test_the_table_shows_all_three_thresholds(tested: tuple[Path, str]) -> None:
    lines = {re.split("│|  ", line.strip("│┃ "))[0].strip(): line for line in tested[1].splitlines()}
    assert re.findall(r"\d\.\d{4}", lines["Dice, mean over images"]) == ["0.6250", "0.8750", "0.6250"]
    assert re.findall(r"\d\.\d{4}", lines["Dice, batches of 2"]) == ["0.8750"]
    assert any("pets: 4 test images, epoch 3" in line for line in lines)


def test_the_per_image_table_has_counts_and_breeds(tested: tuple[Path, str]) -> None:
    table = pd.read_parquet(tested[0] / "test_per_image.parquet")
    assert list(table) == ["name", "breed", "tp", "fp", "fn", "tn", "dice", "iou"]
    assert table["name"].tolist() == list(TEST_SET)
    assert table["breed"].tolist() == ["cat", "cat", "dog", "dog"]
    assert [table[column][1] for column in ("tp", "fp", "fn", "tn")] == [1024, 1024, 1024, 1024]


def test_sheets_are_written(tested: tuple[Path, str]) -> None:
    assert {path.name for path in tested[0].glob("*.png")} == {
        "sheet_worst.png",
        "sheet_best.png",
        "sheet_tenth_batches.png",
    }


def test_masks_and_overlays_are_written_on_request(tested: tuple[Path, str], evaluate: Command, tmp_path: Path) -> None:
    for name, (brightness, bright_rows, _) in TEST_SET.items():
        expected = np.zeros((SIZE, SIZE), np.uint8)
        expected[bright_rows] = 255 if brightness == WHITE else 0
        with Image.open(tested[0] / "masks" / f"{name}.png") as mask:
            assert np.array_equal(np.asarray(mask), expected)
        with Image.open(tested[0] / "overlays" / f"{name}.png") as picture:
            assert picture.size == (SIZE, SIZE)
    assert evaluate().exit_code == 0
    assert not (tmp_path / "out" / "masks").exists()


def test_the_threshold_can_be_set(evaluate: Command, tmp_path: Path) -> None:
    assert evaluate("evaluation.threshold=0.42").exit_code == 0
    content = read_results(tmp_path / "out")
    assert content["threshold"] == 0.42
    assert content["metrics"]["test/dice_per_image"] == pytest.approx(0.875)


def test_without_a_stored_threshold_validation_chooses_and_it_is_said(
    evaluate: Command, world: Path, tmp_path: Path
) -> None:
    tensors, metadata = read_checkpoint(world / "best.safetensors")
    del metadata["threshold"]
    write_checkpoint(tmp_path / "unfinished.safetensors", tensors, metadata)
    result = evaluate("--checkpoint", tmp_path / "unfinished.safetensors")
    assert result.exit_code == 0, result.output
    assert "chosen now, on the validation images" in result.stdout
    # On white pets before black every threshold is right, so the tie goes to 0.5.
    assert read_results(tmp_path / "out")["threshold"] == 0.5


def test_other_data_is_tested_and_said_plainly(evaluate: Command, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    for number in range(10):
        picture = Image.new("RGB", (SIZE, SIZE), (number, 0, 0))
        picture.save(tmp_path / "mine" / "images" / f"{number}.png")
        Image.new("L", (SIZE, SIZE), 0).save(tmp_path / "mine" / "masks" / f"{number}.png")
    result = evaluate(f"data.root={tmp_path / 'mine'}", "data.format=folders")
    assert result.exit_code == 0, result.output
    assert "this is other data than the checkpoint was trained on" in result.stdout
    content = read_results(tmp_path / "out")
    assert content["data"]["name"] == "mine"
    assert content["data"]["fingerprint"] != content["data"]["trained_on"]
    # Nothing is there and nothing is found.
    assert content["metrics"]["test/dice_per_image"] == 1


def test_another_split_is_said(evaluate: Command) -> None:
    assert "data.split_seed differs from training" in evaluate("data.split_seed=7").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.name=unet"], "belongs to the training"),
        (["data.rot=x"], "did you mean data.root"),
        (["data.root=absent"], "absent"),
        (["evaluation.threshold=2"], "evaluation.threshold"),
        (["execution.device=cuda:97"], "CUDA devices"),
        (["nonsense"], "KEY=VALUE"),
        (["--run", "abcd"], "either --run RUN"),
        (["--checkpoint", "absent.safetensors"], "no such checkpoint"),
    ],
)
def test_wrong_requests_write_nothing(evaluate: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = evaluate(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file_is_refused(evaluate: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = evaluate("--output", tmp_path / "file")
    assert result.exit_code == 2
    assert "is a file" in result.stderr

from typing import Any

import numpy as np
import pytest
import torch

from segcore.data import Batch, Border, EvaluationLoader, Part, TrainLoader, pack
from segcore.data import loader as loader_module

CPU = torch.device("cpu")


def make_part(size: int, side: int = 8) -> Part:
    """Image i has red = i everywhere, green = 1 + column, blue = 1 + row; its codes are 1 + column % 3."""
    images = np.zeros((size, side, side, 3), np.uint8)
    images[..., 0] = np.arange(size)[:, None, None]
    images[..., 1] = 1 + np.arange(side)
    images[..., 2] = 1 + np.arange(side)[:, None]
    codes = np.broadcast_to((1 + np.arange(side) % 3).astype(np.uint8), (size, side, side)).copy()
    return Part(tuple(f"a_{i}" for i in range(size)), (None,) * size, pack(images, codes))


def make_loader(part: Part, **changes: Any) -> TrainLoader:
    settings: dict[str, Any] = {
        "batch_size": 4,
        "device": CPU,
        "seed": 42,
        "rotation_degrees": 15.0,
        "flip_probability": 0.5,
        "border": "pet",
    }
    return TrainLoader(part, **(settings | changes))


def numbers(batches: list[Batch]) -> list[int]:
    """Which images the batches hold, read off the middle pixel's red."""
    return [round(255 * float(image[0, 4, 4])) for batch in batches for image in batch.images_N3HW]


def same(first: list[Batch], second: list[Batch]) -> bool:
    return all(
        torch.equal(a.images_N3HW, b.images_N3HW) and torch.equal(a.masks_N1HW, b.masks_N1HW)
        for a, b in zip(first, second, strict=True)
    )


def test_every_image_once_and_the_last_smaller_batch_kept() -> None:
    loader = make_loader(make_part(10))
    batches = list(loader.epoch(0))
    assert [len(batch.images_N3HW) for batch in batches] == [4, 4, 2]
    assert (loader.num_batches, loader.num_images) == (3, 10)
    assert sorted(numbers(batches)) == list(range(10)) != numbers(batches)


def test_a_last_batch_of_one_image_is_left_out() -> None:
    loader = make_loader(make_part(9))
    assert [len(batch.images_N3HW) for batch in loader.epoch(0)] == [4, 4]
    assert (loader.num_batches, loader.num_images) == (2, 8)


def test_batches_of_one_image_are_kept_if_asked_for() -> None:
    assert make_loader(make_part(3), batch_size=1).num_batches == 3


def test_same_seed_and_epoch_same_batches() -> None:
    part = make_part(10)
    batches = list(make_loader(part).epoch(3))
    assert same(batches, list(make_loader(part).epoch(3)))
    assert not same(batches, list(make_loader(part).epoch(4)))
    assert not same(batches, list(make_loader(part, seed=43).epoch(3)))


def test_the_order_does_not_depend_on_the_augmentation() -> None:
    part = make_part(10)
    plain = numbers(list(make_loader(part, rotation_degrees=0.0, flip_probability=0.0).epoch(1)))
    assert numbers(list(make_loader(part).epoch(1))) == plain


def test_the_flips_do_not_depend_on_the_rotation() -> None:
    part = make_part(40)
    # The middle row rises to the right unless flipped; a turn by at most 15 degrees does not change that.
    flipped, turned = (
        [bool(image[1, 4, 1] > image[1, 4, 6]) for batch in loader.epoch(1) for image in batch.images_N3HW]
        for loader in (make_loader(part, rotation_degrees=0.0), make_loader(part))
    )
    assert flipped == turned
    assert 5 < sum(flipped) < 35


def test_without_augmentation_the_pixels_are_exactly_the_images() -> None:
    part = make_part(8)
    for batch in make_loader(part, rotation_degrees=0.0, flip_probability=0.0).epoch(0):
        for image, number in zip(batch.images_N3HW, numbers([batch]), strict=True):
            expected = torch.from_numpy(part.images_NHW3[number]).permute(2, 0, 1) / 255
            assert torch.equal(image, expected)


def test_the_mask_moves_with_its_image() -> None:
    part = make_part(20, side=32)
    for batch in make_loader(part, rotation_degrees=40.0, border="ignore").epoch(0):
        assert batch.valid_N1HW is not None
        green = (255 * batch.images_N3HW[:, 1]).round()
        # Where rotation filled in, green is 0: not a column, so background that counts.
        assert torch.equal(batch.masks_N1HW[:, 0].bool(), green % 3 == 1)
        assert torch.equal(batch.valid_N1HW[:, 0], (green % 3 != 0) | (green == 0))
        assert (green == 0).any()


@pytest.mark.parametrize(
    ("border", "mask", "valid"),
    [("pet", [1, 0, 1], None), ("background", [1, 0, 0], None), ("ignore", [1, 0, 0], [True, True, False])],
)
def test_what_the_border_counts_as(border: Border, mask: list[int], valid: list[bool] | None) -> None:
    batch = next(iter(EvaluationLoader(make_part(1), batch_size=1, device=CPU, border=border)))
    assert batch.masks_N1HW[0, 0, 0, :3].tolist() == mask
    assert (None if batch.valid_N1HW is None else batch.valid_N1HW[0, 0, 0, :3].tolist()) == valid


def test_evaluation_is_in_file_order_and_whole() -> None:
    loader = EvaluationLoader(make_part(9), batch_size=4, device=CPU, border="pet")
    assert numbers(list(loader)) == list(range(9))
    assert len(loader) == len(list(loader)) == 3
    assert loader.part.names[8] == "a_8"


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_types_and_layout(layout: torch.memory_format) -> None:
    batch = next(make_loader(make_part(4), layout=layout).epoch(0))
    assert batch.images_N3HW.dtype == batch.masks_N1HW.dtype == torch.float32
    assert batch.images_N3HW.shape == (4, 3, 8, 8)
    assert batch.masks_N1HW.shape == (4, 1, 8, 8)
    assert batch.images_N3HW.is_contiguous(memory_format=layout)
    assert torch.equal(batch.images_N3HW, next(make_loader(make_part(4)).epoch(0)).images_N3HW)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("fraction", [0.25, 0.0])
def test_cuda_gives_the_batches_of_the_cpu(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "RESIDENT_FRACTION", fraction)
    part = make_part(10, side=64)
    on_cpu = list(make_loader(part).epoch(0))
    batches = make_loader(part, device=torch.device("cuda")).epoch(0)
    on_gpu = [next(batches)]
    # From the second batch on nothing may wait for the device.
    torch.cuda.set_sync_debug_mode("error")
    on_gpu.extend(batches)
    torch.cuda.set_sync_debug_mode("default")
    agreeing = [(a.images_N3HW == b.images_N3HW.cpu()).double().mean() for a, b in zip(on_cpu, on_gpu, strict=True)]
    assert min(agreeing) > 0.999

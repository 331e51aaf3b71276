import pytest
import torch
from torch import nn

from segcore.execution import memory
from segcore.execution.memory import LiveTensors, container_room, count_step_bytes, estimate_memory_gib


class Tiny(nn.Module):
    """One multiplication by a weight of 3 numbers, one for each channel, summed over the channels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, images_N3HW):
        return (images_N3HW * self.weight).sum(1, keepdim=True)


class Sum(nn.Module):
    def forward(self, logits, masks, valid):
        return logits.sum()


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(memory.MODELS, "tiny", Tiny)
    monkeypatch.setitem(memory.LOSSES, "sum", Sum)
    count_step_bytes.cache_clear()


def test_a_tensor_counts_while_it_lives():
    with LiveTensors() as live:
        first = torch.zeros(10, dtype=torch.float64)
        view = first[:5]
        assert live.now == 80
        second = torch.zeros(5, dtype=torch.float32)
        assert live.now == 100
        del first
        assert live.now == 100  # the view keeps it
        del view, second
    assert (live.now, live.peak) == (0, 100)


def test_a_step_holds_what_backward_needs(tiny):
    # Images of 2 x 3 x 8 x 8 and masks of 2 x 8 x 8 in float32: 1536 and 512 bytes; the weight and its gradient 12
    # each. In backward, the product's gradient (a view of the sum's, which is a scalar's) times the images: 1536.
    counted = count_step_bytes("tiny", 8, 2, "sum", torch.float32)
    assert 12 + 1536 + 512 + 1536 <= counted <= 12 + 12 + 512 + 3 * 1536 + 600


def test_memory_grows_with_the_batch_and_the_pixels():
    small, batch, pixels = (
        count_step_bytes("resnet34_unet", size, batch, "bce_dice", torch.float32)
        for size, batch in ((64, 64), (64, 128), (128, 64))
    )
    weights = 4 * 23_502_881
    assert weights < small < batch < pixels
    # Twice the images add one batch's activations, four times the pixels three.
    assert (pixels - small) / (batch - small) == pytest.approx(3, rel=0.15)


def test_optimizer_states_and_half_precision_are_counted(make_config):
    cpu = torch.device("cpu")
    size = {"data__image_size": 32, "data__batch_size": 4}
    adam, sgd = (make_config(optimizer__name=name, **size) for name in ("adam", "sgd"))
    state = memory.CPU_OVERHEAD * 4 * 23_502_881 / 2**30
    difference = estimate_memory_gib(adam, "float32", cpu) - estimate_memory_gib(sgd, "float32", cpu)
    assert difference == pytest.approx(state)
    large = make_config(data__image_size=64, data__batch_size=64)
    gpu = torch.device("cuda")
    assert estimate_memory_gib(large, "float16", gpu) < estimate_memory_gib(large, "float32", gpu)


@pytest.mark.parametrize(("limit", "room"), [("1000\n", 450.0), ("max\n", float("inf")), (None, float("inf"))])
def test_a_containers_limit_counts(tmp_path, limit, room):
    if limit:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("600\n")
        (tmp_path / "memory.stat").write_text("anon 500\nfile 100\ninactive_file 50\n")
    assert container_room(tmp_path) == room


def test_a_cpu_has_what_the_system_has_available():
    assert 0 < memory.free_memory_gib(torch.device("cpu")) <= memory.psutil.virtual_memory().total / 2**30

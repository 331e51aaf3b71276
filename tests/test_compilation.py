import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from segcore import build, compilation
from segcore.ablation import read_preset
from segcore.compilation import SAVINGS, Saving, compile_network, find_compiler, pays
from segcore.config import Layer, Problems, RunConfig, resolve
from segcore.errors import UserError
from segcore.stored_settings import parse_stored

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def make_config(**settings: object) -> RunConfig:
    config = resolve([read_preset("base")[0], Layer("test", settings)], 42, Problems())
    assert config is not None
    return config


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a training saved for a minute and a half, as if a GPU had been measured."""
    monkeypatch.setitem(SAVINGS, "cuda", Saving(share=0.1, seconds=90.0, flops=2e13))


def test_it_pays_only_where_it_was_measured_to() -> None:
    assert not pays(96.0, 2944, 300, CUDA)
    assert not pays(96.0, 2944, 300, CPU)


@pytest.mark.usefixtures("measured")
def test_it_pays_over_long_trainings() -> None:
    # Three passes of 96 billion operations, 2,944 images and 300 epochs at 2e13 a second: 12,718 s, a tenth 1,272 s.
    assert pays(96.0, 2944, 300, CUDA)
    # Of 21 epochs a tenth is 89.02 s, of 22 93.26 s; it costs 90 s.
    assert pays(96.0, 2944, 22, CUDA)
    assert not pays(96.0, 2944, 21, CUDA)


@pytest.mark.usefixtures("measured")
def test_the_setting_decides_and_auto_is_the_same_for_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: "g++")
    monkeypatch.setattr(compilation, "find_compiler", lambda: "g++")
    assert build.resolve_compile(make_config(**{"trainer.compile": True}), CPU, 10)
    assert not build.resolve_compile(make_config(**{"trainer.compile": False}), CUDA, 10**6)
    unet = make_config(**{"model.name": "unet"})
    assert build.resolve_compile(unet, CUDA, 2944)
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    assert not build.resolve_compile(unet, CUDA, 2944)


def test_a_training_step_gets_the_network_or_the_compiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compile_network", lambda model, batch_size: ("compiled", batch_size))
    monkeypatch.setattr(build, "require_compiler", lambda: None)
    model = nn.Identity()
    assert build.build_forward(make_config(**{"trainer.compile": False}), model, CPU, 10) is model
    asked = make_config(**{"trainer.compile": True, "data.batch_size": 4})
    compiled: object = build.build_forward(asked, model, CPU, 10)
    assert compiled == ("compiled", 4)


def test_older_runs_know_no_compilation() -> None:
    settings = make_config().flat()
    del settings["trainer.compile"]
    assert parse_stored(settings).trainer.compile is False
    assert parse_stored(make_config(**{"trainer.compile": True}).flat()).trainer.compile is True


@pytest.mark.parametrize(
    ("size", "setting", "images"),
    [(64, "auto", 128), (256, "auto", 8), (2048, "auto", 1), (64, 5, 5)],
)
def test_an_evaluation_step_takes_as_many_images_as_their_size_allows(size: int, setting: object, images: int) -> None:
    config = make_config(**{"data.image_size": size, "evaluation.batch_size": setting})
    assert build.resolve_evaluation_batch(config, CPU) == images


def test_without_a_compiler_it_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler() is None
    with pytest.raises(UserError, match=r"trainer\.compile = true needs a C\+\+ compiler"):
        build.resolve_compile(make_config(**{"trainer.compile": True}), CPU, 10)


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_network_computes_the_same_and_other_batches_take_the_plain_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    calls = []
    model.register_forward_pre_hook(lambda module, images: calls.append(len(images[0])))
    forward = compile_network(model, batch_size=4)
    images = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(forward(images), model(images))
    forward(images[:2]).sum().backward()
    assert calls[-1] == 2
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_evaluation_step_is_small_where_the_training_step_has_to_be() -> None:
    assert build.resolve_evaluation_batch(make_config(**{"data.image_size": 64, "data.batch_size": 2}), CPU) == 8


COMPILE = """
import os, torch
from segcore.compilation import clear_compiled, compile_network
forward = compile_network(torch.nn.Conv2d(3, 1, 1), batch_size=2)
forward(torch.rand(2, 3, 4, 4))
made = os.environ["TORCHINDUCTOR_CACHE_DIR"]
print(any(os.scandir(made)), os.stat(made).st_mode & 0o777 == 0o700)
clear_compiled()
print(os.path.exists(made))
"""


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_nothing_is_executed_that_another_process_has_compiled(tmp_path: Path) -> None:
    """What lies in PyTorch's shared place is unpickled: nothing may be read there."""
    shared, temporary = tmp_path / "shared", tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(shared), "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]
    assert not shared.exists()
    assert list(temporary.iterdir()) == []

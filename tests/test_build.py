import pytest
import torch

from segcore import build
from segcore.checkpoint import save_checkpoint
from segcore.errors import UserError
from segcore.models import MODELS

CPU = torch.device("cpu")


def test_weights_depend_on_the_seed_alone(make_config):
    torch.manual_seed(0)
    first = build.build_model(make_config(seed=1), CPU).state_dict()
    torch.manual_seed(99)
    again = build.build_model(make_config(seed=1, optimizer__lr=0.5), CPU).state_dict()
    other = build.build_model(make_config(seed=2), CPU).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.4.weight"], other["head.4.weight"])


def test_building_leaves_the_global_generator_alone(make_config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build.build_model(make_config(), CPU)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_the_optimizer_has_the_settings(make_config, name, kind):
    config = make_config(optimizer__name=name, optimizer__lr=0.02, optimizer__weight_decay=0.003)
    optimizer = build.build_optimizer(config, torch.nn.Linear(2, 1))
    assert type(optimizer).__name__ == kind
    assert optimizer.defaults["lr"] == 0.02
    assert optimizer.defaults["weight_decay"] == 0.003
    assert optimizer.defaults.get("momentum", 0.9) == 0.9


def test_the_scheduler_has_the_settings(make_config):
    config = make_config(trainer__epochs=5, scheduler__eta_min=1e-4, scheduler__warmup_epochs=1, optimizer__lr=1e-2)
    optimizer = build.build_optimizer(config, torch.nn.Linear(2, 1))
    scheduler = build.build_scheduler(config, optimizer)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(5e-3)
    assert rates[1] == pytest.approx(1e-2)
    assert rates[5] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("setting", "device", "amx", "expected"),
    [
        ("auto", "cuda", False, "float16"),
        ("auto", "cpu", True, "bfloat16"),
        ("auto", "cpu", False, "float32"),
        ("float32", "cuda", True, "float32"),
        ("bfloat16", "cpu", False, "bfloat16"),
    ],
)
def test_precision(make_config, monkeypatch, setting, device, amx, expected):
    monkeypatch.setattr(build, "has_native_bfloat16", lambda: amx)
    config = make_config(trainer__precision=setting)
    assert build.resolve_precision(config, torch.device(device)) == expected


def test_the_cpu_is_told_not_to_use_its_matrix_instructions(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not build.has_native_bfloat16()


def test_float16_needs_cuda(make_config):
    config = make_config(trainer__precision="float16")
    assert "CUDA" in build.why_unavailable(config, CPU)
    assert build.why_unavailable(config, torch.device("cuda")) is None
    assert build.why_unavailable(make_config(trainer__precision="bfloat16"), CPU) is None


def test_a_device_that_is_not_there_is_refused(make_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert build.resolve_device(make_config()) == torch.device("cuda")
    assert build.resolve_device(make_config(execution__device="cuda:0")) == torch.device("cuda:0")
    with pytest.raises(UserError, match=r"execution\.device = cuda:1: this machine has 1 CUDA device"):
        build.resolve_device(make_config(execution__device="cuda:1"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert build.resolve_device(make_config()) == CPU


def test_a_saved_model_comes_back_with_its_settings(make_config, tmp_path):
    config = make_config(data__image_size=32)
    model = build.build_model(config, CPU).eval()
    save_checkpoint(tmp_path / "a.safetensors", model, {"settings": config.model_dump(), "threshold": 0.4})
    loaded, settings, metadata = build.load_model(tmp_path / "a.safetensors", CPU)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        # In two memory layouts, which round differently.
        torch.testing.assert_close(loaded(images), model(images), rtol=1e-4, atol=1e-5)
    tensors = loaded.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    assert not loaded.training
    assert all(weights.requires_grad for weights in loaded.parameters())
    assert settings == config
    assert metadata["threshold"] == 0.4


def test_a_checkpoint_of_another_network_or_other_settings_is_refused(make_config, tmp_path):
    path = tmp_path / "a.safetensors"
    model = MODELS["resnet34_unet"]()
    save_checkpoint(path, model, {"settings": make_config(model__name="unet").model_dump()})
    with pytest.raises(UserError, match="does not fit this version"):
        build.load_model(path, CPU)
    save_checkpoint(path, model, {"settings": {"model": {"name": "unet"}}})
    with pytest.raises(UserError, match="does not fit this version"):
        build.load_model(path, CPU)


@pytest.mark.parametrize(
    ("precision", "device", "layout"),
    [
        ("float32", "cpu", torch.contiguous_format),
        ("bfloat16", "cpu", torch.channels_last),
        ("float32", "cuda", torch.channels_last),
        ("float16", "cuda", torch.channels_last),
    ],
)
def test_only_float32_on_a_cpu_trains_in_planes(make_config, precision, device, layout):
    config = make_config(trainer__precision=precision)
    assert build.training_layout(config, torch.device(device)) == layout

"""Architectures: sizes, structure and gradients, on small inputs."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from segcore.models import MODELS
from segcore.models.blocks import pad_to_multiple
from segcore.models.resnet34_unet import BasicBlock, ResNet34UNet
from segcore.models.unet import UNet

PARAMETERS = {"unet": 31_043_521, "resnet34_unet": 23_502_881}
MULTIPLES = {"unet": 16, "resnet34_unet": 64}
Shapes = dict[str, tuple[tuple[int, ...], ...]]


def images(*shape: int, seed: int = 0) -> Tensor:
    """Random images in [0, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    """Each architecture's name in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Iterator[nn.Module]:
    """The architecture of this name in evaluation mode, with statistics that differ from channel to channel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MODELS[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = 0.1 * torch.randn(module.num_features)
                module.running_var = 0.5 + torch.rand(module.num_features)
        yield network.eval()


def shapes_of(network: nn.Module, image_NCHW: Tensor, modules: dict[str, nn.Module]) -> Shapes:
    """Input and output shape of each named module while the network sees the image."""
    shapes: Shapes = {}

    def watch(label: str) -> None:
        def record(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[label] = (tuple(inputs[0].shape), tuple(output.shape))

        handles.append(modules[label].register_forward_hook(record))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for label in modules:
        watch(label)
    with torch.inference_mode():
        network(image_NCHW)
    for handle in handles:
        handle.remove()
    return shapes


def test_parameter_counts(name: str, model: nn.Module) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 48), (65, 63), (100, 37), (32, 99)])
def test_output_has_the_size_of_the_input(model: nn.Module, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = model(images(1, 3, *size))
    assert logits.shape == (1, 1, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_channels_of_images_and_logits_are_arguments(name: str) -> None:
    network = MODELS[name](in_channels=1, out_channels=4).eval()
    with torch.inference_mode():
        assert network(images(2, 1, 32, 40)).shape == (2, 4, 32, 40)


def test_padding_is_zeros_at_the_right_and_bottom(name: str, model: nn.Module) -> None:
    image = images(1, 3, 41, 70)
    multiple = MULTIPLES[name]
    canvas = torch.zeros(1, 3, -(-41 // multiple) * multiple, -(-70 // multiple) * multiple)
    canvas[:, :, :41, :70] = image
    shifted = torch.zeros_like(canvas)
    shifted[:, :, -41:, -70:] = image
    with torch.inference_mode():
        logits = model(image)
        torch.testing.assert_close(logits, model(canvas)[:, :, :41, :70])
        assert not torch.allclose(logits, model(shifted)[:, :, -41:, -70:], atol=1e-3)


def test_pad_to_multiple_by_hand() -> None:
    padded = pad_to_multiple(torch.ones(1, 1, 2, 3), 4)
    assert padded[0, 0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert pad_to_multiple(torch.ones(1, 1, 4, 8), 4).shape == (1, 1, 4, 8)


def test_gradients_reach_every_parameter(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MODELS[name]()
    # The deepest features of 128 pixels are 2 x 2: batch normalisation would send no gradient through 1 x 1.
    size = {"unet": 32, "resnet34_unet": 128}[name]
    target = (images(2, 1, size, size, seed=1) > 0.5).float()
    F.binary_cross_entropy_with_logits(network(images(2, 3, size, size)), target).backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), label
        assert parameter.grad.abs().sum() > 0, label


def test_channels_last_gives_the_same_logits(name: str, model: nn.Module) -> None:
    image = images(2, 3, 64, 64)
    other = MODELS[name]()
    other.load_state_dict(model.state_dict())
    other = other.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(
            other(image.to(memory_format=torch.channels_last)), model(image), rtol=1e-3, atol=1e-4
        )


def test_images_of_a_batch_do_not_influence_each_other_in_evaluation(model: nn.Module) -> None:
    batch = images(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(batch)[1:2], model(batch[1:2]), rtol=1e-3, atol=1e-4)


def test_unet_stages() -> None:
    network = UNet()
    modules = {f"encoder {i}": stage for i, stage in enumerate(network.encoder)}
    modules |= {f"decoder {i}": stage for i, stage in enumerate(network.decoder)}
    modules |= {f"upsampler {i}": stage for i, stage in enumerate(network.upsamplers)} | {"centre": network.centre}
    shapes = shapes_of(network.eval(), images(1, 3, 64, 48), modules)
    channels, sizes = [3, 64, 128, 256, 512, 1024], [(64, 48), (32, 24), (16, 12), (8, 6), (4, 3)]
    for i in range(4):
        assert shapes[f"encoder {i}"] == ((1, channels[i], *sizes[i]), (1, channels[i + 1], *sizes[i]))
        assert shapes[f"upsampler {i}"] == ((1, channels[5 - i], *sizes[4 - i]), (1, channels[4 - i], *sizes[3 - i]))
        assert shapes[f"decoder {i}"] == ((1, channels[5 - i], *sizes[3 - i]), (1, channels[4 - i], *sizes[3 - i]))
    assert shapes["centre"] == ((1, 512, 4, 3), (1, 1024, 4, 3))


def test_unet_convolutions_have_a_bias_and_padding() -> None:
    network = UNet()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.kernel_size for conv in convolutions] == [(3, 3)] * 18 + [(1, 1)]
    assert all(conv.bias is not None for conv in convolutions)
    assert all(conv.padding == (1, 1) for conv in convolutions[:-1])
    assert [type(layer).__name__ for layer in network.centre] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2


def test_resnet_stages() -> None:
    network = ResNet34UNet()
    modules = {f"encoder {i}": stage for i, stage in enumerate(network.encoder)}
    modules |= {f"decoder {i}": stage for i, stage in enumerate(network.decoder)}
    modules |= {"stem": network.stem, "centre": network.centre, "head": network.head}
    shapes = shapes_of(network.eval(), images(1, 3, 128, 192), modules)
    assert shapes == {
        "stem": ((1, 3, 128, 192), (1, 64, 32, 48)),
        "encoder 0": ((1, 64, 32, 48), (1, 64, 16, 24)),
        "encoder 1": ((1, 64, 16, 24), (1, 128, 8, 12)),
        "encoder 2": ((1, 128, 8, 12), (1, 256, 4, 6)),
        "encoder 3": ((1, 256, 4, 6), (1, 512, 2, 3)),
        "centre": ((1, 512, 2, 3), (1, 256, 2, 3)),
        # Input: the skip, which is a stage's input, and the upsampled features.
        "decoder 0": ((1, 256 + 128, 4, 6), (1, 128, 4, 6)),
        "decoder 1": ((1, 128 + 64, 8, 12), (1, 64, 8, 12)),
        "decoder 2": ((1, 64 + 32, 16, 24), (1, 32, 16, 24)),
        "decoder 3": ((1, 64 + 32, 32, 48), (1, 32, 32, 48)),
        "head": ((1, 32, 32, 48), (1, 1, 128, 192)),
    }


def test_resnet_blocks() -> None:
    encoder = ResNet34UNet().encoder
    stages = [[block for block in stage.children() if isinstance(block, BasicBlock)] for stage in encoder]
    assert [len(blocks) for blocks in stages] == [3, 4, 6, 3]
    for blocks in stages:
        for index, block in enumerate(blocks):
            strides = [layer.stride for layer in block.residual if isinstance(layer, nn.Conv2d)]
            assert strides == [(2, 2) if index == 0 else (1, 1), (1, 1)]
            projections = [layer for layer in block.shortcut.modules() if isinstance(layer, nn.Conv2d)]
            assert len(projections) == (1 if index == 0 else 0)
            for projection in projections:
                assert (projection.kernel_size, projection.stride, projection.bias) == ((1, 1), (2, 2), None)


def test_resnet_biases_are_where_the_report_has_them() -> None:
    for label, module in ResNet34UNet().named_modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert module.bias is not None, label
            assert (module.kernel_size, module.stride) == ((2, 2), (2, 2)), label
        elif isinstance(module, nn.Conv2d):
            is_output = module.out_channels == 1
            assert (module.bias is not None) == is_output, label


def test_resnet_blocks_compute_what_torchvision_s_do() -> None:
    stage = ResNet34UNet().encoder[1].eval()
    # The second stage is like the standard one: its first block halves the size and doubles the channels.
    reference = torchvision.models.resnet34(weights=None).layer2.eval()
    ours, theirs = stage.state_dict(), reference.state_dict()
    # Theirs lists conv1, bn1, conv2, bn2, projection: the same order as ours.
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    reference.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    features = torch.randn(2, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(stage(features), reference(features))


@pytest.mark.parametrize("network", [UNet(widths=(2, 4)), ResNet34UNet()], ids=["unet", "resnet34_unet"])
def test_decoder_stages_see_the_skip_first(network: UNet | ResNet34UNet) -> None:
    seen: dict[str, Tensor] = {}
    deepest = network.encoder[-1]
    if isinstance(network, UNet):
        deepest.register_forward_hook(lambda _, __, output: seen.update(skip=output))
    else:
        deepest.register_forward_pre_hook(lambda _, inputs: seen.update(skip=inputs[0]))
    network.upsamplers[0].register_forward_hook(lambda _, __, output: seen.update(upsampled=output))
    network.decoder[0].register_forward_pre_hook(lambda _, inputs: seen.update(joined=inputs[0]))
    with torch.inference_mode():
        network.eval()(images(1, 3, 64, 64))
    assert torch.equal(seen["joined"], torch.cat([seen["skip"], seen["upsampled"]], dim=1))

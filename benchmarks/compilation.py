"""A training step with and without torch.compile: `python -m benchmarks.compilation --image-size 256 --batch 8`.

Prints the seconds of the first step, compilation included, the median of those after it, and the first losses, which
have to agree.  Random images, in the environment of a worker; memory layout and precision are those that the suite
trains in on the device, unless --layout asks for another.
"""

import argparse
import statistics
import time

import torch

from benchmarks.command_line import at_least
from benchmarks.contest import synchronise
from benchmarks.machine import describe_machine
from benchmarks.settings import make_config
from segcore import build
from segcore.compilation import compile_network
from segcore.config import RunConfig
from segcore.execution.variables import start_anew
from segcore.losses import BCEDiceLoss
from segcore.models import MODELS
from segcore.trainer import AUTOCAST_TYPES

STEPS = 5
LAYOUTS = {"planes": torch.contiguous_format, "channels_last": torch.channels_last}


def time_steps(config: RunConfig, device: torch.device, layout: torch.memory_format, *, compiled: bool) -> None:
    """Train for a few steps on one batch, and print their times and losses."""
    torch.manual_seed(0)
    batch, size = config.data.batch_size, (config.data.image_size, config.data.image_size)
    precision = build.resolve_precision(config, device)
    model = build.on_device(build.build_model(config, device), device, layout)
    forward = compile_network(model, batch) if compiled else model
    optimizer, loss_function = build.build_optimizer(config, model), BCEDiceLoss()
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    images = torch.rand(batch, 3, *size, device=device).contiguous(memory_format=layout)
    masks = (torch.rand(batch, 1, *size, device=device) > 0.5).float()
    seconds, losses = [], []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, AUTOCAST_TYPES[precision], enabled=precision != "float32"):
            logits = forward(images)
        loss = loss_function(logits, masks)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
        losses.append(f"{loss.item():.5f}")
    kind = "compiled" if compiled else "plain"
    print(f"{kind}: first {seconds[0]:.2f} s, then {statistics.median(seconds[1:]):.3f} s a step; losses {losses[:4]}")


def main() -> None:
    """Time both."""
    start_anew()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compilation", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34_unet", choices=tuple(MODELS))
    parser.add_argument("--image-size", type=at_least(32), default=256)
    parser.add_argument("--batch", type=at_least(2), default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--layout", choices=tuple(LAYOUTS), help="default: the one that the suite trains in")
    asked = parser.parse_args()
    config = make_config(
        {
            "model.name": asked.model,
            "data.image_size": asked.image_size,
            "data.batch_size": asked.batch,
            "execution.device": asked.device,
        }
    )
    device = build.resolve_device(config)
    layout = LAYOUTS[asked.layout] if asked.layout else build.training_layout(config, device)
    name = next(name for name, other in LAYOUTS.items() if other == layout)
    print(
        f"{asked.model}, {asked.image_size} x {asked.image_size}, batch {asked.batch}, "
        f"{build.resolve_precision(config, device)}, {name}"
    )
    for compiled in (False, True):
        time_steps(config, device, layout, compiled=compiled)
    print(describe_machine(device))


if __name__ == "__main__":
    main()

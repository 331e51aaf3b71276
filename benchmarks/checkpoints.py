"""What it costs that a training can go on after a fault: keeping its state, and the look between two steps.

`python -m benchmarks.checkpoints`: both networks at 256 x 256 in batches of 8, on random images.  A training step is
timed beside them, so that the cost is a share of the training's time, whatever the machine.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.command_line import at_least, measuring
from benchmarks.machine import describe_machine
from benchmarks.parts import seconds_of
from benchmarks.settings import make_config
from segcore import build
from segcore.execution import worker
from segcore.execution.calibration import random_data
from segcore.execution.folder import RunFolder
from segcore.execution.keeping import Keeper, newest_state
from segcore.execution.pace import Sizes
from segcore.execution.stopping import Stop

STEPS = 5
SAVES = 5
LOOKS = 2000
NEVER = 1e9
HEAD = """| network | MB a state | s to keep: median, most | s to load it | ms a look | s a step | share of the time |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def measure(model: str, image_size: int, batch: int) -> str:
    """A row of the table."""
    settings = {"model.name": model, "data.image_size": image_size, "data.batch_size": batch}
    config = make_config(settings | {"trainer.compile": False})
    device = build.resolve_device(config)
    worker.set_up(config, device, build.resolve_threads(config))
    data = random_data(config, Sizes(batch, batch, batch))
    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = RunFolder(Path(place))
        keeper = Keeper(folder, NEVER, Stop())
        trainer = worker.build_trainer(config, data, build.build_model(config, device), device, keeper)

        def step() -> None:
            trainer.begin(1)
            trainer.train_epoch()  # of one batch; waits for a GPU at its end

        def look() -> None:
            for number in range(LOOKS):
                keeper.on_step(1, number)

        step_seconds = statistics.median([seconds_of(step) for _ in range(STEPS + 1)][1:])
        look_seconds = seconds_of(look) / LOOKS
        saves = [seconds_of(keeper.save) for _ in range(SAVES)]
        load_seconds = seconds_of(lambda: newest_state(folder))
        size = max(path.stat().st_size for path in folder.states.iterdir()) / 1e6
    share = statistics.median(saves) / config.execution.checkpoint_seconds + look_seconds / step_seconds
    return (
        f"| {model} | {size:.0f} | {statistics.median(saves):.2f}, {max(saves):.2f} | {load_seconds:.2f} | "
        f"{1000 * look_seconds:.3f} | {step_seconds:.2f} | {share:.2%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=at_least(32), default=256)
    parser.add_argument("--batch", type=at_least(2), default=8)
    asked = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    with measuring(console):
        print(describe_machine(build.resolve_device(make_config({}))))
        print(HEAD)
        for model in ("resnet34_unet", "unet"):
            print(measure(model, asked.image_size, asked.batch), flush=True)


if __name__ == "__main__":
    main()

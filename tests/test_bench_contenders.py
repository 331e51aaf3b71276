"""The suite as a contender, and the script that runs are compared with, in miniature; pictures and peak memory."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from PIL import Image

from benchmarks import memory
from benchmarks.contenders import plain, suite
from benchmarks.contest import Work
from benchmarks.pictures import draw_pictures
from benchmarks.settings import make_config
from segcore import build
from segcore.config import nest
from segcore.data.synthetic import generate
from segcore.execution import worker
from segcore.execution.folder import RunFolder
from segcore.execution.keeping import Keeper
from segcore.execution.stopping import Stop


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Two that wait for each other are slow where other tests want the cores, too."""
    monkeypatch.setattr(build, "resolve_threads", lambda config: 1)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("contenders")


@pytest.fixture
def config(place):
    """A run in miniature, in the precision that is not the CPU's own."""
    return make_config(
        {
            "data.format": "synthetic",
            "data.synthetic_images": 12,
            "data.cache_dir": str(place),
            "data.image_size": 32,
            "data.batch_size": 4,
            "trainer.epochs": 1,
            "trainer.precision": "bfloat16",
            "execution.device": "cpu",
        }
    )


def test_the_suite_is_timed_where_a_worker_trains(place):
    root = generate(20, place)
    names = tuple(sorted(path.stem for path in (root / "images").iterdir()))
    work = Work(
        model="resnet34_unet",
        root=str(root),
        train=names[:9],
        validation=names[9:13],
        image_size=32,
        batch_size=4,
        epochs=1,
        workers=0,
        cache=str(place),
        device="cpu",
    )

    outcome = suite.train(work)

    assert outcome.images == 8  # of nine, the last would be a batch by itself
    for seconds in (outcome.training, outcome.evaluation, outcome.recording, outcome.waiting, outcome.losses):
        assert len(seconds) == 2
        assert min(seconds) > 0
    assert all(waited < took for waited, took in zip(outcome.waiting, outcome.training, strict=True))
    assert outcome.recording[0] > 0.001  # the first epoch is the best so far, and its weights are saved


def test_the_script_trains_as_a_worker_does(config, tmp_path):
    device = torch.device("cpu")
    data = build.build_data(config, build.build_index(config))
    keeper = Keeper(RunFolder(tmp_path), config.execution.checkpoint_seconds, Stop())
    theirs = worker.build_trainer(config, data, build.build_model(config, device), device, keeper)
    ours = plain.build_trainer(config, data, device)

    (expected,), (found,) = list(theirs.fit()), list(ours.fit())

    for name in ("train/loss", "val/loss", "val/dice_per_image"):
        assert found.metrics[name] == expected.metrics[name]


def test_the_script_tells_dice_and_times(config, tmp_path):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(nest(config.flat())))

    plain.run(tmp_path / "settings.yaml", tmp_path / "script.json", complete=False)

    found = json.loads((tmp_path / "script.json").read_text())
    assert 0 <= found["dice"] <= 1
    assert found["trained"] > 0
    assert found["begun"] > 0


def test_the_script_does_not_import_mlflow():
    code = "import sys, benchmarks.contenders.plain; print('mlflow' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_synthetic_pictures_have_the_size_of_photographs(tmp_path):
    folder = draw_pictures(tmp_path, 10)

    pictures = sorted((folder / "images").iterdir())
    assert len(pictures) == 10
    sizes = set()
    for path in pictures:
        with Image.open(path) as image, Image.open(folder / "annotations/trimaps" / f"{path.stem}.png") as trimap:
            assert image.format == "JPEG"
            assert image.size == trimap.size
            assert max(image.size) == 500
            assert {code for _, code in trimap.getcolors()} <= {1, 2, 3}
            sizes.add(image.size)
    assert len(sizes) > 1


def test_peak_memory_of_a_process_is_that_of_its_largest_moment(monkeypatch):
    monkeypatch.setattr(memory, "INTERVAL", 0.05)
    code = "import time; held = bytearray(b'1') * 2**27; time.sleep(0.5); del held; time.sleep(0.2)"
    process = subprocess.Popen([sys.executable, "-c", code], text=True)
    with memory.PeakMemory(process) as watched:
        process.wait()

    assert 2**27 < watched.peak < 2**28

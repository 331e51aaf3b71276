"""What a run keeps and an experiment says, for others to read: without the credentials that settings may hold."""

from types import SimpleNamespace

import torch
from torch import nn

from segcore.ablation import load_ablation
from segcore.execution import parts
from segcore.execution.attempts import start_attempt
from segcore.execution.parts import write_environment
from segcore.execution.planning import describe_experiment
from segcore.execution.worker import save_best
from segcore.trainer import EpochRecord

ROOT, CLEAN = "https://me:hunter2@host/pets", "https://host/pets"


def test_neither_artifacts_nor_weights_nor_the_definition_hold_a_password(make_plan, write_ablation, monkeypatch):
    monkeypatch.setattr(parts, "git_diff", lambda: None)  # of this project, whose tests hold the word
    plan = make_plan(settings={"data.root": ROOT})
    run = plan.runs[0]
    folder = start_attempt(run, "float32")
    write_environment(folder, torch.device("cpu"), 1)
    record = EpochRecord(1, {"val/dice_per_image": 0.5}, is_best=True)
    save_best(folder, run.config, SimpleNamespace(fingerprint="content"), nn.Linear(1, 1), record)
    kept = {path.name: path.read_bytes() for path in (*folder.artifacts.iterdir(), folder.checkpoint)}
    path = write_ablation(settings={"data.root": ROOT}, title=f"From {ROOT}", question=f"Does {ROOT} help?")
    told = describe_experiment(load_ablation(path))
    assert CLEAN.encode() in kept["config.yaml"] and CLEAN.encode() in kept["best.safetensors"]
    assert CLEAN in told.definition and "Does https://host/pets help?" in told.description
    for content in (*kept.values(), told.definition.encode(), told.description.encode()):
        assert b"hunter2" not in content

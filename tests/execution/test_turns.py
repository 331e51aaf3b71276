"""Whose turn it is."""

from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution.turns import next_ready
from segcore.plan import Facts, expand


class UnderWay:
    """A run under way."""

    def __init__(self, run):
        self.run = run


def test_a_run_waits_for_the_training_that_it_can_take_over(write_ablation, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    arms = {"chosen": {"evaluation.threshold": "validation"}, "fixed": {"evaluation.threshold": 0.4}}
    path = write_ablation(factor="evaluation.threshold", arms=arms, seeds=[1, 2], hypotheses=None)
    chosen, fixed, chosen_2, fixed_2 = expand(load_ablation(path), lambda config: Facts("data", "float32")).runs
    running = [UnderWay(chosen)]
    assert next_ready([fixed, chosen_2, fixed_2], running) == chosen_2
    assert next_ready([fixed], running) is None
    assert next_ready([fixed], []) == fixed

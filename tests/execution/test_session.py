from dataclasses import replace

import pytest

from segcore.ablation import load_ablation
from segcore.errors import UserError
from segcore.execution import folder as folders
from segcore.execution import session as sessions
from segcore.execution.attempts import mark_of, start_attempt
from segcore.execution.claims import Claims
from segcore.execution.folder import folder_of, make_runs_folder
from segcore.execution.local import Refusal
from segcore.execution.planning import Lookup, find_runs_to_do, make_plans
from segcore.execution.request import Request
from segcore.execution.standing import standing_runs
from segcore.plan import expand
from segcore.tracking.noted import read_noted
from tests.execution.conftest import facts_of_session as facts


def attempt_of(run):
    return folder_of(run).read("run").get("attempt")


def test_finished_and_impossible_runs_are_not_to_do(make_session):
    arms = {"half": {"trainer.precision": "float16"}, "full": {"trainer.precision": "float32"}}
    session = make_session(factor="trainer.precision", arms=arms, hypotheses=None, seeds=[1, 2])
    assert [run.name for run in session.to_do] == ["full, seed 1", "full, seed 2"]
    start_attempt(session.to_do[0], "float32").set_state("finished")
    assert [run.name for run in find_runs_to_do(session.plans, rerun=False)] == ["full, seed 2"]
    assert len(find_runs_to_do(session.plans, rerun=True)) == 2


def test_a_run_of_two_plans_is_done_once(make_session):
    plan = make_session().plans[0]
    assert len(find_runs_to_do([plan, plan], rerun=False)) == len(plan.runs)


def test_a_claimed_run_has_a_folder_and_is_locked(make_session):
    session = make_session()
    run = session.to_do[0]
    claim = session.claim(run)
    assert attempt_of(run)
    assert Claims().take(folder_of(run)) is None
    claim.release()


def test_a_run_that_failed_goes_on_under_its_name_and_the_user_is_told(make_session):
    session = make_session()
    run = session.to_do[0]
    start_attempt(run, "float32").set_state("failed", "because")
    before = attempt_of(run)
    make_session().claim(run).release()
    session = make_session()
    session.claim(run).release()
    assert attempt_of(run) == before
    assert "which was failed: because" in session.console.file.getvalue()


def test_a_run_that_diverged_stands_until_it_is_asked_for_again(make_session):
    run = make_session().to_do[0]
    start_attempt(run, "float32").set_state("diverged", "loss is nan")
    before = attempt_of(run)
    assert run not in make_session().to_do
    session = make_session(rerun=True)
    session.claim(run).release()
    assert attempt_of(run) != before


@pytest.mark.parametrize("state", ["finished", "diverged", "failed"])
def test_a_run_that_another_call_ended_meanwhile_is_settled(make_session, state):
    session = make_session()
    run = session.to_do[0]
    start_attempt(run, "float32").set_state(state)  # after the plan was made
    before = attempt_of(run)
    assert session.claim(run) == Refusal.settled
    assert (attempt_of(run), folder_of(run).state) == (before, state)
    claim = Claims().take(folder_of(run))  # and it is free again
    assert claim is not None
    claim.release()


def test_a_run_that_was_begun_here_and_finished_by_another_call_is_settled(make_session):
    session = make_session()
    run = session.to_do[0]
    session.claim(run).release()  # and this process was held up until another had it
    folder_of(run).set_state("finished")
    before = attempt_of(run)
    assert session.claim(run) == Refusal.settled
    assert (attempt_of(run), session.settled) == (before, {run.fingerprint})


def test_a_run_that_finished_before_its_mark_was_taken_is_settled(make_session):
    session = make_session()
    run = session.to_do[0]
    start_attempt(run, "float32").set_state("finished")
    session.before[run.fingerprint] = mark_of(folder_of(run))
    assert session.claim(run) == Refusal.settled


@pytest.mark.parametrize("state", ["running", "interrupted", "lost"])
def test_a_run_that_another_call_left_meanwhile_goes_on_here(make_session, state):
    session = make_session()
    run = session.to_do[0]
    start_attempt(run, "float32").set_state(state)
    before = attempt_of(run)
    session.claim(run).release()
    assert attempt_of(run) == before
    assert folder_of(run).read("run")["resumed"] == 1


def test_a_rerun_sets_the_older_training_aside(make_session, monkeypatch):
    run = make_session().to_do[0]
    start_attempt(run, "float32").set_state("finished")
    before = attempt_of(run)
    session = make_session(rerun=True)
    session.claim(run).release()
    assert attempt_of(run) != before
    assert folder_of(run).read("run")["trained_since"] == session.started


def test_a_run_that_another_process_has_is_left_alone(make_session):
    session = make_session()
    run = session.to_do[0]
    claim = Claims().take(folder_of(run))
    assert session.claim(run) == Refusal.busy
    assert folder_of(run).state == "new"
    claim.release()
    session.claim(run).release()


def test_a_run_keeps_what_it_was_asked_for_with(make_session):
    arms = {"half": {"trainer.precision": "float16"}, "full": {"trainer.precision": "float32"}}
    session = make_session(factor="trainer.precision", arms=arms, hypotheses=None, seeds=[1])
    session.request = Request([], overrides=["data.root=my data", "trainer.epochs=3"])
    session.claim(session.to_do[0]).release()
    session.note_unavailable()
    kept = [folder_of(run).read("run")["request"] for run in session.plans[0].runs]
    assert kept[0] == kept[1]
    assert (kept[0]["preset"], kept[0]["overrides"]) == ("", "'data.root=my data' trainer.epochs=3")


def test_a_claim_that_changes_changes_its_hash(make_session):
    claim = {"claim": "c", "better": "large", "than": "small", "metric": "test/dice_per_image"}
    hashes = []
    for margin in (0.01, 0.02, 0.01):
        session = make_session(hypotheses=[claim | {"margin": margin}])
        hashes.append(session.describe_request(session.to_do[0])["hypotheses"])
    assert hashes[0] == hashes[2] != hashes[1]
    assert all(len(value) == 16 for value in hashes)


def test_a_run_of_two_ablations_keeps_the_claims_of_the_first(make_session, write_ablation):
    session = make_session()
    other = expand(load_ablation(write_ablation("other.yaml", name="other", hypotheses=None)), facts)
    alone = session.describe_request(session.to_do[0])
    session.plans = [*session.plans, other]
    assert session.describe_request(other.runs[0]) == alone


def test_what_the_closing_table_counts_is_delivered(make_session, finish):
    """Seed 2 is declared and was trained for another ablation, as seed 9 was, which is not; seed 7 was asked for."""
    session = make_session(seeds=[1, 2], hypotheses=None)
    plan = session.plans[0]
    for seed, experiment in ((2, "another"), (7, "small"), (9, "another")):
        for run in plan.runs_of([seed]):
            finish(run).note_experiment(experiment)
    session.plans = [replace(plan, runs=tuple(plan.runs_of([1])))]
    session.counted, session.to_do = [standing_runs(session.plans[0])], list(session.plans[0].runs)
    watched = []
    session.feeder.watch = watched.append
    session.watch_what_is_done()
    names = [f"{delivery.arm}, seed {delivery.seed}" for delivery in watched]
    assert names == ["large, seed 2", "small, seed 2", "large, seed 7", "small, seed 7"]
    assert folder_of(plan.runs_of([2])[0]).experiments() == {"another", "small"}


def test_an_impossible_run_is_noted_with_its_reason_once(make_session):
    arms = {"half": {"trainer.precision": "float16"}, "full": {"trainer.precision": "float32"}}
    session = make_session(factor="trainer.precision", arms=arms, hypotheses=None, seeds=[1])
    session.note_unavailable()
    run = next(run for run in session.plans[0].runs if run.unavailable)
    assert (folder_of(run).state, folder_of(run).reason) == ("missing", "needs CUDA")
    before = attempt_of(run)
    session.note_unavailable()
    assert attempt_of(run) == before


def test_the_runs_folder_is_made_or_its_problem_told(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    make_runs_folder()
    assert list((tmp_path / "runs").iterdir()) == []
    monkeypatch.setattr(folders, "RUNS", tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        make_runs_folder()


def test_a_look_at_the_plan_downloads_nothing(make_config, monkeypatch):
    asked = []
    monkeypatch.setattr(sessions.build, "build_index", lambda config: asked.append(config.data.download))
    config = make_config(data__download=True)
    Lookup(may_download=False).index(config)
    Lookup().index(config)
    assert asked == [False, True]


def test_a_look_at_the_plan_says_what_would_download(make_config, tmp_path):
    nothing = {"data__format": "pets", "data__root": str(tmp_path)}
    with pytest.raises(UserError, match=r"a look at the plan downloads nothing\..*without --dry-run or --list does"):
        Lookup(may_download=False).index(make_config(**nothing, data__download=True))
    with pytest.raises(UserError, match="To get it, set data"):
        Lookup(may_download=False).index(make_config(**nothing))


def test_problems_of_every_plan_come_together(write_ablation):
    same = {"a": {"optimizer.lr": 1e-3}, "b": {"optimizer.lr": 1e-3}}
    files = [write_ablation(f"{name}.yaml", name=name, arms=same, hypotheses=None) for name in ("first", "second")]

    class Known(Lookup):
        def facts(self, config):
            return facts(config)

    with pytest.raises(UserError) as caught:
        make_plans(Request(files), Known())
    assert str(caught.value).count("are the same run") == 2


def test_a_folder_holds_all_that_its_deliveries_need(make_session, finish):
    """So that `python -m segcore.tracking --deliver` needs no ablation file; the same is not noted twice."""
    for times in (1, 2):
        session = make_session(seeds=[1], hypotheses=None)
        session.counted = [standing_runs(plan) for plan in session.plans]
        folder = finish(session.plans[0].runs[0])
        watched = []
        session.feeder.watch = watched.append
        session.watch(session.plans[0].runs[0], folder)
        [delivery] = read_noted(folder.path).deliveries
        if times == 1:
            assert [delivery] == watched
    assert len(list(folder.lines("experiments"))) == 1
    assert replace(delivery, experiment=watched[0].experiment) == watched[0]

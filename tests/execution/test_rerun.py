"""--rerun: all of it is trained anew, also where the call that asked for it was cut short."""

from segcore.execution.attempts import start_attempt
from segcore.execution.claims import Claims
from segcore.execution.folder import folder_of
from segcore.execution.notices import notices_of_earlier


def attempt_of(run):
    return folder_of(run).read("run").get("attempt")


def test_a_rerun_that_was_cut_short_goes_on_without_the_option(make_session):
    first, second = make_session().to_do[:2]
    for run in (first, second):
        start_attempt(run, "float32").set_state("finished")
    before = attempt_of(second)
    session = make_session(rerun=True)
    session.ask_anew()
    session.claim(first).release()  # begun, and finished; the call ends before it comes to the second
    folder_of(first).set_state("finished")
    later = make_session()
    assert first not in later.to_do and second in later.to_do
    assert notices_of_earlier(later.plans, later.to_do) == [
        f"{second.name}: trained anew, as an earlier --rerun has asked"
    ]
    later.claim(second).release()
    assert attempt_of(second) != before
    assert folder_of(second).read("run")["trained_since"] >= session.started
    folder_of(second).set_state("finished")
    session = make_session()
    assert notices_of_earlier(session.plans, session.to_do) == []
    assert second not in make_session().to_do


def test_a_rerun_that_was_cut_short_does_not_go_on_with_what_was_there_before(make_session):
    run = make_session().to_do[0]
    start_attempt(run, "float32").set_state("interrupted", "stopped by a signal")
    before = attempt_of(run)
    make_session(rerun=True).ask_anew()
    later = make_session()
    later.claim(run).release()
    assert attempt_of(run) != before
    assert "goes on" not in later.console.file.getvalue()


def test_a_rerun_asks_nothing_of_a_run_that_another_call_is_at_work_on(make_session):
    session = make_session(rerun=True)
    run = session.to_do[0]
    claim = Claims().take(folder_of(run))
    start_attempt(run, "float32").set_state("running")
    session.ask_anew()
    claim.release()
    session = make_session()
    assert notices_of_earlier(session.plans, session.to_do) == []


def test_a_rerun_asks_nothing_of_a_run_that_another_call_has_just_trained(make_session):
    session = make_session(rerun=True)
    run = session.to_do[0]
    start_attempt(run, "float32").set_state("finished")  # after the plan was made
    session.ask_anew()
    assert run not in make_session().to_do

"""In place of workers, claims and a terminal, for what a launcher does with them."""

from segcore.execution import local
from segcore.execution.attempts import start_attempt
from segcore.execution.devices import Devices
from segcore.execution.local import LocalLauncher, Refusal
from segcore.execution.stage import Stage


def make_launcher(**changes):
    options = {"jobs": 1, "claim": lambda run: Refusal.settled, "devices": Devices(1, print)}
    return LocalLauncher(**options | changes)


class Heard:
    """A listener that remembers; on_tick is called with the jobs under way."""

    def __init__(self, on_tick=lambda jobs: None):
        self.started, self.tried_again, self.ended, self.waited_for, self.settled = [], [], [], [], []
        self.tick = on_tick
        self.start, self.again, self.end = self.started.append, self.tried_again.append, self.ended.append
        self.wait, self.settle = self.waited_for.append, self.settled.append
        self.failed = []

    def fail(self, run, reason):
        self.failed.append((run, reason))

    def stopping(self, jobs):
        self.told_to_stop = list(jobs)


class StandInClaim:
    """In place of a claim on a run's folder."""

    lock, token, is_lost = 8, "token", False

    def release(self):
        pass


class Steps:
    """In place of processes: each ends when it is told to."""

    def __init__(self, monkeypatch):
        self.begun, self.ended = [], {}
        monkeypatch.setattr(local, "launch", self.launch)
        monkeypatch.setattr(local, "POLL_SECONDS", 0.0)

    def launch(self, run, folder, stage, claim, place, nursery):
        self.begun.append((run.seed, run.arm, str(stage)))
        name = len(self.begun) - 1
        if stage == Stage.training:
            start_attempt(run, "float32").set_state("running")
        return Step(self, name, folder, stage), stage

    def end(self, position, status=0):
        self.ended[position] = status


class Step:
    def __init__(self, steps, position, folder, stage):
        self.steps, self.position, self.folder, self.stage = steps, position, folder, stage

    def poll(self):
        status = self.steps.ended.get(self.position)
        if status == 0 and self.stage == Stage.end and self.folder.state == "running":
            self.folder.set_state("finished")
        return status

    def terminate(self):
        self.steps.ended.setdefault(self.position, -15)

    kill = terminate

    def send_signal(self, number):
        self.steps.ended.setdefault(self.position, -number)

    def wait(self, timeout=None):
        return self.poll()

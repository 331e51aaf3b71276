"""How a run ends that did not end well: each in a process of its own."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from segcore.ablation import load_ablation
from segcore.execution import folder as folders
from segcore.execution import jobs, launching
from segcore.execution.attempts import start_attempt
from segcore.execution.failures import describe_failure
from segcore.execution.jobs import Job
from segcore.execution.launching import stop
from segcore.plan import Facts, expand

HANG = "import faulthandler, signal, time; faulthandler.register(signal.SIGUSR1); time.sleep(60)"


@pytest.fixture
def run(write_ablation, monkeypatch, tmp_path):
    """A run that is taken to hang after a fifth of a second."""
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    settings = {"execution.timeout_minutes": 0.2 / 60}
    return expand(load_ablation(write_ablation(settings=settings)), lambda config: Facts("data", "float32")).runs[0]


def start(run, code):
    folder = start_attempt(run, "float32")
    folder.set_state("running")
    with folder.log.open("ab") as log:
        return Job(run, folder, subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log))


def follow(job, seconds=20):
    """As a launcher does, until the job has ended."""
    end = time.monotonic() + seconds
    while not job.check() and time.monotonic() < end:
        job.end_if_hung()
        time.sleep(0.02)
    assert job.ended


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "lost", "killed (SIGKILL)"),
        ("import os; os.kill(os.getpid(), 6)", "failed", "ended by signal 6"),
        ("raise SystemExit(3)", "failed", "ended with status 3"),
    ],
)
def test_a_death_that_the_worker_could_not_note_is_noted(run, code, state, reason):
    job = start(run, code)
    job.process.wait()
    assert job.check()
    assert job.folder.state == state
    assert reason in job.folder.reason
    assert not job.check()  # it ended once


def test_what_the_worker_noted_stays(run):
    job = start(run, "raise SystemExit(1)")
    job.folder.set_state("diverged", "loss is nan")
    job.process.wait()
    assert job.check()
    assert (job.folder.state, job.folder.reason) == ("diverged", "loss is nan")


def test_a_stopped_worker_is_interrupted_not_failed(run):
    job = start(run, "import time; time.sleep(60)")
    stop([job])
    assert job.folder.state == "interrupted"
    assert job.process.poll() is not None


def test_a_process_that_hangs_is_ended_with_a_trace_of_where(run):
    job = start(run, HANG)
    follow(job)
    assert job.folder.state == "failed"
    assert "no progress for " in job.folder.reason
    assert "execution.timeout_minutes" in job.folder.reason
    assert 'File "<string>", line 1 in <module>' in job.folder.log.read_text()
    assert job.can_be_tried_again


TRACE = """begun
Thread 0x00007f01 (most recent call first):
  File "/lib/threading.py", line 331 in wait

Thread 0x00007f02 [python] (most recent call first):
  File "/lib/python3.11/mmap.py", line 75 in read
  File "/project/segcore/trainer.py", line 120 in train_epoch
  File "/project/segcore/execution/worker.py", line 62 in main
"""


def test_the_answer_of_a_process_that_hangs_is_no_sign_of_life(run):
    execution = run.config.execution.model_copy(update={"timeout_minutes": 1 / 60})
    job = start(replace(run, config=run.config.model_copy(update={"execution": execution})), HANG)
    asked = None
    while not job.check():
        job.end_if_hung()
        asked = asked or job.life.asked
        time.sleep(0.02)
    assert job.process.returncode == -signal.SIGKILL
    assert "(most recent call first)" in job.folder.log.read_text()
    assert job.life.asked == asked is not None


def test_the_place_of_a_hang_is_the_last_that_its_log_tells(run, monkeypatch):
    answer = f"lambda *_: print({TRACE!r}, flush=True)"
    job = start(run, f"import signal, time; signal.signal(signal.SIGUSR1, {answer}); time.sleep(60)")
    follow(job)
    assert job.folder.reason.endswith(
        "; it was in mmap.py, line 75, in read, called from segcore/trainer.py, line 120, in train_epoch"
    )
    *_, second, last = job.folder.log.read_text().splitlines()
    assert (second, last) == (
        "  segcore/trainer.py, line 120, in train_epoch",
        "  segcore/execution/worker.py, line 62, in main",
    )


def test_a_worker_that_is_killed_before_it_could_save_says_so(run, monkeypatch):
    job = start(run, "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(60)")
    time.sleep(0.5)
    monkeypatch.setattr(launching, "STOP_SECONDS", 0.2)
    stop([job])
    assert job.folder.reason.startswith("ended before it could save")


def test_a_thread_that_samples_the_machine_is_no_sign_of_life(run):
    job = start(run, "import time; time.sleep(60)")
    end = time.monotonic() + 20
    while not job.check() and time.monotonic() < end:
        job.folder.append("system", {"time": 0.0, "step": 0, "metrics": {}})
        job.end_if_hung()
        time.sleep(0.02)
    assert "no progress" in job.folder.reason


def test_a_process_that_heeds_no_signal_is_killed(run, monkeypatch):
    monkeypatch.setattr(jobs, "TRACE_SECONDS", 0.2)
    job = start(run, "import signal, time; signal.signal(signal.SIGUSR1, signal.SIG_IGN); time.sleep(60)")
    follow(job)
    assert job.process.returncode == -signal.SIGKILL
    assert "no progress" in job.folder.reason


def test_signs_of_life_keep_a_slow_process_alive(run):
    job = start(run, "import time; time.sleep(1.5)")
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        job.folder.write("progress", {"epoch": 1, "step": int(time.monotonic() * 50), "steps": 9})
        job.end_if_hung()
        time.sleep(0.05)
    assert job.life.ended_after is None
    job.process.kill()
    job.process.wait()


def test_null_waits_for_ever(run):
    execution = run.config.execution.model_copy(update={"timeout_minutes": None})
    job = start(
        replace(run, config=run.config.model_copy(update={"execution": execution})), "import time; time.sleep(1)"
    )
    time.sleep(0.5)
    job.end_if_hung()
    assert job.process.wait() == 0


def test_a_process_that_the_system_killed_for_memory_names_the_settings(run, monkeypatch):
    job = start(run, "import os; os.kill(os.getpid(), 9)")
    job.process.wait()
    monkeypatch.setattr(jobs, "count_oom_kills", lambda: job.oom_kills + 1)
    assert job.check()
    assert job.folder.state == "lost"
    assert "run out of memory: lower data.batch_size" in job.folder.reason
    assert not job.can_be_tried_again


@pytest.mark.parametrize(
    ("code", "words"),
    [("bytearray(1 << 62)", "MemoryError"), ("import torch; torch.empty(1 << 46)", "can't allocate memory")],
)
def test_memory_that_the_system_does_not_give_is_told_with_the_settings_to_change(code, words):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        exec(code)
    assert words in repr(caught.value)
    reason, try_again = describe_failure(caught.value)
    assert reason.startswith("out of memory: lower data.batch_size")
    assert not try_again


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_that_a_gpu_does_not_have_is_told_with_the_settings_to_change(error):
    reason, try_again = describe_failure(error)
    assert reason.startswith("out of GPU memory: lower data.batch_size")
    assert "--jobs, execution.gpus_per_run" in reason
    assert not try_again


def test_a_run_whose_folder_can_no_longer_be_read_ends_and_is_told_to(run, monkeypatch):
    job = start(run, "import time; time.sleep(60)")

    def read(name):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    object.__setattr__(job.folder, "read", read)
    stop([job])
    assert job.ended and job.process.returncode == -signal.SIGTERM
    assert job.failure == "its folder can't be read: Input/output error"


def test_what_would_only_happen_again_is_not_tried_again(run):
    job = start(run, "raise SystemExit(1)")
    job.folder.set_state("failed", "no space left", try_again=False)
    follow(job)
    assert not job.can_be_tried_again


def test_a_worker_that_saves_its_training_has_the_time_to(run):
    saves = "import signal, time\ndef save(*_):\n  time.sleep(0.5); print('saved', flush=True); raise SystemExit(1)\n"
    job = start(run, f"{saves}signal.signal(signal.SIGTERM, save); print('begun', flush=True); time.sleep(60)")
    while "begun" not in job.folder.log.read_text():
        time.sleep(0.02)
    stop([job])
    assert "saved" in job.folder.log.read_text()
    assert (job.folder.state, job.folder.reason) == ("interrupted", "stopped by a signal")


def test_a_job_whose_claim_is_lost_is_killed_and_leaves_its_folder_alone(run):
    class Lost:
        is_lost, lock = True, 0

        def release(self):
            pass

    job = start(run, "import time; time.sleep(60)")
    job.claim = Lost()
    before = job.folder.read("state")
    follow(job)
    assert job.folder.read("state") == before
    assert job.outcome == ("failed", jobs.TAKEN_OVER)

"""GPUs are given out: the least used first, none to two calls, and shared only where that is asked for."""

import fcntl
import os
import runpy
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segcore.errors import UserError
from segcore.execution import devices
from segcore.execution.devices import Devices, Place, open_lock, visible_devices


class NVMLError(Exception):
    """As in pynvml, the base of the others."""


class NoPermissionError(NVMLError):
    """The GPU is another job's."""


class NotFoundError(NVMLError):
    """There is no MIG slice of this index."""


class NotSupportedError(NVMLError):
    """The GPU knows no MIG."""


def made_up_pynvml(gpus, slices):
    """The part of pynvml that is used.  gpus: UUIDs, None for one of another job.  slices: UUIDs of GPUs in MIG mode.

    Handles are UUIDs.  Without GPUs there is no driver.
    """

    def raise_unless(condition, error, value):
        if not condition:
            raise error
        return value

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVMLError_NoPermission=NoPermissionError,
        NVMLError_NotFound=NotFoundError,
        nvmlInit=lambda: raise_unless(gpus, NVMLError, None),
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda index: raise_unless(gpus[index], NoPermissionError, gpus[index]),
        nvmlDeviceGetUUID=lambda handle: handle,
        nvmlDeviceGetMigMode=lambda handle: raise_unless(handle in slices, NotSupportedError, [1, 1]),
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: len(slices[handle]),
        nvmlDeviceGetMigDeviceHandleByIndex=lambda handle, index: raise_unless(
            slices[handle][index], NotFoundError, slices[handle][index]
        ),
    )


@pytest.fixture
def set_machine(monkeypatch):
    """Sets the GPUs that NVML knows, None for another job's, their MIG slices, and the names that the call may use."""

    def set_machine(*gpus, slices=None, visible=None, count=None):
        monkeypatch.setitem(sys.modules, "pynvml", made_up_pynvml(gpus, slices or {}))
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
            count = count or len(visible.split(","))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus) if count is None else count)

    return set_machine


@pytest.fixture
def make_devices(monkeypatch, tmp_path, set_machine):
    """A call's devices on a machine with so many GPUs that NVML does not know, or the machine as set; what it says."""
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "locks")

    def make(count=2, jobs=1):
        if count is not None:
            set_machine(count=count)
        said = []
        return Devices(jobs, said.append), said

    return make


@pytest.fixture
def config(make_config):
    return lambda device="auto": make_config(execution__device=device)


def test_a_run_on_the_cpu_takes_no_device(make_devices, config):
    assert make_devices(count=0)[0].take(config()) == Place()
    assert make_devices(count=2)[0].take(config("cpu")) == Place()


def test_each_run_sees_one_device_and_those_that_are_given_back_are_taken_again(make_devices, config):
    own, said = make_devices(count=2, jobs=2)
    first, second = own.take(config()), own.take(config("cuda"))
    assert [first.environment, second.environment] == [
        (("CUDA_VISIBLE_DEVICES", "0"),),
        (("CUDA_VISIBLE_DEVICES", "1"),),
    ]
    assert own.take(config()) is None
    own.give_back(second)
    assert own.take(config()).device == "1"
    assert not said


def test_more_jobs_than_devices_share_them_evenly(make_devices, config):
    own, _ = make_devices(count=2, jobs=3)
    assert [own.take(config()).device for _ in range(4)] == ["0", "1", "0", "1"]
    assert own.take(config()) is None


def test_two_calls_never_share_a_device(make_devices, config):
    one, _ = make_devices(count=2)
    other, said = make_devices(count=2)
    place = one.take(config())
    assert (place.device, other.take(config()).device) == ("0", "1")
    third, said = make_devices(count=2)
    assert third.take(config()) is None and third.take(config()) is None
    assert said == ["waiting for a GPU: another call of runner.py has 0, 1"]
    one.give_back(place)
    assert third.take(config()).device == "0"


def test_a_device_that_the_settings_number_stays_the_one_of_that_number(make_devices, config, set_machine):
    set_machine(visible="3,7")
    own, _ = make_devices(count=None)
    assert visible_devices() == ["3", "7"]
    place = own.take(config("cuda:1"))
    assert (place.device, place.environment) == ("7", (("CUDA_VISIBLE_DEVICES", "3,7"),))
    assert own.take(config("cuda:1")) is None
    assert own.take(config("cuda:0")).device == "3"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["GPU-aa1", "GPU-ab2", "GPU-b3"]),
        ("2,0", ["GPU-b3", "GPU-aa1"]),
        (" 1 ", ["GPU-ab2"]),
        ("GPU-b3,GPU-ab", ["GPU-b3", "GPU-ab2"]),
        ("GPU-a", ["GPU-a"]),  # ambiguous: CUDA finds none, whatever was counted
        ("MIG-5f", ["MIG-5f"]),
        ("MIG-GPU-aa1/1/0", ["MIG-GPU-aa1/1/0"]),
        ("7", ["7"]),
    ],
)
def test_devices_are_known_by_their_uuids(set_machine, visible, names):
    set_machine("GPU-aa1", "GPU-ab2", "GPU-b3", visible=visible)
    assert visible_devices() == names


def test_only_the_devices_that_cuda_counts_are_visible(set_machine):
    set_machine("GPU-a", "GPU-b", visible="1,-1,0", count=1)
    assert visible_devices() == ["GPU-b"]


def test_a_gpu_of_another_job_has_no_number(set_machine):
    set_machine(None, "GPU-b", visible="0")
    assert visible_devices() == ["GPU-b"]


def test_of_a_gpu_in_mig_mode_cuda_finds_the_first_slice_after_the_whole_gpus(set_machine):
    slices = {"GPU-a": [None, "MIG-1", "MIG-2"], "GPU-c": [None]}
    set_machine("GPU-a", "GPU-b", "GPU-c", slices=slices)
    assert visible_devices() == ["GPU-b", "GPU-c", "MIG-1"]
    set_machine("GPU-a", "GPU-b", "GPU-c", slices=slices, visible="GPU-a")
    assert visible_devices() == ["MIG-1"]


def test_a_machine_without_gpus_is_not_asked_for_them(set_machine, monkeypatch):
    set_machine()
    monkeypatch.delitem(sys.modules["pynvml"].__dict__, "nvmlInit")
    assert visible_devices() == []


def test_one_number_of_two_jobs_is_two_gpus(make_devices, config, set_machine):
    set_machine("GPU-a", None, visible="0")
    one = make_devices(count=None)[0].take(config())
    set_machine(None, "GPU-b", visible="0")
    other = make_devices(count=None)[0].take(config())
    assert [one.environment, other.environment] == [
        (("CUDA_VISIBLE_DEVICES", "GPU-a"),),
        (("CUDA_VISIBLE_DEVICES", "GPU-b"),),
    ]


def test_a_number_and_a_uuid_of_two_calls_are_one_gpu(make_devices, config, set_machine):
    set_machine("GPU-aa", "GPU-bb", visible="1")
    one, _ = make_devices(count=None)
    set_machine("GPU-aa", "GPU-bb", visible="GPU-b")
    other, said = make_devices(count=None)
    place = one.take(config("cuda:0"))
    assert place.environment == (("CUDA_VISIBLE_DEVICES", "GPU-bb"),)
    assert other.take(config()) is None
    assert said == ["waiting for a GPU: another call of runner.py has GPU-bb"]
    one.give_back(place)
    assert other.take(config()).device == "GPU-bb"


def test_a_name_with_a_slash_can_be_locked(make_devices, config, set_machine):
    set_machine("GPU-a", visible="MIG-GPU-a/1/0")
    assert make_devices(count=None)[0].take(config()).device == "MIG-GPU-a/1/0"


def test_locks_are_in_one_place_whatever_tmpdir_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # what was found before
    assert runpy.run_path(devices.__file__)["LOCKS"] == Path("/tmp/segmentation-ablations")


def test_locks_are_for_all_users(tmp_path):
    path = tmp_path / "locks" / "cuda-GPU-a"
    umask = os.umask(0o077)
    try:
        one, other = open_lock(path), open_lock(path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o1777
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    fcntl.flock(one, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(one)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_lock_that_this_user_may_not_open_is_an_error_that_tells_what_to_do(make_devices, config, monkeypatch):
    own, _ = make_devices(count=1)

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"locks/cuda-0: Permission denied; .*chmod 666 .*locks/\*"):
        own.take(config())


def test_runs_that_take_half_a_gpu_share_one(make_devices, make_config):
    calls, _ = make_devices(count=1)
    half = make_config(execution__device="cuda", execution__gpus_per_run=0.5)
    assert [calls.take(half).device for _ in range(2)] == ["0", "0"]
    assert calls.take(half) is None

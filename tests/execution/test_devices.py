"""GPUs are given out: the least used first, none to two calls, and shared only where that is asked for."""

import pytest
import torch

from segcore.execution import devices
from segcore.execution.devices import Devices, Place, visible_devices


@pytest.fixture
def make_devices(monkeypatch, tmp_path):
    """A call's devices on a machine with so many GPUs, and what it says."""
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "locks")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(count=2, jobs=1):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
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


def test_a_device_that_the_settings_number_stays_the_one_of_that_number(make_devices, config, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    own, _ = make_devices(count=2)
    assert visible_devices() == ["3", "7"]
    place = own.take(config("cuda:1"))
    assert (place.device, place.environment) == ("7", ())
    assert own.take(config("cuda:1")) is None
    assert own.take(config("cuda:0")).device == "3"

from segcore.tracking.system import system_sampler


def test_a_sample_holds_the_machines_load() -> None:
    sample = system_sampler()
    first, second = sample(), sample()
    assert first.keys() == second.keys() and all(name.startswith("system/") for name in first)
    for name in ("system/cpu_utilization_percentage", "system/system_memory_usage_percentage"):
        assert 0 <= first[name] <= 100
    assert first["system/network_receive_megabytes"] <= second["system/network_receive_megabytes"]

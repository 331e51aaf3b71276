from analysis.rounding import write_numbers


def test_ends_of_intervals_never_look_more_decided_than_they_are():
    limits = (-0.5, 0.0, 0.5)
    assert write_numbers((0.75, 0.504, 1.0), limits, 2) == ("0.750", "0.504", "1.000")  # supported, and seen to be
    assert write_numbers((0.45, -0.02, 0.9), limits, 2) == ("0.45", "-0.02", "0.90")  # 0 is inside
    assert write_numbers((0.25, 0.0, 0.50001), limits, 2)[2] == "0.5001"  # not within the margin
    assert write_numbers((0.7, 0.4999999, 0.9), limits, 2)[1] == "0.4999"
    assert write_numbers((0.0, -0.4, 0.4), limits, 2) == ("0.0", "-0.4", "0.4")

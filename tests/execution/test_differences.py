"""What is not as it was."""

from dataclasses import replace

import pytest

from segcore.execution.differences import Side, describe_same, find_differences

DATA: dict[str, object] = {
    "fingerprint": "a" * 64,
    "sizes": {"train": 4, "validation": 2, "test": 3},
    "skipped": 0,
    "skipped_files": [],
}
# As MLflow holds them, as texts.
TAGS: dict[str, object] = {
    "git_commit": "0123456789abcdef",
    "git_dirty": "false",
    "python": "3.11.2",
    "processor": "A",
    "device": "cpu",
    "threads": "1",
}
PACKAGES = "numpy==2.0.0\nnvidia-cudnn-cu12==9.1\nrich==14.0\nScikit_Learn==1.5\ntorch==2.14.1\n"
SETTINGS: dict[str, object] = {"optimizer.lr": 1e-3, "execution.threads": "auto", "data.root": "here"}
THEN = Side(TAGS, None, PACKAGES, DATA, SETTINGS)
HERE = TAGS | {"git_dirty": False, "threads": 1}
NOW = replace(THEN, environment=HERE)


def found(**changes):
    """What differs when the present is changed, as {what: whether it can change bits}."""
    return {item.what: item.can_change for item in find_differences(THEN, replace(NOW, **changes))}


def test_nothing_differs_where_only_the_types_do():
    assert find_differences(THEN, NOW) == []
    said = describe_same(THEN, NOW, [])
    assert said == "The same: code, data, 5 packages, python, processor, device, threads."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"environment": HERE | {"git_commit": "f" * 40}}, {"git commit": True}),
        ({"environment": HERE | {"git_dirty": True}, "diff": "+a\n"}, {"git commit": True}),
        ({"environment": HERE | {"threads": 2, "python": "3.12"}}, {"threads": True, "python": False}),
        ({"environment": HERE | {"processor": "B"}}, {"processor": True}),
        ({"packages": PACKAGES.replace("2.14.1", "2.15.0")}, {"torch": True}),
        ({"packages": PACKAGES.replace("1.5", "1.6")}, {"scikit-learn": True}),
        ({"packages": PACKAGES.replace("9.1", "9.2")}, {"nvidia-cudnn-cu12": True}),
        ({"packages": PACKAGES.replace("14.0", "15.0") + "typer==1\n"}, {"2 other packages": False}),
        ({"data": DATA | {"fingerprint": "b" * 64}}, {"data content": True}),
        ({"settings": SETTINGS | {"execution.threads": 1, "data.root": "there"}}, {"data.root": False}),
        ({"settings": SETTINGS | {"trainer.compile": True}}, {}),  # a setting that came later
    ],
)
def test_each_difference_is_named_and_told_whether_it_can_change_bits(changes, expected):
    assert found(**changes) == expected


def test_changes_that_were_not_committed_are_compared_at_one_commit():
    dirty = TAGS | {"git_dirty": "true"}
    then = replace(THEN, environment=dirty, diff="--- a/x\n+++ b/x\n-old\n+new\n")
    same, other = replace(NOW, environment=dirty, diff=then.diff), replace(NOW, environment=dirty, diff="+newer\n")
    assert find_differences(then, same) == []
    [difference] = find_differences(then, other)
    assert (difference.what, difference.then, difference.now) == (
        "uncommitted code", "2 lines or files", "1 lines or files"
    )  # fmt: skip
    assert "code" not in describe_same(then, other, [difference])


def test_skipped_files_and_sizes_are_named():
    damaged = DATA | {
        "sizes": {"train": 3, "validation": 2, "test": 3},
        "skipped": 1,
        "skipped_files": ["cat_7: truncated"],
    }
    differences = find_differences(THEN, replace(NOW, data=damaged))
    assert [(item.what, item.then, item.now) for item in differences] == [
        ("images", "train 4, validation 2, test 3", "train 3, validation 2, test 3"),
        ("skipped files", "0", "1: cat_7: truncated"),
    ]


def test_a_run_that_noted_only_some_versions_is_compared_in_those():
    older = replace(THEN, packages=None, environment=TAGS | {"torch": "2.12.0", "numpy": "2.0.0"})
    assert [(item.what, item.then, item.now) for item in find_differences(older, NOW)] == [
        ("torch", "2.12.0", "2.14.1")
    ]  # fmt: skip
    nothing = replace(THEN, packages=None)
    assert [(item.what, item.then) for item in find_differences(nothing, NOW)] == [("packages", "unknown")]


def test_what_an_earlier_part_was_computed_with_is_named():
    earlier = {
        "earlier.git_commit": f'["{"f" * 40}", "{"e" * 40}"]',
        "earlier.git_diff": '["0a1b2c3d4e5f", null]',
        "earlier.processor": '["A"]',
        "earlier.host": '["another"]',
        "earlier.torch": '["2.13.0"]',
    }
    now = replace(NOW, environment=HERE | {"git_commit": "d" * 40, "git_diff": None, "host": "here", "torch": "2.14.1"})
    then = replace(THEN, environment=TAGS | {"git_commit": "d" * 40} | earlier)
    assert [(item.what, item.then, item.now, item.can_change) for item in find_differences(then, now)] == [
        ("git commit of a part", "ffffffffffff, eeeeeeeeeeee", "dddddddddddd", True),
        ("uncommitted code of a part", "0a1b2c3d4e5f, none", "none", True),
        ("torch of a part", "2.13.0", "2.14.1", True),
        ("host of a part", "another", "here", False),
    ]
    same = replace(NOW, environment=HERE | {"git_commit": "d" * 40})
    assert find_differences(replace(THEN, environment=same.environment), same) == []

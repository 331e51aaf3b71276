"""What a report says: deviations, methods, counts, the tables, from fabricated results that are changed by hand."""

from dataclasses import replace

import pytest

from analysis.notes import hash_claims
from analysis.numbers import join, mean_and_spread, number, runs_of, setting, signed
from analysis.reporting import deviations
from analysis.reporting.claims import count_verdicts, describe_counts
from analysis.reporting.deviations import find_deviations
from analysis.reporting.gather import choose_run
from analysis.reporting.images import images_table
from analysis.reporting.integrity import describe_comparison
from analysis.reporting.methods import describe_methods
from analysis.reporting.sections import claims_of, section_order
from analysis.reporting.tables import arms_table, results_table, seeds_table
from analysis.reporting.topics import common, departures
from segcore.ablation import load_ablation
from segcore.plan import digest
from tests.analysis.conftest import EXPERIMENTS, FILES, changed


@pytest.fixture
def lr_sweep(load):
    return load("lr_sweep")


def findings(title, *materials):
    [check] = [check for check in find_deviations(materials) if check.title == title]
    return check.findings


def test_runs_of_one_kind_deviate_in_nothing(load):
    material = load("loss")
    found = {check.title: check.findings for check in find_deviations([material])}
    for title in (
        "Code",
        "Uncommitted changes",
        "Factor",
        "Devices and machines",
        "Software",
        "Missing runs",
        "Claims",
    ):
        assert found[title] == ()
    assert all(check.none.endswith(".") for check in find_deviations([material]))


@pytest.mark.parametrize(
    ("title", "column", "value", "sentence"),
    [
        ("Code", "git_commit", "f" * 40, "2 commits: 0123456 (8 runs), fffffff (lr 1e-4 (seed 43))."),
        ("Uncommitted changes", "git_dirty", True, "uncommitted changes in lr 1e-4 (seed 43); each run keeps them"),
        (
            "Data",
            "data_fingerprint",
            "beef" * 3,
            "2 versions of the data: da7ada7 (8 runs), beefbee (lr 1e-4 (seed 43)).",
        ),
        ("Devices and machines", "device", "NVIDIA H200", "2 devices: cpu (8 runs), NVIDIA H200 (lr 1e-4 (seed 43))."),
        ("Devices and machines", "threads", "8", "2 numbers of CPU threads: 2 (8 runs), 8 (lr 1e-4 (seed 43))."),
        ("Software", "torch", "2.16.0", "2 versions of PyTorch: 2.15.0 (8 runs), 2.16.0 (lr 1e-4 (seed 43))."),
        ("Missing runs", "state", "interrupted", "interrupted: lr 1e-4 (seed 43)."),
        (
            "Repeated runs",
            "attempts",
            2,
            "begun more than once: lr 1e-4 (seed 43); the newest finished attempt counts.",
        ),
        (
            "Settings on the command line",
            "overrides",
            "data.root=x trainer.clip_norm=1",
            "`trainer.clip_norm=1` in lr 1e-4",
        ),
        (
            "Claims",
            "hypotheses",
            "0" * 16,
            "the claims or their margins were changed after these runs were begun: lr 1e-4",
        ),
    ],
)
def test_a_run_that_deviates_is_named(lr_sweep, title, column, value, sentence):
    found = findings(title, changed(lr_sweep, **{column: {("lr 1e-4", 43): value}}))
    assert any(finding.startswith(f"`lr_sweep-demo`: {sentence}") for finding in found), found


def test_what_was_not_recorded_is_said(lr_sweep):
    old = changed(lr_sweep, **{column: {("lr 1e-3", 42): ""} for column in ("git_commit", "hypotheses")})
    assert "`lr_sweep-demo`: the commit was not recorded for 1 run." in findings("Code", old)
    assert any("not recorded for 1 run" in finding for finding in findings("Settings on the command line", old))


def test_missing_runs_have_their_reason_and_unequal_seeds_are_said(lr_sweep):
    state, unequal = findings("Missing runs", lr_sweep)
    assert state == "`lr_sweep-demo`: diverged: lr 3e-5 (seed 43): the loss is nan in epoch 7."
    assert "paired on those that both have" in unequal


def test_the_same_finding_is_said_once(load):
    both = findings("Runs taken over", load("loss"), load("scheduler"))
    assert len(both) == 1
    assert both[0].startswith("`loss-demo` and `scheduler-demo`, each: 3 runs were taken over")


def test_an_experiment_is_named_once_for_a_finding(lr_sweep):
    repeated = deviations.findings([lr_sweep], lambda material: ["said twice.", "said twice."])
    assert repeated == ("`lr_sweep-demo`: said twice.",)


def test_what_differs_beside_the_factor_is_found(lr_sweep):
    params = {run: dict(settings) for run, settings in lr_sweep.results.params.items()}
    next(iter(params.values())).update({"trainer.epochs": "13", "data.root": "/elsewhere", "execution.threads": "9"})
    odd = replace(lr_sweep, results=replace(lr_sweep.results, params=params))
    assert findings("Factor", odd) == ("`lr_sweep-demo`: runs differ outside of the factor, in `trainer.epochs`.",)
    assert "But runs differ outside of the factor, in `trainer.epochs`." in describe_comparison(odd)


def test_what_the_arms_share_is_said_of_those_that_finished(load, lr_sweep):
    equal = "Number of parameters and compute of an image are the same"
    same = f"{equal}; training time and peak memory differ by less than 5 %"
    assert describe_comparison(lr_sweep)[1:] == (f"{same}.",)
    assert describe_comparison(load("precision"))[1:] == (f"{same} (float16 without a finished run left out).",)
    others = {(arm, seed): "failed" for arm in ("lr 1e-4", "lr 3e-5") for seed in (42, 43, 44)}
    assert describe_comparison(changed(lr_sweep, state=others))[1:] == (
        "What differs along with it cannot be told, because only lr 1e-3 has finished runs.",
    )
    without_memory = changed(lr_sweep, peak_memory_gib={("lr 1e-4", seed): float("nan") for seed in (42, 43, 44)})
    assert describe_comparison(without_memory)[1].endswith("; training time differs by less than 5 %.")


def test_arms_that_changed_in_the_file_are_told(lr_sweep):
    assert findings("Changed arms", lr_sweep) == ()
    stale = lr_sweep.results.runs.assign(stale=0)
    assert findings("Changed arms", replace(lr_sweep, results=replace(lr_sweep.results, runs=stale))) == ()
    stale.loc[(stale["arm"] == "lr 1e-4") & (stale["seed"] == 43), "stale"] = 2
    assert findings("Changed arms", replace(lr_sweep, results=replace(lr_sweep.results, runs=stale))) == (
        "`lr_sweep-demo`: 2 runs were left out, made with other settings of the arm: lr 1e-4 (seed 43).",
    )


def test_of_copies_it_is_unknown_what_was_claimed(lr_sweep):
    everywhere = {(arm, seed): "origin" for arm in lr_sweep.results.definition.arms for seed in (42, 43, 44)}
    [finding] = findings("Claims", changed(lr_sweep, reused_from=everywhere))
    assert "unknown, because all runs were taken over" in finding


def test_a_file_that_changed_since_the_runs_is_told(lr_sweep):
    [claim, *rest] = lr_sweep.file.hypotheses
    file = replace(lr_sweep.file, hypotheses=(replace(claim, margin=0.1), *rest))
    assert any("is new or changed" in finding for finding in findings("Definition", replace(lr_sweep, file=file)))
    assert "no file in `experiments/`" in findings("Definition", replace(lr_sweep, file=None))[0]


def test_plans_that_are_hidden_are_named(lr_sweep):
    plans = lr_sweep.results.plans | {"feedfeedfeedfeed": 4}
    found = findings("Other plans", replace(lr_sweep, results=replace(lr_sweep.results, plans=plans)))
    assert "4 runs of plan feedfeedfeedfeed" in found[0] and "--plan feedfeedfeedfeed" in found[0]


@pytest.mark.parametrize("name", ["lr_sweep", "architecture", "precision"])
def test_claims_are_hashed_as_the_runner_does(name):
    definition = load_ablation(EXPERIMENTS / f"{name}.yaml").definition
    assert hash_claims(FILES[name]) == digest([claim.model_dump() for claim in definition.hypotheses])


def test_methods_say_what_was_done(load):
    materials = [load(name) for name in ("lr_sweep", "architecture", "loss", "best")]
    text = {part.title: part.text for part in describe_methods(materials)}
    assert text["Training"].startswith(
        "ResNet34-U-Net was trained from scratch with AdamW (weight decay 0.01), at a learning rate of 1e-3 with "
        "cosine annealing to 1e-5, stepped once an epoch. The loss was half binary cross-entropy, half soft Dice loss."
    )
    assert (
        "Architecture: network as compared; learning rate 1e-4; loss binary cross-entropy."
        in text["Settings by ablation"]
    )
    assert (
        "Learning rate: learning rate as compared; schedule cosine annealing to 1e-6." in text["Settings by ablation"]
    )
    assert "42, 43 and 44" in text["Seeds"]
    assert "95 % with 1 claim, 97.5 % with 2 claims and 99.17 % with 6 claims" in text["Statistics"]
    assert "0.5 points (test per-image Dice)" in text["Statistics"] and "2 times (training time)" in text["Statistics"]
    assert "PyTorch 2.15.0 on CPU with 2 threads, with the code at commit 0123456" in text["Computation"]


def test_a_factor_alone_is_as_compared(lr_sweep):
    text = {part.title: part.text for part in describe_methods([lr_sweep])}
    assert "at a learning rate of 1e-3, 1e-4 or 3e-5 (as compared) with cosine annealing to 1e-6" in text["Training"]
    assert "Settings by ablation" not in text


def test_what_most_ablations_share_is_the_rule():
    ablations = [{"loss": ("a",)}, {"loss": ("a",)}, {"loss": ("b",)}, {"loss": ("a", "b")}]
    shared = common(ablations)
    assert shared == {"loss": "a"}
    assert [departures(found, shared) for found in ablations] == [[], [], ["loss b"], ["loss as compared"]]


def test_tables(load, lr_sweep):
    arms = arms_table(load("architecture"))
    assert [row[:4] for row in arms.rows] == [
        ("U-Net", "model.name = unet", "31,043,521", arms.rows[0][3]),
        ("ResNet34-U-Net", "model.name = resnet34_unet", "23,502,881", arms.rows[1][3]),
    ]
    assert arms.rows[0][-1] == "3 of 3"
    labels = [column.label for column in results_table(lr_sweep).columns]
    assert labels[:2] == ["arm", "Dice"] and labels[-1] == "training loss"
    assert "diverged" in seeds_table(lr_sweep).rows[2]


def test_uncertainty_over_images_stands_apart(load):
    table = images_table(load("loss"))
    assert [column.label for column in table.columns][2:5] == ["over seeds", "over images", "over both"]
    assert len(table.rows) == 1
    assert table.rows[0][-1] == "40"
    without = replace(load("loss"), images=load("loss").images.iloc[:0])
    assert images_table(without) is None


def test_claims_agree_with_their_sentences(lr_sweep):
    for claim in claims_of(lr_sweep):
        if claim.interval != "–" and not claim.estimate.startswith("-"):
            assert claim.interval in claim.sentence
    counts = count_verdicts(claims_of(lr_sweep))
    assert sum(count for _, count in counts) == 6
    assert describe_counts((("supported", 1), ("reversed", 0), ("equivalent", 2), ("inconclusive", 3))) == (
        "Of 6 claims 1 is supported, none reversed, 2 equivalent and 3 inconclusive."
    )


def test_sections_come_in_the_reports_order(load):
    materials = [load(name) for name in ("loss", "lr_sweep", "precision")]
    late = replace(
        materials[0], results=replace(materials[0].results, definition=replace(FILES["loss"], section="3.10"))
    )
    own = replace(materials[0], results=replace(materials[0].results, definition=replace(FILES["loss"], section=None)))
    ordered = sorted([own, late, *materials], key=section_order)
    assert [material.results.definition.section for material in ordered] == ["1.1", "3.2", "3.4", "3.10", None]


def test_the_sheets_are_of_the_reports_arm_or_the_best(load, lr_sweep):
    assert choose_run(load("threshold").results) == ("threshold 0.4", 42)
    assert choose_run(lr_sweep.results) == ("lr 1e-3", 42)


def test_numbers_as_people_read_them():
    assert [setting(value) for value in (1e-3, 1e-4, 3e-5, 0.95, 128.0, "unet")] == (
        ["1e-3", "1e-4", "3e-5", "0.95", "128", "unet"]
    )
    assert (number(-0.0001, 2), signed(0.004, 2), signed(0.4, 1), number(float("nan"), 2)) == (
        "0.00",
        "0.00",
        "+0.4",
        "–",
    )
    assert mean_and_spread([1.0, 3.0, float("nan")], 1) == "2.0 ± 1.4"
    assert (mean_and_spread([], 1), mean_and_spread([2.0], 1)) == ("–", "2.0")
    assert join("abc") == "a, b and c"
    assert runs_of([("a", 2), ("b", 1), ("a", 1)]) == "a (seeds 1, 2) and b (seed 1)"

"""What the turns of `benchmarks.training` come to, on turns that are made up."""

from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmarks.contest import Outcome, Work
from benchmarks.machine import count_flops
from benchmarks.scores import Turn, scaled_minutes, score, show

# An epoch of 9 images; the suite leaves out the last one, which would be a batch by itself.
WORK = Work(
    model="resnet34_unet",
    root="",
    train=tuple("abcdefghi"),
    validation=tuple("jklm"),
    image_size=64,
    batch_size=4,
    epochs=2,
    workers=0,
    cache="",
)
RATES = {"float32": 1e12}


def make_turn(
    contender: str,
    training: list[float],
    memory_gib: float = 1.0,
    recording: Sequence[float] = (),
    gpu_gib: float | None = None,
) -> Turn:
    """A turn whose first epoch took 100 s."""
    images = 8 if contender == "suite" else 9
    outcome = Outcome(
        precision="float32",
        images=images,
        start=3.0,
        training=[100, *training],
        waiting=[100, *(0.5 * seconds for seconds in training)],
        evaluation=[100, 1, 3],
        recording=list(recording),
        gpu_gib=gpu_gib,
    )
    return Turn(contender, outcome, memory_gib)


@pytest.fixture
def turns():
    """(a) makes 2 and then 1 images a second, (b) 2.25 and 2.25, the suite 4 and 4."""
    return [
        [make_turn("report_recipe", [4, 5]), make_turn("lightning_smp", [4, 4]), make_turn("suite", [2, 2], 1.5)],
        [make_turn("report_recipe", [9, 9]), make_turn("lightning_smp", [4, 4]), make_turn("suite", [1, 3], 2.5)],
    ]


def test_speed_is_the_mean_over_timed_epochs_and_counts_only_images_that_were_trained(turns):
    recipe, lightning, suite = score(turns, WORK, RATES)

    assert (recipe.training.lowest, recipe.training.median, recipe.training.highest) == (1, 1.5, 2)
    assert lightning.training.median == 2.25
    assert suite.training.median == 4  # 8 images in 2 s, not 9
    assert suite.evaluation == 2  # 4 images in the mean of 1 and 3 s


def test_rivals_are_compared_turn_by_turn(turns):
    _, lightning, suite = score(turns, WORK, RATES)

    against = suite.against["report_recipe"]
    assert (against.lowest, against.median, against.highest) == (2, 3, 4)  # not 4 / 1.5
    assert suite.against["lightning_smp"].median == pytest.approx(4 / 2.25)
    assert set(lightning.against) == {"report_recipe"}


def test_without_rivals_nothing_is_compared(turns):
    (suite,) = score([[turn[-1]] for turn in turns], WORK, RATES)

    assert suite.against == {}


def test_memory_is_the_highest_of_all_turns(turns):
    turns = [
        [make_turn("suite", [2, 2], memory_gib=1.5, gpu_gib=1.0)],
        [make_turn("suite", [2, 2], memory_gib=1.2, gpu_gib=3.0)],
    ]

    (suite,) = score(turns, WORK, RATES)

    assert (suite.memory_gib, suite.gpu_gib) == (1.5, 3.0)


def test_decoding_is_the_suites_alone(turns):
    recipe, _, suite = score(turns, WORK, RATES, decoding=7.0)

    assert (recipe.decoding, suite.decoding) == (None, 7.0)


def test_share_of_waiting_and_of_the_rate_of_matrix_products(turns):
    rate = 8.0 * count_flops("resnet34_unet", 64, training=True)

    suite = score(turns, WORK, {"float32": rate})[-1]

    assert suite.waiting == 0.5
    assert suite.limit == pytest.approx(0.5)  # 4 images a second of 8


def test_minutes_are_scaled_from_training_validation_and_recording():
    (suite,) = score([[make_turn("suite", [2, 2], recording=[100, 0.5, 1.5])]], WORK, RATES)

    # Three epochs: 8 images at 4 a second, a quarter of them validated at 2 a second, 1 s to keep the results.
    assert scaled_minutes(suite, epochs=3, images=8) == pytest.approx(3 * (2 + 1 + 1) / 60)


def test_table_shows_ratios_with_their_ranges_and_what_was_scaled(turns):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(show(score(turns, WORK, RATES, decoding=7.0), WORK, scale_to=(300, 2944)))
    text = capture.get()

    (against_recipe,) = (line for line in text.splitlines() if "times (a)" in line)
    assert "3.00 (2.00 to 4.00)" in against_recipe
    assert "300 epochs of 2,944, min" in text
    assert "scaled from 2 epochs of 9 images" in text
    assert "GPU memory" not in text

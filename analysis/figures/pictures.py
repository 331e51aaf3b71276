"""All pictures of an ablation, and those of several together; what cannot be made is left out, and said."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import pandas as pd

from analysis.definition import Definition, ReportFigure
from analysis.figures.breeds import breeds_picture
from analysis.figures.costs import compute_picture, time_picture
from analysis.figures.curves import curves_picture
from analysis.figures.differences import differences_picture
from analysis.figures.finals import final_picture, table_picture
from analysis.figures.images import per_image_picture, sheet_picture, threshold_picture
from analysis.figures.output import LeftOutError, Picture, Subject, safe_stem
from analysis.figures.overall import validation_test_picture, variation_picture
from analysis.metrics import METRICS
from analysis.numbers import join
from analysis.verdicts import Verdict

CURVES = {"loss": "train/loss", "dice": "val/dice_per_image"}
# The report's only sheet of predictions; its other figures that stand alone are printed test results.
SHEET_NUMBER = 1

# A picture's name, and what makes it under that name.
Making = tuple[str, Callable[..., Picture]]


def ablation_pictures(
    definition: Definition,
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    images: pd.DataFrame,
    curves: pd.DataFrame,
    verdicts: Sequence[Verdict],
    sheets: Mapping[str, bytes],
    sheet_label: str,
    context: str,
    *,
    stem: str | None = None,
) -> tuple[list[Picture], list[str]]:
    """Every picture of one ablation, what its claims rest on first, and a sentence for each that cannot be made.

    runs, epochs, images, curves: frames of `analysis.results`.  sheets: PNG files by name (tenth_batches, worst, best);
    sheet_label: the arm and seed they come from.  context: data, image size and epochs in a phrase, for the captions.
    stem: what stands for the ablation in file names, where its own name is not enough.
    """
    subject = make_subject(definition, runs, context)
    show = partial(sheet_picture, subject, label=sheet_label)
    name = safe_stem(definition.name if stem is None else stem)
    return collect(
        [
            (f"{name}_differences", partial(differences_picture, subject, verdicts)),
            (f"{name}_test_dice", partial(final_picture, subject)),
            *report_makings(
                name, subject, epochs, partial(show, sheets.get("tenth_batches"), what="predictions on test images")
            ),
            *whole_makings(name, subject, epochs),
            (f"{name}_time", partial(time_picture, subject)),
            (f"{name}_compute", partial(compute_picture, subject, epochs)),
            (f"{name}_threshold", partial(threshold_picture, subject, curves)),
            (f"{name}_per_image", partial(per_image_picture, subject, images)),
            (f"{name}_breeds", partial(breeds_picture, subject, images)),
            (f"{name}_variation", partial(variation_picture, subject, epochs)),
            (f"{name}_worst", partial(show, sheets.get("worst"), what="the worst predictions")),
            (f"{name}_best", partial(show, sheets.get("best"), what="the best predictions")),
        ]
    )


def overall_pictures(
    runs_of: Mapping[str, pd.DataFrame], context: str, epochs_of: Mapping[str, pd.DataFrame] | None = None
) -> tuple[list[Picture], list[str]]:
    """The picture of several ablations together (test against validation), and a sentence where it cannot be made.

    runs_of: each ablation's runs, by the name that it has in the figure.  epochs_of: their epochs, by the
    same: with them validation is that of the best epoch, whose weights are tested, and without them that of the last.
    """
    frames = {ablation: prepared(runs) for ablation, runs in runs_of.items()}
    make = partial(validation_test_picture, frames, epochs_of, context)
    return collect([("fig_validation_test", make)])


def report_makings(
    name: str, subject: Subject, epochs: pd.DataFrame, show_sheet: Callable[..., Picture]
) -> Iterator[Making]:
    """The report's own figures: pairs of curves, printed test results, or the sheet of predictions."""
    for figure in subject.definition.figures:
        stems = [stem_of(number, name) for number in figure.numbers]
        if len(stems) > 1:
            for stem, (what, metric) in zip(stems, CURVES.items(), strict=False):
                yield f"{stem}_{what}", partial(report_curves, subject, epochs, metric, figure)
        elif SHEET_NUMBER in figure.numbers:
            yield f"{stems[0]}_predictions", show_sheet
        else:
            yield f"{stems[0]}_test", partial(table_picture, subject, arms=figure.arms)


def report_curves(subject: Subject, epochs: pd.DataFrame, metric: str, figure: ReportFigure, name: str) -> Picture:
    """The curves of the arms that the report shows.  Raises LeftOutError where the ablation lacks one of them."""
    unknown = [arm for arm in figure.arms if arm not in subject.looks]
    if unknown:
        raise LeftOutError(f"the ablation has no arm {join(unknown)}")
    return curves_picture(subject, epochs, metric, name, figure.arms)


def whole_makings(name: str, subject: Subject, epochs: pd.DataFrame) -> Iterator[Making]:
    """The curves of all arms together, unless a figure of the report shows them all."""
    for what, stem in whole_stems(name, subject.definition).items():
        if stem == f"{name}_{what}":
            yield stem, partial(curves_picture, subject, epochs, CURVES[what], arms=subject.looks)


def whole_stems(name: str, definition: Definition) -> dict[str, str]:
    """The figures with the curves of all arms, by what they show: the report's pair where one has them all."""
    pairs = [figure for figure in definition.figures if len(figure.numbers) > 1]
    numbers = next((figure.numbers for figure in pairs if set(figure.arms) == set(definition.arms)), ())
    whole = {what: f"{name}_{what}" for what in CURVES}
    return whole | {what: f"{stem_of(number, name)}_{what}" for number, what in zip(numbers, CURVES, strict=False)}


def stem_of(number: int, name: str) -> str:
    """How the name of a figure of the report begins."""
    return f"fig{number:02d}_{name}"


def make_subject(definition: Definition, runs: pd.DataFrame, context: str) -> Subject:
    """The ablation with the runs of its own arms; those of arms that it no longer has are not drawn."""
    ours = prepared(runs)
    return Subject(definition, ours[ours["arm"].isin(list(definition.arms))].reset_index(drop=True), context)


def prepared(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with a column for every metric, NaN where no run has it, and rows numbered anew."""
    columns = dict.fromkeys([*runs.columns, *METRICS, "threshold", "num_train"])
    return runs.reset_index(drop=True).reindex(columns=list(columns))


def collect(makings: Iterable[Making]) -> tuple[list[Picture], list[str]]:
    """The pictures that can be made, and a sentence for each that cannot.

    Whatever goes wrong in one costs that one alone: a name or a number that nobody thought of must not keep a whole
    report from being made.
    """
    pictures, notes = [], []
    for name, make in makings:
        try:
            pictures.append(make(name=name))
        except LeftOutError as reason:
            notes.append(f"{name} is left out: {reason}.")
        except Exception as error:
            reason_found = " ".join(str(error).split()) or "no reason given"
            notes.append(f"{name} is left out: drawing it failed ({type(error).__name__}: {reason_found}).")
    return pictures, notes

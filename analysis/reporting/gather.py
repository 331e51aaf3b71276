"""From MLflow to the material of a report's sections, one experiment at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.definition import Definition, DefinitionError, read_yaml
from analysis.figures import Picture, ablation_pictures, overall_pictures
from analysis.metrics import PRIMARY
from analysis.numbers import counted
from analysis.reporting.material import Material, told_apart
from analysis.reporting.selection import EXPERIMENTS
from analysis.reporting.topics import all_values, topics_of
from analysis.results import (
    Client,
    Results,
    ResultsError,
    load_images,
    load_results,
    load_sheet,
    load_threshold_curves,
    reading,
)
from analysis.verdicts import judge

PRESETS = EXPERIMENTS / "presets"
SHEETS = ("tenth_batches", "worst", "best")
ON_SHEETS = ("_predictions", "_worst", "_best")  # how the names of their figures end
PREDICTIONS = 1  # the report's figure that is a sheet of predictions


def load_material(client: Client, experiment: str, plan: str | None, files: Mapping[str, Definition]) -> Material:
    """All of one experiment.  Raises ResultsError where it has no runs that can be shown."""
    with reading():
        results = load_results(client, experiment, plan)
        images, image_notes = load_images(client, results)
        curves, curve_notes = load_threshold_curves(client, results)
    verdicts = tuple(judge(results.definition, results.runs))
    file = files.get(results.definition.name)
    if file is not None:
        file = with_preset(file, experiment.removeprefix(f"{file.name}-"))
    material = Material(results, verdicts, images, curves, (*image_notes, *curve_notes), file, bool(files))
    return told_apart([material])[0]


def with_preset(file: Definition, preset: str) -> Definition:
    """A file's definition with the seeds that a preset puts in its place, as the runner does it."""
    path = PRESETS / f"{preset}.yaml"
    if path.parent != PRESETS or not path.is_file():
        return file
    try:
        seeds = read_yaml(path).get("seeds") or file.seeds
        return replace(file, seeds=tuple(int(seed) for seed in seeds))
    except (DefinitionError, TypeError, ValueError):
        return file


def load_materials(
    client: Client, experiments: Sequence[str], plan: str | None, files: Mapping[str, Definition]
) -> tuple[list[Material], list[str]]:
    """Those experiments that can be shown, each once, names told apart, and a sentence for each that cannot."""
    materials, problems = [], []
    for experiment in dict.fromkeys(experiments):
        try:
            materials.append(load_material(client, experiment, plan, files))
        except ResultsError as problem:
            problems.append(str(problem))
    return told_apart(materials), problems


def draw(client: Client, material: Material, *, photos: bool = True) -> tuple[list[Picture], list[str]]:
    """The figures of an ablation, and a sentence for each that cannot be made.

    photos: also the sheets of predictions, which show images of the dataset.
    """
    results = material.results
    shown = choose_run(results)
    sheets = {}
    if shown is not None and photos:
        with reading():
            found = {name: load_sheet(client, results, *shown, name) for name in SHEETS}
        sheets = {name: content for name, content in found.items() if content is not None}
    pictures, left_out = ablation_pictures(
        results.definition,
        results.runs,
        results.epochs,
        material.images,
        material.curves,
        material.verdicts,
        sheets,
        f"{shown[0]}, seed {shown[1]}" if shown is not None else "",
        describe_context([material]),
        stem=material.stem,
    )
    return pictures, left_out if photos else [note for note in left_out if not note.split(" ")[0].endswith(ON_SHEETS)]


def draw_overall(materials: Sequence[Material]) -> tuple[list[Picture], list[str]]:
    """The figures over all ablations."""
    return overall_pictures(
        {material.label: material.results.runs for material in materials},
        describe_context(materials),
        {material.label: material.results.epochs for material in materials},
    )


def choose_run(results: Results) -> tuple[str, int] | None:
    """The run whose predictions are shown: of the report's arm where it shows predictions, else of the best arm."""
    finished = results.runs[results.runs["state"] == "finished"]
    of_report = [figure.arms[0] for figure in results.definition.figures if figure.numbers == (PREDICTIONS,)]
    ours = finished[finished["arm"].isin(of_report or list(results.definition.arms))].dropna(subset=PRIMARY)
    if ours.empty:
        return None
    arm = ours.groupby("arm", sort=False)[PRIMARY].mean().idxmax()
    return str(arm), int(ours.loc[ours["arm"] == arm, "seed"].min())


def describe_context(materials: Sequence[Material]) -> str:
    """Data, image size and epochs, all that occur: `Oxford-IIIT Pet, 64 x 64 pixels, 1 or 12 epochs`."""
    found = [topics_of(material) for material in materials]
    if not any(found):
        return "Data not recorded"
    name = all_values(found, "data name")
    epochs = counted(all_values(found, "epochs"), "epoch")
    return f"{name[:1].upper()}{name[1:]}, {all_values(found, 'image size')}, {epochs}"

"""A report of what MLflow holds: `python -m analysis.report [ABLATION...] --output report`.

Writes one folder: index.html (self-contained), report.md, LaTeX tables, methods and deviations, and all figures as PNG
and PDF.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.definition import Definition, read_definitions
from analysis.reporting.content import build_report
from analysis.reporting.folder import FolderError, replaced
from analysis.reporting.gather import draw, draw_overall, load_materials
from analysis.reporting.material import Material
from analysis.reporting.model import Section
from analysis.reporting.plates import FOLDER, save_pictures
from analysis.reporting.render import write_documents
from analysis.reporting.sections import section_of, section_order
from analysis.reporting.selection import EXPERIMENTS, Selection, select
from analysis.results import Client, ResultsError, list_experiments, make_client, reading
from analysis.verdicts import Verdict


@dataclass(frozen=True)
class Extent:
    """What of the chosen experiments is written: of which plan, the figures alone, with sheets of predictions."""

    plan: str | None
    figures_only: bool
    photos: bool


def write_report(
    client: Client,
    experiments: Sequence[str],
    output: Path,
    *,
    plan: str | None = None,
    figures_only: bool = False,
    photos: bool = True,
) -> list[str]:
    """Writes the report of these experiments into a folder and returns the sentences of its verdicts.

    plan: of the experiments' plans the one to show, instead of the newest.  figures_only: only `output/figures`; what
    else is there stays.  photos: also sheets of predictions, which show images of the dataset.  Raises
    ResultsError where nothing can be shown, FolderError or OSError where the folder cannot be written.
    """
    files, problems = read_definitions(EXPERIMENTS)
    selection = Selection(tuple(experiments), notes=tuple(problems))
    return write_selection(client, selection, files, output, Extent(plan, figures_only, photos))


def write_selection(
    client: Client, selection: Selection, files: Mapping[str, Definition], output: Path, extent: Extent
) -> list[str]:
    """The report of what was chosen, and the sentences of its verdicts."""
    materials, problems = load_materials(client, selection.experiments, extent.plan, files)
    if not materials:
        raise ResultsError("\n".join([*selection.notes, *(problems or [nothing_yet(selection)])]))
    materials.sort(key=section_order)
    is_stale = (lambda name: name.startswith(f"{FOLDER}/")) if extent.figures_only else (lambda name: True)
    with replaced(output, is_stale) as folder:
        sections = [make_section(client, material, folder, photos=extent.photos) for material in materials]
        pictures, left_out = draw_overall(materials)
        plates = save_pictures(pictures, folder)
        if not extent.figures_only:
            write_documents(build_report(materials, sections, plates, selection, [*problems, *left_out]), folder)
    return [describe(verdict) for material in materials for verdict in material.verdicts]


def describe(verdict: Verdict) -> str:
    """A verdict and what has to be known beside it."""
    return " ".join([verdict.sentence, *(f"({note}.)" for note in verdict.notes if note not in verdict.sentence)])


def make_section(client: Client, material: Material, folder: Path, *, photos: bool) -> Section:
    """An ablation's section, its figures saved."""
    pictures, left_out = draw(client, material, photos=photos)
    return section_of(material, save_pictures(pictures, folder), left_out)


def nothing_yet(selection: Selection) -> str:
    """What to do where no ablation has a run."""
    commands = [ablation.command for ablation in selection.not_run]
    hint = f"`{commands[0]}` makes some" if commands else "`python runner.py FILE` makes some"
    return f"there are no runs to show; {hint}"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="A report of what MLflow holds.")
    parser.add_argument(
        "ablations", nargs="*", metavar="ABLATION", help="lr_sweep, lr_sweep-demo or its file; all if none"
    )
    parser.add_argument("--preset", help="runs of this preset; base means without one; the newest run's if not given")
    parser.add_argument("--plan", help="of an experiment's plans this one, instead of the newest")
    parser.add_argument("--output", type=Path, default=Path("report"), help="the folder to write")
    parser.add_argument("--figures-only", action="store_true", help="the figures alone, as PNG and PDF")
    parser.add_argument(
        "--without-photos", action="store_true", help="no sheets of predictions, which show images of the dataset"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 where nothing can be shown or the folder cannot be written."""
    asked = parse_arguments(arguments)
    try:
        files, problems = read_definitions(EXPERIMENTS)
        with reading():
            client = make_client()
            selection = select(list_experiments(client), files, asked.ablations, asked.preset)
        selection = Selection(selection.experiments, selection.not_run, (*selection.notes, *problems))
        extent = Extent(asked.plan, asked.figures_only, not asked.without_photos)
        write_selection(client, selection, files, asked.output, extent)
    except ResultsError as error:
        problem = str(error)
    except FolderError as error:
        problem = f"--output {asked.output} {error}"
    except OSError as error:
        problem = f"--output {asked.output} cannot be written: {error.strerror or error}"
    else:
        page = FOLDER if asked.figures_only else "index.html"
        print(f"{asked.output / page}")
        return 0
    print(problem, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

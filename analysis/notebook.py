"""What the notebooks call: an ablation's figures and verdicts, or what to run first where there is nothing to show."""

import base64
import io
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import pandas as pd
from IPython.display import display

from analysis.definition import Definition, read_definitions
from analysis.figures import Picture, styled
from analysis.figures.pictures import whole_stems
from analysis.figures.style import DPI
from analysis.metrics import METRICS
from analysis.numbers import flat, join
from analysis.reporting.escape import escape_markdown, prose_markdown
from analysis.reporting.gather import choose_run, draw, draw_overall, load_material
from analysis.reporting.material import Material
from analysis.reporting.overall import describe_overall
from analysis.reporting.selection import EXPERIMENTS, select
from analysis.reporting.tables import arms_table
from analysis.reporting.trainings import trainings_of
from analysis.results import Client, ResultsError, list_experiments, load_sheet, make_client, reading

PIXELS_PER_INCH = 110  # on the page
SHEET_WIDTH = 900


def say(*paragraphs: str) -> None:
    """Paragraphs of Markdown."""
    display({"text/markdown": "\n\n".join(paragraphs)}, raw=True)  # type: ignore[no-untyped-call]


def show_image(png: bytes, width: int) -> None:
    """A PNG file, so many pixels wide."""
    content = {"image/png": base64.b64encode(png).decode()}
    display(content, metadata={"image/png": {"width": width}}, raw=True)  # type: ignore[no-untyped-call]


def show_picture(picture: Picture) -> None:
    """A figure and its caption."""
    buffer = io.BytesIO()
    with styled():
        picture.figure.savefig(buffer, dpi=DPI, format="png")
    show_image(buffer.getvalue(), round(PIXELS_PER_INCH * picture.figure.get_figwidth()))
    say(f"*{escape_markdown(picture.name)}. {prose_markdown(flat(picture.caption))}*")


@dataclass
class Ablation:
    """One ablation.  missing: why there is nothing to show and what to run first; "" where there is something."""

    name: str
    client: Client | None
    material: Material | None
    missing: str
    drawn: dict[str, Picture] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    has_said_so: bool = False

    def found(self) -> Material | None:
        """The results; where there are none, None and, once, what to run first."""
        if self.material is None and not self.has_said_so:
            say(f"**No results of `{self.name}`.** {self.missing}")
            self.has_said_so = True
        return self.material

    def pictures(self) -> dict[str, Picture]:
        """Every figure by name; drawn at the first call."""
        if not self.drawn and self.material is not None and self.client is not None:
            pictures, self.left_out = draw(self.client, self.material)
            self.drawn = {picture.name: picture for picture in pictures}
        return self.drawn

    def show(self, *names: str) -> None:
        """Figures by name; all of them where none is named.

        `loss` stands for `NAME_loss`, or for the figure of the report that has all arms in its place.
        """
        material = self.found()
        if material is None:
            return
        pictures, whole = self.pictures(), whole_stems(material.stem, material.results.definition)
        for name in names or pictures:
            meant = [name, f"{material.stem}_{name}", whole.get(name, "")]
            found = next((pictures[one] for one in meant if one in pictures), None)
            if found is not None:
                show_picture(found)
            else:
                reasons = (note for note in self.left_out if note.split(" ", 1)[0] in meant)
                say(next(reasons, f"There is no figure `{name}` here."))

    def claims(self) -> None:
        """Each claim with its verdict, as a sentence, and what has to be known of it."""
        material = self.found()
        if material is None:
            say("No results, no verdicts.")
            return
        for verdict in material.verdicts:
            notes = [f"   - {prose_markdown(note)}" for note in verdict.notes if note not in verdict.sentence]
            head = f"{verdict.number}. *{escape_markdown(flat(verdict.hypothesis.claim))}*: **{verdict.verdict}**"
            say("\n".join([head, f"   - {prose_markdown(verdict.sentence)}", *notes]))
        for note in material.results.notes:
            say(f"Note: {prose_markdown(note)}")

    def arms(self) -> pd.DataFrame:
        """What differs between the arms, and what along with it: parameters, compute, time; empty without results."""
        material = self.found()
        if material is None:
            return pd.DataFrame()
        table = arms_table(material)
        return pd.DataFrame(table.rows, columns=[column.label for column in table.columns])

    def runs(self, metrics: Sequence[str] = ("test/dice_per_image", "threshold", "train_seconds")) -> pd.DataFrame:
        """A row a run: arm, seed, state and some metrics; empty without results."""
        material = self.found()
        if material is None:
            return pd.DataFrame()
        runs = material.results.runs
        unknown = [metric for metric in metrics if metric not in runs]
        if unknown:
            known = [name for name in (*METRICS, "threshold") if name in runs and runs[name].notna().any()]
            say(f"No run has {join(f'`{name}`' for name in unknown)}; there are {join(f'`{name}`' for name in known)}.")
        return runs[["arm", "seed", "state", "reason", *(metric for metric in metrics if metric in runs)]]


@dataclass(frozen=True)
class Notebook:
    """The results that a notebook shows: those of one preset, or one experiment.

    experiments: by ablation, of this preset.  held: every experiment with runs, whatever its preset, and its ablation.
    missing: of every ablation without results, or of all where it stands under "", what to run first.
    """

    client: Client | None
    experiments: dict[str, str]
    held: dict[str, str]
    missing: dict[str, str]
    files: dict[str, Definition]
    preset: str | None

    def ablation(self, name: str, plan: str | None = None) -> Ablation:
        """One ablation by its name (`loss`), or an experiment (`loss-demo`)."""
        experiment = self.experiments.get(name, name if name in self.held else None)
        if self.client is None or experiment is None:
            return Ablation(name, None, None, self.what_is_there(name))
        try:
            material = load_material(self.client, experiment, plan, self.files)
        except ResultsError as problem:
            return Ablation(name, None, None, str(problem))
        return Ablation(material.results.definition.name, self.client, material, "")

    def what_is_there(self, name: str) -> str:
        """Of an ablation that cannot be shown: its other experiments, what to run first, or what the name may mean."""
        others = [f"`{experiment}`" for experiment, ablation in self.held.items() if ablation == name]
        names = list(dict.fromkeys([*self.files, *self.held.values(), *self.held]))
        if self.client is not None and names and name not in names:
            near = get_close_matches(name, names, n=1)
            guess = f" `{near[0]}` is near." if near else ""
            return f"Nothing has this name.{guess} There are {join(f'`{one}`' for one in names)}."
        of_others = f"There are runs of other presets, which {join(others, 'or')} would show. " if others else ""
        return of_others + (self.missing.get(name) or self.what_to_run(name))

    def what_to_run(self, name: str) -> str:
        """The command that makes an ablation's results."""
        preset = self.preset or ("demo" if not self.experiments else "")
        option = f" --preset {preset}" if preset and preset != "base" else ""
        reason = self.missing.get("", "")
        return f"{reason} Run first: `python runner.py {EXPERIMENTS}/{name}.yaml{option}`".strip()

    def ablations(self) -> Iterable[Ablation]:
        """Every ablation that has results."""
        return [found for name in self.experiments if (found := self.ablation(name)).material is not None]

    def test_against_validation(self) -> None:
        """Whether test follows validation over the runs of all ablations."""
        materials = [ablation.material for ablation in self.ablations() if ablation.material is not None]
        if not materials:
            say(f"**No results of any ablation.** {self.what_to_run('lr_sweep')}")
            return
        pictures, notes = draw_overall(materials)
        for picture in pictures:
            show_picture(picture)
        say(*notes, *describe_overall(trainings_of(materials)))


def open_notebook(preset: str | None = None) -> Notebook:
    """Everything that MLflow holds of one preset: the named one, or that of the newest run.

    Never raises: where MLflow holds nothing or cannot be read, every ablation says so, and what to run first.
    """
    files: dict[str, Definition] = {}
    try:
        files, problems = read_definitions(EXPERIMENTS)
        with reading():
            client = make_client()
            rows = list_experiments(client)
        selection = select(rows, files, (), preset if any(row.num_runs for row in rows) else preset or "demo")
    except ResultsError as problem:
        say(f"**There are no results yet:** {problem}")
        return Notebook(None, {}, {}, {"": str(problem)}, files, preset)
    chosen = [row for row in rows if row.name in selection.experiments and not row.is_deleted]
    shown = [row for row in chosen if not row.problem]
    damaged = [row for row in chosen if row.problem]
    notes = [*(f"**`{row.name}` is not shown:** {row.problem}" for row in damaged), *selection.notes, *problems]
    if shown:
        say(f"Shown: {', '.join(f'`{row.name}`' for row in shown)}.", *notes)
    else:
        say("**There are no results yet**, or none of this preset.", *notes)
    names = {definition.source: name for name, definition in files.items()}
    missing = {names[shlex.split(row.command)[2]]: f"Run first: `{row.command}`" for row in selection.not_run}
    newest = shown[0].preset if shown else preset
    held = {row.name: row.ablation for row in rows if row.num_runs}
    return Notebook(client, {row.ablation: row.name for row in (*damaged, *shown)}, held, missing, files, newest)


def compare_images(ablation: Ablation, first: str | None = None, second: str | None = None) -> pd.DataFrame:
    """Every test image's Dice by arm and how much better `first` is, the largest differences first.

    Values are means over the seeds on which both arms have the image.  Without names the arms of the first claim are
    compared, or the first two.  Columns: name, breed where known, first, second, difference; empty
    where there are no images of both.
    """
    material = ablation.found()
    if material is None:
        return pd.DataFrame()
    claims, arms = material.results.definition.hypotheses, list(material.results.definition.arms)
    default = (claims[0].first, claims[0].second) if claims else (arms[0], arms[-1])
    first, second = first or default[0], second or default[1]
    images = material.images[material.images["arm"].isin([first, second])]
    if images.empty or images["arm"].nunique() < 2:
        say(
            *(
                material.notes
                or [escape_markdown(f"There are no images of both {first} and {second}; the arms are {join(arms)}.")]
            )
        )
        return pd.DataFrame()
    paired = images.pivot_table(index=["name", "seed"], columns="arm", values="dice")[[first, second]].dropna()
    if paired.empty:
        say(f"{escape_markdown(first)} and {escape_markdown(second)} have no seed in common.")
        return pd.DataFrame()
    table = paired.groupby("name").mean()
    table["difference"] = table[first] - table[second]
    if images["breed"].notna().any():
        table.insert(0, "breed", images.groupby("name")["breed"].first())
    return table.sort_values("difference", key=abs, ascending=False)


def one_image(ablation: Ablation, name: str) -> pd.DataFrame:
    """One test image in every run: Dice by arm and seed; empty where no run has it."""
    material = ablation.found()
    if material is None:
        return pd.DataFrame()
    images = material.images
    rows = images[images["name"] == name]
    if rows.empty:
        say(f"No run has a test image called `{name}`.")
        return pd.DataFrame()
    return rows.pivot_table(index="arm", columns="seed", values="dice", sort=False)


def show_sheet(ablation: Ablation, arm: str | None = None, seed: int | None = None, sheet: str = "worst") -> None:
    """A sheet of one run's predictions: its `worst` or `best` test images, or those of every tenth batch.

    Without arm and seed the run whose predictions the report shows: the best arm's first seed.
    """
    material = ablation.found()
    if material is None or ablation.client is None:
        return
    shown = choose_run(material.results)
    if shown is None:
        say("No run has finished yet, so there are no predictions.")
        return
    arm, seed = arm or shown[0], shown[1] if seed is None else seed
    with reading():
        content = load_sheet(ablation.client, material.results, arm, seed, sheet)
    if content is None:
        say(
            f"The run of {escape_markdown(arm)}, seed {seed} has no sheet `{sheet}`; a finished run has worst, best "
            "and tenth_batches."
        )
    else:
        say(f"*{escape_markdown(arm)}, seed {seed}*")
        show_image(content, SHEET_WIDTH)

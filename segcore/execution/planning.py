"""From a request to plans: files read, data looked up, and what of it is left to do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from segcore import build, tracking
from segcore.ablation import Ablation, load_ablation
from segcore.config import RunConfig
from segcore.credentials import without_credentials
from segcore.data import DataIndex
from segcore.errors import MissingDataError, UserError
from segcore.execution.attempts import is_wanted_anew
from segcore.execution.folder import folder_of
from segcore.execution.pace import Sizes
from segcore.execution.request import Request
from segcore.plan import Facts, Plan, Run, expand
from segcore.wording import plain_markdown

# States of runs that only `--rerun` trains again: a training that diverged would do so again.
ENDED = ("finished", "diverged")


@dataclass
class Lookup:
    """Facts about settings on this machine; each dataset is found and hashed once.

    may_download: whether `data.download` counts; a look at the plan should not fetch 800 MB.
    resolve_device: the device that a run's settings mean, here or on the nodes of a cluster.
    """

    may_download: bool = True
    resolve_device: Callable[[RunConfig], torch.device] = field(default_factory=lambda: build.resolve_device)
    indices: dict[str, DataIndex] = field(default_factory=dict)

    def index(self, config: RunConfig) -> DataIndex:
        """The dataset that the settings name.  Raises UserError where it is not there or cannot be used."""
        is_wanted = config.data.download
        if not self.may_download:
            config = config.model_copy(update={"data": config.data.model_copy(update={"download": False})})
        key = config.data.model_dump_json(exclude={"image_size", "batch_size", "border", "max_skipped_fraction"})
        if key not in self.indices:
            try:
                self.indices[key] = build.build_index(config)
            except MissingDataError:
                if not is_wanted:
                    raise
                raise UserError(
                    f"data.root={config.data.root}: no dataset there yet, and a look at the plan downloads nothing. "
                    "The same command without --dry-run or --list does, as data.download=true says"
                ) from None
        return self.indices[key]

    def sizes(self, config: RunConfig) -> Sizes:
        """Images of the three parts, those that cannot be read among them."""
        index = self.index(config)
        return Sizes(len(index.train), len(index.validation), len(index.test))

    def facts(self, config: RunConfig) -> Facts:
        """Data content, precision, and why the run can't be, for the plan."""
        device = self.resolve_device(config)
        return Facts(
            self.index(config).fingerprint,
            build.resolve_precision(config, device),
            build.why_unavailable(config, device),
        )


def make_plans(request: Request, lookup: Lookup) -> list[Plan]:
    """The plans of all files.  Raises UserError with the problems of all files together."""
    ablations, messages = [], []
    for file in request.files:
        try:
            ablations.append(
                load_ablation(file, preset=request.preset, overrides=request.overrides, seeds=request.seeds)
            )
        except UserError as error:
            messages.append(str(error))
    experiments = [ablation.experiment for ablation in ablations]
    for name in sorted({name for name in experiments if experiments.count(name) > 1}):
        files = ", ".join(ablation.source for ablation in ablations if ablation.experiment == name)
        messages.append(f"{files}: have the same name, {name}; each needs one of its own")
    plans = []
    for ablation in ablations if not messages else ():
        try:
            plans.append(expand(ablation, lookup.facts, request.only))
        except UserError as error:
            messages.append(str(error))
    if messages:
        raise UserError("\n".join(dict.fromkeys("\n".join(messages).splitlines())))
    return plans


def find_runs_to_do(plans: Sequence[Plan], rerun: bool) -> list[Run]:
    """The runs that are possible and have not come to their end, each fingerprint once, in the plans' order."""
    unique = {run.fingerprint: run for plan in plans for run in plan.runs if run.unavailable is None}
    return [
        run for run in unique.values() if rerun or folder_of(run).state not in ENDED or is_wanted_anew(folder_of(run))
    ]


def describe_experiment(ablation: Ablation) -> tracking.ExperimentInfo:
    """What the MLflow experiment of an ablation says: question, claims and definition."""
    definition = ablation.definition
    claims = [f"- {plain_markdown(hypothesis.claim)} (`{hypothesis.metric}`)" for hypothesis in definition.hypotheses]
    section = f"Report section {plain_markdown(definition.report.section)}. " if definition.report else ""
    factor = ", ".join(f"`{factor}`" for factor in definition.factors)
    text = [plain_markdown(f"{definition.title}: {definition.question}"), f"{section}Factor: {factor}."]
    if claims:
        text.append("Claims:\n" + "\n".join(claims))
    description = without_credentials("\n\n".join(text))
    return tracking.ExperimentInfo(
        ablation.experiment, description, without_credentials(definition.model_dump_json()), time.time()
    )

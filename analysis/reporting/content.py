"""The content of a report, from the material of its sections: what page, Markdown and LaTeX lay out."""

from collections.abc import Iterator, Sequence

from analysis.notes import runs_of_other_claims
from analysis.numbers import flat, join, plural
from analysis.reporting.claims import claims_table, count_verdicts, describe_counts
from analysis.reporting.deviations import find_deviations
from analysis.reporting.gather import describe_context
from analysis.reporting.material import Material
from analysis.reporting.methods import describe_methods
from analysis.reporting.model import Overall, Plate, Report, Section
from analysis.reporting.overall import describe_overall, overall_claims
from analysis.reporting.selection import Selection
from analysis.reporting.trainings import trainings_of


def build_report(
    materials: Sequence[Material],
    sections: Sequence[Section],
    overall_plates: Sequence[Plate],
    selection: Selection,
    notes: Sequence[str],
) -> Report:
    """The whole report.

    sections: of the materials, in the same order.  notes: what could not be shown, and what to do.
    """
    trainings = trainings_of(materials)
    over_all = overall_claims(materials, trainings)
    claims = (*(claim for section in sections for claim in section.claims), *over_all)
    counts = count_verdicts(claims)
    return Report(
        title=sections[0].title if len(sections) == 1 else "Ablations",
        scope=describe_scope(materials),
        counts=counts,
        summary=(*summarize(sections, counts, selection), *describe_changed(materials)),
        claims=claims,
        claims_table=claims_table(claims),
        sections=tuple(sections),
        overall=Overall(describe_overall(trainings), tuple(overall_plates)),
        deviations=find_deviations(materials),
        methods=describe_methods(materials, is_overall_judged=bool(over_all)),
        not_run=selection.not_run,
        notes=tuple(f"{flat(note).rstrip('.')}." for note in (*selection.notes, *notes)),
    )


def describe_scope(materials: Sequence[Material]) -> str:
    """Which experiments, data, size and length the report is about."""
    names = ", ".join(f"`{flat(material.results.experiment)}`" for material in materials)
    return f"{names}. {describe_context(materials)}."


def describe_changed(materials: Sequence[Material]) -> Iterator[str]:
    """A sentence where claims were fitted to their results, or may have been."""
    changed = [flat(one.label) for one in materials if runs_of_other_claims(one.results.definition, one.made)]
    if changed:
        yield (
            f"In {join(changed)} the claims were changed after runs were begun: such a verdict describes these runs "
            "and tests no prediction."
        )


def summarize(sections: Sequence[Section], counts: Sequence[tuple[str, int]], selection: Selection) -> list[str]:
    """The outcome in sentences, and how far it may be trusted."""
    sentences = [describe_counts(counts)]
    if any(count for _, count in counts):
        sentences.append(
            "With normally distributed differences, the chance of any false verdict is at most 5 % in an ablation; "
            "over all ablations together it is larger."
        )
    num_claims = sum(ablation.num_claims for ablation in selection.not_run)
    if num_claims:
        where = plural(len(selection.not_run), "ablation")
        sentences.append(f"{plural(num_claims, 'claim')} of {where} cannot be judged yet, because nothing was run.")
    return sentences

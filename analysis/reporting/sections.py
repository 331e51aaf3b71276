"""An ablation's section: its tables, claims, figures and notes."""

import re
from collections.abc import Sequence
from dataclasses import replace

from analysis.metrics import PRIMARY
from analysis.numbers import flat, plural
from analysis.reporting.claims import claim_of
from analysis.reporting.images import images_table
from analysis.reporting.integrity import describe_comparison
from analysis.reporting.material import Material
from analysis.reporting.model import Claim, Plate, Section, unique
from analysis.reporting.tables import arms_table, results_table, seeds_table
from analysis.reporting.trivial import describe_untrained


def anchor_of(material: Material) -> str:
    """What a link within the page leads to: letters, digits, underscores, hyphens."""
    return "ablation-" + re.sub(r"[^A-Za-z0-9_]+", "-", material.results.experiment).strip("-")


def section_order(material: Material) -> tuple[bool, list[tuple[int, str]], str]:
    """Sections of the report by their numbers, 3.10 after 3.9; ablations that it does not have last, by name."""
    number = material.results.definition.section
    parts = [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"[.\s]+", number or "")]
    return number is None, parts, material.results.experiment


def claims_of(material: Material) -> tuple[Claim, ...]:
    """The verdicts as text."""
    claims = []
    for verdict in material.verdicts:
        claim = claim_of(verdict, material.place, anchor_of(material))
        arms = (verdict.hypothesis.first, verdict.hypothesis.second)
        untrained = describe_untrained(material, arms, PRIMARY)
        claims.append(replace(claim, notes=(*claim.notes, *map(flat, untrained))))
    return tuple(claims)


def section_of(material: Material, plates: Sequence[Plate], notes: Sequence[str]) -> Section:
    """The whole section.  notes: beside the material's own, such as figures that could not be made."""
    results, definition = material.results, material.results.definition
    return Section(
        anchor=anchor_of(material),
        number=flat(definition.section or ""),
        title=material.label,
        experiment=flat(results.experiment),
        plan=flat(results.plan),
        question=flat(definition.question),
        compared=describe_comparison(material),
        arms=arms_table(material),
        results=results_table(material),
        seeds=seeds_table(material),
        claims=claims_of(material),
        images=images_table(material),
        plates=tuple(plates),
        notes=unique([flat(note) for note in (*results.notes, *material.notes, *figure_notes(material, notes))]),
    )


def figure_notes(material: Material, left_out: Sequence[str]) -> Sequence[str]:
    """Why figures are missing; one sentence instead of one a figure where no run has finished."""
    if len(material.finished) or not left_out:
        return left_out
    return [f"{plural(len(left_out), 'figure')} cannot be made before a run has finished."]

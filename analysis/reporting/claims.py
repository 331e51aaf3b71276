"""Verdicts as rows of text, and how many there are of each."""

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.numbers import NONE, flat, level, number, plural, with_unit
from analysis.reporting.model import OVERALL, VERDICTS, Claim, Column, Table
from analysis.rounding import write_numbers
from analysis.sentences import RATIO_DIGITS
from analysis.statistics import ALPHA
from analysis.verdicts import Verdict


def claim_of(verdict: Verdict, place: str, anchor: str) -> Claim:
    """One verdict, its numbers as text."""
    hypothesis, metric = verdict.hypothesis, verdict.metric
    first, second = flat(hypothesis.first), flat(hypothesis.second)
    estimate, interval = write_estimate(verdict, verdict.interval)
    return Claim(
        place=place,
        anchor=anchor,
        claim=flat(hypothesis.claim),
        verdict=verdict.verdict,
        sign=VERDICTS[verdict.verdict],
        arms=f"{first} same as {second}" if hypothesis.same else f"{first} better than {second}",
        estimate=with_unit(estimate, metric.unit, hypothesis.ratio),
        interval=interval,
        extent=plural(len(verdict.seeds), "seed"),
        evidence=tuple(describe_evidence(verdict)) if verdict.seeds else (),
        sentence=flat(verdict.sentence),
        notes=tuple(flat(note) for note in verdict.notes if note not in verdict.sentence),
    )


def describe_evidence(verdict: Verdict) -> Iterator[str]:
    """What the sentence does not say: metric, margin, the interval that decides, each seed; what there is of these."""
    hypothesis, metric = verdict.hypothesis, verdict.metric
    digits = RATIO_DIGITS if hypothesis.ratio else metric.digits
    yield metric.label
    yield f"margin {with_unit(f'{verdict.margin:g}', metric.unit, hypothesis.ratio)}"
    if verdict.verdict_interval is not None:
        yield f"{level(verdict.level)} interval, which decides: {write_estimate(verdict, verdict.verdict_interval)[1]}"
    differences = (
        f"{with_sign(number(advantage, digits), hypothesis.ratio)} ({seed})"
        for seed, advantage in zip(verdict.seeds, verdict.advantages, strict=True)
    )
    yield f"by seed: {', '.join(differences)}"
    if verdict.sign_flip_p is not None:
        least = 2.0 ** (1 - len(verdict.seeds))
        smallest = f", and {len(verdict.seeds)} seeds cannot give less than {least:g}" if least > ALPHA else ""
        yield f"sign-flip test: p = {verdict.sign_flip_p:.3f}{smallest}"


def write_estimate(verdict: Verdict, limits: tuple[float, float] | None) -> tuple[str, str]:
    """The advantage and an interval, with the digits of the verdict's sentence; dashes where there is none."""
    hypothesis, margin = verdict.hypothesis, verdict.margin
    if verdict.estimate is None:
        return NONE, NONE
    borders = (1 / margin, 1.0, margin) if hypothesis.ratio else (-margin, 0.0, margin)
    digits = RATIO_DIGITS if hypothesis.ratio else verdict.metric.digits
    numbers = (verdict.estimate, *(limits or (verdict.estimate, verdict.estimate)))
    estimate, low, high = write_numbers(numbers, borders, digits)
    return with_sign(estimate, hypothesis.ratio), f"{low} to {high}" if limits else NONE


def with_sign(text: str, is_ratio: bool) -> str:
    """A difference with a plus where it is positive; a ratio as it is."""
    return text if is_ratio or text.startswith("-") or not text.strip("0.,") else f"+{text}"


def count_verdicts(claims: Sequence[Claim]) -> tuple[tuple[str, int], ...]:
    """How many claims got each verdict, in a fixed order."""
    counts = Counter(claim.verdict for claim in claims)
    return tuple((verdict, counts[verdict]) for verdict in VERDICTS)


def describe_counts(counts: Sequence[tuple[str, int]]) -> str:
    """`Of 24 claims 6 are supported, 2 reversed, none equivalent and 16 inconclusive.`"""
    total = sum(count for _, count in counts)
    if not total:
        return "No claim was declared for what is shown here."
    (first, second, third, fourth) = (f"{count or 'none'} {verdict}" for verdict, count in counts)
    verb = "is" if counts[0][1] == 1 or total == 1 else "are"
    amount, word = first.split(" ", 1)
    return f"Of {plural(total, 'claim')} {amount} {verb} {word}, {second}, {third} and {fourth}."


def claims_table(claims: Sequence[Claim]) -> Table:
    """All claims in one table, for a paper."""
    columns = (
        Column("section"),
        Column("claim"),
        Column("comparison"),
        Column("verdict"),
        Column("advantage", True),
        Column("95 % interval", True),
        Column("over", True),
    )
    rows = tuple(
        (claim.place, claim.claim, claim.arms, claim.verdict, claim.estimate, claim.interval, claim.extent)
        for claim in claims
    )
    caption = (
        "Claims and verdicts. Advantage: by how much the arm that is named first in the comparison is better than the "
        "other, mean over paired seeds, with its 95 % t interval. Verdicts are read off the interval at level "
        "1 - 0.05/k of the k claims of an ablation."
    )
    if any(claim.anchor == OVERALL for claim in claims):
        caption += " Over arms: the correlation and its interval after Fisher."
    return Table("claims", caption, columns, rows)

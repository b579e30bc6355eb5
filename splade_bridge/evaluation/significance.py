"""Is a difference of two means over queries more than chance? Paired tests, and what they mean.

Both tests that Smucker, Allan and Carterette (A comparison of statistical significance tests for
information retrieval evaluation, CIKM 2007) recommend: Student's paired t-test, and Fisher's
randomisation test, which assumes nothing about how values are distributed. Where several
comparisons are made, p-values are corrected by Holm's step-down method (Scandinavian Journal of
Statistics 6, 1979), which bounds the chance of even one false alarm among all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from splade_bridge.errors import BadInputError, MismatchError, UsageError

TIE = 1e-9
"""Differences below this come from the order of additions, not from rankings."""

BATCH_BYTES = 64_000_000

Values = Mapping[str, float]
"""Query id -> value of one measure."""


@dataclass(frozen=True)
class SignificanceOptions:
    """How to test.

    Attributes:
        resamples: random sign flips of the randomisation test; where there are fewer flips
            in all, every one is counted and the p-value is exact.
        seed: of the random flips; equal seeds give equal p-values.
        confidence: level of the interval, and 1 - the level of significance.
    """

    resamples: int = 9_999
    seed: int = 0
    confidence: float = 0.95


@dataclass(frozen=True)
class Comparison:
    """One pair of systems on one measure; differences are second minus first.

    Attributes:
        queries: number of pairs.
        interval: Student's t interval of the mean difference; None with fewer than two queries.
        t_test: two-sided p-value of the paired t-test, uncorrected.
        randomisation: two-sided p-value of the randomisation test, uncorrected.
        corrected: ``randomisation`` after Holm's correction for ``comparisons`` comparisons.
        effect: Cohen's d_z, mean difference / standard deviation of the differences; None where
            that deviation is 0.
        wins: queries for which the second is better; losses: worse; ties: equal.
        comparisons: how many were made together.
        confidence: level of ``interval``; ``corrected`` is held against 1 - this.
    """

    first: str
    second: str
    queries: int
    mean_first: float
    mean_second: float
    difference: float
    interval: tuple[float, float] | None
    t_test: float
    randomisation: float
    corrected: float
    effect: float | None
    wins: int
    losses: int
    ties: int
    comparisons: int = 1
    confidence: float = 0.95

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, given all comparisons that were made."""
        return self.corrected < 1 - self.confidence

    def sentence(self, measure: str) -> str:
        """What the result means, in plain words."""
        return _sentence(self, measure)


def compare_pair(
    first: Values,
    second: Values,
    names: tuple[str, str] = ("the first", "the second"),
    options: SignificanceOptions = SignificanceOptions(),
) -> Comparison:
    """Compare ``second`` with ``first``, query by query.

    Raises:
        BadInputError: no queries, or a value that is not finite.
        MismatchError: the two were not measured on the same queries.
        UsageError: an option out of range.
    """
    _check(options)
    differences, mean_first, mean_second = _paired(first, second, names)
    n = len(differences)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if n > 1 else 0.0
    interval, t_test, randomisation = _tests(differences, options)
    return Comparison(
        *names,
        queries=n,
        mean_first=mean_first,
        mean_second=mean_second,
        difference=mean,
        interval=interval,
        t_test=t_test,
        randomisation=randomisation,
        corrected=randomisation,
        effect=mean / deviation if deviation > TIE else None,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        confidence=options.confidence,
    )


def compare_all(
    systems: Mapping[str, Values],
    baseline: str | None = None,
    options: SignificanceOptions = SignificanceOptions(),
) -> list[Comparison]:
    """Every system against ``baseline``, or every pair if None, corrected for their number.

    Raises:
        BadInputError, MismatchError: as :func:`compare_pair`.
        UsageError: ``baseline`` is not among ``systems``.
    """
    if baseline is not None and baseline not in systems:
        raise UsageError(f"no system {baseline!r} among {', '.join(systems)}")
    pairs = (
        list(combinations(systems, 2))
        if baseline is None
        else [(baseline, name) for name in systems if name != baseline]
    )
    return corrected([compare_pair(systems[a], systems[b], (a, b), options) for a, b in pairs])


def corrected(tests: Sequence[Comparison]) -> list[Comparison]:
    """Tests that are made together, corrected for their number."""
    p_values = holm([test.randomisation for test in tests])
    return [
        replace(test, corrected=p, comparisons=len(tests))
        for test, p in zip(tests, p_values, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1; none becomes smaller than one before it,
    or larger than 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return [float(value) for value in adjusted]


def _check(options: SignificanceOptions) -> None:
    if options.resamples < 1:
        raise UsageError(f"at least 1 resample is needed, not {options.resamples}")
    if not 0 < options.confidence < 1:
        raise UsageError(f"a confidence must lie between 0 and 1, not {options.confidence}")


def _paired(
    first: Values, second: Values, names: tuple[str, str]
) -> tuple[np.ndarray, float, float]:
    if first.keys() != second.keys():
        example = sorted(first.keys() ^ second.keys())[0]
        raise MismatchError(
            f"{names[0]} ({len(first):,} queries) and {names[1]} ({len(second):,}) were not "
            f"measured on the same queries: {example} is in one of them only"
        )
    if not first:
        raise BadInputError(f"{names[0]} and {names[1]}: no queries to compare")
    a = np.array(list(first.values()), np.float64)
    b = np.array([second[query_id] for query_id in first], np.float64)
    unusable = ~np.isfinite(a - b)
    if unusable.any():
        query_id = list(first)[int(unusable.argmax())]
        raise BadInputError(f"query {query_id}: a value that is not a finite number")
    differences = b - a
    differences[np.abs(differences) < TIE] = 0
    return differences, float(a.mean()), float(b.mean())


def _tests(
    differences: np.ndarray, options: SignificanceOptions
) -> tuple[tuple[float, float] | None, float, float]:
    """(t interval, p of the t-test, p of the randomisation test)."""
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return None, 1.0, 1.0  # a single pair shows nothing
    if not differences.any():
        return (0.0, 0.0), 1.0, 1.0
    randomisation = _randomisation(differences, options)
    if float(differences.std(ddof=1)) <= TIE:
        return (mean, mean), 0.0, randomisation  # the limit of t as the deviation goes to 0
    from scipy import stats

    result = stats.ttest_1samp(differences, 0.0)
    low, high = result.confidence_interval(options.confidence)
    return (float(low), float(high)), float(result.pvalue), randomisation


def _randomisation(differences: np.ndarray, options: SignificanceOptions) -> float:
    # Queries on which the systems tie have no sign to flip; leaving them out changes no sum.
    moved = differences[differences != 0]
    if len(moved) < 2:
        return 1.0  # flipping the only one changes no magnitude
    from scipy import stats

    result = stats.permutation_test(
        (moved,),
        # Rounded, so that sums which tie are equal in whatever order they were added.
        lambda sample, axis: sample.sum(axis=axis).round(10),
        permutation_type="samples",
        vectorized=True,
        n_resamples=options.resamples,
        batch=max(1, BATCH_BYTES // (8 * len(moved))),
        rng=np.random.default_rng(options.seed),
    )
    return float(result.pvalue)


def _sentence(test: Comparison, measure: str) -> str:
    means = f"{test.mean_second:.4f} against {test.mean_first:.4f}"
    counts = f"{test.wins} queries won, {test.losses} lost, {test.ties} equal"
    together = f", corrected for {test.comparisons} comparisons" if test.comparisons > 1 else ""
    p = "p < .001" if test.corrected < 0.001 else f"p = {test.corrected:.3f}".replace("0.", ".")
    if not test.wins and not test.losses:
        return (
            f"{test.second} has the same {measure} as {test.first} on every one of "
            f"{test.queries} queries ({test.mean_second:.4f})."
        )
    if test.significant:
        direction = "higher" if test.difference > 0 else "lower"
        return (
            f"{measure} of {test.second} is {direction} than that of {test.first} by "
            f"{abs(test.difference):.4f} ({means}; {counts}), more than chance would explain "
            f"({p}{together})."
        )
    bounds = (
        f", and the true difference may lie anywhere from {test.interval[0]:+.4f} to "
        f"{test.interval[1]:+.4f} ({test.confidence:.0%} interval)"
        if test.interval
        else ""
    )
    return (
        f"No difference in {measure} between {test.second} and {test.first} is shown ({means}; "
        f"{counts}; {p}{together}): {test.queries} queries leave it within what chance "
        f"explains{bounds}."
    )

"""The few sentences that a reader who reads nothing else should read."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.formats import COMPONENT_NAMES, grouped, listed, number, rows, signed
from analysis.paper.stated import CONTRADICTED, OPEN, SUPPORTED
from analysis.records.method_names import MAGNITUDE, NO_METHOD, STRUCTURED
from analysis.records.method_names import plainest as plain_of
from analysis.records.network_names import BAD, GOOD, PRETRAINED, RANDOM, STOPPING, named, with_own
from analysis.report.words.conclusions import conclusive, opening, said
from analysis.scores.gaps import COMPARISON
from analysis.scores.statistics import Verdict
from analysis.tables import Tables

NBSP = "\N{NO-BREAK SPACE}"
AGAINST = (RANDOM, BAD, PRETRAINED)


def headlines(found: Tables) -> list[str]:
    """Good against others, method by method, pruned and retrained, over tasks; then how much seeds share,
    and how many of the paper's claims hold. Of methods the plain ones, where the search stopped."""
    return [*_gaps(found), *_overlaps(found), *_claims(found)]


def of_plain_methods(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods that are not variants of another, and those of no method."""
    methods = set(table["method"]) - {NO_METHOD}
    kept = {NO_METHOD, *(plain_of(methods, method) for method in methods)}
    return table[table["method"].isin(list(kept))]


def _main(table: pd.DataFrame) -> pd.DataFrame:
    """Good at the stopping size, under plain methods: those that search all that they prune at once."""
    table = of_plain_methods(table[(table["network"] == GOOD) & (table["size"] == STOPPING)])
    whole = table["method"].map(lambda method: method.base).isin([STRUCTURED.base, MAGNITUDE.base])
    return table[whole] if whole.any() else table


def _gaps(found: Tables) -> Iterator[str]:
    """Networks drawn in several ways count once, by the plainest. In brackets, the tasks on which good by
    itself is decidedly higher, and lower if there are any."""
    verdicts = conclusive(found, found.gaps).groupby(COMPARISON)["verdict"]
    for (method, measure), group in grouped(_main(found.across_tasks), ["method", "measure"]):
        against = with_own(AGAINST, group["versus"])
        names = [named(group["versus"], name) for name in against]
        clauses: list[str] = []
        for row in (row for name in names for row in rows(group[group["versus"] == name])):
            alone = verdicts.get_group(tuple(row[label] for label in COMPARISON))
            clauses.append(f"{_clause(row)} ({_counted(alone, first=not clauses)})")
        if clauses:
            tasks = int(group["tasks"].max())
            over = f", mean of {tasks} tasks" if tasks > 1 else ""
            yield f"{opening(method)}, {measure}{over}: good is {listed(clauses)}."


def _counted(verdicts: pd.Series, *, first: bool) -> str:
    """ "higher on 7 of 8 tasks, lower on 1", or in short "7 of 8, lower on 1"."""
    higher, lower = (int((verdicts == Verdict(way, GOOD)).sum()) for way in ("higher", "lower"))
    share = f"{higher} of {len(verdicts)}".replace(" ", NBSP)
    return (f"higher on {share} tasks" if first else share) + (f", lower on {lower}" if lower else "")


def _clause(row: dict[str, Any]) -> str:
    """ "higher than random by 0.151 [0.096, 0.207]", or that it is undecided."""
    low, mean, high = (float(row[name]) for name in ("low", "mean", "high"))
    versus = said(row["versus"])
    if low > 0:
        return f"higher than {versus} by {number(mean)}{_span(number(low), number(high))}"
    if high < 0:
        return f"lower than {versus} by {number(-mean)}{_span(number(-high), number(-low))}"
    span = "" if np.isnan(low) else _span(signed(low), signed(high))
    return f"undecided against {versus} at {signed(mean)}{span}"


def _span(low: str, high: str) -> str:
    """Which stays on the line of the number before it."""
    return f"{NBSP}[{low},{NBSP}{high}]"


def _overlaps(found: Tables) -> Iterator[str]:
    """Means over tasks of what two seeds share."""
    keys = ["task", "method", "component"]
    table = conclusive(found, found.overlap) if len(found.tasks) else found.overlap  # none has scores
    table = _main(table).dropna(subset=["jaccard"])
    table = table.merge(_main(found.agreement)[[*keys, "fleiss_kappa"]], on=keys)
    clauses: list[str] = []
    for component, group in grouped(table, "component"):
        jaccard, chance, kappa = (
            number(group[name].mean(), 2) for name in ("jaccard", "chance", "fleiss_kappa")
        )
        names = ("by chance ", "Fleiss' kappa ") if not clauses else ("", "")
        clauses.append(f"{jaccard} for {COMPONENT_NAMES[component]} ({names[0]}{chance}; {names[1]}{kappa})")
    if clauses:
        yield f"Good subnetworks of two seeds overlap with a mean Jaccard of {listed(clauses)}."


def _claims(found: Tables) -> Iterator[str]:
    table = of_plain_methods(found.claims)
    measured = table[table["tasks"] > 0]
    if len(measured):
        counts = [
            f"{(measured['verdict'] == verdict).sum()} {words}"
            for verdict, words in ((SUPPORTED, SUPPORTED), (CONTRADICTED, CONTRADICTED), (OPEN, "open"))
        ]
        left = len(table) - len(measured)
        rest = f"; {left} claim{'s are' if left > 1 else ' is'} not measured" if left else ""
        yield f"The paper's claims, judged once per claim and method: {', '.join(counts)}{rest}."

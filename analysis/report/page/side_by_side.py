"""The page of two studies."""

from collections.abc import Callable, Iterator

from analysis.comparison import Comparison
from analysis.formats import signed
from analysis.report.figures.drawing import Drawing
from analysis.report.page import columns
from analysis.report.page.sections import SectionPlan, sections
from analysis.report.page.table import Column, PageTable, table
from analysis.report.page.template import rendered

PLANS = (
    SectionPlan(
        "setup", "What was run otherwise", ("setup",), empty="The studies share no task run otherwise."
    ),
    SectionPlan("claims", "The paper's claims", ("claims",)),
    SectionPlan("scores", "Scores", ("scores",), empty="The studies share no network."),
    SectionPlan("gaps", "Gaps", ("gaps",)),
    SectionPlan("masks", "Masks", ("masks",)),
)


def render_two(found: Comparison, drawn: list[Drawing]) -> str:
    """Tables of what both studies have, with the figures."""
    return rendered(
        "side_by_side.html.j2",
        first=found.first.uri,
        second=found.second.uri,
        sections=sections(list(tables_of_two(found)), drawn, {}, PLANS),
    )


def tables_of_two(found: Comparison) -> Iterator[PageTable]:
    """By the names of the comparison's data frames, those without rows too."""
    place = [*columns.whose(found.first), columns.word("network")]
    score = [*place, columns.word("measure")]
    yield table(
        "scores",
        "Dev scores of both: mean over seeds (standard deviation), and second minus first with the 95% Welch"
        " interval: the seeds of two studies are no pairs.",
        found.scores,
        [*score, *_two("mean", "sd"), *_difference()],
        labels=4,
    )
    gap = [*columns.whose(found.first), columns.compared(), columns.word("measure")]
    verdicts = [columns.judgement("verdict", "first"), columns.judgement("other_verdict", "second")]
    yield table(
        "gaps",
        "Gaps of both: mean over seeds (standard deviation), and second minus first with the 95% Welch"
        " interval.",
        found.gaps,
        [*gap, *_two("mean", "sd"), *_difference(), *verdicts],
        labels=3,
    )
    yield table(
        "masks",
        "Masks of both: share kept, and agreement of each study's seeds beside that of random masks.",
        found.masks,
        [
            *place,
            columns.component(),
            *_both(columns.share, "share", "kept"),
            *_both(columns.decimals, "fleiss_kappa", "Fleiss' kappa"),
            *_both(columns.decimals, "jaccard", "Jaccard"),
            *_both(columns.decimals, "chance", "by chance"),
        ],
        labels=4,
    )
    yield table(
        "claims",
        "The paper's claims by the same rules: verdicts of both.",
        found.claims,
        [
            columns.word("claim"),
            columns.word("method"),
            columns.word("verdict", "first"),
            columns.word("other_verdict", "second"),
        ],
    )
    yield table(
        "setup",
        "What was run otherwise, of the tasks that both have.",
        found.setup,
        [columns.task("task"), *(columns.word(name) for name in ("what", "first", "second"))],
    )


def _two(mean: str, sd: str) -> list[Column]:
    return [
        columns.give_or_take(mean, "first", sd),
        columns.give_or_take(f"other_{mean}", "second", f"other_{sd}"),
    ]


def _difference() -> list[Column]:
    return [
        columns.difference("difference", "second minus first"),
        columns.interval("low", "high", "95% interval", signed),
    ]


def _both(column: Callable[[str, str], Column], name: str, header: str) -> list[Column]:
    return [column(name, f"{header}, first"), column(f"other_{name}", f"{header}, second")]

"""The report as one self-contained HTML page."""

from dataclasses import dataclass

from analysis import cautions, conclusions
from analysis.cells import MINUS
from analysis.figures.drawing import Drawing
from analysis.headlines import headlines
from analysis.page import tables
from analysis.page.claims import quotes
from analysis.page.sections import sections
from analysis.page.template import rendered
from analysis.tables import Analysis
from lottery_ray.tasks import title


@dataclass(frozen=True)
class Finding:
    """Sentences under a heading; `folded` ones, of less interest, are shown when asked for."""

    heading: str
    sentences: list[str]
    folded: list[str]


def render(found: Analysis, drawn: list[Drawing]) -> str:
    """The page, with its style, tables and figures inside it."""
    made = tables.every(found)
    headline = next((drawing for drawing in drawn if drawing.group == "gaps" and not drawing.folded), None)
    return rendered(
        "report.html.j2",
        uri=found.uri,
        tasks=[title(task) for task in dict.fromkeys(found.summary["task"])],
        seeds=sorted({int(seed) for seed in found.scores["seed"].dropna()}),
        headlines=headlines(found),
        counts=conclusions.counts(found),
        headline_figure=headline,
        caution=cautions.caution(found),
        left_out=conclusions.left_out(found),
        flags=cautions.flags(found),
        missing=conclusions.missing(found),
        missing_count=len(found.missing),
        claims=next(table for table in made if table.name == "claims"),
        quotes=quotes(found),
        findings=[finding for finding in _findings(found) if finding.sentences or finding.folded],
        controls=conclusions.controls(found),
        others=_others(found),
        sections=sections(
            made,
            [drawing for drawing in drawn if drawing is not headline],
            {"choices": conclusions.choices(found)},
        ),
    )


def _findings(found: Analysis) -> list[Finding]:
    """Every headlined comparison, then what good is made of and its null draws."""
    made = []
    for pair in filter(conclusions.is_headlined, conclusions.comparisons(found)):
        network, versus = pair
        heading = "The full model against good" if network == "full" else f"Good against {versus}"
        sentences, folded = (
            conclusions.findings(found, network, versus, values=True, stopping=stopping)
            for stopping in (True, False)
        )
        made.append(Finding(heading, sentences, folded))
    for heading, sentences_of in (
        (f"What good is made of (good {MINUS} random)", conclusions.composition),
        ("Good among null draws", conclusions.null_draws),
    ):
        made.append(Finding(heading, sentences_of(found), sentences_of(found, stopping=False)))
    return made


def _others(found: Analysis) -> list[str]:
    """Good against super-survivors, transferred tickets and controls."""
    pairs = [pair for pair in conclusions.comparisons(found) if not conclusions.is_headlined(pair)]
    return [
        sentence
        for network, versus in pairs
        for stopping in (True, False)
        for sentence in conclusions.findings(found, network, versus, values=True, stopping=stopping)
    ]

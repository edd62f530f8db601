"""The report as one self-contained HTML page."""

from dataclasses import dataclass

from analysis.formats import MINUS
from analysis.records.network_names import FULL_MODEL, NetworkName
from analysis.report.figures.drawing import Drawing
from analysis.report.page.claims import quotes
from analysis.report.page.sections import every_table, sections
from analysis.report.page.template import rendered
from analysis.report.words import cautions, conclusions
from analysis.report.words.headlines import headlines
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title


@dataclass(frozen=True)
class Finding:
    """Sentences that are shown when their heading is asked for."""

    heading: str
    sentences: list[str]


def render_page(found: Tables, drawn: list[Drawing]) -> str:
    """The page, with its style, tables and figures inside it."""
    made = every_table(found)
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
        missing=conclusions.missing_sentences(found),
        missing_count=len(found.missing),
        claims=next(table for table in made if table.name == "claims"),
        quotes=quotes(found),
        findings=_findings(found),
        sections=sections(
            made,
            [drawing for drawing in drawn if drawing is not headline],
            {"choices": conclusions.choice_sentences(found)},
        ),
    )


def _findings(found: Tables) -> list[Finding]:
    """Every headlined comparison, one network drawn in several ways under one heading; then what good is
    made of, its null draws, and the others. Those with something to say."""
    headings: dict[str, list[tuple[NetworkName, NetworkName]]] = {}
    for pair in filter(conclusions.is_headlined, conclusions.compared_pairs(found)):
        full = pair[0] == FULL_MODEL
        heading = "The full model against good" if full else f"Good against {pair[1].drawn_as}"
        headings.setdefault(heading, []).append(pair)
    made = [
        Finding(heading, [line for pair in pairs for line in _every_size(found, *pair)])
        for heading, pairs in headings.items()
    ]
    for heading, sentences_of in (
        (f"What good is made of (good {MINUS} random)", conclusions.composition_sentences),
        ("Good among null draws", conclusions.null_draw_sentences),
    ):
        made.append(Finding(heading, [*sentences_of(found), *sentences_of(found, stopping=False)]))
    others = [pair for pair in conclusions.compared_pairs(found) if not conclusions.is_headlined(pair)]
    lines = [line for pair in others for line in _every_size(found, *pair)]
    made.append(Finding("Good against super-survivors, transferred subnetworks and controls", lines))
    made.append(
        Finding("What pre-training and fine-tuning the encoder are worth", conclusions.controls(found))
    )
    return [finding for finding in made if finding.sentences]


def _every_size(found: Tables, network: NetworkName, versus: NetworkName) -> list[str]:
    """The stopping one first."""
    return [
        sentence
        for stopping in (True, False)
        for sentence in conclusions.findings(found, network, versus, values=True, stopping=stopping)
    ]

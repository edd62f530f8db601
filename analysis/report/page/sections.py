"""The sections of the page, in their order, and what is in each."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.report.figures.drawing import Drawing
from analysis.report.page import gap_tables, mask_tables, score_tables, size_tables, study_tables
from analysis.report.page.table import PageTable
from analysis.tables import Tables

SUBJECTS = (score_tables, gap_tables, mask_tables, size_tables, study_tables)


@dataclass(frozen=True)
class SectionPlan:
    """name: its place in the page, and the group of its figures. tables: by name. empty: what is said where
    there is nothing to show; without it the section is left out."""

    name: str
    heading: str
    tables: tuple[str, ...] = ()
    words: str = ""
    empty: str = ""


PLANS = (
    SectionPlan("scores", "Scores", ("summary",)),
    SectionPlan(
        "gaps", "Gaps", ("gaps", "across_tasks"), empty="No two networks of a task can be compared yet."
    ),
    SectionPlan("spread", "Where scores spread", ("spread",)),
    SectionPlan(
        "composition",
        "What good is made of",
        ("composition",),
        "A layer-matched subnetwork has as many components in every layer as good, but other ones: what it"
        " has over random is worth of the layer profile, what good has over it of which components they are."
        " A layer has one MLP, so of structured pruning the layer profile says which MLPs.",
    ),
    SectionPlan("nulls", "Null draws", ("null_summary", "null_tests")),
    SectionPlan("choices", "Choices", ("choice_scores", "choice_masks")),
    SectionPlan(
        "baselines", "Baselines", ("baselines",), empty="No predictions are recorded to compare with."
    ),
    SectionPlan("paper", "This study and the paper", ("versus_paper",)),
    SectionPlan(
        "overlap", "Overlap", ("overlap", "overlap_layers"), empty="No two seeds of good are recorded yet."
    ),
    SectionPlan("agreement", "Agreement of seeds", ("agreement",)),
    SectionPlan("tasks", "Overlap of tasks", ("task_overlap",)),
    SectionPlan("transfer", "Transfer"),
    SectionPlan("pretrained", "Good and the pre-trained weights", ("pretrained_overlap",)),
    SectionPlan("sizes", "Sizes", ("sizes", "size_meanings"), empty="No subnetwork is recorded yet."),
    SectionPlan("survival", "Survival", empty="No good subnetwork is recorded yet."),
    SectionPlan("importance", "Importance", ("importance_agreement",)),
    SectionPlan("searches", "Searches", empty="No search is recorded."),
    SectionPlan("setup", "What was run", ("setup", "methods", "costs")),
)


def every_table(found: Tables) -> list[PageTable]:
    """One per data frame that the page shows; those without rows too."""
    return [table for subject in SUBJECTS for table in subject.every(found)]


@dataclass(frozen=True)
class Section:
    """What a plan finds; figures that are of less interest, or many of one kind, are `folded`."""

    plan: SectionPlan
    tables: list[PageTable]
    figures: list[Drawing]
    sentences: Sequence[str] = ()

    @property
    def open(self) -> list[Drawing]:
        return [drawing for drawing in self.figures if not drawing.folded]

    @property
    def folded(self) -> list[Drawing]:
        return [drawing for drawing in self.figures if drawing.folded]


def sections(
    tables: Sequence[PageTable],
    drawn: Sequence[Drawing],
    sentences: dict[str, list[str]],
    plans: Sequence[SectionPlan] = PLANS,
) -> list[Section]:
    """Those with something to show or to say. sentences: by section."""
    named = {table.name: table for table in tables if table.rows}
    made = [
        Section(
            plan,
            [named[name] for name in plan.tables if name in named],
            [drawing for drawing in drawn if drawing.group == plan.name],
            sentences.get(plan.name, ()),
        )
        for plan in plans
    ]
    return [one for one in made if one.tables or one.figures or one.sentences or one.plan.empty]

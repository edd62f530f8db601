"""The page's tables of the study as a whole: claims, the paper's numbers, choices, what was run."""

from collections.abc import Iterator

import pandas as pd

from analysis.formats import DASH, MINUS, number, signed, spanned, with_interval
from analysis.records.method_names import CHOICES
from analysis.report.figures.drawing import task_title
from analysis.report.page import columns
from analysis.report.page.table import Cell, Column, PageTable, Row, table
from analysis.report.words.headlines import of_plain_methods
from analysis.tables import Tables
from lottery_ray.inputs.tasks import metric_name, title

VERDICTS = ("supported", "contradicted")


def every(found: Tables) -> Iterator[PageTable]:
    """Those without rows too."""
    for made in (_claims, _versus_paper, _choice_scores, _choice_masks, _setup, _methods, _costs):
        yield made(found)


def _claims(found: Tables) -> PageTable:
    """Each claim of the paper, and what was measured on it; of methods the plain ones."""
    shown = [
        columns.long("claim"),
        columns.word("method"),
        Column("verdict", _judged),
        Column("estimate", _estimate),
        columns.long("unit", ""),
        columns.count("tasks"),
    ]
    caption = (
        "The paper's claims, and what this study measured on each, with its 95% interval. The CSV file has"
        " variants of methods too, and says what was measured in a sentence."
    )
    return table("claims", caption, of_plain_methods(found.claims), shown)


def _estimate(row: Row) -> Cell:
    """With its interval."""
    text = spanned(*(number(row[name]) for name in ("estimate", "low", "high")))
    return Cell(text, None if pd.isna(row["estimate"]) else row["estimate"])


def _judged(row: Row) -> Cell:
    verdict = str(row["verdict"])
    return Cell(verdict, kind=verdict if verdict in VERDICTS else "unclear")


def _versus_paper(found: Tables) -> PageTable:
    """This study's numbers beside the published ones."""
    shown = [
        Column("task", lambda row: Cell(title(row["task"]))),
        columns.word("method", usual=""),
        columns.word("network"),
        columns.word("measure", "score"),
        columns.give_or_take("mean", "this study (SD)", "sd"),
        columns.count("n", "seeds"),
        columns.give_or_take("paper_mean", "paper (SD)", "paper_sd"),
        columns.difference("difference"),
        columns.interval("low", "high", "95% interval", signed),
        columns.long("note"),
    ]
    models = ", ".join(dict.fromkeys(found.setup["model"]))
    caption = (
        "This study beside the paper: mean and standard deviation over seeds of each, and the difference with"
        " its 95% Welch interval. Notes flag slips in what was published. The paper's model is"
        f" bert-base-uncased{f'; this study: {models}' if models else ''}."
    )
    return table("versus_paper", caption, found.versus_paper, shown, labels=2)


def _choice_scores(found: Tables) -> PageTable:
    """Good under a variant beside the plain method, and the gap to random under each."""

    def gap(prefix: str) -> Column:
        def cell(row: Row) -> Cell:
            value = row[f"{prefix}gap"]
            return Cell(with_interval(signed(value), row[f"{prefix}gap_half"]), value)

        return Column(f"good {MINUS} random{' beside' if prefix else ''}", cell)

    shown = [
        Column("task", lambda row: Cell(task_title(found, row["task"]))),
        columns.word("method"),
        columns.word("versus", "beside"),
        columns.word("measure", "score"),
        columns.within("mean", f"good {MINUS} good", "half", sign=True),
        columns.judgement(),
        gap(""),
        columns.judgement("gap_verdict"),
        gap("versus_"),
        columns.judgement("versus_gap_verdict"),
        columns.word("changes", words={True: "yes", False: "no"}),
        columns.count("n", "seeds"),
    ]
    caption = (
        "Good under one choice of the search beside good under another, paired by seed, and the gap of good"
        " to random under each, with 95% t intervals."
    )
    return table("choice_scores", caption, found.choice_scores, shown, labels=2)


def _choice_masks(found: Tables) -> PageTable:
    """Good masks under a variant beside those of the plain method in the same seed."""
    frame = found.choice_masks
    frame = frame.assign(difference=frame["kept"] - frame["versus_kept"])
    shown = [
        Column("task", lambda row: Cell(task_title(found, row["task"]))),
        columns.word("method"),
        columns.word("versus", "beside"),
        columns.component(),
        columns.count("kept"),
        columns.count("versus_kept", "beside"),
        columns.difference("difference", digits=1),
        columns.count("of"),
        columns.decimals("jaccard", "Jaccard, same seed"),
        columns.decimals("chance", "by chance"),
        columns.decimals("between_seeds", "Jaccard between seeds"),
        columns.decimals("between_chance", "by chance"),
        columns.count("seeds"),
    ]
    caption = (
        "Good masks under two choices in the same seed: mean sizes, and mean Jaccard beside chance and beside"
        " that between seeds of one choice."
    )
    return table("choice_masks", caption, frame, shown, labels=2)


def _setup(found: Tables) -> PageTable:
    """What was run, task by task."""
    shown = [
        Column("task", lambda row: Cell(title(row["task"]))),
        Column("metric", lambda row: Cell(metric_name(row["task"]))),
    ]
    words = {"model", "data"}
    for name in (str(column) for column in found.setup.columns if column != "task"):
        header = name.replace("_", " ")
        shown.append(columns.word(name, header) if name in words else _as_is(name, header))
    return table("setup", "Tasks, models, data and recipe.", found.setup, shown)


def _as_is(name: str, header: str) -> Column:
    """A number or a word of a recipe, as it was given."""

    def cell(row: Row) -> Cell:
        value = row[name]
        return Cell(str(value), float(value) if isinstance(value, int | float) else None)

    return Column(header, cell)


def _methods(found: Tables) -> PageTable:
    """How every method searched, in the words of its choices."""

    def choice(name: str) -> Column:
        return Column(name.replace("_", " "), lambda row: Cell(CHOICES[name].shown(row[name])))

    shown = [
        columns.word("method"),
        *(choice(name) for name in CHOICES),
        Column("examples", lambda row: Cell(row["examples"] or DASH)),
    ]
    caption = (
        "How each method searched. Examples: the rows that scored its searches, over tasks. Removal: how"
        " parts of retrained structured subnetworks are taken out."
    )
    return table("methods", caption, found.methods, shown)


def _costs(found: Tables) -> PageTable:
    """What nodes took, of time and of memory."""
    shown = [
        Column("task", lambda row: Cell(DASH if pd.isna(row["task"]) else title(row["task"]))),
        columns.word("stage", "kind of node"),
        columns.count("nodes"),
        columns.decimals("seconds", "seconds of one", digits=1),
        columns.decimals("hours", "hours of all", digits=2),
        columns.decimals("memory", "peak memory, GiB", digits=2),
        columns.decimals("gpu_memory", "of a GPU, GiB", digits=2),
    ]
    caption = "What the nodes took: mean seconds, and the most memory that one had at its peak."
    return table("costs", caption, found.costs, shown)

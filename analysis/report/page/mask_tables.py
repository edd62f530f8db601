"""The page's tables of how alike masks are: of seeds, of tasks, and with the pre-trained weights."""

from collections.abc import Iterator

import pandas as pd

from analysis.formats import DASH
from analysis.records.network_names import GOOD, PRETRAINED
from analysis.report.page import columns
from analysis.report.page.table import Cell, Column, PageTable, Row, table
from analysis.tables import Tables


def every(found: Tables) -> Iterator[PageTable]:
    """Those without rows too."""
    for made in (_overlap, _overlap_layers, _agreement, _task_overlap, _pretrained_overlap):
        yield made(found)


def good(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of good masks; the files beside the page have the others."""
    return frame[frame["network"] == GOOD]


def _of(found: Tables) -> list[Column]:
    """Whose masks, and which part of them."""
    return [*columns.whose(found), columns.component()]


def _overlap(found: Tables) -> PageTable:
    """Mean pairwise Jaccard beside the two nulls."""
    shown = [
        *_of(found),
        columns.decimals("jaccard", "Jaccard"),
        columns.decimals("jaccard_sd", "SD over pairs"),
        columns.decimals("chance", "same size"),
        columns.interval("chance_low", "chance_high", "its 95%"),
        columns.probability("chance_p", "p"),
        columns.decimals("ratio", "ratio", 2),
        columns.decimals("layer_chance", "same size in every layer"),
        columns.interval("layer_low", "layer_high", "its 95%"),
        columns.probability("layer_p", "p"),
        columns.count("both", "shared"),
        columns.count("chance_both", "by chance"),
        Column("pairs that keep any", _defined),
    ]
    caption = (
        "Overlap of the good masks of two seeds: mean Jaccard over pairs of seeds, beside what independent"
        " random masks of the same size would give, and ones of the same size in every layer: the"
        " expectation, 95% of such means, and the one-sided p of a mean as high. Ratio: Jaccard over its"
        " expectation at the same size. The CSV file has other networks too."
    )
    return table("overlap", caption, good(found.overlap), shown, labels=3)


def _defined(row: Row) -> Cell:
    return Cell(f"{row['defined']} of {row['pairs']}", row["defined"])


def _overlap_layers(found: Tables) -> PageTable:
    """The same, layer by layer."""
    shown = [
        *_of(found),
        columns.layer(),
        columns.count("kept"),
        columns.count("n", "of"),
        columns.decimals("jaccard", "Jaccard"),
        columns.decimals("chance", "same size"),
        columns.interval("chance_low", "chance_high", "its 95%"),
        columns.probability("chance_p", "p"),
        columns.decimals("fleiss_kappa", "Fleiss' kappa"),
        Column("pairs that keep any", _defined),
    ]
    caption = (
        "Overlap layer by layer of the good masks of two seeds, beside independent random masks that keep as"
        " many in that layer. Layer 1 is next to the embeddings."
    )
    return table("overlap_layers", caption, good(found.overlap_layers), shown, labels=4)


def _agreement(found: Tables) -> PageTable:
    """How far seeds agree on components, by every statistic."""
    shown = [
        *_of(found),
        columns.count("kept"),
        columns.count("n", "of"),
        columns.count("every", "kept by all seeds"),
        columns.count("never", "by none"),
        columns.decimals("fleiss_kappa", "Fleiss' kappa"),
        columns.interval("kappa_low", "kappa_high", "its 95%"),
        columns.decimals("krippendorff_alpha", "Krippendorff's alpha"),
        columns.decimals("sizes_q", "Q, sizes", 1),
        columns.probability("sizes_p", "p"),
        Column("pairs not rejected", _not_rejected),
        columns.decimals("components_q", "Q, components", 1),
        columns.probability("components_p", "p"),
        columns.count("seeds"),
    ]
    caption = (
        "How far seeds agree. Kappa and alpha: agreement on each component beyond chance; 0 is none, 1 is"
        " complete; intervals by jackknife over seeds."
        " Q, sizes: Cochran's Q as published, with seeds as treatments: do seeds keep equally many?"
        " A small p says no, and a large one says nothing about which components they keep; beside it, the"
        " pairs of seeds for which it is above .05. Q, components: Cochran's Q as meant, with components as"
        " treatments and p by permutation within seeds: are some components kept by more seeds than chance"
        " would have?"
    )
    return table("agreement", caption, good(found.agreement), shown, labels=3)


def _not_rejected(row: Row) -> Cell:
    count = row["sizes_pairs_not_rejected"]
    return Cell(f"{count:.0f} of {row['sizes_pairs']:.0f}", count) if count == count else Cell(DASH)


def _task_overlap(found: Tables) -> PageTable:
    """What the masks of two tasks share in the same seed."""
    frame = good(found.task_overlap)
    frame = frame[frame["task"] != frame["other_task"]]
    shown = [
        columns.word("method"),
        columns.size(),
        columns.component(),
        columns.task("task"),
        columns.task("other_task", "and"),
        columns.give_or_take("both", "shared (SD)", "both_sd", columns.counted),
        columns.count("chance_both", "by chance"),
        columns.interval("chance_both_low", "chance_both_high", "its 95%", columns.counted),
        columns.decimals("ratio", "ratio", 2),
        columns.decimals("jaccard", "Jaccard"),
        columns.count("n", "of"),
        columns.count("seeds"),
    ]
    caption = (
        "What the masks of two tasks share in the same seed: mean over seeds, beside independent random masks"
        " of the same sizes (expectation, and 95% of such means)."
    )
    return table("task_overlap", caption, frame, shown, labels=4)


def _pretrained_overlap(found: Tables) -> PageTable:
    """Good magnitude masks against the largest weights of the pre-trained model."""
    frame = found.pretrained_overlap
    groups = frame.groupby(["task", "method", "size", "component", "other"], sort=False)
    frame = groups.mean(numeric_only=True).reset_index().assign(rows=groups.size().to_numpy())
    whose = {PRETRAINED: "good and pre-trained", GOOD: "good of two seeds"}
    shown = [
        *columns.whose(found),
        columns.word("other", "masks", words=whose),
        columns.decimals("jaccard", "Jaccard"),
        columns.decimals("chance", "same size"),
        columns.decimals("beyond_chance", "same share of pre-trained"),
        columns.decimals("ratio", "ratio", 2),
        columns.share("share", "of what is possible"),
        columns.count("kept"),
        columns.count("both", "shared"),
        columns.count("chance_both", "by chance"),
        columns.count("beyond_both", "by chance, same share of pre-trained"),
        columns.count("rows", "seeds or pairs"),
    ]
    caption = (
        "Good magnitude masks beside the largest weights of the pre-trained model, means over seeds or pairs"
        " of seeds. Two seeds agree because both keep large pre-trained weights; the second null keeps as"
        " many of those as each does. Ratio: shared weights over that null's. Of what is possible: how far"
        " between that null and the largest overlap there could be."
    )
    return table("pretrained_overlap", caption, frame, shown, labels=3)

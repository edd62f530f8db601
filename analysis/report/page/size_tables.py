"""The page's tables of what masks keep, and of the importance that decides it."""

from collections.abc import Iterator

from analysis.formats import percent
from analysis.records.network_names import BAD, GOOD
from analysis.report.page import columns
from analysis.report.page.table import Cell, Column, PageTable, Row, table
from analysis.tables import Tables


def every(found: Tables) -> Iterator[PageTable]:
    """Those without rows too."""
    for made in (_sizes, _size_meanings, _importance_agreement):
        yield made(found)


def _importance_agreement(found: Tables) -> PageTable:
    """Whether seeds rank components alike."""
    shown = [
        *columns.whose(found)[:2],
        columns.component(),
        columns.decimals("spearman", "Spearman's rho"),
        columns.decimals("kendall_w", "Kendall's W"),
        columns.probability("p"),
        columns.count("seeds"),
    ]
    caption = (
        "Whether seeds rank components alike by importance: mean rank correlation over pairs of seeds, and"
        " Kendall's W (0: no agreement, 1: the same ranking)."
    )
    return table("importance_agreement", caption, found.importance_agreement, shown, labels=2)


def _sizes(found: Tables) -> PageTable:
    """What good tickets keep, and what bad ones share with them; others keep as much of each component."""
    keys = ["task", "method", "size", "component"]
    bad = found.sizes[found.sizes["network"].map(lambda network: network.drawn_as) == BAD].drop_duplicates(
        keys
    )
    good = found.sizes[found.sizes["network"] == GOOD].drop(columns=["shared", "forced"])
    good = good.merge(bad[[*keys, "shared", "forced"]], how="left")
    shown = [
        *columns.whose(found),
        columns.component(),
        columns.share("mean", "kept"),
        Column("over seeds", _range),
        columns.count("kept", "mean count"),
        columns.count("of"),
        columns.count("shared", "bad shares"),
        columns.count("forced", "bad must share"),
        columns.count("seeds"),
    ]
    caption = (
        "What good subnetworks keep: mean over seeds, smallest and largest. Other kinds keep as much of each"
        " component, super-survivors less. What bad ones share with good, and how much of it they must for"
        " want of other components."
    )
    return table("sizes", caption, good, shown, labels=3)


def _range(row: Row) -> Cell:
    return Cell(f"{percent(row['low'], 1)} to {percent(row['high'], 1)}", row["low"])


def _size_meanings(found: Tables) -> PageTable:
    """One size, four ways to say it."""
    shown = [
        *columns.whose(found),
        columns.word("network"),
        columns.share("components"),
        columns.share("encoder", "encoder weights"),
        columns.share("all_weights", "all weights"),
        columns.share("flops", "FLOPs"),
        columns.share("as_published", "as in the paper's titles"),
        columns.count("seeds"),
    ]
    caption = (
        "What a size means: the share kept of the components that the method prunes, of the encoder's"
        " prunable weights, of all weights with the embeddings, and of the FLOPs of heads and MLPs. The"
        " paper's figures show the share of all weights less 21 points."
    )
    return table("size_meanings", caption, found.size_meanings, shown, labels=3)

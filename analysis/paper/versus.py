"""A study's scores beside those that the paper's authors published, with the slips of theirs that matter."""

from collections import defaultdict
from collections.abc import Iterable
from importlib import resources
from typing import Any

import pandas as pd

from analysis.formats import rows
from analysis.records.method_names import MAGNITUDE, PUBLISHED_METHODS, STRUCTURED
from analysis.records.network_names import BAD, PUBLISHED_NETWORKS, RANDOM, STOPPING, WHOLE, NetworkName
from analysis.scores.statistics import welch
from lottery_ray.experiment.draws import PAPER_SEEDS

NAMED = ["task", "method", "network", "measure"]
COLUMNS = [*NAMED, "n", "mean", "sd", "paper_network", "setting", "paper_n", "paper_mean", "paper_sd"]
COLUMNS += ["difference", "low", "high", "note"]

RELOADED = "measured on damaged networks (layers of six heads lost them): expect a higher mean, less spread"
PLOTTED = "Figure 2a shows good's bars instead"
PRINTED = "Table 2 prints 0.24, a slip for 0.024"
INCONCLUSIVE = "its full model is below the majority baseline"
TABLE_2 = "from Table 2: two decimals, no spread"


def paper() -> pd.DataFrame:
    """The published scores: columns task, method, network, measure, setting (the name in the authors'
    results, or table_2), mean, sd (sample, over PAPER_SEEDS; NaN in table_2)."""
    file = resources.files("analysis.paper") / "paper.csv"
    with file.open() as text:
        table = pd.read_csv(text, keep_default_na=False, na_values={"sd": [""]})
    return table.assign(
        method=table["method"].map(PUBLISHED_METHODS), network=table["network"].map(PUBLISHED_NETWORKS)
    )


def versus_paper(summary: pd.DataFrame, *, published: bool = False) -> pd.DataFrame:
    """This study's networks, at the stopping size, that the paper has too: columns COLUMNS. published: the
    scores are the paper's own, so there is nothing to compare, and only what is noted is listed.

    paper_network: as the paper drew it, where there is a choice. difference: this study's mean less the
    published one, low, high: its 95% interval by Welch, NaN where this study has one seed. note: what is
    wrong with the published number, or differs in how the network is drawn.
    """
    theirs: dict[tuple[Any, ...], dict[NetworkName, dict[str, Any]]] = defaultdict(dict)
    for row in rows(paper()):
        theirs[row["task"], row["method"], row["measure"]][row["network"]] = row
    found = []
    for row in rows(summary[summary["size"].isin([WHOLE, STOPPING])]):
        match = theirs[row["task"], row["method"], row["measure"]]
        network = _drawn_alike(match, row["network"])
        note = _note(row, network) if network else ""
        if network is None or (published and not note):
            continue
        other = match[network]
        labels = {column: row[column] for column in (*NAMED, "n", "mean", "sd")}
        labels |= {"paper_network": network, "setting": other["setting"], "paper_n": len(PAPER_SEEDS)}
        labels |= {"paper_mean": other["mean"], "paper_sd": other["sd"], "note": note}
        own = row["n"], row["mean"], row["sd"]
        gap = welch(own, (len(PAPER_SEEDS), other["mean"], other["sd"]))
        found.append(labels | ({} if published else gap))
    return pd.DataFrame(found, columns=COLUMNS)


def _drawn_alike(theirs: Iterable[NetworkName], network: NetworkName) -> NetworkName | None:
    """The same network, or drawn otherwise: as the paper shows it before earlier drafts."""
    alike = [one for one in theirs if one.drawn_as == network.drawn_as]
    return min(alike, key=lambda one: (one != network, one.rule == "earlier", len(one.notes)), default=None)


def _note(row: dict[str, Any], published: NetworkName) -> str:
    """Sections 6.1, 6.2, 6.10 and 6.13 of what is known to be wrong with the published numbers."""
    drawn = row["network"].drawn_as
    notes = []
    if row["method"] == STRUCTURED and row["measure"] == "retrained":
        notes.append(RELOADED)
        notes += [PLOTTED] if drawn == RANDOM else []
    if published != row["network"]:
        notes.append(f"drawn otherwise there: {published}")
    if (row["task"], row["method"], drawn, row["measure"]) == ("cola", MAGNITUDE, BAD, "retrained"):
        notes.append(PRINTED)
    if drawn.is_control:
        notes.append(TABLE_2)
    if row["task"] == "wnli":
        notes.append(INCONCLUSIVE)
    return "; ".join(notes)

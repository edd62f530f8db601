"""What tickets keep, and what they must share with good ones of their size."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.records.network_names import GOOD, NO_NETWORK, STOPPING, SUPER_SURVIVORS, size_of
from analysis.records.root import Root
from lottery_ray.experiment.nodes import Search

GROUP = ["task", "method", "size", "network", "component"]
ALL_WEIGHTS = "all weights"


def survivors(root: Root) -> pd.DataFrame:
    """What every subnetwork keeps: columns task, method, size, network, component (of structured ones also
    "all weights": the prunable weights of the encoder), seed, draw, kept, of, share; and shared, forced: how
    many of them good keeps too, and must for want of others (NaN where records do not say).

    Components that the method does not prune are left out, and so are controls, whose masks are those
    of their twins.
    """
    rows: list[dict[str, Any]] = []
    for record in root.subnetworks():
        result = record.result
        counts = {
            part: size
            for part, size in result["sizes"].items()
            if part in root.methods[record.key].components
        }
        if "weight" not in counts:
            counts = counts | {ALL_WEIGHTS: result["weights"]}
        for component, size in counts.items():
            place = root.place(record) | {"network": root.networks[record.key], "component": component}
            place |= {"draw": record.labels["draw"]}
            counted = {"kept": size["kept"], "of": size["of"], "share": size["kept"] / size["of"]}
            for column, field in (("shared", "overlap_with_good"), ("forced", "forced_overlap")):
                counted[column] = result.get(field, {}).get(component, np.nan)
            rows.append(place | counted)
    return pd.DataFrame(rows, columns=[*GROUP, "seed", "draw", "kept", "of", "share", "shared", "forced"])


def sizes_over_seeds(survivors: pd.DataFrame) -> pd.DataFrame:
    """Over seeds: columns task, method, size, network, component, seeds, then mean, low, high of the share
    kept (smallest and largest seed), kept (mean count), of, and the means of shared and forced. survivors:
    see `survivors`."""
    return (
        survivors.groupby(GROUP, sort=False)
        .agg(
            seeds=("seed", "nunique"),
            mean=("share", "mean"),
            low=("share", "min"),
            high=("share", "max"),
            kept=("kept", "mean"),
            of=("of", "first"),
            shared=("shared", "mean"),
            forced=("forced", "mean"),
        )
        .reset_index()
    )


def extremes(root: Root) -> pd.DataFrame:
    """Searches (of published masks, good ones), and super-survivors at the stopping size, that keep nothing
    or everything of what their method prunes: columns task, seed, method, network (NO_NETWORK of a search),
    kept ("nothing" or "everything")."""
    rows = []
    good, supers = (
        [record for record in root.subnetworks() if root.networks[record.key] == network]
        for network in (GOOD, SUPER_SURVIVORS)
    )
    found = [(NO_NETWORK, record) for record in root.of(Search) or good]
    for network, record in [*found, *((SUPER_SURVIVORS, record) for record in supers)]:
        if size_of(record) != STOPPING:
            continue
        parts = root.methods[record.key].components
        counts = [size for part, size in record.result["sizes"].items() if part in parts]
        kept, of = (sum(size[which] for size in counts) for which in ("kept", "of"))
        if kept in (0, of):
            row = {column: root.place(record)[column] for column in ("task", "seed", "method")}
            rows.append(row | {"network": network, "kept": "everything" if kept else "nothing"})
    return pd.DataFrame(rows, columns=["task", "seed", "method", "network", "kept"])

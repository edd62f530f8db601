"""What the size of a subnetwork is a share of: components, encoder weights, all weights, or work."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.records.root import Root
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.storage.store import Record

GROUP = ["task", "method", "size", "network"]
SHARES = ["components", "encoder", "all_weights", "flops"]
PUBLISHED_EMBEDDINGS = 0.21
"""Figure 2 of the paper shows the share of all weights less this, for the embeddings, whose share of
bert-base-uncased is .2177; the rest is no share of anything."""


def size_meanings(root: Root) -> pd.DataFrame:
    """Mean shares kept over seeds: columns task, method, size, network, seeds, then mean and sample sd
    (NAME_sd) over seeds of

    components: heads and MLPs, each counted once. encoder: prunable encoder weights. all_weights: all, with
    embeddings, norms and classifier. flops: multiplications and additions of heads and MLPs for an example
    of mean length, of weights removed one by one all of them, as dense products skip none. as_published:
    all_weights less PUBLISHED_EMBEDDINGS, which the titles of the paper's Figure 2 show.

    NaN where a record does not say (records of networks and lengths are younger than others).
    """
    known = {record.labels["task"]: record.result for record in root.of(Finetune)}
    rows = []
    for record in root.subnetworks():
        place = root.place(record) | {"network": root.networks[record.key]}
        network = known.get(record.labels["task"], record.result)
        rows.append(place | _shares(record, network.get("architecture"), network.get("dev_tokens")))
    table = pd.DataFrame(rows, columns=[*GROUP, "seed", *SHARES])
    table["as_published"] = table["all_weights"] - PUBLISHED_EMBEDDINGS
    # several draws of one seed are averaged: they are not more seeds
    shares = [*SHARES, "as_published"]
    seeds = table.groupby([*GROUP, "seed"], sort=False)[shares].mean()
    over = seeds.groupby(GROUP, sort=False)
    means, sds = over.mean(), over.std().add_suffix("_sd")
    both = pd.concat([over.size().rename("seeds"), means, sds], axis=1)
    return both[["seeds", *(f"{name}{end}" for name in shares for end in ("", "_sd"))]].reset_index()


def _shares(record: Record, network: dict[str, int] | None, tokens: float | None) -> dict[str, Any]:
    sizes, weights = record.result["sizes"], record.result["weights"]
    shares = dict.fromkeys(SHARES, np.nan) | {"encoder": weights["kept"] / weights["of"]}
    structured = "weight" not in sizes
    if structured:
        shares["components"] = sum(s["kept"] for s in sizes.values()) / sum(s["of"] for s in sizes.values())
    if network:
        shares["all_weights"] = 1 - (weights["of"] - weights["kept"]) / network["parameters"]
    if network and tokens:
        shares["flops"] = _flops(sizes, network, tokens) if structured else 1.0
    return shares


def _flops(sizes: dict[str, dict[str, int]], network: dict[str, int], tokens: float) -> float:
    """Share of the work of all heads and MLPs: two operations per weight and token, and in a head four per
    pair of tokens and unit (scores and their weighted sum)."""
    each = {
        "heads": 2 * tokens * network["head_weights"] + 4 * tokens**2 * network["head_size"],
        "mlp": 2 * tokens * network["mlp_weights"],
    }
    whole = {"heads": network["layers"] * network["heads"], "mlp": network["layers"]}
    kept = {part: sizes.get(part, {"kept": count})["kept"] for part, count in whole.items()}
    return sum(each[part] * kept[part] for part in each) / sum(each[part] * whole[part] for part in each)

"""Every recorded score of a root, with the dev set's standard error."""

from typing import Any

import pandas as pd

from analysis.records.method_names import NO_METHOD
from analysis.records.network_names import WHOLE
from analysis.records.root import Root
from analysis.scores import dev_sets as devset
from lottery_ray.experiment.nodes import Finetune, Ticket
from lottery_ray.inputs.tasks import task_order
from lottery_ray.storage.store import Record

SCORE = ["task", "metric", "seed", "method", "size", "network", "kind", "draw", "measure", "score", "se"]
SCORE += ["dev_examples", "weights_kept", "node"]
TICKET_MEASURES = ("pruned", "retrained")
MEASURES = ("fine-tuned", *TICKET_MEASURES)


def scores(root: Root) -> pd.DataFrame:
    """Every recorded dev score: columns SCORE. weights_kept is the share of prunable encoder weights.

    A ticket that is only retrained otherwise than another has its mask and so its pruned score, which is
    there once.
    """
    rows: list[dict[str, Any]] = []
    for record in root.of(Finetune):
        network = root.networks[record.key]
        full = {"method": NO_METHOD, "size": WHOLE, "network": network, "kind": network, "draw": 0}
        full["weights_kept"] = 1.0
        full["score"] = record.result["score"]
        rows.append(full | _measured(root, record, "fine-tuned", "predictions.arrow"))
    for record in root.of(Ticket):
        weights = record.result["weights"]
        ticket = root.place(record) | {name: record.labels[name] for name in ("kind", "draw")}
        ticket["network"] = root.networks[record.key]
        ticket["weights_kept"] = weights["kept"] / weights["of"]
        for measure in TICKET_MEASURES:
            if measure == "retrained" or not ticket["network"].is_control:
                measured = _measured(root, record, measure, f"{measure}.arrow")
                rows.append(ticket | measured | {"score": record.result[measure]})
    placed: list[dict[str, Any]] = sorted(rows, key=_place)
    return pd.DataFrame(placed, columns=SCORE)


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    """Where a score stands in tables: by task, method, size, network, measure and seed."""
    return (
        task_order(row["task"]),
        *(row[name] for name in ("method", "size", "network")),
        MEASURES.index(row["measure"]),
        row["seed"],
        row["draw"],
    )


def _measured(root: Root, record: Record, measure: str, file: str) -> dict[str, Any]:
    metric = root.metric(record.labels["task"])
    predictions = devset.read_predictions(root.artifact(record, file), metric)
    return {
        "task": record.labels["task"],
        "seed": record.labels["seed"],
        "metric": metric,
        "measure": measure,
        "se": devset.jackknife(devset.leave_one_out(metric, predictions)),
        "dev_examples": len(predictions.labels),
        "node": record.key,
    }

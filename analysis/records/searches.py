"""Every step of every search."""

from typing import Any

import pandas as pd

from analysis.records.inventory import rows_seen
from analysis.records.method_names import choices_of
from analysis.records.root import Root
from lottery_ray.experiment.nodes import Search

COLUMNS = ["task", "method", "seed", "data", "examples", "step", "phase", "component", "kept", "of"]
COLUMNS += ["score", "accepted", "past_floor", "full_score", "floor"]


def searches(root: Root) -> pd.DataFrame:
    """Every step of every search, for the components that its method prunes: columns COLUMNS.

    data: what scored it (dev, held_out or train_subset). examples: its rows, missing in old records.
    past_floor: the step follows one of its phase that missed the floor, and was made only to rank the
    components of smaller sizes. Scores are those that drive the search: for a regression the mean of
    Pearson and Spearman.
    """
    rows: list[dict[str, Any]] = []
    for record in root.of(Search):
        place = root.place(record)
        place |= {"data": choices_of(record)["data"], "examples": rows_seen(record)}
        whole = {name: record.result[name] for name in ("full_score", "floor")}
        missed: set[str] = set()
        for number, step in enumerate(record.result["steps"]):
            own = {name: step[name] for name in ("phase", "score", "accepted")}
            own |= {"step": number, "past_floor": step["phase"] in missed}
            if not step["accepted"]:
                missed.add(step["phase"])
            for component in place["method"].components:
                counts = {"kept": step["kept"][component], "of": record.result["sizes"][component]["of"]}
                rows.append(place | whole | own | counts | {"component": component})
    return pd.DataFrame(rows, columns=COLUMNS)

"""How far off a forecast is: parts of a root's measured seconds, forecast from the other parts.

python benchmarks/forecast_error.py ROOT

Each seed, task, method and kind of node is left out in turn. Writes forecast_error.json: per part the number
of nodes, forecast over actual seconds, and whether the actual ones lie in the forecast's range.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, labels
from lottery_ray.scheduling.forecast import Forecast
from lottery_ray.storage.recorded import nodes_of
from lottery_ray.storage.store import Store

PARTS = ("seed", "task", "method", "kind")


def main(root: Annotated[str, tyro.conf.Positional]) -> int:
    try:
        found = nodes_of(Store.open(root).records())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = {node: record.provenance["seconds"] for node, record in found.items()}
    rows = [row for part in PARTS for row in left_out(seconds, part)]
    table = Table(title=f"{len(seconds)} nodes of {root}", box=None)
    for heading in ("left out", "nodes", "forecast / actual", "in its range"):
        table.add_column(heading, justify="left" if heading == "left out" else "right")
    for row in rows:
        table.add_row(row["left_out"], str(row["nodes"]), f"{row['ratio']:.2f}", str(row["in_range"]))
    Console().print(table)
    Path("forecast_error.json").write_text(json.dumps(rows, indent=1))
    return 0


def left_out(seconds: dict[Node, float], part: str) -> Iterator[dict[str, Any]]:
    """For every value of a label: its nodes, forecast from all others."""
    values = dict.fromkeys(labels(node)[part] for node in seconds)
    for value in values if len(values) > 1 else ():
        missing = [node for node in seconds if labels(node)[part] == value]
        forecast = Forecast()
        for node in seconds.keys() - set(missing):
            forecast.learn(node, seconds[node])
        actual = sum(seconds[node] for node in missing)
        low, high = (sum(ends) for ends in zip(*map(forecast.range, missing), strict=True))
        yield {
            "left_out": f"{part} {value}",
            "nodes": len(missing),
            "ratio": sum(forecast.seconds(node) or 0.0 for node in missing) / actual,
            "in_range": low <= actual <= high,
        }


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))

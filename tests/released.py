"""The masks that the paper's authors released, as mask files, and the statistics that protocol.md prints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.records.method_names import STRUCTURED, MethodName
from analysis.records.network_names import STOPPING, NetworkName
from analysis.records.root import MaskFile
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import write_masks
from tests.places import SHARED

PAPER = SHARED / "paper"
NETWORKS = {
    "heads_mlps": "good",
    "heads_mlps_random": "random",
    "heads_mlps_bad_1": "bad",
    "heads_mlps_super": "super",
}
IDENTITY = dict.fromkeys(masks.IDENTITY)
TASKS = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI")
SEEDS = (1337, 42, 86, 71, 166)


def frame() -> pd.DataFrame:
    """One row per component of every mask. Skips the test where the paper's masks are not at hand."""
    if not (PAPER / "masks.parquet").exists():
        pytest.skip("the released masks are not at hand")
    return pd.read_parquet(PAPER / "masks.parquet")


def parts(mask: pd.DataFrame) -> Iterable[masks.Part]:
    """The rows of one mask in a table like masks.parquet, whatever components it has."""
    for (component, layer), group in mask.sort_values("index").groupby(
        ["component", "layer"], observed=True, sort=True
    ):
        name = {"head": "heads", "mlp": "mlp"}[str(component)]
        scores = group["importance"].to_numpy(np.float32)
        yield masks.Part(
            name,  # type: ignore[arg-type]
            int(str(layer)),
            name,
            (len(group),),
            group["kept"].to_numpy(bool),
            None if np.isnan(scores).any() else scores,
        )


def files(table: pd.DataFrame, folder: Path, method: MethodName = STRUCTURED) -> list[MaskFile]:
    """Every mask of a table like masks.parquet as a file, by family, task and seed in the paper's order."""
    by_mask: dict[Any, pd.DataFrame] = dict(iter(table.groupby(["family", "task", "seed"], observed=True)))
    tasks = sorted({task for _, task, _ in by_mask}, key=lambda t: TASKS.index(t) if t in TASKS else 99)
    found = []
    for family in table["family"].unique():
        for task in tasks:
            for seed in SEEDS:
                if (family, task, seed) in by_mask:
                    path = folder / f"{family} {task} {seed}.arrow"
                    mask = tuple(parts(by_mask[family, task, seed]))
                    write_masks(masks.to_table(mask, "k", IDENTITY), path)
                    network = NetworkName(NETWORKS.get(family, family))
                    found.append(MaskFile(task, seed, method, STOPPING, network, 0, path))
    return found


def printed(section: str, block: int = 0) -> dict[str, dict[str, str]]:
    """{row: {column: cell}} of a table that protocol.md prints after a heading or phrase."""
    if not (PAPER / "protocol.md").exists():
        pytest.skip("the protocol is not at hand")
    text = (PAPER / "protocol.md").read_text().split(section, 1)[1]
    lines = text.split("```csv\n")[1 + block].split("```")[0].strip().split("\n")
    names, *cells = [line.split(",") for line in lines]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cells}

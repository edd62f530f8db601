"""Small studies through the command line: the inputs of a user, the command, and what it leaves.

The model is a tiny BERT with random weights and the data a generated pair task, in folders with spaces.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from lottery_ray.experiment.masks import read_masks
from lottery_ray.inputs import language
from lottery_ray.storage.store import Record, Store
from tests.folders import pretrained_folder
from tests.places import JOBS

SWEEP = JOBS / "sweep.py"
NODES = 2 * 2 * (1 + 2 + 6)
ONE = ("--tasks", "mrpc", "--seeds", "1", "--methods", "magnitude", "--kinds", "bad")
"""Three nodes."""


def make_inputs(folder: Path) -> Path:
    """A folder with `a model` and `some data`: MRPC and RTE in name, agreement of two sentences in fact."""
    pretrained_folder(folder / "a model")
    generated = language.Language(seed=1, acceptability_rows=(200, 96))
    for task in ("mrpc", "rte"):
        (folder / "some data" / task).mkdir(parents=True)
        for split in ("train", "validation"):
            table = language.table(generated, "acceptability", split)
            table = table.append_column("sentence2", table["sentence"]).rename_columns(
                {"sentence": "sentence1"}
            )
            pq.write_table(table, folder / "some data" / task / f"{split}.parquet")
    return folder


def command(inputs: Path, root: str | Path, *flags: str, report: bool = False) -> list[str]:
    """Two tasks and two seeds, which flags may change. report: whether it ends with one."""
    return [
        *(sys.executable, str(SWEEP), "glue", "--root", str(root)),
        *("--model", str(inputs / "a model"), "--data", str(inputs / "some data")),
        *("--tasks", "mrpc", "rte", "--seeds", "1", "2", "--recipe.epochs", "2"),
        *(() if "--kinds" in flags else ("--kinds", "good", "random", "bad")),
        *(() if report else ("--no-report",)),
        *("--recipe.learning-rate", "3e-3", *flags),
    ]


def run(arguments: list[str], status: int = 0, environment: dict[str, str] | None = None) -> str:
    """Standard output and error of a command, from another folder than the checkout's."""
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        cwd="/",
        env=os.environ | (environment or {}),
        check=False,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    return output


def records(root: Path | str) -> dict[str, Record]:
    return {record.key: record for record in Store.open(str(root)).records()}


def assert_equal(root: Path | str, other: Path | str) -> None:
    """Every result and every mask, bit by bit."""
    ours, theirs = records(root), records(other)
    assert ours.keys() == theirs.keys()
    for key, record in ours.items():
        assert record.result == theirs[key].result, record.labels
        for name in record.artifacts:
            if name in ("mask.arrow", "states.arrow"):
                tables = [read_masks(Store.open(str(r)).fetch(records(r)[key], name)) for r in (root, other)]
                assert tables[0].equals(tables[1])


def wait_for_a_checkpoint(driver: subprocess.Popen[str], root: Path) -> None:
    while not list(root.glob("nodes/*/checkpoint/*.safetensors")):
        assert driver.poll() is None
        time.sleep(0.01)

"""How long the report of the paper's whole grid takes: 405 nodes, masks of BERT-base size, real dev sizes.

python -m benchmarks.report_time

Makes the root (about 2 GB, deleted afterwards; made-up predictions and masks), then runs the report
in a process of its own. Target: under 60 seconds on 2 cores.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tyro
from rich.console import Console

from benchmarks import measurement
from lottery_ray import streams
from lottery_ray.experiment import masks
from lottery_ray.experiment.draws import PAPER_SEEDS, RELEASED_TASKS
from lottery_ray.experiment.graph import Node, key, labels
from lottery_ray.experiment.masks import write_masks
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import Finetune, Search, Ticket
from lottery_ray.inputs.data import HubData
from lottery_ray.inputs.models import HubModel
from lottery_ray.inputs.tasks import GLUE
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.published import PAPER_NETWORK
from lottery_ray.storage.store import Store

DEV = {"cola": 1043, "sst2": 872, "mrpc": 408, "stsb": 1500, "qqp": 40430, "mnli": 9815}
DEV |= {"qnli": 5463, "rte": 277, "wnli": 71}
SKILL = {"full": 0.9, "good": 0.8, "random": 0.4, "bad": 0.3}
REPORT = Path(__file__).parents[1] / "jobs" / "report.py"


def shapes() -> list[tuple[int, str, tuple[int, ...]]]:
    """(layer, name, shape) of BERT-base's prunable parameters, 85,017,600 weights."""
    square = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    sizes = dict.fromkeys(square, (768, 768)) | {
        "intermediate.dense": (3072, 768),
        "output.dense": (768, 3072),
    }
    return [
        (layer, f"model.bert.encoder.layer.{layer}.{name}.{kind}", shape if kind == "weight" else shape[:1])
        for layer in range(12)
        for name, shape in sizes.items()
        for kind in ("weight", "bias")
    ]


def nodes() -> list[Node]:
    """The paper's grid: 45 fine-tuned models, 90 searches, 270 tickets."""
    found: list[Node] = []
    for task in RELEASED_TASKS:
        for seed in PAPER_SEEDS:
            model = HubModel("bert-base-uncased", "0" * 40)
            finetune = Finetune(task, seed, model, HubData("nyu-mll/glue", "0" * 40))
            searches = [Search(finetune, method) for method in (Structured(), Magnitude())]
            found += [finetune, *searches]
            found += [Ticket(finetune, (s,), kind) for s in searches for kind in ("good", "random", "bad")]
    return found


def good_bits(search: Search) -> np.ndarray:
    """uint8: 85 million bits, half of them set; a quarter are the same in every search."""
    size = PAPER_NETWORK["encoder_weights"] // 8
    same, own, where = (streams.generator("benchmark", word) for word in ("same", key(search), "where"))
    mask = np.frombuffer(where.bytes(size), np.uint8) & np.frombuffer(where.bytes(size), np.uint8)
    shared, free = (np.frombuffer(rng.bytes(size), np.uint8) for rng in (same, own))
    return (shared & mask) | (free & ~mask)


def write_weights(node: Search | Ticket, path: Path) -> dict[str, dict[str, int]]:
    """The mask of a magnitude node; returns its sizes."""
    search = node if isinstance(node, Search) else node.sources[0]
    kind = labels(node)["kind"] or "good"
    bits = good_bits(search)
    if kind == "random":
        bits = np.frombuffer(streams.generator("benchmark", key(node)).bytes(bits.size), np.uint8)
    elif kind == "bad":
        bits = ~bits
    rows = shapes()
    lengths = [int(np.prod(shape)) for *_, shape in rows]
    values = pa.BooleanArray.from_buffers(pa.bool_(), sum(lengths), [None, pa.py_buffer(bits.tobytes())])
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    flat = labels(node)
    flat |= {"kind": kind, "size": flat["size"] or "stopping", "draw": 0}
    columns: dict[str, Any] = {name: [flat[name]] * len(rows) for name in masks.IDENTITY}
    columns |= {"component": ["weight"] * len(rows), "layer": [layer for layer, *_ in rows]}
    columns |= {"name": [name for _, name, _ in rows], "shape": [list(shape) for *_, shape in rows]}
    columns["kept"] = pa.LargeListArray.from_arrays(offsets, values)
    columns["score"] = pa.nulls(len(rows), pa.large_list(pa.float32()))
    metadata = {"node": key(node), "format": "1"}
    write_masks(pa.table(columns, schema=masks.SCHEMA.with_metadata(metadata)), path)
    return {"weight": {"kept": values.true_count, "of": len(values)}}


def write_structured(node: Search | Ticket, folder: Path) -> dict[str, dict[str, int]]:
    rng = streams.generator("benchmark", key(node))
    heads, mlps = rng.random((12, 12)) < 0.6, rng.random(12) < 0.7
    scores = rng.random((12, 12), np.float32), rng.random(12, np.float32)
    mask = masks.structured_mask(heads, mlps, *scores)
    flat = labels(node)
    flat |= {"kind": flat["kind"] or "good", "size": flat["size"] or "stopping", "draw": 0}
    table = masks.to_table(mask, key(node), flat)
    write_masks(table, folder / "mask.arrow")
    if isinstance(node, Search):
        whole = masks.structured_mask(np.ones((12, 12), bool), np.ones(12, bool), *scores)
        first = masks.to_table(whole, key(node), flat)
        write_masks(first.append_column("step", pa.array([0] * len(first))), folder / "states.arrow")
    return masks.sizes(mask)


def predict(task: str, skill: float, path: Path) -> float:
    """Write predictions that know that share of the labels; returns the accuracy or correlation."""
    rng, n = streams.generator("benchmark", str(path)), DEV[task]
    classes = GLUE[task].labels
    if classes == 1:
        label = rng.normal(size=n)
        logits = (skill * label + (1 - skill) * rng.normal(size=n))[:, None]
    else:
        label = rng.integers(0, classes, n).astype(float)
        logits = rng.normal(size=(n, classes))
        logits[np.arange(n), label.astype(int)] += 4 * (rng.random(n) < skill)
    columns = {"idx": pa.array(range(n), pa.int64()), "label": pa.array(label, pa.float64())}
    columns["logits"] = pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32()))
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return skill


def record(store: Store, node: Node) -> None:
    attempt = begin(store, node)
    result: dict[str, Any]
    if isinstance(node, Finetune):
        score = predict(node.task, SKILL["full"], attempt.folder / "predictions.arrow")
        result = {"score": score, "pruning_score": score, "train_examples": 1, "dev_examples": DEV[node.task]}
        result |= {"architecture": PAPER_NETWORK, "dev_tokens": 30.0}
    else:
        assert isinstance(node, Search | Ticket)
        magnitude = labels(node)["method"] == "magnitude"
        write = write_weights if magnitude else write_structured
        sizes = write(node, attempt.folder / "mask.arrow" if magnitude else attempt.folder)
        kept = {name: size["kept"] for name, size in sizes.items()}
        result = {"sizes": sizes, "full_score": 0.9, "floor": 0.81, "score": 0.82, "examples": 1000}
        result["steps"] = [{"phase": "full", "score": 0.9, "accepted": True, "kept": kept}]
        if isinstance(node, Ticket):
            weights = sizes.get("weight", {"kept": 50_000_000, "of": PAPER_NETWORK["encoder_weights"]})
            result = {"sizes": sizes, "weights": weights}
            for measure, more in (("pruned", 0.0), ("retrained", 0.1)):
                skill = SKILL[node.kind] + more
                result[measure] = predict(node.finetune.task, skill, attempt.folder / f"{measure}.arrow")
    attempt.publish(result, {"seconds": 1.0}, {})


def make(root: Path, console: Console) -> None:
    every = nodes()
    assert len(every) == 405
    store = Store.open(str(root), create=True)
    with console.status("making the root"):
        for node in every:
            record(store, node)


def main(folder: Path | None = None) -> None:
    """Time the report of a made-up root of the paper's size.

    Args:
        folder: Where the root lies while it runs. None: where temporary files do.
    """
    console = Console()
    with tempfile.TemporaryDirectory(prefix="report_time_", dir=folder) as made:
        make(root := Path(made) / "405 nodes", console)
        started = time.perf_counter()
        subprocess.run([sys.executable, REPORT, root], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    console.print(f"{seconds:.1f} s, {memory:.0f} MiB")
    rows = [measurement.within("seconds for the report of 405 nodes", 60.0, seconds, seconds, seconds)]
    measurement.show("Report", rows)
    measurement.keep(rows)


if __name__ == "__main__":
    tyro.cli(main)

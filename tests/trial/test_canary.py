"""One small trial of a model and task: what it measures, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import Study
from lottery_ray.inputs.data import FolderData, data_sha256
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks import batches as data
from lottery_ray.storage.store import Store
from lottery_ray.training import loop as training
from lottery_ray.trial.canary import measure, run_canary
from lottery_ray.trial.settings import TrialSettings
from tests.folders import data_folder, model_folder

SHORT, LONG = "n000 v00", " ".join(["n000"] * 30)


def planned(folder: Path, **study: object) -> tuple[Finetune, dict[str, str]]:
    """A fine-tuning on MRPC in name, with 80 long examples among many short ones."""
    if not (folder / "model").exists():
        model_folder(folder / "model")
        data_folder(folder / "data", "mrpc")
        for split in ("train", "validation"):
            texts = [LONG if row % 6 == 0 else SHORT for row in range(480)]
            columns = {"sentence1": texts, "sentence2": texts, "label": [row % 2 for row in range(480)]}
            pq.write_table(pa.table(columns), folder / "data" / "mrpc" / f"{split}.parquet")
    found = plan(Study(str(folder / "model"), str(folder / "data"), ("mrpc",), (1,), **study))  # type: ignore[arg-type]
    assert isinstance(found.nodes[0], Finetune)
    return found.nodes[0], found.folders


def test_it_trains_on_the_longest_and_measures_on_ordinary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[np.ndarray] = []
    pack = data.pack

    def watched(encoded: Encoded, rows: np.ndarray) -> data.Packed:
        steps.append(encoded.lengths[rows])
        return pack(encoded, rows)

    monkeypatch.setattr(training, "pack", watched)
    node, folders = planned(tmp_path, held_out=0.25, train_limit=460)
    measured = measure(node, TrialSettings("", folders, cpu=True))
    assert (measured.train_rows, measured.dev_rows) == (345, 480)
    seconds = (measured.load, measured.encode, measured.train, measured.score, measured.importance)
    assert all(value > 0 for value in seconds)
    assert measured.train > measured.score
    assert measured.peak_memory_mib
    assert measured.peak_gpu_memory_mib is None
    assert [len(lengths) for lengths in steps[:2]] == [32, 32]
    assert all((lengths > 32).all() for lengths in steps[:2])
    assert any((lengths < 32).any() for lengths in steps[2:])


def test_it_leaves_nothing_but_the_log_of_a_failure(tmp_path: Path) -> None:
    node, folders = planned(tmp_path)
    store = Store.open(str(tmp_path / "root"), create=True)
    run_canary(node, TrialSettings(store.uri, folders, cpu=True))
    assert files(tmp_path / "root") == ["lottery.json"]
    with pytest.raises(InputError, match="every machine needs it there"):
        run_canary(node, TrialSettings(store.uri, dict.fromkeys(folders, "nowhere"), cpu=True))
    cause, log = store.failure(node) or ("", "")
    assert "every machine needs it there" in cause
    assert "Traceback" in Path(log).read_text()
    assert files(tmp_path / "root") == ["error.txt", "lottery.json"]


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_weights_that_are_not_those_of_the_plan_are_refused(tmp_path: Path) -> None:
    node, folders = planned(tmp_path)
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="is not the one that the study was planned on"):
        measure(node, TrialSettings("", folders, cpu=True))


def measured(node: Finetune, folders: dict[str, str], *, cpu: bool) -> None:
    measure(node, TrialSettings("", folders, cpu=cpu))


def test_a_model_that_makes_nan_is_refused(tmp_path: Path) -> None:
    planned(tmp_path)
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    next(value for name, value in weights.items() if "layer.1.output.dense.weight" in name)[0, 0] = torch.nan
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(FloatingPointError, match="not finite before any training"):
        measured(*planned(tmp_path), cpu=True)


def test_a_training_that_makes_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="its training has diverged"):
        measured(*planned(tmp_path, recipe=Recipe(learning_rate=1e38)), cpu=True)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("sentence2", None, "The dev data of MRPC: column sentence2 must be text without nulls"),
        ("label", -1, "The dev data of MRPC: label -1 is outside 0 to 1"),
        ("label", None, "labels must be whole numbers without nulls"),
    ],
)
def test_a_broken_row_is_refused(column: str, value: object, words: str, tmp_path: Path) -> None:
    """Data on the hub is first read here; a folder's, when a study is planned."""
    node, folders = planned(tmp_path)
    path = tmp_path / "data" / "mrpc" / "validation.parquet"
    table = pq.read_table(path)
    broken = [*table[column].to_pylist()[:-1], value]
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(broken, table.schema.field(column).type)), path)
    found = FolderData(data_sha256(tmp_path / "data", TASKS["mrpc"]))
    folders[found.sha256] = str(tmp_path / "data")
    with pytest.raises(InputError, match=words):
        measure(replace(node, data=found), TrialSettings("", folders, cpu=True))


def test_a_trial_that_was_given_a_gpu_that_torch_does_not_see_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch sees one")
    with pytest.raises(RuntimeError, match="torch sees none"):
        measured(*planned(tmp_path), cpu=False)

"""Nothing in a root is unpickled or executed, whoever wrote it; nothing of ours asks a library to."""

import ast
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import key
from lottery_ray.experiment.masks import read_masks, write_masks
from lottery_ray.experiment.nodes import Finetune, Pretrain, Search
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import Study
from lottery_ray.identity import digest, file_sha256
from lottery_ray.networks.weights import load_network
from lottery_ray.storage.store import Store
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings
from tests.folders import data_folder, model_folder
from tests.places import CHECKOUT

ROOT = CHECKOUT
OURS = sorted(
    path for folder in ("lottery_ray", "analysis", "jobs") for path in (ROOT / folder).rglob("*.py")
)
RISKY_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
RISKY_CALLS = {"torch.load", "np.load", "pd.read_pickle", "eval", "exec", "yaml.load"}
RISKY_ARGUMENTS = {"allow_pickle", "trust_remote_code", "weights_only"}

ALLOWED = {"extensions": {"exec"}}
"""It runs the files that a user names with --extend, from where the user has them and never from a root."""


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_of_ours_unpickles(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not RISKY_MODULES & {name.partition(".")[0] for name in imported}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        assert ast.unparse(call.func) not in RISKY_CALLS - ALLOWED.get(path.stem, set())
        assert not RISKY_ARGUMENTS & {keyword.arg for keyword in call.keywords}


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def test_the_bomb_goes_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    torch.save(Bomb(tmp_path / "other"), tmp_path / "x.bin")
    torch.load(tmp_path / "x.bin", weights_only=False)
    assert (tmp_path / "mark").exists()
    assert (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """A plan of a fine-tuned model, a search and a ticket, and a root with the first two."""
    folder = tmp_path_factory.mktemp("inputs")
    model, data = model_folder(folder / "model"), data_folder(folder / "data", "mrpc")
    once = Recipe(epochs=1)
    study = Study(str(model), str(data), ("mrpc",), (1,), ("structured",), ("good",), recipe=once, floor=0.1)
    planned = plan(study)
    Store.open(str(folder / "root"), create=True)
    for node in planned.nodes[:2]:
        run_node(node, TrialSettings(str(folder / "root"), planned.folders, cpu=True))
    return planned, folder / "root"


@pytest.fixture
def root(done: tuple[Plan, Path], tmp_path: Path) -> Path:
    return shutil.copytree(done[1], tmp_path / "root")


def forge(root: Path, node: Finetune | Search, write: dict[str, Path | None]) -> None:
    """Put files into a node's artifacts, or take them away (None), and a record that vouches for it."""
    path = root / "nodes" / key(node) / "node.json"
    content = json.loads(path.read_text())
    for name, source in write.items():
        artifact = path.parent / content["attempt"] / name
        if source is None:
            artifact.unlink()
            del content["artifacts"][name]
        else:
            shutil.copy(source, artifact)
            content["artifacts"][name] = file_sha256(artifact)
    del content["checksum"]
    path.write_text(json.dumps(content | {"checksum": digest(content)}))


def pickled_weights(mark: Path, path: Path) -> Path:
    torch.save(Bomb(mark), path)
    return path


def test_pickled_weights_are_not_read(done: tuple[Plan, Path], root: Path, tmp_path: Path) -> None:
    planned, _ = done
    full, search, _ = planned.nodes
    assert isinstance(full, Finetune)
    bomb = pickled_weights(tmp_path / "mark", tmp_path / "bomb")
    (root / "nodes" / key(search) / "node.json").unlink()
    for change in (
        {"model.safetensors": bomb},
        {"model.safetensors": bomb, "pytorch_model.bin": bomb},
    ):
        forge(root, full, dict(change))
        with pytest.raises(Exception, match=r"(?i)header|safetensors"):
            run_node(search, TrialSettings(str(root), planned.folders, cpu=True))
    forge(root, full, {"model.safetensors": None, "pytorch_model.bin": bomb})
    with pytest.raises(Exception, match=r"model\.safetensors"):
        run_node(search, TrialSettings(str(root), planned.folders, cpu=True))
    folder = tmp_path / "exported"
    shutil.copytree(root / "nodes" / key(full), folder)
    (attempt,) = (path for path in folder.iterdir() if (path / "pytorch_model.bin").exists())
    with pytest.raises(OSError, match="safetensors"):
        load_network(attempt)
    assert not (tmp_path / "mark").exists()


def test_code_beside_a_model_is_not_run(done: tuple[Plan, Path], root: Path, tmp_path: Path) -> None:
    planned, _ = done
    full, search, _ = planned.nodes
    assert isinstance(full, Finetune)
    (root / "nodes" / key(search) / "node.json").unlink()
    (record,) = (r for r in Store.open(str(root)).records() if r.key == key(full))
    config = json.loads((root / "nodes" / key(full) / record.attempt / "config.json").read_text())
    code = tmp_path / "evil.py"
    code.write_text(
        f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n"
        "from transformers import BertConfig, BertForSequenceClassification\n"
        "class C(BertConfig): pass\nclass M(BertForSequenceClassification): pass\n"
    )
    named = {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": named}))
    forge(root, full, {"config.json": tmp_path / "config.json", "evil.py": code})
    run_node(search, TrialSettings(str(root), planned.folders, cpu=True))
    assert not (tmp_path / "mark").exists()


def test_pickles_in_the_metadata_of_a_table_are_data(
    done: tuple[Plan, Path], root: Path, tmp_path: Path
) -> None:
    planned, _ = done
    _, search, ticket = planned.nodes
    assert isinstance(search, Search)
    store = Store.open(str(root))
    record = store.read(key(search))
    assert record is not None
    table = read_masks(store.fetch(record, "mask.arrow"))
    pickled = pickle.dumps(Bomb(tmp_path / "mark"))
    poison = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickled,
    }
    fields = [field.with_metadata(poison) for field in table.schema]
    schema = pa.schema(fields, (table.schema.metadata or {}) | {b"pandas": pickled})
    write_masks(pa.Table.from_arrays(table.columns, schema=schema), tmp_path / "mask.arrow")
    forge(root, search, {"mask.arrow": tmp_path / "mask.arrow"})
    found = run_node(ticket, TrialSettings(str(root), planned.folders, cpu=True))
    assert found.result["sizes"] == record.result["sizes"]
    assert not (tmp_path / "mark").exists()


def test_a_pickled_record_checkpoint_or_format_is_refused(root: Path, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "mark"))
    store = Store.open(str(root))
    (one, *_) = store.records()
    store._write(f"nodes/{one.key}/node.json", bomb)
    with pytest.raises(InputError, match="is corrupt"):
        list(store.records())
    header = struct.pack("<Q", len(bomb)) + bomb
    store.keep_checkpoint(Pretrain(), 3, header)
    kept = Checkpoints(store, Pretrain(), 0, {}, "a CPU")
    network = torch.nn.Linear(2, 2)
    with pytest.raises((ValueError, KeyError)):
        kept.restore(network, torch.optim.AdamW(network.parameters()))
    store._write("lottery.json", bomb)
    with pytest.raises(InputError, match="is corrupt"):
        Store.open(str(root))
    assert not (tmp_path / "mark").exists()

"""Studies: every bad input is refused before a trial, and where things lie is no part of what they are."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import key
from lottery_ray.experiment.nodes import Finetune, Pretrain, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import PRESETS, Study
from lottery_ray.inputs.data import FolderData
from lottery_ray.inputs.models import BERT_BASE, FolderModel, HubModel
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.recorded import nodes_of
from lottery_ray.storage.store import Store
from tests.folders import data_folder, model_folder, rows
from tests.places import CHECKOUT

ROOT = CHECKOUT
COMMAND = ROOT / "jobs" / "sweep.py"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    model_folder(folder / "model")
    data_folder(folder / "data", "mrpc", "stsb", "mnli")
    return folder


@pytest.fixture
def place(originals: Path, tmp_path: Path) -> Path:
    """A folder of one's own, with spaces in its name, that holds model/ and data/."""
    return Path(shutil.copytree(originals, tmp_path / "a place of my own"))


def study(place: Path, *tasks: str) -> Study:
    tasks = tasks or ("mrpc",)
    return Study(model=str(place / "model"), data=str(place / "data"), tasks=tasks, seeds=(1,))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process; an exception that it lets through fails the test."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(COMMAND), *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(COMMAND), run_name="__main__")
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def says(text: str, *words: str) -> None:
    """All of these are in the text, whatever its lines and borders."""
    flat = " ".join(text.replace("│", " ").split())
    for word in words:
        assert word in flat, f"{word!r} is not in: {flat}"


# arguments, and the words that say what was wrong, where, and what would be right
REFUSED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown task": (["glue", "--tasks", "sst3"], ("--tasks sst3", "choose from cola, sst2, mrpc")),
    "embedded task of GLUE": (["demo", "--tasks", "sst2"], ("--tasks sst2", "acceptability, similarity")),
    "no tasks": (["glue", "--tasks"], ("--tasks",)),
    "one task twice": (["glue", "--tasks", "rte", "rte"], ("--tasks", "rte is given 2 times", "once")),
    "unknown preset": (["glu"], ("glu", "demo", "glue", "paper")),
    "unknown method": (["glue", "--methods", "l0"], ("--methods l0", "structured, heads, mlps, magnitude")),
    "unknown kind": (
        ["glue", "--kinds", "ugly"],
        ("--kinds ugly", "good, random, layer_matched, bad, pretrained"),
    ),
    "unknown baseline": (["glue", "--baselines", "lstm"], ("--baselines lstm", "random_start, frozen")),
    "unknown choice": (
        ["glue", "--choices.importance", "magic"],
        ("--choices.importance", "per_example", "cumulative"),
    ),
    "unknown search data": (["glue", "--search-data", "test"], ("--search-data", "dev", "held_out")),
    "nothing held out": (["glue", "--held-out", "0"], ("--search-data held_out", "--held-out 0.1")),
    "all held out": (["glue", "--held-out", "1"], ("--held-out 1", "below 1")),
    "no row held out": (
        ["glue", "--held-out", "0.0001"],
        ("--held-out 0.0001: holds 0 of mrpc's 3668 rows", "some on either"),
    ),
    "size of everything": (["glue", "--sizes", "1"], ("--sizes 1", "a share above 0 and below 1")),
    "size that is no number": (["glue", "--sizes", "half"], ("--sizes", "half")),
    "size that no search reaches": (["glue", "--sizes", "0.2"], ("--sizes 0.2", "0.3", "--down-to 0.2")),
    "size past the floor": (["paper-as-released", "--sizes", "0.5"], ("the floor", "--down-to 0.5")),
    "one size twice": (["glue", "--sizes", "0.5", "0.5"], ("--sizes", "0.5 is given 2 times")),
    "negative null draws": (["glue", "--null-draws", "-1"], ("--null-draws -1", "at least 0")),
    "super of one seed": (["glue", "--kinds", "super", "--seeds", "1"], ("--kinds super", "two --seeds")),
    "transfer of one task": (
        ["glue", "--kinds", "transfer", "--tasks", "rte"],
        ("--kinds transfer", "two --tasks"),
    ),
    "pretrained heads": (
        ["glue", "--kinds", "pretrained", "--methods", "heads"],
        ("--kinds pretrained", "--methods magnitude"),
    ),
    "MLPs matched by layer": (
        ["glue", "--kinds", "layer_matched", "--methods", "mlps"],
        ("--kinds layer_matched", "--methods structured or heads or magnitude"),
    ),
    "longer than nothing": (
        ["glue", "--kinds", "good", "--baselines", "longer_bad"],
        ("--baselines longer_bad", "--kinds bad"),
    ),
    "no magnitude step": (
        ["glue", "--choices.magnitude-step", "0"],
        ("--choices.magnitude-step 0", "above 0"),
    ),
    "no seeds": (["glue", "--seeds"], ("--seeds",)),
    "one seed twice": (["glue", "--seeds", "1", "2", "1"], ("--seeds", "1 is given 2 times", "once")),
    "seed that is no number": (["glue", "--seeds", "one"], ("--seeds", "one")),
    "unknown flag": (["glue", "--sedes", "1"], ("--sedes",)),
    "floor of 0": (["glue", "--floor", "0"], ("--floor 0", "above 0 and at most 1")),
    "floor above 1": (["glue", "--floor", "1.5"], ("--floor 1.5", "above 0 and at most 1")),
    "negative budget": (["glue", "--budget", "-1"], ("--budget -1", "at least 0")),
    "budget that is no number": (["glue", "--budget", "nan"], ("--budget nan", "at least 0")),
    "no CPUs": (["glue", "--cpus-per-trial", "0"], ("--cpus-per-trial 0", "at least 0.1")),
    "negative GPUs": (["glue", "--gpus-per-trial", "-1"], ("--gpus-per-trial -1", "at least 0")),
    "negative minutes": (["glue", "--checkpoint-minutes", "-1"], ("--checkpoint-minutes -1", "at least 0")),
    "negative price": (["glue", "--price", "-2"], ("--price -2", "at least 0")),
    "negative floor": (["glue", "--floor", "-1"], ("--floor -1", "above 0 and at most 1")),
    "floor that is no number": (["glue", "--floor", "nan"], ("--floor nan", "above 0 and at most 1")),
    "no training examples": (["glue", "--train-limit", "0"], ("--train-limit 0", "at least 1")),
    "no random draws": (["glue", "--random-draws", "0"], ("--random-draws 0", "at least 1")),
    "no epochs": (["glue", "--recipe.epochs", "0"], ("--recipe.epochs 0", "at least 1")),
    "no data folder": (
        ["glue", "--data", "no/such/place"],
        ("--data no/such/place", "no such folder", "hub"),
    ),
    "no model folder": (["glue", "--model", "./no/such"], ("--model ./no/such", "no such folder")),
    "half embedded": (
        ["glue", "--model", "embedded"],
        ("embedded model", "embedded data", "both, or neither"),
    ),
    "unknown scheme": (
        ["demo", "--root", "ftp://host/x"],
        ("root ftp://", "file://, s3:// or gs://"),
    ),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_with_status_2(
    command: Command, tmp_path: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    where = [] if "--root" in arguments else ["--root", str(root)]
    status, out, err = command(arguments[0], *where, "--dry-run", *arguments[1:])
    assert status == 2, out
    says(err, *words)
    assert not root.exists()


def test_a_root_that_cannot_be_written_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        status, _, err = command("demo", "--root", str(root))
        assert status == 2
        says(err, f"The root {root} cannot be written")


@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry run", "run"])
def test_a_root_of_a_newer_format_is_refused(command: Command, tmp_path: Path, dry: list[str]) -> None:
    (tmp_path / "lottery.json").write_text('{"format": 2}')
    status, _, err = command("demo", "--root", str(tmp_path), *dry)
    assert status == 2
    says(err, str(tmp_path), "newer lottery_ray", "Update lottery_ray")


@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry run", "run"])
def test_a_corrupt_record_is_refused(command: Command, tmp_path: Path, dry: list[str]) -> None:
    store = Store.open(str(tmp_path), create=True)
    begin(store, Pretrain()).publish({}, {}, {})
    record = tmp_path / "nodes" / key(Pretrain()) / "node.json"
    record.write_bytes(record.read_bytes()[:-20])
    status, _, err = command("demo", "--root", str(tmp_path), *dry)
    assert status == 2
    says(err, str(record), "corrupt", "Delete that file")


def run_outside(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it, in a terminal without colours, without the hub."""
    return subprocess.run(
        [sys.executable, str(COMMAND), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "80"},
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["glue", "--tasks", "sst3"], ["error: --tasks sst3: unknown; choose from cola"]),
        (["glu"], ["glu"]),
        (["glue", "--model", "nobody/nothing"], ["--model nobody/nothing", "no such folder"]),
        (["glue", "--model", "nobody/nothing@0000"], ["--model nobody/nothing", "hub"]),
    ],
    ids=["task", "preset", "model", "commit"],
)
def test_the_command_ends_without_a_traceback(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    done = run_outside(*arguments, "--root", str(tmp_path / "root"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    says(done.stderr, *words)


def corrupt_table(place: Path, task: str, change: Callable[[pa.Table], pa.Table]) -> Path:
    path = place / "data" / task / "train.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    return path


def label(*values: object, kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    """The table with these labels first."""

    def change(table: pa.Table) -> pa.Table:
        column = [*values, *table["label"].to_pylist()[len(values) :]]
        return table.set_column(
            table.column_names.index("label"), "label", pa.array(column, kind or table["label"].type)
        )

    return change


def as_text(table: pa.Table) -> pa.Table:
    return label(kind=pa.string())(label(*map(str, table["label"].to_pylist()), kind=pa.string())(table))


def text_as_numbers(table: pa.Table) -> pa.Table:
    return table.set_column(0, "sentence1", pa.array(range(table.num_rows)))


def text_with_nulls(table: pa.Table) -> pa.Table:
    return table.set_column(
        0, "sentence1", pa.array([None, *table["sentence1"].to_pylist()[1:]], pa.string())
    )


TABLES: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "no label column": ("mrpc", lambda t: t.drop_columns("label"), "has no column label; it has sentence1"),
    "no text column": ("mrpc", lambda t: t.drop_columns("sentence2"), "has no column sentence2; it has"),
    "empty": ("mrpc", lambda t: t.slice(0, 0), "is empty"),
    "label above its range": ("mrpc", label(2), "label 2 is outside 0 to 1"),
    "label below its range": ("mnli", label(-1), "label -1 is outside 0 to 2"),
    "score above its range": ("stsb", label(5.5), "label 5.5 is outside 0 to 5"),
    "score that is no number": ("stsb", label(float("nan")), "label nan is outside 0 to 5"),
    "missing label": ("mrpc", label(None), "labels must be whole numbers without nulls"),
    "labels as text": ("mrpc", as_text, "labels must be whole numbers without nulls; they are string"),
    "labels as fractions": ("mrpc", label(0.5, kind=pa.float64()), "labels must be whole numbers"),
    "text as numbers": ("mrpc", text_as_numbers, "column sentence1 must be text without nulls; it is int64"),
    "missing text": ("mrpc", text_with_nulls, "column sentence1 must be text without nulls"),
}


@pytest.mark.parametrize(("task", "change", "words"), TABLES.values(), ids=TABLES)
def test_a_bad_table_is_refused_by_name(
    place: Path, task: str, change: Callable[[pa.Table], pa.Table], words: str
) -> None:
    plan(study(place, task))
    path = corrupt_table(place, task, change)
    with pytest.raises(InputError) as refused:
        plan(study(place, task))
    says(str(refused.value), f"--data: {path}", words)


def test_a_validation_file_is_checked_like_a_training_file(place: Path) -> None:
    path = place / "data" / "mnli" / "validation_matched.parquet"
    pq.write_table(label(3)(pq.read_table(path)), path)
    with pytest.raises(InputError, match=r"validation_matched\.parquet: label 3 is outside 0 to 2"):
        plan(study(place, "mnli"))


def test_a_file_that_is_not_parquet_is_refused_by_name(place: Path) -> None:
    path = place / "data" / "mrpc" / "train.parquet"
    whole = path.read_bytes()
    for content in (b"", b"sentence1,sentence2,label\n", whole[:-1], whole[: len(whole) // 2], whole[1:]):
        path.write_bytes(content)
        with pytest.raises(InputError) as refused:
            plan(study(place))
        says(str(refused.value), f"--data: {path} is not a whole Parquet file")


def test_a_damaged_parquet_page_is_refused_by_name(place: Path) -> None:
    path = place / "data" / "mrpc" / "train.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        plan(study(place))
    says(str(refused.value), str(path))


def test_a_data_folder_without_the_task_says_which_file_is_wanted(place: Path) -> None:
    with pytest.raises(InputError) as refused:
        plan(study(place, "rte"))
    wanted = place / "data" / "rte" / "train.parquet"
    says(str(refused.value), f"{wanted} does not exist", "RTE needs it", "sentence1, sentence2, label")


CONFIGS = {
    "truncated": '{"model_type": "be',
    "empty": "",
    "a list": "[]",
    "no model type": "{}",
    "a model type that is no name": '{"model_type": ["bert"]}',
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_corrupt_model_config_is_refused_by_name(place: Path, content: str) -> None:
    config = place / "model" / "config.json"
    config.write_text(content)
    with pytest.raises(InputError) as refused:
        plan(study(place))
    says(str(refused.value), "--model", str(config), "corrupt")


def test_an_architecture_without_an_adapter_is_refused_with_those_that_work(place: Path) -> None:
    config = place / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "t5"}))
    with pytest.raises(InputError) as refused:
        plan(study(place))
    says(str(refused.value), f"--model {place / 'model'}", "'t5'", "these work: bert")


def test_a_model_folder_without_its_files_is_refused(place: Path) -> None:
    (place / "model" / "model.safetensors").rename(place / "model" / "pytorch_model.bin")
    with pytest.raises(InputError) as refused:
        plan(study(place))
    says(str(refused.value), str(place / "model"), "no .safetensors weights", "save_pretrained")
    (place / "model" / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        plan(study(place))


def test_truncated_weights_are_refused_by_name(place: Path) -> None:
    weights = place / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError) as refused:
        plan(study(place))
    says(str(refused.value), str(weights))


def keys(chosen: Study) -> list[str]:
    return [key(node) for node in plan(chosen).nodes]


def test_where_a_folder_lies_is_no_part_of_a_key(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(study(place, "mrpc", "stsb"))
    copy = Path(shutil.copytree(place, tmp_path / "copy"))
    (copy / "model" / "README.md").write_text("what this model is")
    (copy / "data" / "NOTES").write_text("where these data are from")
    assert keys(study(copy, "mrpc", "stsb")) == before
    moved = Path(shutil.move(place, tmp_path / "moved"))
    assert keys(study(moved, "mrpc", "stsb")) == before
    monkeypatch.chdir(moved)
    assert keys(replace(study(moved, "mrpc", "stsb"), model="model", data="./data")) == before
    monkeypatch.setenv("HOME", str(moved))
    assert keys(replace(study(moved, "mrpc", "stsb"), model="~/model", data="~/data")) == before


@pytest.mark.parametrize(
    "name",
    ["model/config.json", "model/model.safetensors", "model/tokenizer.json", "model/tokenizer_config.json"],
)
def test_a_byte_of_the_model_changes_every_key(place: Path, name: str) -> None:
    before = set(keys(study(place)))
    content = bytearray((place / name).read_bytes())
    content[-1:] = b"\n" if name.endswith("json") else bytes([content[-1] ^ 1])
    if name.endswith("json"):
        content += b"\n"
    (place / name).write_bytes(content)
    assert not before & set(keys(study(place)))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_byte_of_a_tasks_data_changes_the_keys_of_that_task_alone(place: Path, split: str) -> None:
    before = plan(study(place, "mrpc", "stsb")).nodes
    table = rows(TASKS["mrpc"], 30)
    pq.write_table(table, place / "data" / "mrpc" / f"{split}.parquet")
    after = plan(study(place, "mrpc", "stsb")).nodes
    kept = set(before) & set(after)
    assert {node.task for node in kept if isinstance(node, Finetune)} == {"stsb"}
    assert len(kept) == len(before) / 2


def test_a_plan_knows_its_folders(place: Path) -> None:
    planned = plan(study(place, "mrpc", "stsb"))
    models = {node.model for node in planned.nodes if isinstance(node, Finetune)}
    data = {node.data for node in planned.nodes if isinstance(node, Finetune)}
    assert all(isinstance(model, FolderModel) for model in models)
    assert all(isinstance(each, FolderData) for each in data)
    assert len(data) == 2
    found = {each.sha256: planned.folders[each.sha256] for each in models | data}  # type: ignore[union-attr]
    assert found == planned.folders
    assert sorted(set(found.values())) == [str(place / "data"), str(place / "model")]


def test_a_commit_can_be_named() -> None:
    commit = "c0ffee" + "0" * 34
    planned = plan(Study(model=f"a/b@{commit}", tasks=("rte",), seeds=(1,)))
    assert {n.model for n in planned.nodes if isinstance(n, Finetune)} == {HubModel("a/b", commit)}
    default = plan(Study(tasks=("rte",), seeds=(1,)))
    assert {n.model for n in default.nodes if isinstance(n, Finetune)} == {BERT_BASE}


def test_the_floor_and_the_draws_reach_their_nodes(place: Path) -> None:
    planned = plan(replace(study(place), floor=1.0, random_draws=3)).nodes
    assert {node.floor for node in planned if isinstance(node, Search)} == {1.0}
    tickets = [
        (n.kind, n.draw) for n in planned if isinstance(n, Ticket) and n.sources[0].method.name == "magnitude"
    ]
    assert sorted(tickets) == sorted([("random", 0), ("random", 1), ("random", 2), ("good", 0), ("bad", 0)])


def test_examples_longer_than_the_model_are_refused(command: Command, place: Path) -> None:
    where = ["--model", str(place / "model"), "--data", str(place / "data"), "--tasks", "mrpc"]
    assert command("glue", *where, "--dry-run")[0] == 0
    status, _, err = command("glue", *where, "--recipe.max-length", "129", "--dry-run")
    assert status == 2
    says(err, "--recipe.max-length 129", "positions for 128 tokens")


def test_a_presets_kinds_may_go_beyond_the_methods(command: Command, place: Path) -> None:
    where = ["--model", str(place / "model"), "--data", str(place / "data"), "--tasks", "mrpc"]
    status, out, _ = command("glue", *where, "--methods", "structured", "--dry-run", "--list-nodes")
    assert status == 0
    assert "layer matched" in out
    assert "pretrained" not in "".join(line for line in out.splitlines() if line.startswith("to run"))


def test_a_dry_run_lists_what_would_run_and_writes_nothing(
    command: Command, place: Path, tmp_path: Path
) -> None:
    root = tmp_path / "a root"
    arguments = [
        "glue",
        "--model",
        str(place / "model"),
        "--data",
        str(place / "data"),
        "--tasks",
        "mrpc",
        "stsb",
    ]
    arguments += ["--seeds", "1", "2", "--root", str(root), "--dry-run", "--list-nodes"]
    before = sorted(tmp_path.rglob("*"))
    status, out, err = command(*arguments)
    assert (status, err) == (0, "")
    assert not root.exists()
    assert sorted(tmp_path.rglob("*")) == before
    model, data = str(place / "model"), str(place / "data")
    asked = replace(PRESETS["glue"].study, tasks=("mrpc", "stsb"), seeds=(1, 2), model=model, data=data)
    planned = plan(asked).nodes
    assert len(planned) == 48
    listed = [line.split()[2] for line in out.splitlines() if line.startswith("to run ")]
    assert listed == [key(node) for node in planned]
    says(out, "48 nodes", "finetune 0 4 4", "search 0 8 8", "ticket 0 36 36", "Nothing was run")
    says(out, "--choices.importance per_example per_example cumulative")
    says(out, "mrpc: searches are scored on 366 held-out rows. That is few")


def test_a_dry_run_counts_what_is_done(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "root"
    begin(Store.open(str(root), create=True), Pretrain()).publish({}, {}, {})
    before = sorted(root.rglob("*"))
    status, out, _ = command("demo", "--root", str(root), "--dry-run", "--list-nodes")
    assert status == 0
    says(out, "pretrain 1 0 1")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("done ")] == [key(Pretrain())]
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_training_in_several_processes_is_refused(place: Path, command: Command, processes: str) -> None:
    own = ("--model", str(place / "model"), "--data", str(place / "data"), "--tasks", "mrpc")
    status, _, error = command("glue", *own, "--dry-run", "--recipe.processes", processes)
    assert status == 2
    says(error, f"--recipe.processes {processes}: must be 1: a training runs in one process.")


def test_a_record_of_a_training_in_several_processes_is_still_read(place: Path, tmp_path: Path) -> None:
    """As older versions ran them."""
    full = next(node for node in plan(study(place, "mrpc")).nodes if isinstance(node, Finetune))
    several = replace(full, recipe=replace(full.recipe, processes=4))
    assert key(several) != key(full)
    store = Store.open(str(tmp_path / "root"), create=True)
    begin(store, several).publish({}, {"seconds": 1.0}, {})
    assert [*nodes_of(store.records())] == [several]

"""What users add: identities, refusals, the processes that load it, and the page that says how."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import BertForSequenceClassification, RoFormerConfig, RoFormerForSequenceClassification

from analysis import analyse, devset, networks, variants
from lottery_ray import adapters, criteria, extending, masks, models, tasks
from lottery_ray.criteria import Look, WeightLook
from lottery_ray.data import Encoded, pack
from lottery_ray.errors import InputError
from lottery_ray.extending import Importance, add_kind, add_task
from lottery_ray.importance import (
    example_losses,
    normalised,
    predict,
    predict_with_gradients,
    predict_with_importance,
)
from lottery_ray.micro_batches import MicroBatch
from lottery_ray.models import Network
from lottery_ray.nodes import Finetune, Node, Search, Structured, key, title
from lottery_ray.pretraining import make_tokenizer
from lottery_ray.recorded import nodes_of
from lottery_ray.search import largest_of
from lottery_ray.store import Record, Store
from lottery_ray.study import Plan, Study, plan
from lottery_ray.tasks import TASKS, Metric, Task, score
from tests.folders import bert_config, data_folder, rows
from tests.studies import SWEEP, assert_equal, records, run
from tests.test_families import NO_DROPOUT, SIZES

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [
    line for block in re.findall(r"```\n(\.venv.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
MRPC = TASKS["mrpc"]
QUICK = ("--seeds", "1", "--recipe.epochs", "1", "--gpus-per-trial", "0")


@contextmanager
def for_now() -> Iterator[None]:
    """What is added within is gone afterwards."""
    tables: list[dict[Any, Any]] = [
        *(tasks.TASKS, tasks.RECORDED, adapters.ADAPTERS, adapters.OWN),
        *(extending.CRITERIA, extending.WEIGHT_CRITERIA, extending.KINDS, extending._origins),
    ]
    before = [table.copy() for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    adapters.RECORDED.clear()
    for module in extending._files:
        sys.modules.pop(module, None)
    extending._files.clear()


@pytest.fixture(autouse=True)
def nothing_added() -> Iterator[None]:
    """What one test adds is there for no other."""
    with for_now():
        yield


def run_here(arguments: list[str]) -> None:
    """A Python script with arguments, in this process, which has torch loaded."""
    with pytest.MonkeyPatch.context() as patch, for_now():
        patch.setattr(sys, "argv", arguments)
        patch.setattr(sys, "path", [str(Path(arguments[0]).parent), *sys.path])
        status: object = 0
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            status = end.code
        sys.modules.pop("my_family", None)
        assert not status


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, models and data."""
    folder = tmp_path_factory.mktemp("a place of my own")
    for name, content in FILES.items():
        (folder / name).write_text(content)
    torch.manual_seed(0)
    BertForSequenceClassification(bert_config()).bert.save_pretrained(folder / "a bert")
    make_tokenizer().save_pretrained(folder / "a bert")
    torch.manual_seed(0)
    config = RoFormerConfig(**SIZES | {"max_position_embeddings": 128}, **NO_DROPOUT)
    RoFormerForSequenceClassification(config).save_pretrained(folder / "a roformer")
    make_tokenizer().save_pretrained(folder / "a roformer")
    data_folder(folder / "data", "mrpc")
    reviews = Task("reviews", "Reviews", ("text",), 3, "macro_f1", (0, 2))
    (folder / "data" / "reviews").mkdir()
    for split, count in (("train", 60), ("validation", 24)):
        pq.write_table(rows(reviews, count), folder / "data" / "reviews" / f"{split}.parquet")
    return folder


def study(place: Path, *files: str | Path, **more: Any) -> Study:
    chosen: dict[str, Any] = {"model": str(place / "a bert"), "data": str(place / "data")}
    chosen |= {"tasks": ("mrpc",), "seeds": (1,), "methods": ("structured",), "kinds": ("good",)}
    return Study(**chosen | more, extend=tuple(str(place / name) for name in files))


def planned(place: Path, *files: str | Path, **more: Any) -> Plan:
    return plan(study(place, *files, **more))


def keys(found: Plan) -> dict[str, str]:
    return {title(node): key(node) for node in found.nodes}


# identity


def test_an_extension_changes_no_key_of_ours(place: Path) -> None:
    before = keys(planned(place))
    assert keys(planned(place, "my_task.py", "my_criteria.py", "my_kind.py", "my_family.py")) == before


def test_an_edit_changes_the_keys_of_what_is_in_the_file_alone(place: Path, tmp_path: Path) -> None:
    methods, kinds = ("structured", "structured:fisher"), ("good", "early")
    found = []
    for edit in ("", "# edited\n"):
        for name in ("my_criteria.py", "my_kind.py"):
            (tmp_path / name).write_text(FILES[name] + edit)
        files = tmp_path / "my_criteria.py", tmp_path / "my_kind.py"
        found.append(keys(planned(place, *files, methods=methods, kinds=kinds)))
    changed = {name for name in found[0] if found[0][name] != found[1][name]}
    assert changed == {name for name in found[0] if "fisher" in name or "early" in name}
    assert len(found[0]) - len(changed) == 3
    assert set(keys(planned(place))) <= set(found[0])


def test_a_tasks_title_and_sizes_are_no_part_of_it() -> None:
    one = Task("reviews", "Reviews", ("text",), 3, "macro_f1", (0, 2), 100, 10)
    for other in (replace(one, title="Opinions"), replace(one, train_size=5, dev_size=7)):
        assert own_key(other) == own_key(one)
    for change in ({"metric": "accuracy"}, {"text": ("body",)}, {"validation": "dev"}):
        assert own_key(replace(one, **change)) != own_key(one)


def own_key(task: Task) -> str:
    data: Any = None
    return key(Finetune(task.name, 1, data, data, own_task=task))


def test_the_sizes_of_a_task_are_those_of_its_files(place: Path) -> None:
    found = planned(place, "my_task.py", tasks=("reviews",))
    full = found.nodes[0]
    assert isinstance(full, Finetune)
    assert (full.definition.train_size, full.definition.dev_size) == (60, 24)
    assert full.definition.label_range == (0.0, 2.0)


def test_an_adapter_is_part_of_the_model(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter for the architecture 'roformer'; these work: bert, "):
        planned(place, model=str(place / "a roformer"))
    found = []
    for edit in ("", '        final="a norm",\n'):
        text = FILES["my_family.py"].replace("        packed=False,\n", f"        packed=False,\n{edit}")
        (tmp_path / "edited.py").write_text(text)
        found.append(planned(place, tmp_path / "edited.py", model=str(place / "a roformer")).nodes[0])
    assert key(found[0]) != key(found[1])


def package(folder: Path, name: str, number: int) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(f"from {name} import ranking\n")
    text = FILES["my_criteria.py"].replace("**2", "**NUMBER")
    (folder / name / "ranking.py").write_text(f"from {name}.constants import NUMBER\n{text}")
    (folder / name / "constants.py").write_text(f"NUMBER = {number}\n")
    return folder


PLANS = """
import sys
from lottery_ray import extending
(extension,) = extending.load([sys.argv[1]])
print(extension.sha256, extending.CRITERIA["fisher"].sha256)
"""


def in_a_process(code: str, *arguments: str, path: Path, status: int = 0) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{path}:{SWEEP.parents[1]}"},
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_a_packages_identity_is_all_of_its_source(tmp_path: Path) -> None:
    shas = []
    for number in (2, 4):
        folder = tmp_path / str(number)
        folder.mkdir()
        own, criterion = in_a_process(PLANS, "a_package", path=package(folder, "a_package", number)).split()
        assert own == criterion
        shas.append(own)
    assert shas[0] != shas[1]


LOADS = """
import sys
import traceback
from lottery_ray import extending
from lottery_ray.extending import Extension
extending.load_planned([Extension({name!r}, {sha256!r}, {source!r})])
print(extending.added(extending.CRITERIA, "fisher", {sha256!r}).origin)
assert "torch" not in sys.modules
try:
    extending.CRITERIA["fisher"].function(None)
except AttributeError:
    traceback.print_exc()
"""


def test_a_file_travels_with_the_plan_and_its_lines_are_shown(place: Path, tmp_path: Path) -> None:
    (extension,) = planned(place, "my_criteria.py").extensions
    told = LOADS.format(name="/nowhere/my_criteria.py", sha256=extension.sha256, source=extension.source)
    output = in_a_process(told, path=tmp_path)
    assert output.startswith("/nowhere/my_criteria.py")
    assert "in fisher" in output
    assert "return Importance((look.head_gradients**2)" in output


@pytest.mark.parametrize("what", ["another version", "not installed"])
def test_a_package_must_be_what_was_planned(tmp_path: Path, what: str) -> None:
    path = package(tmp_path, "a_package", 2) if what == "another version" else tmp_path
    told = LOADS.format(name="a_package", sha256="ab" * 32, source=None)
    output = in_a_process(told, path=path, status=1).splitlines()[-1]
    versions = "is not what the study was planned with"
    assert {"another version": versions, "not installed": "no installed module"}[what] in output


# refusals


HEAD = "from lottery_ray.extending import *\n"
BAD_FILES: dict[str, tuple[str | None, ...]] = {
    "no file": (None, "bad.py: cannot be read (No such file or directory)."),
    "syntax": ("def (:\n", "bad.py: SyntaxError: invalid syntax ("),
    "fails": (f"{HEAD}\n1 / 0\n", "ZeroDivisionError: division by zero (", "bad.py, line 3)"),
    "exits": ("raise SystemExit('no')\n", "SystemExit: no ("),
    "missing import": ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
    "adds nothing": ("a = 1\n", "bad.py: it adds nothing; call add_task"),
    "a task of ours": (
        f"{HEAD}add_task(Task('mrpc', 'M', ('text',), 2, 'f1', (0, 1)))\n",
        "The task mrpc: lottery_ray itself has one of that name, which is another. (",
    ),
    "an adapter of ours": (
        f"{HEAD}from lottery_ray.adapters import ADAPTERS\nadd_adapter('bert', ADAPTERS['llama'])\n",
        "The adapter bert: lottery_ray itself has one of that name",
    ),
    "no adapter can be": (
        f"{HEAD}from lottery_ray.adapters import ADAPTERS\nadd_adapter('albert', ADAPTERS['bert'])\n",
        "The architecture albert cannot have an adapter: one set of weights",
    ),
    "a kind of ours": (f"{HEAD}add_kind('bad')(lambda goods, rng: goods[0])\n", "The kind bad: there is one"),
    "a criterion of another file": (
        f"{HEAD}add_criterion('fisher')(lambda look: None)\n",
        "The criterion fisher: ",
        "my_criteria.py has one of that name, which is another.",
    ),
    "a name": (f"{HEAD}add_criterion('a:b')(lambda look: None)\n", "The criterion 'a:b': a name has small"),
    "regression": (
        f"{HEAD}add_task(Task('t', 'T', ('a',), 1, 'accuracy', (0, 1)))\n",
        "The task t: accuracy does not fit 1 labels (a regression); choose from pearson.",
    ),
    "matthews of three": (
        f"{HEAD}add_task(Task('t', 'T', ('a',), 3, 'matthews', (0, 2)))\n",
        "The task t: matthews does not fit 3 labels; choose from accuracy, macro_f1.",
    ),
    "metric": (f"{HEAD}add_task(Task('t', 'T', ('a',), 2, 'auc', (0, 1)))\n", "no metric 'auc'; choose from"),
    "range": (
        f"{HEAD}add_task(Task('t', 'T', ('a',), 3, 'accuracy', (0, 3)))\n",
        "The task t: label_range must be (0, 2).",
    ),
    "one string": (f"{HEAD}add_task(Task('t', 'T', 'ab', 2, 'f1', (0, 1)))\n", 'such as ("text",)'),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_extension_is_refused_in_one_line(place: Path, tmp_path: Path, what: str) -> None:
    content, expected = BAD_FILES[what][0], BAD_FILES[what][1:]
    if content is not None:
        (tmp_path / "bad.py").write_text(content)
    with pytest.raises(InputError) as error:
        planned(place, "my_criteria.py", tmp_path / "bad.py")
    assert str(error.value).startswith("--extend ")
    assert "\n" not in str(error.value)
    for words in expected:
        assert str(words) in str(error.value)


BAD_STUDIES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown criterion": ({"methods": ("structured:taylor",)}, "mlps:fisher, magnitude:taylor."),
    "unknown kind": ({"kinds": ("late",)}, "--kinds late: unknown; choose from good, "),
    "no such module": ({"extend": ("no_such_package.tasks",)}, "no such .py file, and no installed module."),
    "on the hub": ({"tasks": ("reviews",), "data": "hub"}, "--tasks reviews: its data is not on the hub"),
    "no data": ({"tasks": ("absent",)}, "train.parquet does not exist; Absent needs it, with columns a,"),
}


@pytest.mark.parametrize("what", BAD_STUDIES)
def test_a_study_with_what_is_not_there_is_refused(place: Path, what: str) -> None:
    change, expected = BAD_STUDIES[what]
    add_task(Task("absent", "Absent", ("a",), 2, "accuracy", (0, 1)))
    with pytest.raises(InputError) as error:
        plan(replace(study(place, "my_task.py", "my_criteria.py", "my_kind.py"), **change))
    assert expected in str(error.value)


def test_an_extension_given_again_is_no_other_one(place: Path) -> None:
    first, again = (planned(place, "my_task.py", "my_kind.py") for _ in range(2))
    assert first.extensions == again.extensions
    with pytest.raises(InputError, match=r"my_task.py has one of that name, which is another\."):
        add_task(replace(TASKS["reviews"], metric="accuracy"))
    add_task(replace(TASKS["reviews"], title="Opinions"))
    assert tasks.title("reviews") == "Opinions"


# criteria and kinds


@pytest.fixture
def network(tiny_bert: Callable[..., Network]) -> Network:
    return tiny_bert()


HEADS, MLPS = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool), np.array([1, 0, 1], bool)


def look(network: Network, encoded: Encoded) -> Look:
    accelerator = models.accelerator("fp32", cpu=True)
    seen = network, encoded, MRPC, HEADS, MLPS
    _, by_heads, by_mlps = predict_with_gradients(*seen, accelerator)
    return Look(*seen, by_heads, by_mlps, accelerator, np.random.default_rng(0))


def test_a_criterion_gets_every_examples_own_gradients(network: Network, encoded: Encoded) -> None:
    given = look(network, encoded)
    accelerator = models.accelerator("fp32", cpu=True)
    logits, expected = predict_with_importance(network, encoded, MRPC, HEADS, MLPS, accelerator, Structured())
    assert given.head_gradients.shape == (7, 3, 4)
    assert given.mlp_gradients.shape == (7, 3)
    heads, mlps = (np.abs(g).mean(axis=0) for g in (given.head_gradients, given.mlp_gradients))
    np.testing.assert_allclose(normalised(heads, np.ones_like(HEADS)), expected.heads, rtol=1e-5)
    np.testing.assert_allclose(mlps, expected.mlps, rtol=1e-5)
    # in the order of the rows
    for row in range(7):
        gates = models.full_gates(HEADS, MLPS, torch.device("cpu"))
        gates.heads.requires_grad_()
        batch = pack(encoded, np.array([row]))
        (own,) = torch.autograd.grad(
            example_losses(network(batch, gates), batch.labels, MRPC).sum(), gates.heads
        )
        np.testing.assert_allclose(given.head_gradients[row], own[0], rtol=1e-3, atol=1e-5)
    again = predict_with_gradients(network, encoded, MRPC, HEADS, MLPS, accelerator, MicroBatch(2))
    np.testing.assert_allclose(again[0], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again[1], given.head_gradients, rtol=1e-3, atol=1e-5)


def test_the_gradients_by_weights_are_those_of_the_mean_loss(network: Network, encoded: Encoded) -> None:
    accelerator = models.accelerator("fp32", cpu=True)
    rng = np.random.default_rng(0)
    given = WeightLook(network, encoded, MRPC, accelerator, rng, MicroBatch(3))
    found = given.gradients()
    network.requires_grad_(True)
    batch = pack(encoded, np.arange(7))
    example_losses(network(batch), batch.labels, MRPC).mean().backward()
    pool = models.prunable(network).values()
    expected = torch.cat([p.grad.flatten() for p in pool if p.grad is not None]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(given.weights, torch.cat([p.detach().flatten() for p in pool]).numpy())


def by_activation(given: Look) -> Importance:
    """The mean magnitude of what a head or an MLP adds, where the rest of the mask is gone."""
    network, adapter = given.network, given.network.adapter
    heads, mlps = np.zeros(given.heads.shape), np.zeros(given.mlps.shape)
    width = given.heads.shape[1]
    handles = []
    for number, layer in enumerate(network.layers):

        def head(module: Any, inputs: tuple[Any, ...], output: Any, number: int = number) -> None:
            by_head = inputs[0].abs().unflatten(-1, (width, -1))
            heads[number] += by_head.sum(dim=(0, 1, 3)).numpy()

        def mlp(module: Any, inputs: Any, output: Any, number: int = number) -> None:
            mlps[number] += float(output.abs().sum())

        handles.append(layer.get_submodule(adapter.attention_output).register_forward_hook(head))
        handles.append(layer.get_submodule(adapter.mlp_output).register_forward_hook(mlp))
    gates = models.full_gates(given.heads, given.mlps, given.accelerator.device)
    predict(network, given.encoded, given.accelerator, gates)
    for handle in handles:
        handle.remove()
    return Importance(heads, mlps)


def by_norm(given: Look) -> Importance:
    """The l2 norm of the output projection's columns of a head, and of an MLP's last matrix."""
    layers: list[Any] = given.network.layers
    adapter = given.network.adapter
    outputs = torch.stack([layer.get_submodule(adapter.attention_output).weight for layer in layers])
    mlps = torch.stack([layer.get_submodule(adapter.mlp_output).weight for layer in layers])
    by_head = outputs.unflatten(-1, (given.heads.shape[1], -1))
    return Importance(by_head.norm(dim=(1, 3)).numpy(), mlps.norm(dim=(1, 2)).numpy())


def at_random(given: Look) -> Importance:
    return Importance(given.rng.random(given.heads.shape), given.rng.random(given.mlps.shape))


@pytest.mark.parametrize("function", [by_activation, by_norm, at_random])
def test_criteria_of_many_sorts_can_be_written(
    network: Network, encoded: Encoded, function: Callable[[Look], Importance]
) -> None:
    extending.CRITERIA["own"] = extending.Added(function, "ab", "here")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found, again = (criteria.importance("own", "ab", look(network, encoded)) for _ in range(2))
    np.testing.assert_array_equal(found.heads, again.heads)
    assert len(np.unique(found.mlps)) > 1
    if function is by_activation:
        assert (found.heads[~HEADS] == 0).all()
        assert (found.heads[HEADS] > 0).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def with_nan(like: np.ndarray) -> np.ndarray:
    found = np.ones(like.shape)
    found.flat[0] = np.nan
    return found


BAD_SCORES: dict[str, tuple[Callable[[Look], Any], str]] = {
    "shape": (lambda look: Importance(look.mlps * 1.0, look.mlps * 1.0), "of heads by the criterion bad are"),
    "NaN": (lambda look: Importance(with_nan(look.heads), look.mlps * 1.0), "are not finite, 1 of them"),
    "no Importance": (lambda look: look.heads, "returned ndarray; it must return Importance"),
}


@pytest.mark.parametrize("what", BAD_SCORES)
def test_scores_that_cannot_rank_are_refused(network: Network, encoded: Encoded, what: str) -> None:
    function, expected = BAD_SCORES[what]
    extending.CRITERIA["bad"] = extending.Added(function, "ab", "here")
    with pytest.raises(ValueError, match=expected):
        criteria.importance("bad", "ab", look(network, encoded))
    with pytest.raises(InputError, match="not what the study was planned with"):
        criteria.importance("bad", "cd", look(network, encoded))


def test_scores_of_weights_that_cannot_rank_are_refused(network: Network, encoded: Encoded) -> None:
    accelerator = models.accelerator("fp32", cpu=True)
    given = WeightLook(network, encoded, MRPC, accelerator, np.random.default_rng(0), MicroBatch())
    extending.WEIGHT_CRITERIA["bad"] = extending.Added(lambda look: look.weights[1:], "ab", "here")
    with pytest.raises(ValueError, match=r"of weights by the criterion bad are float32 \(\d+,\); they"):
        criteria.weight_scores("bad", "ab", given)


def test_a_kind_keeps_what_good_keeps_unless_it_says_otherwise() -> None:
    good = masks.structured_mask(HEADS, MLPS)

    def every(goods: Any, rng: Any) -> masks.Mask:
        return tuple(replace(part, kept=np.ones_like(part.kept)) for part in goods[0])

    def draw(function: Any, **options: bool) -> masks.Mask:
        added = extending.Added(function, "ab", "here", **options)
        extending.KINDS["own"] = added
        return extending.drawn("own", "ab", (good,), good, np.random.default_rng(0))

    with pytest.raises(ValueError, match=r"keeps 12 of 12 \(heads\), 3 of 3 \(mlp\); good keeps 5 of 12"):
        draw(every)
    assert masks.sizes(draw(every, any_size=True))["heads"] == {"kept": 12, "of": 12}
    with pytest.raises(ValueError, match="of other parts than good's"):
        draw(lambda goods, rng: goods[0][1:], any_size=True)
    with pytest.raises(ValueError, match="returned ndarray; it must return a mask"):
        draw(lambda goods, rng: HEADS)


def test_a_kind_of_every_seed_is_drawn_from_all(place: Path) -> None:
    add_kind("all", every_seed=True)(lambda goods, rng: goods[0])
    with pytest.raises(InputError, match="--kinds all: needs at least two --seeds"):
        planned(place, kinds=("all",))
    found = planned(place, kinds=("all",), seeds=(1, 2)).nodes[-1]
    assert len(found.sources) == 2  # type: ignore[union-attr]


def test_a_classifier_for_other_labels_is_refused_in_words(tmp_path: Path) -> None:
    BertForSequenceClassification(bert_config(labels=2)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"for another number of labels than 3\. Save it without"):
        models.initial(tmp_path, Task("t", "T", ("text",), 3, "accuracy", (0, 2)), 1, "pretrained")


# in the report


def test_versions_of_one_source_are_told_apart() -> None:
    choices: list[tuple[str, dict[str, Any]]] = [
        ("structured", {"criterion": None, "criterion_sha256": None, "importance": "per_example"}),
        ("structured", {"criterion": "fisher", "criterion_sha256": "ab" * 32}),
        ("structured", {"criterion": "fisher", "criterion_sha256": "cd" * 32}),
        ("magnitude", {"criterion": "taylor", "criterion_sha256": "cd" * 32}),
    ]
    names = variants.names(choices)
    assert names == [
        "structured",
        "structured, fisher criterion, source abababab",
        "structured, fisher criterion, source cdcdcdcd",
        "magnitude, taylor criterion",
    ]
    assert [variants.is_own(name) for name in names] == [False, True, True, True]
    assert variants.names(choices[1:2]) == ["structured, fisher criterion"]


def ticket(sha256: str) -> Record:
    identity: dict[str, Any] = {"recipe": {"epochs": 3}, "sources": ["a"], "kind_sha256": sha256}
    return Record("k", "a", identity, {"stage": "ticket", "kind": "from_top"}, {}, {}, {}, {})


def test_kinds_of_users_stand_after_ours() -> None:
    names = [networks.network(ticket("ab" * 32), several_sources=several) for several in (False, True)]
    assert names == ["from top", "from top (source abababab)"]
    others = ["transfer from SST-2", "transfer from Reviews", "bad", "good", "random, random start"]
    assert sorted([*names, *others], key=networks.order)[-2:] == names
    assert networks.is_own(names[1])
    assert not any(map(networks.is_own, others))


@pytest.mark.parametrize("metric", ["f1", "macro_f1"])
def test_f1_is_scikit_learns_and_its_jackknife_leaves_each_example_out(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    classes = 2 if metric == "f1" else 4
    average = "binary" if metric == "f1" else "macro"
    for n in (6, 40):
        # with few examples, of a class that one of them alone has
        labels = rng.integers(0, classes, n).astype(float)
        guesses = np.where(rng.random(n) < 0.6, labels.astype(int), rng.integers(0, classes, n))
        logits = np.eye(classes)[guesses]
        predicted = logits.argmax(axis=1).astype(float)
        found = devset.Predictions(labels, predicted)
        expected = f1_score(labels, predicted, average=average, zero_division=0.0)
        assert devset.score(metric, found) == pytest.approx(expected)
        assert score(metric, labels, logits) == pytest.approx(expected)
        without = [
            f1_score(np.delete(labels, i), np.delete(predicted, i), average=average, zero_division=0.0)
            for i in range(n)
        ]
        np.testing.assert_allclose(devset.leave_one_out(metric, found), without)
        constant = devset.majority(metric, found)
        of_constant = f1_score(labels, constant.predicted, average=average, zero_division=0.0)
        assert devset.score(metric, constant) == pytest.approx(of_constant)


# the page, and whole studies


def test_the_page_is_read() -> None:
    assert list(FILES) == ["my_task.py", "my_criteria.py", "my_kind.py", "my_family.py", "check_family.py"]
    assert len(COMMANDS) == 5


SMALLER = {
    "results/reviews": ("--methods", "magnitude", "--kinds", "good"),
    "results/criteria": ("--kinds", "good"),
    "results/kinds": ("--methods", "structured"),
    "results/roformer": ("--kinds", "good", "bad"),
}
"""By root, what makes the page's command a matter of seconds."""


@pytest.mark.parametrize(
    "command", [COMMANDS[0], *(pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS[1:])]
)
def test_the_commands_of_the_page_run(place: Path, command: str, tmp_path: Path) -> None:
    words = {
        "jobs/sweep.py": str(SWEEP),
        "path/to/a/bert": str(place / "a bert"),
        "path/to/a/roformer": str(place / "a roformer"),
        **dict.fromkeys(("path/to/data", "path/to/glue"), str(place / "data")),
        **{name: str(place / name) for name in FILES},
        **{root: str(tmp_path / root) for root in SMALLER},
    }
    given = shlex.split(command)[1:]
    arguments = [words.get(word, word) for word in given]
    if "check_family.py" in given:
        run_here(arguments)
        return
    run_here([*arguments, *SMALLER[given[-1]], *QUICK, "--debug"])
    assert (tmp_path / given[-1] / "report" / "index.html").exists()
    found = {record.labels["stage"] for record in records(tmp_path / given[-1]).values()}
    assert found == {"finetune", "search", "ticket"}


@pytest.fixture(scope="module")
def roots(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of one study with a task, criteria and a kind of the user's own: on Ray, and in debug mode."""
    folder = tmp_path_factory.mktemp("roots")
    made = folder / "on ray", folder / "debug"
    for root in made:
        studied = ("--tasks", "reviews", "mrpc", "--sizes", "0.5", "--search-data", "dev")
        methods = ("--methods", "structured:fisher", "magnitude:taylor")
        arguments = sweep(place, root, *studied, *methods, "--kinds", "good", "early", "transfer")
        if root == made[0]:
            run(arguments)
        else:
            run_here([*arguments[1:], "--debug"])
    return made


def sweep(place: Path, root: Path, *flags: str) -> list[str]:
    """A command with the page's task, criteria and kind."""
    files = [str(place / name) for name in ("my_task.py", "my_criteria.py", "my_kind.py")]
    where = ("--model", str(place / "a bert"), "--data", str(place / "data"), "--root", str(root))
    return [sys.executable, str(SWEEP), "glue", *where, "--extend", *files, *QUICK, *flags]


def test_workers_load_extensions_and_debug_mode_gives_the_same(roots: tuple[Path, Path]) -> None:
    assert_equal(*roots)
    assert len(records(roots[0])) == 2 + 4 + 12


def test_nodes_are_made_again_from_their_records(roots: tuple[Path, Path]) -> None:
    found = list(Store.open(str(roots[0])).records())
    nodes: dict[Node, Record] = nodes_of(found)
    assert len(nodes) == len(found)
    (full,) = (n for n in nodes if isinstance(n, Finetune) and n.task == "reviews")
    assert (full.definition.train_size, full.definition.dev_size) == (60, 24)
    assert {n.method.criterion for n in nodes if isinstance(n, Search)} == {"fisher", "taylor"}


def test_tickets_of_other_sizes_are_drawn_by_the_criterions_scores(roots: tuple[Path, Path]) -> None:
    store, found = Store.open(str(roots[0])), records(roots[0])
    checked = 0
    for record in found.values():
        flat = record.labels
        if (flat["kind"], flat["method"], flat["size"]) == ("good", "magnitude", "0.5"):
            search = found[record.identity["sources"][0]]
            of_search, own = (
                masks.from_table(masks.read(store.fetch(one, "mask.arrow"))) for one in (search, record)
            )
            scores = masks.weight_scores(of_search)
            kept = np.concatenate([part.kept for part in own])
            np.testing.assert_array_equal(kept, largest_of(scores, kept.size // 2))
            steps = search.result["steps"]
            last = next(step for step in reversed(steps) if step["accepted"])
            kept = np.concatenate([part.kept for part in of_search])
            np.testing.assert_array_equal(kept, largest_of(scores, last["kept"]["weight"]))
            checked += 1
    assert checked == 2


def test_a_report_needs_no_extension(roots: tuple[Path, Path]) -> None:
    assert "reviews" not in TASKS
    found = analyse(str(roots[0]))
    assert tasks.title("reviews") == "Reviews"
    assert tasks.metric_name("reviews") == "macro F1"
    own = found.scores[found.scores["task"] == "reviews"]
    assert set(own["metric"]) == {"macro_f1"}
    assert set(own["network"]) == {"full", "good", "early", "transfer from MRPC"}
    assert set(found.scores["method"]) == {"", "structured, fisher criterion", "magnitude, taylor criterion"}
    assert (found.claims["method"] == "").all(), "the paper's claims are about its own methods"
    assert not found.missing["network"].str.contains("early").any()
    page = (roots[0] / "report" / "index.html").read_text()
    for words in ("Reviews", "macro F1", "structured, fisher criterion", "transfer from Reviews"):
        assert words in page
    assert "good \N{MINUS SIGN} early" in page


@pytest.mark.slow
def test_every_process_of_a_trial_loads_extensions(place: Path, tmp_path: Path) -> None:
    chosen = ("--tasks", "reviews", "--methods", "magnitude", "--kinds", "early", "--recipe.processes", "2")
    run(sweep(place, tmp_path / "root", *chosen))
    assert len(records(tmp_path / "root")) == 3

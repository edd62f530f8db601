"""What users add: its identity in the keys of nodes, and its refusal."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import key
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.plan import plan
from lottery_ray.extending import add_task
from lottery_ray.inputs import tasks
from lottery_ray.inputs.tasks import TASKS, Task
from tests.extensions import FILES, keys, planned, study
from tests.studies import SWEEP

pytestmark = pytest.mark.usefixtures("nothing_added")


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
from lottery_ray.experiment import extensions
(extension,) = extensions.load_extensions([sys.argv[1]])
print(extension.sha256, extensions.CRITERIA["fisher"].sha256)
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
from lottery_ray.experiment import extensions
extensions.load_planned([extensions.Extension({name!r}, {sha256!r}, {source!r})])
print(extensions.added(extensions.CRITERIA, "fisher", {sha256!r}).origin)
assert "torch" not in sys.modules
try:
    extensions.CRITERIA["fisher"].function(None)
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
ADAPTERS = f"{HEAD}from lottery_ray.inputs.architectures import ADAPTERS\n"
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
        f"{ADAPTERS}add_adapter('bert', ADAPTERS['llama'])\n",
        "The adapter bert: lottery_ray itself has one of that name",
    ),
    "no adapter can be": (
        f"{ADAPTERS}add_adapter('albert', ADAPTERS['bert'])\n",
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

"""The house: what stands where, what may import what, and what a plan or an analysis never loads."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.folders import data_folder, model_folder
from tests.places import CHECKOUT, JOBS

GROUND = ("errors", "streams", "identity", "machine", "terminal")
LIGHT = (*GROUND, "inputs", "experiment", "extending", "storage", "scheduling", "tracking")
TORCH = ("networks", "training", "criteria", "trial")
RAY = ("cluster", "executors")
FLOORS: dict[str, tuple[str, ...]] = {
    "lottery_ray": (*LIGHT, *TORCH, *RAY, "running", "commands"),
    "analysis": (
        *("levels", "formats", "records", "masks", "scores", "paper", "tables", "comparison", "report"),
        *("notebook", "dashboard"),
    ),
}
"""{package: its folders and files}, from the ground up: each imports from those before it and itself."""
MOST_MODULES = 13
ONE_INTERFACE = {"run_plan", "calibrate", "main"}
"""Names that several files have on purpose: both executors, and commands."""

HEAVY = ("torch", "transformers", "ray", "wandb", "accelerate", "datasets")
SOURCES = sorted(
    path
    for folder in ("lottery_ray", "analysis", "jobs", "benchmarks")
    for path in (CHECKOUT / folder).rglob("*.py")
)
MODULES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
    if path.relative_to(CHECKOUT).parts[0] in FLOORS
}
"""{dotted name: file} of lottery_ray and analysis."""


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name or "") of all that a file imports anywhere in it, those inside functions too, but not for
    type checkers alone."""
    tree = ast.parse(path.read_text(), str(path))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            assert node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


def own(path: Path) -> set[str]:
    """The modules of lottery_ray and analysis that a file imports, or imports from."""
    found = set()
    for module, name in imported(path):
        if module.partition(".")[0] in FLOORS:
            found.add(f"{module}.{name}" if f"{module}.{name}" in MODULES else module)
    return found


def packages(path: Path) -> set[str]:
    return {module.partition(".")[0] for module, _ in imported(path)}


def room(module: str) -> str:
    """The folder that a module is in, or the module where that is the package itself."""
    package, _, rest = module.partition(".")
    return f"{package}.{rest.partition('.')[0]}"


def floor(module: str) -> int:
    package, _, name = room(module).partition(".")
    return FLOORS[package].index(name)


def loaded(code: str, *blocked: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `code`; `blocked` ones are as if they were
    not installed."""
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    report = "\nprint('LOADED', *sorted({n.partition('.')[0] for n, m in sys.modules.items() if m}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{block}{code}{report}"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_every_folder_and_file_has_a_floor() -> None:
    for package, floors in FLOORS.items():
        there = {room(module).partition(".")[2] for module in MODULES if module.startswith(f"{package}.")}
        assert there == set(floors)
        assert len(floors) == len(set(floors))


def may_import(module: str, other: str) -> bool:
    """By the floors. The analysis stands on the light ones; running and commands stand on it, too."""
    package, below = module.partition(".")[0], other.partition(".")[0]
    if module in FLOORS or other in FLOORS:
        return True
    if package == below:
        return room(other) == room(module) or floor(other) < floor(module)
    if package == "analysis":
        return room(other).partition(".")[2] in LIGHT
    return room(module).partition(".")[2] in ("running", "commands")


def test_imports_go_down() -> None:
    up = {
        module: sorted(other for other in own(path) if not may_import(module, other))
        for module, path in MODULES.items()
    }
    assert {module: others for module, others in up.items() if others} == {}


def test_within_a_folder_no_two_files_import_each_other() -> None:
    order = TopologicalSorter({module: own(path) & MODULES.keys() for module, path in MODULES.items()})
    assert set(order.static_order()) >= set(MODULES)


def test_no_folder_holds_two_ideas() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in MODULES.values():
        folders[path.parent] += path.stem != "__init__"
    assert {folder.name: count for folder, count in folders.items() if count > MOST_MODULES} == {}


def defined(path: Path) -> set[str]:
    """The names that a file defines at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def used_elsewhere(module: str) -> Iterator[str]:
    """The names that a file takes from other folders: imported, or as attributes of their modules."""
    path, folder = MODULES[module], module.rpartition(".")[0]
    aliases = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in FLOORS:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES:
                    aliases[alias.asname or alias.name] = whole.rpartition(".")[0]
                elif node.module.rpartition(".")[0] != folder:
                    yield alias.name
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if aliases.get(node.value.id, folder) != folder:
            yield node.attr


def test_a_name_that_another_folder_imports_occurs_once() -> None:
    where: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        for name in defined(path):
            where[name].add(module)
    shared = {name for module in MODULES for name in used_elsewhere(module)} - ONE_INTERFACE
    assert {name: sorted(where[name]) for name in sorted(shared) if len(where[name]) > 1} == {}


def test_no_file_has_the_name_of_a_public_function_of_its_package() -> None:
    for module, path in MODULES.items():
        if path.stem == "__init__":
            stems = {other.rpartition(".")[2] for other in MODULES if other.rpartition(".")[0] == module}
            assert not stems & (defined(path) | {name for _, name in imported(path)} - stems), module


def test_tests_stand_in_folders_as_what_they_test_does() -> None:
    folders = {
        path.parent.relative_to(CHECKOUT / "tests") for path in (CHECKOUT / "tests").rglob("test_*.py")
    }
    rooms = {Path(*path.relative_to(CHECKOUT).parent.parts) for path in SOURCES}
    ours = {room.relative_to("lottery_ray") for room in rooms if room.parts[0] == "lottery_ray"}
    assert folders <= ours | rooms


def test_only_the_rooms_of_ray_import_it() -> None:
    importers = {room(module) for module, path in MODULES.items() if "ray" in packages(path)}
    assert importers == {f"lottery_ray.{name}" for name in RAY}
    assert not any("ray" in packages(path) for path in (CHECKOUT / "jobs").glob("*.py"))


def test_what_is_light_imports_nothing_heavy() -> None:
    allowed = {"wandb", "datasets", "accelerate"}
    for module, path in MODULES.items():
        if module.startswith("analysis"):
            assert not packages(path) & set(HEAVY), module
        elif room(module).partition(".")[2] in LIGHT:
            assert not packages(path) & set(HEAVY) - allowed, module


def test_planning_and_analysis_load_nothing_heavy() -> None:
    light = [name for name in MODULES if name.startswith("analysis") or room(name).partition(".")[2] in LIGHT]
    found = loaded("\n".join(f"import {name}" for name in light))
    assert {"lottery_ray", "analysis", "pyarrow"} <= found
    assert not found & set(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["demo", "--help"], ["demo", "--dry-run", "--root", "none"]]
)
def test_the_command_line_plans_without_anything_heavy(arguments: list[str], tmp_path: Path) -> None:
    arguments = [str(tmp_path / "root") if word == "none" else word for word in arguments]
    code = (
        f"import runpy\nsys.argv = ['sweep.py', *{arguments!r}]\n"
        "try:\n    runpy.run_path('jobs/sweep.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
    )
    found = loaded(code)
    assert "tyro" in found
    assert not found & set(HEAVY)


@pytest.mark.parametrize("name", sorted(path.stem for path in JOBS.glob("*.py")))
def test_help_takes_no_time_for_what_is_heavy(name: str) -> None:
    code = (
        f"import runpy\nsys.argv = ['{name}.py', '--help']\n"
        f"try:\n    runpy.run_path('jobs/{name}.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert not loaded(code) & {*HEAVY, "matplotlib"}


def test_debug_mode_runs_where_ray_and_wandb_are_not_installed(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    data = data_folder(tmp_path / "data", "mrpc")
    code = f"""
from rich.console import Console
from lottery_ray.executors import local
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.store import Store
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import Site, Study
root = {str(tmp_path / "root")!r}
store = Store.open(root, create=True)
once = Recipe(epochs=1)
study = Study({str(model)!r}, {str(data)!r}, ("mrpc",), (1,), ("magnitude",), ("bad",), recipe=once)
planned = plan(study)
local.run_plan(planned, Site(root, gpus_per_trial=0), SweepProgress(planned.nodes, set(), Console()))
assert sorted(record.labels["stage"] for record in store.records()) == ["finetune", "search", "ticket"]
"""
    found = loaded(code, "ray", "wandb")
    assert "torch" in found
    assert not found & {"ray", "wandb"}


def test_every_file_says_what_it_is() -> None:
    tests = [path for path in (CHECKOUT / "tests").rglob("*.py") if path.stem != "__init__"]
    for path in [*SOURCES, *tests]:
        if path.stat().st_size:
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path.name} has no docstring"


def test_no_file_is_a_drawer_for_everything() -> None:
    assert len(SOURCES) > 20
    for path in SOURCES:
        assert not {"util", "utils", "helper", "helpers", "common", "misc"} & set(path.stem.split("_"))


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout")
    # the brackets keep this line from finding itself
    places = r"(^|[^A-Za-z0-9_.}])/([w]ork|[h]ome|[U]sers)/[A-Za-z]"
    grep = ["git", "-c", f"safe.directory={CHECKOUT}", "grep", "-nIE", places, "--", "."]
    found = subprocess.run(grep, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert found.returncode == 1, found.stdout or found.stderr

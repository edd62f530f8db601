"""The import rules of the layout: what may import what, and what a plan or an analysis never loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import data_folder, model_folder
from tests.places import CHECKOUT

ROOT = CHECKOUT
TORCH_FREE = [
    "streams errors terminal tasks adapters language masks nodes extending schedule tickets roots store",
    "inputs rows study refusals planning recorded calibration forecast budget published replay progress",
    "journal preemption tracking wandb_run trackers",
]
TORCH = [
    "allocator data tokenised dropout networks pruning models micro_batches importance criteria search",
    "checkpoints gradients curves vocabulary training pretraining released work execute parallel trial",
    "canary debug export",
]
RAY = ["searcher sweep cluster"]
ORDER = " ".join(TORCH_FREE + TORCH + RAY).split()
"""Each file imports only files that stand before it."""

HEAVY = ("torch", "transformers", "ray", "wandb", "accelerate", "datasets")
SOURCES = sorted(
    path
    for folder in ("lottery_ray", "analysis", "jobs", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere in it, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path: Path) -> set[str]:
    """The modules of lottery_ray that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("lottery_ray.")}


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def loaded(code: str, *blocked: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `code`; `blocked` ones are as if they were
    not installed."""
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    report = "\nprint('LOADED', *sorted({n.partition('.')[0] for n, m in sys.modules.items() if m}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{block}{code}{report}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_list_names_every_file() -> None:
    files = {path.stem for path in (ROOT / "lottery_ray").glob("*.py")} - {"__init__"}
    assert files == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_files_before_it(name: str) -> None:
    before = set(ORDER[: ORDER.index(name)])
    assert own(ROOT / "lottery_ray" / f"{name}.py") <= before


def test_only_the_last_files_import_ray() -> None:
    importers = {path.relative_to(ROOT).as_posix() for path in SOURCES if "ray" in packages(path)}
    assert importers == {f"lottery_ray/{name}.py" for name in " ".join(RAY).split()}


def test_the_analysis_stands_on_the_torch_free_half_alone() -> None:
    torch_free = set(" ".join(TORCH_FREE).split())
    for path in (ROOT / "analysis").rglob("*.py"):
        assert own(path) <= torch_free, path.name
        assert not packages(path) & set(HEAVY), path.name


def test_the_library_does_not_import_the_analysis() -> None:
    for path in (ROOT / "lottery_ray").glob("*.py"):
        assert not packages(path) & {"analysis", "jobs", "tests"}, path.name


def test_planning_and_analysis_load_nothing_heavy() -> None:
    modules = [f"lottery_ray.{name}" for name in " ".join(TORCH_FREE).split()]
    for path in (ROOT / "analysis").rglob("*.py"):
        modules.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    found = loaded("\n".join(f"import {name}" for name in modules))
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


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "jobs").glob("*.py")))
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
from lottery_ray.executors import local as debug
from lottery_ray.experiment.nodes import Recipe
from lottery_ray.scheduling.progress import Progress
from lottery_ray.storage.store import Store
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import Site, Study
root = {str(tmp_path / "root")!r}
store = Store.open(root, create=True)
once = Recipe(epochs=1)
study = Study({str(model)!r}, {str(data)!r}, ("mrpc",), (1,), ("magnitude",), ("bad",), recipe=once)
planned = plan(study)
debug.run_plan(planned, Site(root, gpus_per_trial=0), Progress(planned.nodes, set(), Console()))
assert sorted(record.labels["stage"] for record in store.records()) == ["finetune", "search", "ticket"]
"""
    found = loaded(code, "ray", "wandb")
    assert "torch" in found
    assert not found & {"ray", "wandb"}


def test_every_file_says_what_it_is() -> None:
    tests = [path for path in (ROOT / "tests").glob("*.py") if path.stem != "__init__"]
    for path in [*SOURCES, *tests]:
        if path.stat().st_size:
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path.name} has no docstring"


def test_no_file_is_a_drawer_for_everything() -> None:
    assert len(SOURCES) > 20
    for path in SOURCES:
        assert not {"util", "utils", "helper", "helpers", "common", "misc"} & set(path.stem.split("_"))


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # the brackets keep this line from finding itself
    places = r"(^|[^A-Za-z0-9_.}])/([w]ork|[h]ome|[U]sers)/[A-Za-z]"
    grep = ["git", "-c", f"safe.directory={ROOT}", "grep", "-nIE", places, "--", "."]
    found = subprocess.run(grep, capture_output=True, text=True, cwd=ROOT, check=False)
    assert found.returncode == 1, found.stdout or found.stderr

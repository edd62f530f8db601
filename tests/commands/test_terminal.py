"""What people read: help, plans, errors, progress and summaries, in terminals of 80 and 120 columns, in a
file, and where they want no colours."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.studies import ONE, command, run
from tests.terminals import in_terminal, job, plain

JOBS = ("sweep", "status", "report", "export", "stage", "import_published", "check_cluster")
BOXES = "╭│╰"
COLOURS = re.compile(r"\x1b\[[\d;]*3[0-7]m")
SIZES = pytest.mark.parametrize("columns", [80, 120])


def words(text: str) -> list[str]:
    """Without the lines of boxes, and what is broken at their right border."""
    return re.sub(r"[╭╮╰╯│─━]", " ", plain(text)).split()


def sweep(*flags: str) -> list[str]:
    return [sys.executable, job("sweep"), *flags]


@SIZES
def test_help_fits_and_says_first_what_people_need_first(columns: int) -> None:
    said, status = in_terminal(sweep("glue", "--help"), columns)
    assert status == 0
    assert "\x1b[" in said
    lines = plain(said).splitlines()
    boxed = [line for line in lines if line.startswith(tuple(BOXES))]
    assert len(boxed) > 60
    assert {len(line) for line in boxed} == {columns}
    flags = re.findall(r"│ (--[\w.-]+)", plain(said))
    groups = ["--model", "--tasks", "--dry-run", "--node", "--root", "--budget", "--choices.random"]
    assert [flag for flag in flags if flag in groups] == groups
    # one line of a docstring is one of --help, or several full ones
    assert "[STR" not in said
    assert "(default: )" not in said


def test_help_is_the_same_in_a_file_and_without_colours() -> None:
    shown, _ = in_terminal(sweep("glue", "--help"), 80)
    bare, _ = in_terminal(sweep("glue", "--help"), 80, NO_COLOR="1")
    filed = run(sweep("glue", "--help"), environment={"COLUMNS": "80"})
    assert "\x1b" not in bare + filed
    assert plain(shown) == bare == filed


@pytest.mark.parametrize("name", JOBS)
def test_every_command_says_how_it_is_called(name: str) -> None:
    said, status = in_terminal([sys.executable, job(name), "--help"], 80)
    assert status == 0
    examples = re.findall(r"^    (?:python|ray submit cluster.yaml) jobs/(\w+)", plain(said), re.MULTILINE)
    assert set(examples) == {name}
    paragraphs = plain(said).partition("\n\n")[2].splitlines()
    assert max(map(len, paragraphs)) <= 100, "a line wraps once at most"
    assert len(paragraphs[0]) <= 80


@SIZES
def test_a_dry_run_fits(columns: int, tmp_path: Path) -> None:
    arguments = sweep("paper", "--dry-run", "--root", str(tmp_path / "a root"))
    said, status = in_terminal(arguments, columns)
    assert status == 0
    filed = run(arguments)
    assert "\x1b" not in filed
    assert filed.split() == [word for word in words(said) if "reading" not in word][-len(filed.split()) :]
    assert max(map(len, filed.splitlines()[:-2])) <= 100
    table = filed.partition("choice")[2].partition("nodes")[0]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80
    assert filed.strip().endswith("Nothing was run. Leave out --dry-run to run it.")


ERRORS = [
    (("glue", "--tasks", "mrcp"), "--tasks mrcp: unknown; choose from cola, sst2, "),
    (("glue", "--model", "./no/model"), "--model ./no/model: no such folder. Name one with config.json"),
    (("demo", "--pdb"), "--pdb: belongs to --debug or --node; add one of them."),
    (("demo", "--node", "abc", "--dry-run"), "--node runs a node, and --dry-run nothing: leave one of them"),
    (("demo", "--node", "nothing"), "--node nothing: no node of this study has a key that begins so."),
    (("demo", "--node", ""), "keys begin so; give more of it. The same command with --dry-run"),
]


@pytest.mark.parametrize(("flags", "words"), ERRORS)
def test_an_error_is_one_line_that_the_terminal_wraps(flags: tuple[str, ...], words: str) -> None:
    said, status = in_terminal(sweep(*flags, "--root", "/nowhere/at all"), 80)
    assert status == 2
    assert "\x1b[31m" in said
    (line,) = (line for line in plain(said).splitlines() if "error: " in line)
    assert words in line
    assert "Traceback" not in said


def test_errors_have_no_colours_where_nobody_wants_them() -> None:
    said, status = in_terminal(sweep("glue", "--tasks", "mrcp"), NO_COLOR="1")
    assert status == 2
    assert not COLOURS.search(said)
    assert plain(said).endswith(run(sweep("glue", "--tasks", "mrcp"), status=2))
    boxed, status = in_terminal(sweep("glue", "--taks", "mrpc"), NO_COLOR="1")
    assert status == 2
    assert "\x1b" not in boxed
    assert "--tasks NAME ..." in boxed


@pytest.mark.slow
def test_a_summary_fits_and_ends_with_what_to_look_at(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "a root"
    shutil.copytree(finished, root)
    said, status = in_terminal([sys.executable, job("report"), str(root)], 80, NO_COLOR="1")
    assert status == 0
    assert not COLOURS.search(said)
    *lines, last = plain(said).rpartition("reading")[2].rstrip().splitlines()
    assert last.endswith(f"Report: {root}/report/index.html")
    assert len(lines) > 30
    assert max(len(line.rpartition("\r")[2]) for line in lines) <= 80
    assert "Look next at index.html" in " ".join(lines)


@pytest.mark.slow
def test_a_log_has_a_line_for_each_node_with_its_seconds_and_what_is_left(
    inputs: Path, tmp_path: Path
) -> None:
    few = ("--tasks", "mrpc", "--seeds", "1", "--methods", "magnitude", "--kinds", "bad", "--debug")
    said = run(command(inputs, tmp_path / "root", *few))
    assert "\x1b" not in said
    lines = [line for line in said.splitlines() if re.match(r"\[\d/3\]", line)]
    assert len(lines) == 4
    for line in lines:
        assert re.search(r" · \d+ s · 0 running · 0 failed · about \d+ (s|min) left$", line), line


def test_status_fits_and_says_what_to_look_at(finished: Path) -> None:
    said, status = in_terminal([sys.executable, job("status"), str(finished), "--watch"], 80)
    assert status == 0
    told = plain(said).rstrip()
    assert told.endswith(f"Next: python jobs/report.py '{finished}'")
    filed = run([sys.executable, job("status"), str(finished)])
    assert "\x1b" not in filed
    assert told.split()[-20:] == filed.split()[-20:]


@pytest.mark.slow
@SIZES
def test_the_live_display_fits_and_says_what_is_left(inputs: Path, tmp_path: Path, columns: int) -> None:
    root = tmp_path / "a root"
    said, status = in_terminal(command(inputs, root, *ONE, "--recipe.epochs", "20", report=True), columns)
    assert status == 0
    lines = [line.rpartition("\r")[2] for line in plain(said).splitlines()]
    shown = [line for line in lines if re.match(r"\d of 3 nodes", line)]
    assert "0 of 3 nodes · 0 running · 0 failed · time left unknown" in shown
    assert any(re.search(r" · 1 running · 0 failed · about \d+ (s|min) left$", line) for line in shown)
    table = [line for line in lines if re.match(r" *(done|finetune|search|ticket) ", line)]
    assert max(map(len, [*shown, *table])) <= columns
    assert plain(said).rstrip().endswith(f"Report: {root}/report/index.html")

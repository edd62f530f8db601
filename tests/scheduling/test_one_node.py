"""A failed node runs alone by the command that its failure names, and --pdb stops where it raised."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.studies import ONE, command, records, run
from tests.terminals import in_terminal, job, plain

DIVERGED = "FloatingPointError: The network's logits are not finite: its training has diverged."


@pytest.fixture(scope="module")
def diverged(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The root of a sweep on Ray whose first trial failed, and what the sweep wrote."""
    root = tmp_path_factory.mktemp("diverged") / "a root"
    return root, run(command(inputs, root, *ONE, "--recipe.learning-rate", "1e30"), status=1)


def named(output: str) -> list[str]:
    return [line.partition("replay: ")[2] for line in output.splitlines() if "replay: " in line]


def shell(line: str) -> list[str]:
    return ["sh", "-c", line]


@pytest.mark.full
def test_a_failure_names_one_command_everywhere(diverged: tuple[Path, str]) -> None:
    root, output = diverged
    in_the_log, at_the_end = named(output)
    assert in_the_log == at_the_end
    status = run([sys.executable, job("status"), str(root)])
    assert named(status) == [at_the_end]
    for said in (output, status):
        assert "add --pdb to stop where the exception was raised" in said
    shown, _ = in_terminal([sys.executable, job("status"), str(root)], 80)
    assert named(plain(shown)) == [at_the_end], "in one piece, so that it can be copied"


@pytest.mark.full
def test_the_command_meets_the_same_fault(diverged: tuple[Path, str], tmp_path: Path) -> None:
    root, output = diverged
    replayed = run(shell(named(output)[0]), status=1)
    assert "Traceback" in replayed
    assert DIVERGED in replayed
    assert replayed.rstrip().endswith("--pdb stops where this was raised.")
    assert not records(root)


@pytest.mark.full
def test_pdb_stops_in_the_frame_that_raised(diverged: tuple[Path, str]) -> None:
    _, output = diverged
    typed = "p [type(one).__name__ for one in found]\nup\nq\n"
    said, status = in_terminal(shell(f"{named(output)[0]} --pdb"), 100, typed)
    assert status == 1
    told = plain(said)
    assert DIVERGED in told
    assert "q leaves" in told
    assert "\n['tuple']\n" in told, told
    assert re.search(r"> .+scoring\.py\(\d+\)predict\(\)", told), "its caller"


@pytest.fixture
def corrupt(inputs: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A root whose search's mask is corrupt, and the command of a sweep that needs it."""
    root = tmp_path / "a root"
    run(command(inputs, root, *ONE, "--debug"))
    for record in records(root).values():
        folder = root / "nodes" / record.key
        if record.labels["stage"] == "ticket":
            shutil.rmtree(folder)
        if record.labels["stage"] == "search":
            mask = folder / record.attempt / "mask.arrow"
            mask.write_bytes(mask.read_bytes()[:-1] + b"\x01")
    return root, command(inputs, root, *ONE)


@pytest.mark.slow
def test_a_node_is_replayed_mended_and_then_done(corrupt: tuple[Path, list[str]]) -> None:
    root, arguments = corrupt
    (failed,) = set(named(run(arguments, status=1)))
    assert "mask.arrow is corrupt" in run(shell(failed), status=2)
    said, status = in_terminal(shell(f"{failed} --pdb"), 100, "p name\nq\n")
    assert status == 2
    assert "\n'mask.arrow'\n" in plain(said)
    found = {record.labels["stage"]: record for record in records(root).values()}
    (root / "nodes" / found["search"].key / "node.json").unlink()

    for node in (found["search"].key[:9], failed.split()[-1]):
        assert "is done. The same command without --node" in run([*arguments, "--node", node])
    told = run([sys.executable, job("status"), str(root)])
    assert "3 of 3 nodes done" in told
    assert "failed" not in told, "it was done since"


def test_what_cannot_be_replayed_changes_nothing(inputs: Path, finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "a root"
    shutil.copytree(finished, root)
    bad = {"task": "mrpc", "seed": 1, "method": "magnitude", "kind": "bad"}
    (ticket,) = (r for r in records(root).values() if bad.items() <= r.labels.items())
    search = ticket.identity["sources"][0]
    before = sorted(root.rglob("*"))
    replayed = [*command(inputs, root), "--node", ticket.key[:12]]
    said = run(replayed)
    assert f"ticket mrpc seed 1 magnitude bad ({ticket.key}) is done: it has a record in {root}." in said
    assert sorted(root.rglob("*")) == before
    for key in (ticket.key, search):
        (root / "nodes" / key / "node.json").unlink()
    (line,) = run(replayed, status=2).splitlines()
    assert line.startswith(f"error: --node {ticket.key}: ticket mrpc seed 1 magnitude bad needs search mrpc")
    assert f"Run --node {search} first, or the same command without --node." in line
    assert len(sorted(root.rglob("*"))) == len(before) - 2

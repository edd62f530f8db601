"""jobs/status.py: what is done, running and failed in a root, while a sweep runs and after."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lottery_ray.storage.store import Store
from tests.places import JOBS
from tests.studies import NODES, command, run

STATUS = JOBS / "status.py"


def status(root: Path | str, *flags: str, code: int = 0) -> str:
    """Its words, with every run of white space as one space."""
    return " ".join(run([sys.executable, str(STATUS), str(root), *flags], code).split())


@pytest.mark.full
def test_while_it_runs_and_after_it_was_killed(inputs: Path, tmp_path: Path) -> None:
    root = tmp_path / "a root"
    longer = command(inputs, root, "--debug", "--recipe.epochs", "50")
    with subprocess.Popen(longer, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sweep:
        try:
            deadline = time.monotonic() + 120
            while not list(root.glob("nodes/*/node.json")):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            time.sleep(6)
            text = status(root)
        finally:
            sweep.send_signal(signal.SIGKILL)
    found = re.search(rf"(\d+) of {NODES} nodes done", text)
    assert found, text
    assert int(found[1]) >= 1
    assert "it runs, about" in text
    assert re.search(r"running (finetune|search|ticket) (mrpc|rte) seed", text)

    (now,) = root.glob("sweeps/*/now.json")
    said = json.loads(now.read_text())
    now.write_text(json.dumps(said | {"heard": said["heard"] - 600}))
    later = status(root)
    assert "nothing was heard of it for 10 min" in later
    assert re.search(r"was running (finetune|search|ticket)", later)


@pytest.mark.full
def test_failures_by_cause(inputs: Path, finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    assert f"{NODES} of {NODES} nodes done" in status(root)
    for record in Store.open(str(root)).records():
        place = root / "nodes" / record.key
        if record.labels["stage"] == "ticket":
            (place / "node.json").unlink()
        elif record.labels["stage"] == "search":
            mask = place / record.attempt / "mask.arrow"
            mask.write_bytes(mask.read_bytes()[:-1] + b"\x01")
    one = ("--tasks", "mrpc", "--seeds", "1")
    run(command(inputs, root, *one), status=1)
    text = status(root)
    assert "it ended" in text
    assert "Run the same command again to go on" in text
    assert "6 failed; 0 that need them cannot run" in text
    assert "mask.arrow is corrupt" in text


def test_a_finished_study_leaves_no_journal_when_run_again(
    inputs: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "root")
    before = sorted(path.name for path in (tmp_path / "root" / "sweeps").iterdir())
    run(command(inputs, tmp_path / "root"))
    assert sorted(path.name for path in (tmp_path / "root" / "sweeps").iterdir()) == before


def test_a_root_without_journals_and_no_root(tmp_path: Path) -> None:
    Store.open(str(tmp_path), create=True)
    assert "0 nodes are done. No sweep has left a journal here." in status(tmp_path)
    assert "is no root of a study" in status(tmp_path / "nothing", code=2)

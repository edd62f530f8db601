"""Whole sweeps on storage that two drivers share, that fails, that fills up, and that drivers leave."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lottery_ray.storage.store import Store
from tests.proxy import Behaviour, proxy
from tests.storage.test_location import mounted
from tests.studies import ONE, assert_equal, command, records, run

NINE = ("--tasks", "mrpc", "--seeds", "1")
"""Nine nodes."""


@pytest.fixture(scope="module")
def alone(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of one undisturbed run."""
    root = tmp_path_factory.mktemp("alone") / "root"
    run(command(inputs, root, *NINE, "--debug"))
    return root


@pytest.fixture(scope="module")
def alone_one(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("alone") / "root"
    run(command(inputs, root, *ONE, "--debug"))
    return root


def assert_whole(root: str | Path) -> None:
    """Every artifact is what its record says, and all agree on what they were made from."""
    store, found = Store.open(str(root)), records(root)
    for record in found.values():
        for name in record.artifacts:
            store.fetch(record, name)
        assert record.parents == {parent: found[parent].digest for parent in record.parents}


def two_drivers(arguments: list[str]) -> None:
    drivers = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        for _ in range(2)
    ]
    output = [driver.communicate(timeout=600)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], output


@pytest.mark.full
def test_two_drivers_at_once_make_one_study(inputs: Path, alone_one: Path, tmp_path: Path) -> None:
    two_drivers(command(inputs, tmp_path / "root", *ONE))
    assert_whole(tmp_path / "root")
    assert_equal(tmp_path / "root", alone_one)


@pytest.mark.slow
def test_two_drivers_at_once_make_one_study_on_object_storage(
    inputs: Path, alone: Path, s3_root: str
) -> None:
    two_drivers(command(inputs, s3_root, *NINE))
    assert_whole(s3_root)
    assert_equal(s3_root, alone)


KINDS: list[Behaviour] = ["refuse", "drop", "lose", "refuse"]
SECRET = "wJalrXUtnFEMI-hush-hush"


@pytest.mark.full
def test_a_study_goes_through_where_requests_fail_and_no_secret_is_written_down(
    inputs: Path,
    alone_one: Path,
    tmp_path: Path,
    s3_root: str,
    s3_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    requests = []

    def behave(number: int, request: str) -> Behaviour:
        requests.append(request)
        return KINDS[number // 7 % len(KINDS)] if number % 7 == 6 else "pass"

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as ray_files:
        with proxy(s3_server, behave) as front:
            arguments = command(inputs, s3_root.replace(s3_server, front), *ONE, report=True)
            done = subprocess.run(
                arguments,
                capture_output=True,
                text=True,
                cwd=tmp_path,
                check=False,
                env=os.environ | {"RAY_TMPDIR": ray_files},
            )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert len(requests) > 70
        assert "FAILED" not in output
        assert_whole(s3_root)
        assert_equal(s3_root, alone_one)
        store = Store.open(s3_root)
        texts = {"output": output.encode()} | {name: store._read(name) for name in files(store)}
        written = [path for folder in (tmp_path, Path(ray_files)) for path in folder.rglob("*")]
        texts |= {str(path): path.read_bytes() for path in written if path.is_file()}
    assert any(name.endswith(".log") for name in texts)
    assert any(name.endswith("index.html") for name in texts)
    assert [name for name, text in texts.items() if SECRET.encode() in text] == []


def files(store: Store) -> list[str]:
    names = store._list("", recursive=True)
    return [name for name in names if "." in name.rpartition("/")[2]]


@pytest.mark.slow
def test_a_killed_driver_on_object_storage_loses_no_finished_node(
    inputs: Path, alone: Path, s3_root: str
) -> None:
    Store.open(s3_root, create=True)
    with subprocess.Popen(
        command(inputs, s3_root, *NINE), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    ) as driver:
        while len(records(s3_root)) < 4:
            assert driver.poll() is None
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
    kept = {key: record.attempt for key, record in records(s3_root).items()}
    assert 4 <= len(kept) < 9
    run(command(inputs, s3_root, *NINE))
    assert {key: records(s3_root)[key].attempt for key in kept} == kept
    assert_whole(s3_root)
    assert_equal(s3_root, alone)


@pytest.mark.slow
def test_a_sweep_outlives_a_short_outage_and_ends_in_one_line_at_a_long_one(
    inputs: Path, alone_one: Path, s3_root: str, s3_server: str
) -> None:
    Store.open(s3_root, create=True)
    gone: list[float] = []

    def out_after_the_first_record(number: int, request: str) -> Behaviour:
        if gone and time.monotonic() - gone[0] < 20:
            return "drop"
        if not gone and request.startswith("PUT") and "node.json" in request:
            gone.append(time.monotonic())
        return "pass"

    with proxy(s3_server, out_after_the_first_record) as front:
        output = run(command(inputs, s3_root.replace(s3_server, front), *ONE))
    assert "FAILED" not in output
    assert_equal(s3_root, alone_one)

    other = s3_root.replace("/a/root", "/another")

    def out_for_ever(number: int, request: str) -> Behaviour:
        if request.startswith("PUT") and "node.json" in request:
            gone.append(0)
        return "pass" if len(gone) == 1 else "drop"

    with proxy(s3_server, out_for_ever) as front:
        output = run(command(inputs, other.replace(s3_server, front), *ONE), status=2)
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: The root s3://")
    assert "The server does not answer" in line
    assert "Traceback" not in output
    run(command(inputs, other, *ONE))
    assert_equal(other, alone_one)


def resize(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def used(folder: Path) -> int:
    kilobytes = subprocess.check_output(["df", "--output=used", str(folder)], text=True).split()[1]
    return int(kilobytes)


@pytest.mark.slow
def test_a_full_disk_is_told_in_one_line_and_the_same_command_finishes(
    inputs: Path, alone_one: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=160k"):
        output = run(command(inputs, disk / "root", *ONE), status=1)
        assert "1 node failed; 2 that need it did not run." in output
        assert f"The disk is full: {disk}" in output
        assert "bytes left. Make room, and run the same command again." in output
        assert "Traceback" not in output
        assert records(disk / "root") == {}
        resize(disk, "20m")
        said = run(command(inputs, disk / "root", *ONE, "--debug"))
        assert said.strip().splitlines()[-1] == f"Next: python jobs/report.py {disk / 'root'}"
        assert not (disk / "root" / "report").exists()
        assert_equal(disk / "root", alone_one)
        resize(disk, f"{used(disk) + 60}k")
        output = run(command(inputs, disk / "root", *ONE, "--debug", report=True), status=2)
        assert f"error: The disk is full: {disk}" in output
        assert "Traceback" not in output


@pytest.mark.full
def test_a_full_scratch_folder_is_told_in_one_line(
    inputs: Path, alone_one: Path, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "scratch"
    with mounted(disk, "size=160k"):
        monkeypatch.setenv("TMPDIR", str(disk))
        output = run(command(inputs, s3_root, *ONE, "--debug"), status=2)
        assert f"error: The disk is full: {disk}" in output
        assert "Traceback" not in output
        resize(disk, "50m")
        run(command(inputs, s3_root, *ONE, "--debug"))
        monkeypatch.delenv("TMPDIR")
        assert_equal(s3_root, alone_one)
        assert list(disk.glob("lottery_ray_*")) == [], "nothing is left behind"

"""Without its token a cluster answers nothing: a real head on ports of its own, and every way to it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.places import CHECKOUT

ROOT = CHECKOUT
RAY = str(Path(sys.executable).parent / "ray")
WRONG = "0" * 64


@dataclass(frozen=True)
class Head:
    """Where a cluster answers."""

    address: str
    dashboard: str
    token: str
    home: str

    def ask(self, command: list[str], token: str | None) -> tuple[int, str]:
        """Exit status and output of a command, run by somebody with this token, or with none."""
        mine = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
        others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=others | {"HOME": self.home} | mine
        )
        return done.returncode, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    if " " in sys.executable:
        pytest.skip("Ray's dashboard does not start from a path with spaces")
    # short, since sockets lie in it
    folder = tempfile.mkdtemp(prefix="lr")
    ports = {
        name: free_port()
        for name in ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    }
    made = Head(
        f"127.0.0.1:{ports['port']}",
        f"http://127.0.0.1:{ports['dashboard-port']}",
        uuid.uuid4().hex * 2,
        folder,
    )
    command = [RAY, "start", "--head", "--block", "--num-cpus=0", "--dashboard-host=127.0.0.1"]
    command += [f"--temp-dir={folder}/ray", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": made.token, "HOME": folder}
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL) as ray:
        try:
            deadline = time.monotonic() + 120
            while (status := api(made, made.token)) != 200:
                assert time.monotonic() < deadline, status
                time.sleep(0.5)
            yield made
        finally:
            ray.terminate()
    shutil.rmtree(folder, ignore_errors=True)


def api(head: Head, token: str | None) -> int:
    """The HTTP status of the dashboard's answer; 0 without one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(f"{head.dashboard}/api/cluster_status", headers=headers)) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.full
def test_the_dashboard_refuses_strangers(head: Head) -> None:
    assert api(head, None) == 401
    assert api(head, WRONG) == 403
    assert api(head, head.token) == 200


@pytest.mark.full
@pytest.mark.parametrize("what", ["status", "jobs", "a job"])
def test_clients_are_refused(head: Head, what: str) -> None:
    command = {
        "status": [RAY, "status", "--address", head.address],
        "jobs": [RAY, "job", "list", "--address", head.dashboard],
        "a job": [RAY, "job", "submit", "--address", head.dashboard, "--no-wait", "--", "true"],
    }[what]
    for token in (None, WRONG):
        status, output = head.ask(command, token)
        assert status != 0
        assert "AuthenticationError" in output
    status, output = head.ask(command, head.token)
    assert status == 0, output


@pytest.mark.full
def test_a_driver_is_refused_and_told_in_a_line_what_to_do(head: Head, tmp_path: Path) -> None:
    sweep = [sys.executable, str(ROOT / "jobs" / "sweep.py"), "demo", "--root", str(tmp_path / "root")]
    for token in (None, WRONG):
        status, output = head.ask([*sweep, "--address", head.address], token)
        assert status == 2, output
        assert "Traceback" not in output
        (line,) = re.findall("^error: .*", output, re.MULTILINE)
        assert f"--address {head.address}" in line
        assert "RAY_AUTH_MODE=token" in line
        assert "~/.ray/auth_token" in line
    joined = f"import ray; ray.init({head.address!r}, logging_level='ERROR'); print(len(ray.nodes()), 'node')"
    status, output = head.ask([sys.executable, "-c", joined], head.token)
    assert "1 node" in output

"""A machine that its cloud is about to take away: the notice, and what is done in the time that is left.

A training on it writes a checkpoint at once (`Checkpoints` looks for the notice). Its node is drained, so
that Ray starts no process there and counts what is lost with it as preempted. Then Ray is ended there, before
the machine goes: its trials go on elsewhere without waiting until it stops answering.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from lottery_ray.errors import InputError
from lottery_ray.machine import NOTICE

SECONDS_BETWEEN_LOOKS = 5.0
"""Seconds between two looks, as AWS recommends."""


def aws(url: str) -> bool:
    """Whether a spot instance has its two-minute notice. Raises OSError if the service does not answer.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    A rebalance recommendation is no notice: the machine may stay for hours.
    """
    token = _ask(f"{url}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    try:
        _ask(f"{url}/latest/meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token})
    except HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


def gcp(url: str) -> bool:
    """Whether a spot machine has its notice of 30 seconds. Raises OSError if the service does not answer.

    https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption
    """
    answer = _ask(f"{url}/computeMetadata/v1/instance/preempted", "GET", {"Metadata-Flavor": "Google"})
    return answer == "TRUE"


def _ask(url: str, method: str, headers: dict[str, str]) -> str:
    # a proxy would answer for another machine
    direct = build_opener(ProxyHandler({}))
    with direct.open(Request(url, method=method, headers=headers), timeout=SECONDS_BETWEEN_LOOKS) as response:
        return str(response.read().decode()).strip()


@dataclass(frozen=True)
class Cloud:
    """noticed: whether its metadata service, at `url`, has a notice. grace: seconds from the notice to the
    end of Ray on the machine."""

    noticed: Callable[[str], bool]
    url: str
    grace: int


CLOUDS = {
    "aws": Cloud(aws, "http://169.254.169.254", 60),
    "gcp": Cloud(gcp, "http://metadata.google.internal", 15),
    # who asks knows it already: a hook of Kubernetes
    "now": Cloud(lambda url: True, "", 60),
}


@dataclass(frozen=True)
class Raylet:
    """Ray's process on this machine. address: of the cluster."""

    process: psutil.Process
    node_id: str
    address: str

    @property
    def gone(self) -> bool:
        try:
            return not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def raylet(node_id: str | None = None) -> Raylet:
    """Raises InputError unless Ray runs on this machine, once; or once with this node_id."""
    found = [_raylet(process) for process in psutil.process_iter(["cmdline"]) if _is_raylet(process)]
    chosen = [one for one in found if node_id in (None, one.node_id) and not one.gone]
    if len(chosen) != 1:
        nodes = ", ".join(one.node_id for one in found) or "none"
        raise InputError(f"One node of Ray must run on this machine, or --node-id name it. Found: {nodes}.")
    return chosen[0]


def _is_raylet(process: psutil.Process) -> bool:
    words = process.info["cmdline"]
    return bool(words) and Path(words[0]).name == "raylet"


def _raylet(process: psutil.Process) -> Raylet:
    flags = dict(word.split("=", 1) for word in process.info["cmdline"][1:] if "=" in word)
    return Raylet(process, flags["--node_id"], flags["--gcs-address"])


def watch(cloud: Cloud, here: Raylet) -> None:
    """Until Ray is gone from this machine; when the notice comes, leave the cluster."""
    silent = False
    while not here.gone:
        try:
            noticed, silent = cloud.noticed(cloud.url), False
        except OSError as error:
            if not silent:
                print(f"{cloud.url}: {error}", flush=True)
            noticed, silent = False, True
        if noticed:
            leave(here, cloud.grace)
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def leave(here: Raylet, grace: int) -> None:
    """Drain this machine's node, and end Ray on it after `grace` seconds."""
    with suppress(OSError):  # a full disk, or another user's file: drained all the same
        NOTICE.touch()
    print(f"notice given; Ray ends here in {grace} s", flush=True)
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--address={here.address}"]
    command += [f"--node-id={here.node_id}", f"--deadline-remaining-seconds={grace}"]
    command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=the machine is taken away"]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, check=False, timeout=grace)
    deadline = time.monotonic() + grace + 1
    while not here.gone and time.monotonic() < deadline:
        time.sleep(1)
    # what Ray takes for a preemption is a loss after the deadline, without a farewell
    if not here.gone:
        here.process.kill()

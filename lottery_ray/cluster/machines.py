"""The machines of a Ray cluster: joining it, what it has, and asking each of them."""

import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import ray
from pyarrow import fs
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.sdk import request_resources
from ray.exceptions import AuthenticationError, RpcError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import lottery_ray
from lottery_ray.errors import InputError
from lottery_ray.experiment.plan import Plan, read_inputs
from lottery_ray.storage.store import Store

GPUS = """
import torch
for i in range(torch.cuda.device_count()):
    torch.ones(1, device=i).sum().item()
print(torch.cuda.device_count())
"""
"""In a process of its own, since Ray hides the GPUs from one that has not reserved them."""

SECONDS = 60.0
"""For a node's answer; its first one waits for a process to start, and for its imports."""


def join_cluster(address: str) -> None:
    """Join the Ray cluster at an address ("auto": the one of this machine), or start one here ("local").

    Raises InputError if none answers there, if it asks for a token that this process has not, or if it has
    another version of Ray or Python.
    """
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if " " in sys.executable:
        # Ray starts its workers through a shell, which would split the path
        options["runtime_env"] = {"py_executable": shlex.quote(sys.executable)}
    # failures are told by the progress display and at the end
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        if address != "local":
            # without the token, ray.init tries for 20 s, and then says nothing of it
            GcsClient(address=canonicalize_bootstrap_address(address))
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except AuthenticationError:
        raise InputError(
            f"--address {address}: the cluster asks for its token. Set RAY_AUTH_MODE=token, and put the"
            " token into ~/.ray/auth_token."
        ) from None
    except (ConnectionError, RpcError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error}).") from None
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise InputError(f"--address {address}: {' '.join(str(error).split())}") from None


def machines_for_trials() -> list[dict[str, float]]:
    """The resources of those that take trials; none where they are yet to be started."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [machine for machine in machines if machine.get("CPU")]


class Probe:
    """Runs on a node."""

    def versions(self) -> dict[str, str]:
        return versions()

    def clock(self) -> float:
        return time.time()

    def gpus(self) -> tuple[int, str]:
        """How many GPUs torch sees and can use, and its complaint if it cannot."""
        seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        done = subprocess.run(
            [sys.executable, "-c", GPUS], env=seen, capture_output=True, text=True, check=False
        )
        return (0, done.stderr.strip().rpartition("\n")[2]) if done.returncode else (int(done.stdout), "")

    def write(self, root: str, name: str) -> None:
        store = Store.open(root)
        with store.filesystem.open_output_stream(f"{store.path}/{name}") as file:
            file.write(platform.node().encode())

    def seen(self, root: str, names: list[str]) -> list[str]:
        """Those of these files that this node can read."""
        store = Store.open(root)
        infos = store.filesystem.get_file_info([f"{store.path}/{name}" for name in names])
        return [name for name, info in zip(names, infos, strict=True) if info.type == fs.FileType.File]

    def inputs(self, plan: Plan) -> None:
        read_inputs(plan)

    def free(self) -> float:
        """GB where trials have their scratch."""
        return shutil.disk_usage(tempfile.gettempdir()).free / 1e9


def versions() -> dict[str, str]:
    """Of what must be equal on all machines."""
    return {
        "Ray": ray.__version__,
        "Python": platform.python_version(),
        "lottery_ray": lottery_ray.__version__,
    }


@dataclass(frozen=True)
class Machine:
    """A node of the cluster and the probe that was sent there. gpus: how many Ray offers."""

    id: str
    name: str
    gpus: float
    probe: Any

    def ask(self, question: str, *arguments: object) -> Any:
        """The probe's answer.

        Raises what the probe raised, or ray.exceptions.RayError if there is none.
        """
        return ray.get(getattr(self.probe, question).remote(*arguments), timeout=SECONDS)


def machines() -> list[Machine]:
    """Every living node of the cluster that this process has joined."""
    remote = ray.remote(num_cpus=0)(Probe)
    found = []
    for node in sorted(
        (node for node in ray.nodes() if node["Alive"]), key=lambda n: n["NodeManagerAddress"]
    ):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        probe = remote.options(scheduling_strategy=there).remote()
        found.append(Machine(node["NodeID"], name, node["Resources"].get("GPU", 0.0), probe))
    return found


def wait_for_gpus(count: int, seconds: float) -> None:
    """Ask the autoscaler for so many GPUs, and wait until they are there.

    Raises InputError if they are not within `seconds`.
    """
    request_resources(bundles=[{"GPU": 1}] * count)
    deadline = time.monotonic() + seconds
    try:
        while (here := ray.cluster_resources().get("GPU", 0.0)) < count:
            if time.monotonic() > deadline:
                raise InputError(
                    f"--gpus {count}: {here:g} came within {seconds / 60:g} minutes. `ray status` on the head"
                    " says why: often a quota, or no spot machines to be had."
                )
            time.sleep(2)
    finally:
        request_resources(bundles=[])

"""The preflight of a cluster: what would fail on some machine in the middle of a sweep, said before it."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from pyarrow import fs
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import lottery_ray
from lottery_ray.errors import InputError
from lottery_ray.experiment.plan import Plan
from lottery_ray.storage.store import Store
from lottery_ray.trial.work import read_inputs

GPUS = """
import torch
for i in range(torch.cuda.device_count()):
    torch.ones(1, device=i).sum().item()
print(torch.cuda.device_count())
"""
"""In a process of its own, since Ray hides the GPUs from one that has not reserved them."""

SECONDS = 60.0
"""For a node's answer; its first one waits for a process to start, and for its imports."""


@dataclass(frozen=True)
class Check:
    """One check of one node. found: what is the case. fix: what to do about it, if it is not well."""

    name: str
    node: str
    well: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Needs:
    """What every node is asked for. disk: free GB. skew: seconds between clocks."""

    root: str
    plan: Plan
    disk: float
    skew: float = 5.0


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


def check(needs: Needs) -> list[Check]:
    """Check every node of the cluster that this process has joined, check by check."""
    nodes = machines()
    found = [Check("answers", m.name, *_answers(m)) for m in nodes]
    up = [machine for machine, answer in zip(nodes, found, strict=True) if answer.well]
    for name, one in (
        ("versions", _versions),
        ("clock", lambda machine: _clock(machine, needs.skew)),
        ("GPUs", _gpus),
        ("disk", lambda machine: _disk(machine, needs.disk)),
        ("weights and data", lambda machine: _inputs(machine, needs.plan)),
    ):
        found += [Check(name, machine.name, *_asked(one, machine)) for machine in up]
    return found + check_root(up, needs.root)


Outcome = tuple[bool, str, str]


def _asked(one: Callable[[Machine], Outcome], machine: Machine) -> Outcome:
    try:
        return one(machine)
    except ray.exceptions.RayTaskError as error:
        return False, _line(error.cause), "see what it says"
    except ray.exceptions.RayError as error:
        return False, _line(error), "the node went away or hangs: look at it in `ray dashboard`"


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _answers(machine: Machine) -> Outcome:
    try:
        machine.ask("clock")
    except ray.exceptions.RayError as error:
        install = "install this checkout there: python -m pip install -c constraints.txt -e '.[cluster]'"
        lines = str(error).splitlines()
        missing = [line.strip() for line in lines if "ModuleNotFoundError" in line]
        return False, missing[-1] if missing else _line(error), install
    return True, "a process starts there and imports lottery_ray", ""


def _versions(machine: Machine) -> Outcome:
    here, there = versions(), machine.ask("versions")
    found = ", ".join(f"{name} {version}" for name, version in there.items())
    wrong = [name for name in here if there[name] != here[name]]
    wanted = ", ".join(f"{name} {here[name]}" for name in wrong)
    return not wrong, found, f"install {wanted}, as where this runs" if wrong else ""


def _clock(machine: Machine, most: float) -> Outcome:
    before = time.time()
    there = machine.ask("clock")
    after = time.time()
    # the answer was given at some moment in between
    skew = max(before - there, there - after, 0.0)
    return skew <= most, f"{skew:.1f} s apart", "" if skew <= most else "start NTP there (chrony, timesyncd)"


def _gpus(machine: Machine) -> Outcome:
    count, complaint = machine.ask("gpus")
    found = f"torch sees {count}, Ray offers {machine.gpus:g}"
    if count == machine.gpus or (not machine.gpus and not complaint):
        return True, found, ""
    return False, f"{found} {complaint}".strip(), "match NVIDIA's driver and torch's CUDA build there"


def _disk(machine: Machine, least: float) -> Outcome:
    free = machine.ask("free")
    fix = f"free some, or set TMPDIR to a larger disk there (--disk {least:g})"
    return free >= least, f"{free:.0f} GB free for scratch", "" if free >= least else fix


def _inputs(machine: Machine, plan: Plan) -> Outcome:
    try:
        ray.get(machine.probe.inputs.remote(plan))
    except ray.exceptions.RayTaskError as error:
        fix = "put the folder there, at the same path; what is on the hub, with jobs/stage.py on that machine"
        return False, _line(error.cause), fix
    return True, "read", ""


def check_root(nodes: list[Machine], root: str) -> list[Check]:
    """Every node writes a file into the root, and looks for those of all others."""
    store = Store.open(root, create=True)
    files = {machine.id: f".check-{uuid.uuid4().hex}" for machine in nodes}
    checks = [
        Check("root, written", m.name, *_asked(lambda m: _write(m, store.absolute, files[m.id]), m))
        for m in nodes
    ]
    there = {files[m.id]: m.name for m, one in zip(nodes, checks, strict=True) if one.well}
    checks += [
        Check("root, the same", m.name, *_asked(lambda m: _read(m, store.absolute, there), m)) for m in nodes
    ]
    for info in store.filesystem.get_file_info([f"{store.path}/{name}" for name in there]):
        if info.type == fs.FileType.File:
            store.filesystem.delete_file(info.path)
    return checks


SHARED = "take a root that all machines share: s3://..., or one network folder at the same path everywhere"


def _write(machine: Machine, root: str, name: str) -> Outcome:
    try:
        machine.ask("write", root, name)
    except ray.exceptions.RayTaskError as error:
        return False, _line(error.cause), SHARED
    return True, "written", ""


def _read(machine: Machine, root: str, there: dict[str, str]) -> Outcome:
    """there: {file: who wrote it}."""
    seen = machine.ask("seen", root, list(there))
    missing = [there[name] for name in there if name not in seen]
    if missing:
        return False, f"does not see what {', '.join(missing)} wrote", SHARED
    return True, f"sees what all {len(there)} wrote", ""

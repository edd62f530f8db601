"""The preflight of a cluster: what would fail on some machine in the middle of a sweep, said before it."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import ray
from pyarrow import fs

from lottery_ray.cluster.machines import Machine, machines, versions
from lottery_ray.experiment.plan import Plan
from lottery_ray.storage.store import Store


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


def check_cluster(needs: Needs) -> list[Check]:
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

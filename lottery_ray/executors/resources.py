"""What a trial has of a machine: CPUs, a GPU or a share of one, and memory."""

from collections.abc import Mapping

from lottery_ray.cluster.machines import machines_for_trials
from lottery_ray.errors import InputError
from lottery_ray.experiment.study import Site
from lottery_ray.scheduling.forecast import Memory


def one_trial(site: Site, gpus: float | None, memory: Memory) -> dict[str, float]:
    """{CPU, GPU, and memory in bytes where trials' memory is known}. gpus: None where the machines decide.
    memory: what trials have taken; with a tenth to spare it is set aside, so that Ray starts no more than a
    machine holds.

    Raises InputError if no machine has as much.
    """
    machines = machines_for_trials()
    if not machines:
        return {"CPU": site.cpus_per_trial, "GPU": 1.0 if gpus is None else gpus}
    most = {name: max(machine.get(name, 0.0) for machine in machines) for name in ("CPU", "GPU", "memory")}
    one = {"CPU": site.cpus_per_trial, "GPU": min(1.0, most["GPU"]) if gpus is None else gpus}
    for flag, name in (("--gpus-per-trial", "GPU"), ("--cpus-per-trial", "CPU")):
        if one[name] > most[name]:
            raise InputError(
                f"{flag} {one[name]:g}: no machine of the cluster has more than {most[name]:g} {name}s."
            )
    # whoever has less runs them one at a time
    return one | ({"memory": min(1.1 * memory.host, most["memory"])} if memory.host else {})


def slots(one: Mapping[str, float]) -> float:
    """How many trials run side by side, as far as CPUs and GPUs say."""
    return sum(
        min(machine.get(name, 0.0) / one[name] for name in ("CPU", "GPU") if one[name])
        for machine in machines_for_trials()
    )


def packed_share(site: Site, memory: Memory) -> float:
    """The share of a GPU that each trial has where as many share one as fit.

    Raises InputError where nothing says how much memory they take.
    """
    if not memory.of_gpu:
        raise InputError(
            "--gpus-per-trial packed: nothing was measured on a GPU; give a number, such as 0.25."
        )
    gpus = [machine for machine in machines_for_trials() if machine.get("GPU")]
    by_cpus = min(machine["CPU"] / machine["GPU"] / site.cpus_per_trial for machine in gpus)
    # in the steps that Ray counts in, and never above the share
    return 10_000 // max(1, min(memory.trials_per_gpu, int(by_cpus))) / 10_000


def in_words(resources: Mapping[str, float]) -> str:
    """Such as "1 CPU and 0.25 GPUs, and 1.2 GiB"."""
    words = " and ".join(
        f"{resources[name]:g} {name}{'' if resources[name] == 1 else 's'}" for name in ("CPU", "GPU")
    )
    return f"{words}, and {resources['memory'] / 2**30:.2g} GiB" if "memory" in resources else words

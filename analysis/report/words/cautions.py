"""What a reader must know before believing a number: how many seeds, what was searched on, what is odd."""

from analysis.formats import grouped, listed
from analysis.levels import CONFIDENCE, SIGNIFICANT
from analysis.records.network_names import NO_NETWORK
from analysis.tables import Tables
from lottery_ray.experiment.checks import FEW
from lottery_ray.inputs.tasks import title

SEARCHED_ON = {
    "held_out": "on held-out rows that no training saw",
    "dev": "on the dev set that scores them",
    "train_subset": "on rows that the model was trained on",
}


def caution(found: Tables) -> str:
    """How many seeds the intervals rest on, and what they do not cover."""
    seeds = sorted(set(found.summary["n"]))
    if not seeds:
        return f"No scores are recorded: this report is about masks.{_searched(found)}"
    span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    none = " One seed has no interval and decides nothing." if 1 in seeds else ""
    return (
        f"Each mean is over {span} seed{'s' if seeds[-1] > 1 else ''}.{none} Intervals are {CONFIDENCE:.0%} t"
        f" intervals over seeds, {_pairing(found)}, not corrected for the number of comparisons."
        f"{_searched(found)}"
    )


def _pairing(found: Tables) -> str:
    """How gaps take scores together."""
    paired = found.gaps["paired"].astype(bool)
    if paired.all():
        return "gaps paired by seed"
    which = "gaps" if not paired.any() else "those of published scores"
    return f"{which} wide enough for any pairing of the seeds"


def _searched(found: Tables) -> str:
    """What good subnetworks were found on."""
    on = [SEARCHED_ON[str(data)] for data in dict.fromkeys(found.searches["data"])]
    if len(on) > 1:
        return f" Good subnetworks were found {', others '.join(on)}; the table of methods says which."
    return f" Good subnetworks were found {on[0]}." if on else ""


def flags(found: Tables) -> list[str]:
    """One sentence per thing that makes results odd or weak."""
    return [*_extremes(found), *_few_rows(found), *_few_draws(found), *_short_of_memory(found)]


def _extremes(found: Tables) -> list[str]:
    sentences = []
    for (method, network, kept), group in grouped(found.extremes, ["method", "network", "kept"]):
        for task, cells in grouped(group, "task"):
            name = title(task)
            if network != NO_NETWORK:
                which = "no component is" if kept == "nothing" else "every component is"
                sentences.append(f"{name}, {method}: {which} kept by every seed.")
            else:
                seeds = [str(seed) for seed in dict.fromkeys(cells["seed"])]
                of = f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}"
                sentences.append(f"{name} {of}, {method}: the search kept {kept}.")
    return sentences


def _few_rows(found: Tables) -> list[str]:
    table = found.searches[(found.searches["data"] == "held_out") & (found.searches["examples"] < FEW)]
    counts = table.groupby("task", sort=False)["examples"].min()
    return [
        f"{title(str(task))}: its searches were scored on {int(count)} held-out rows; with fewer than"
        f" {FEW}, their scores and so their stopping points are imprecise."
        for task, count in counts.items()
    ]


def _few_draws(found: Tables) -> list[str]:
    table = found.null_tests
    few = table[1 / (1 + table["draws"]) > SIGNIFICANT]
    if few.empty:
        return []
    return [
        f"{len(few)} of {len(table)} sets of null draws have as few as {few['draws'].min()} draws: their p"
        f" cannot reach {SIGNIFICANT}, so they test nothing."
    ]


def _short_of_memory(found: Tables) -> list[str]:
    table = found.micro_batches
    smaller = table[["training", "evaluation"]].dropna(how="all")
    if smaller.empty:
        return []
    return [
        f"{len(smaller)} of {len(table)} nodes ran out of memory and went on in smaller micro-batches, of as"
        f" few as {int(smaller.min().min())} examples. Their batches are the recipe's, and results equal to"
        " rounding but for dropout, which is another draw."
    ]

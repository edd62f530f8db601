"""What the choices of a search change: its variants in one root, compared with the plain one."""

from collections.abc import Iterable, Iterator

import pandas as pd

from analysis.formats import grouped
from analysis.masks.chance import chance_jaccard
from analysis.masks.overlap import jaccard_of
from analysis.records.method_names import NO_METHOD, MethodName
from analysis.records.method_names import plainest as plain_of
from analysis.records.network_names import GOOD, RANDOM, STOPPING
from analysis.records.root import Root
from analysis.scores.statistics import INTERVAL_COLUMNS, Verdict, by_seed, t_interval, verdict
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import read_masks
from lottery_ray.inputs.tasks import task_order

MASK = ["task", "method", "versus", "component", "seed", "n", "kept", "versus_kept", "both"]
MASK += ["jaccard", "chance"]
MEAN = ["task", "method", "versus", "component", "seeds", "kept", "versus_kept", "of", "jaccard", "chance"]
MEAN += ["between_seeds", "between_chance"]


def compared(methods: Iterable[MethodName]) -> Iterator[tuple[MethodName, MethodName]]:
    """Every variant of a method, and the plain one."""
    every = sorted(set(methods) - {NO_METHOD})
    for method in every:
        plain = plain_of(every, method)
        if method != plain:
            yield method, plain


def masks_of_choices(root: Root) -> pd.DataFrame:
    """Good masks of a variant and of the plain method, of the same task and seed, at the stopping size:
    columns task, method, versus (the plain one), component, seed, n (components), kept, versus_kept,
    both, jaccard, chance (expected of two random masks of these sizes)."""
    files = {
        (file.task, file.seed, file.method): file
        for file in root.masks()
        if file.network == GOOD and file.size == STOPPING
    }
    rows = []
    for method, plain in compared(method for _, _, method in files):
        for (task, seed, other), file in files.items():
            if other != method or (task, seed, plain) not in files:
                continue
            found = masks.overlaps(read_masks(file.path), read_masks(files[task, seed, plain].path))
            for component in (name for name in method.components if name in found):
                pair = found[component]
                sizes = (pair.n, pair.a, pair.b)
                names = (task, method, plain, component, seed)
                rows.append((*names, *sizes, pair.both, jaccard_of(pair), chance_jaccard(*sizes)))
    return pd.DataFrame(rows, columns=MASK)


def mask_summary(pairs: pd.DataFrame, overlaps: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: columns MEAN. between_seeds, between_chance: the Jaccard of the plain method's
    masks between seeds, and its chance. pairs: see `masks_of_choices`; overlaps: see `overlap_of_seeds`."""
    rows = []
    stopping = overlaps[(overlaps["size"] == STOPPING) & (overlaps["network"] == GOOD)]
    plain = stopping.set_index(["task", "method", "component"])[["jaccard", "chance"]]
    for names, group in grouped(pairs, MASK[:4]):
        task, _, versus, component = names
        between = plain.reindex([(task, versus, component)]).iloc[0]
        means = group[["kept", "versus_kept", "n", "jaccard", "chance"]].mean()
        rows.append((*names, len(group), *means, between["jaccard"], between["chance"]))
    return _by_task(pd.DataFrame(rows, columns=MEAN))


def _by_task(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(
        "task", key=lambda tasks: tasks.map(task_order), kind="stable", ignore_index=True
    )


def scores_of_choices(scores: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    """Good of a variant minus good of the plain method, paired by seed, at the stopping size: columns
    task, method, versus, measure, n, mean, sd, half, low, high, verdict ("higher", "lower" or
    "undecided"); and the gap of good and random under each: gap, gap_half, gap_verdict, versus_gap,
    versus_gap_half, versus_gap_verdict, changes (whether the verdicts differ). gaps: see `statistics`."""
    seeds = by_seed(scores[scores["size"] == STOPPING])
    good = seeds[seeds["network"] == GOOD]
    wide = good.pivot(index=["task", "measure", "seed"], columns="method", values="score")
    random = gaps[(gaps["size"] == STOPPING) & (gaps["network"] == GOOD)]
    random = random[random["versus"].map(lambda versus: versus.drawn_as) == RANDOM]
    random = random.drop_duplicates(["task", "method", "measure"])
    verdicts = random.set_index(["task", "method", "measure"])[["mean", "half", "verdict"]]
    rows = []
    cells = list(dict.fromkeys(zip(good["task"], good["measure"], strict=True)))
    for method, plain in compared(good["method"]):
        differences_of = (wide[method] - wide[plain]).dropna().groupby(["task", "measure"])
        for task, measure in cells:
            if (task, measure) not in differences_of.groups:
                continue
            differences = differences_of.get_group((task, measure)).to_numpy()
            gap = t_interval(differences)
            row = {"task": task, "method": method, "versus": plain, "measure": measure} | gap.row
            row["verdict"] = verdict(gap)
            for prefix, name in (("", method), ("versus_", plain)):
                found = verdicts.reindex([(task, name, measure)]).iloc[0]
                row |= {f"{prefix}gap": found["mean"], f"{prefix}gap_half": found["half"]}
                row[f"{prefix}gap_verdict"] = (
                    found["verdict"] if isinstance(found["verdict"], Verdict) else ""
                )
            named = [row["gap_verdict"], row["versus_gap_verdict"]]
            row["changes"] = all(named) and named[0] != named[1]
            rows.append(row)
    columns = [
        "task",
        "method",
        "versus",
        "measure",
        *INTERVAL_COLUMNS,
        "verdict",
        "gap",
        "gap_half",
        "gap_verdict",
    ]
    columns += ["versus_gap", "versus_gap_half", "versus_gap_verdict", "changes"]
    return _by_task(pd.DataFrame(rows, columns=columns))

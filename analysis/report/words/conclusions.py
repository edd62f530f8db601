"""What a root says about good subnetworks, in plain sentences made from its tables."""

from typing import Any

import pandas as pd

from analysis.formats import COMPONENT_NAMES, grouped, listed, number, percent, rows, signed, with_interval
from analysis.records.method_names import place
from analysis.records.network_names import (
    BAD,
    FULL_MODEL,
    GOOD,
    LAYER_MATCHED,
    PRETRAINED,
    RANDOM,
    STOPPING,
    NetworkName,
    several_sizes,
    with_own,
)
from analysis.scores.baselines import BASELINE_NAMES, CLEAR
from analysis.scores.composition import PARTS_OF_GAP, TOTAL
from analysis.scores.statistics import UNDECIDED, Verdict
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title

HEADLINED = (RANDOM, LAYER_MATCHED, PRETRAINED, BAD)
"""And kinds of subnetworks that a user added."""


def counts(found: Tables) -> list[str]:
    """Good against random, layer-matched, pretrained, bad and what a user added, counted over tasks, methods,
    sizes, pruned and retrained; then what good is made of, and good among null draws, counted."""
    table = conclusive(found, found.gaps)
    sentences = []
    for drawn in with_own(HEADLINED, table["versus"]):
        for versus in _drawn_as(table, drawn):
            gaps = _between(table, GOOD, versus)
            higher, lower, undecided = (
                int((gaps["verdict"] == one).sum())
                for one in (Verdict("higher", GOOD), Verdict("lower", GOOD), UNDECIDED)
            )
            each = "task, method and size" if several_sizes(gaps) else "task and method"
            sentences.append(
                f"Good against {versus}: good scores higher in {higher} of {len(gaps)} gaps (one per {each},"
                f" pruned and retrained) and lower in {lower}; {undecided} undecided."
            )
    return [*sentences, *_parts_counted(found), *_nulls_counted(found)]


def _parts_counted(found: Tables) -> list[str]:
    """In how many of the decided gaps to random each part is worth something."""
    table = conclusive(found, found.composition)
    sentences = []
    for through, group in grouped(table, "through"):
        decided = group.dropna(subset=["share"])
        higher = decided[decided["low"] > 0]["part"].value_counts()
        parts = [f"{part} in {higher.get(part, 0)}" for part in PARTS_OF_GAP[through]]
        count = int((decided["part"] == TOTAL).sum())
        if count:
            sentences.append(
                f"Of the {count} decided gap{'s' if count > 1 else ''} of good to random that"
                f" {through} subnetworks split, the interval of a part lies above zero for {listed(parts)}."
            )
    return sentences


def _nulls_counted(found: Tables) -> list[str]:
    """In how many seeds good stands out among null draws."""
    table = conclusive(found, found.null_summary)
    counts = table[table["possible"] > 0].groupby("kind", sort=False)[["significant", "possible"]].sum()
    each = [f"{row.significant} of {row.possible} for {row.Index} masks" for row in counts.itertuples()]
    if not each:
        return []
    return [
        f"Good among null draws, pruned: p is at most .05 in {listed(each)} (counted over all seeds; chance"
        " alone has it so in one of twenty)."
    ]


def conclusive(found: Tables, table: pd.DataFrame) -> pd.DataFrame:
    """The rows on tasks that conclusions are drawn from."""
    return table[table["task"].isin(found.tasks.loc[found.tasks["conclusive"], "task"])]


def _drawn_as(gaps: pd.DataFrame, drawn: NetworkName) -> list[NetworkName]:
    """The networks that good is compared with, of those drawn like this."""
    return [versus for versus in dict.fromkeys(gaps["versus"]) if versus.drawn_as == drawn]


def _between(gaps: pd.DataFrame, network: NetworkName, versus: NetworkName) -> pd.DataFrame:
    return gaps[(gaps["network"] == network) & (gaps["versus"] == versus)]


def compared_pairs(found: Tables) -> list[tuple[NetworkName, NetworkName]]:
    """Every (network, versus) that sentences are made of: the headlined ones first, then the full model,
    then the rest."""
    pairs = list(dict.fromkeys(zip(found.gaps["network"], found.gaps["versus"], strict=True)))
    ranks = [*with_own(HEADLINED, found.gaps["versus"]), GOOD]

    def rank(pair: tuple[NetworkName, NetworkName]) -> int:
        drawn = pair[1].drawn_as
        return ranks.index(drawn) if drawn in ranks else len(ranks)

    return sorted(pairs, key=rank)


def is_headlined(pair: tuple[NetworkName, NetworkName]) -> bool:
    drawn = pair[1].drawn_as
    return pair == (FULL_MODEL, GOOD) or drawn in with_own(HEADLINED, [drawn])


def findings(
    found: Tables, network: NetworkName, versus: NetworkName, *, values: bool, stopping: bool = True
) -> list[str]:
    """One sentence per method, size and measure about one comparison, over the tasks that count.

    values: with the gaps. stopping: at the stopping size, or at the others.
    """
    gaps = _between(conclusive(found, found.gaps), network, versus)
    chosen = gaps[(gaps["size"] == STOPPING) == stopping]
    return [
        f"{opening(place(method, size))}, {measure}: {_comparison(network, versus, group, values)}."
        for (method, size, measure), group in grouped(chosen, ["method", "size", "measure"])
    ]


def opening(what: object) -> str:
    """To begin a sentence: "Structured", but "MLPs"."""
    words = str(what)
    return words[0].upper() + words[1:]


def said(network: NetworkName) -> str:
    """A network within a sentence."""
    if network == FULL_MODEL:
        return "the full model"
    of_several_words = network.is_control or len(network.notes) > 1
    return f"“{network}”" if of_several_words else str(network)


def _comparison(one: NetworkName, other: NetworkName, group: pd.DataFrame, values: bool) -> str:
    clauses = []
    for verdict, words in (
        (Verdict("higher", one), f"{said(one)} scores higher than {said(other)} on"),
        (Verdict("lower", one), f"{said(one)} scores lower than {said(other)} on"),
        (UNDECIDED, f"{said(one)} against {said(other)} is undecided on"),
    ):
        if gaps := [_gap(row, values) for row in rows(group[group["verdict"] == verdict])]:
            clauses.append(f"{words} {listed(gaps)}")
    return "; ".join(clauses)


def _gap(row: dict[str, Any], values: bool) -> str:
    name = title(row["task"])
    if not values:
        return name
    one = " from one seed" if row["n"] == 1 else ""
    return f"{name} ({with_interval(signed(row['mean']), row['half'])}{one})"


def left_out(found: Tables) -> list[str]:
    """One sentence per task whose full model does not beat its majority baseline."""
    sentences = []
    for row in rows(found.tasks[~found.tasks["conclusive"].astype(bool)]):
        interval = f"[{signed(row['low'])}, {signed(row['high'])}]"
        how = f"{CLEAR:.0f} dev-set standard errors; one seed" if row["n"] == 1 else f"{row['n']} seeds"
        sentences.append(
            f"{title(row['task'])} is shown but left out of the conclusions: its full model does not"
            f" beat the majority baseline of {number(row['majority'])} (difference {signed(row['mean'])}"
            f" {interval}, {how})."
        )
    return sentences


def controls(found: Tables) -> list[str]:
    """What pre-training and fine-tuning the encoder are worth, where models were trained without."""
    words = {
        "random_start": "fine-tuned from pre-trained weights, the full model scores {}, from random ones {}",
        "frozen": "with all weights fine-tuned, the full model scores {}, with a frozen encoder {}",
    }
    sentences = []
    for name in (name for name in BASELINE_NAMES if name in words):
        for task, group in grouped(found.baselines.dropna(subset=[name]), "task"):
            clear = int(group[f"beats_{name}"].sum())
            scores = words[name].format(number(group["full"].mean()), number(group[name].mean()))
            sentences.append(
                f"{title(task)}: {scores}; the difference exceeds {CLEAR:.0f} dev-set standard"
                f" errors in {clear} of {len(group)} seeds."
            )
    return sentences


def composition_sentences(found: Tables, *, stopping: bool = True) -> list[str]:
    """One sentence per method, size and measure about what good's gap to random is made of."""
    table = conclusive(found, found.composition)
    table = table[(table["size"] == STOPPING) == stopping]
    sentences = []
    for (method, size, measure), group in grouped(table, ["method", "size", "measure"]):
        split, whole = [], []
        for _, parts in grouped(group, "task"):
            total = rows(parts)[0]
            gap = f"{title(total['task'])} ({with_interval(signed(total['mean']), total['half'])})"
            if total["verdict"] == UNDECIDED:
                whole.append(gap)
            else:
                split.append(f"on {gap} {_parts(parts)}")
        if whole:
            split.append(f"no decided gap to split on {listed(whole)}")
        sentences.append(f"{opening(place(method, size))}, {measure}: {'; '.join(split)}.")
    return sentences


def _parts(table: pd.DataFrame) -> str:
    """The parts of one task's gap, by what lies between random and good."""
    ways = []
    for _, parts in grouped(table, "through"):
        shares = [
            f"{part['part']} {with_interval(signed(part['mean']), part['half'])}"
            f" ({percent(part['share'])} of it, {percent(part['share_low'])} to"
            f" {percent(part['share_high'])})"
            for part in rows(parts[parts["part"] != TOTAL])
            if pd.notna(part["share"])
        ]
        if shares:
            ways.append(listed(shares))
    return " or else ".join(ways)


def null_draw_sentences(found: Tables, *, stopping: bool = True) -> list[str]:
    """One sentence per method, size and kind: in how many seeds good stands out among random masks."""
    table = conclusive(found, found.null_summary)
    table = table[(table["size"] == STOPPING) == stopping]
    sentences = []
    for (method, size, kind), group in grouped(table, ["method", "size", "kind"]):
        counts = [
            f"{row['significant']} of {row['possible']} seeds on {title(row['task'])}"
            for row in rows(group[group["possible"] > 0])
        ]
        if counts:
            sentences.append(
                f"{opening(place(method, size))}: good scores above {kind} masks, pruned, with"
                f" p at most .05 in {listed(counts)}."
            )
    return sentences


def choice_sentences(found: Tables) -> list[str]:
    """One sentence per variant of a method: its masks, good's scores, and where a verdict changes."""
    tables = (found.choice_masks, found.choice_scores)
    pairs = dict.fromkeys(
        pair for table in tables for pair in zip(table["method"], table["versus"], strict=True)
    )
    sentences = []
    for method, versus in pairs:
        masks, scores = (t[(t["method"] == method) & (t["versus"] == versus)] for t in tables)
        clauses = [
            f"good masks of one seed share a Jaccard of {_span(of['jaccard'])} of their"
            f" {COMPONENT_NAMES[part]} (by chance {_span(of['chance'])}; between seeds of {versus}"
            f" {_span(of['between_seeds'])})"
            for part, of in grouped(masks, "component")
        ]
        scores = conclusive(found, scores)
        if len(scores):
            counts = [
                f"{(scores['verdict'] == one).sum()} {one}"
                for one in (Verdict("higher"), Verdict("lower"), UNDECIDED)
            ]
            clauses.append(f"good's scores under it are {listed(counts)}, of {len(scores)}")
            changes = [
                f"on {title(row['task'])}, {row['measure']} ({row['versus_gap_verdict']} under"
                f" {versus}, {row['gap_verdict']} under it)"
                for row in rows(scores[scores["changes"]])
            ]
            clauses.append(
                f"the verdict on good against random changes {listed(changes)}"
                if changes
                else "no verdict on good against random changes"
            )
        sentences.append(f"{opening(method)}, beside {versus}: {'; '.join(clauses)}.")
    return sentences


def _span(values: pd.Series) -> str:
    """Over tasks: "0.36 to 0.55", or one number."""
    low, high = number(values.min(), 2), number(values.max(), 2)
    return low if low == high else f"{low} to {high}"


def missing_sentences(found: Tables) -> list[str]:
    """One sentence per task and seed with networks that have no record."""
    return [
        f"{title(task)}, seed {seed}: {listed(list(map(str, group['network'])))}."
        for (task, seed), group in grouped(found.missing, ["task", "seed"])
    ]

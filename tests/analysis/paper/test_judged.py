"""The paper's claims: every rule both ways, and never from too little."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.formats import rows, table_in_words
from analysis.masks import agreement, overlap
from analysis.masks import groups as mask_groups
from analysis.paper import evidence, published
from analysis.paper.judged import COLUMNS, claims
from analysis.paper.stated import CONTRADICTED, OPEN, SUPPORTED
from analysis.records import root as records
from analysis.records.method_names import NO_METHOD, STRUCTURED, MethodName
from analysis.records.network_names import (
    BAD,
    FULL_MODEL,
    GOOD,
    PUBLISHED_NETWORKS,
    RANDOM,
    RANDOM_START,
    STOPPING,
    WHOLE,
    TicketSize,
)
from analysis.records.searches import searches
from analysis.scores.gaps import unpaired_gaps
from analysis.scores.statistics import NETWORK_COLUMNS
from analysis.scores.statistics import summary as over_seeds
from lottery_ray.storage.published import import_published
from lottery_ray.storage.store import Store
from tests.places import SHARED

PAPER = SHARED / "paper"
ABSTRACT = (
    "Large Transformer-based models were shown to be reducible to a smaller number of self-attention"
    " heads and layers. We consider this phenomenon from the perspective of the lottery ticket"
    " hypothesis, using both structured and magnitude pruning. For fine-tuned BERT, we show that (a) it"
    " is possible to find subnetworks achieving performance that is comparable with that of the full"
    " model, and (b) similarly-sized subnetworks sampled from the rest of the model perform worse."
    " Strikingly, with structured pruning even the worst possible subnetworks remain highly trainable,"
    ' indicating that most pre-trained BERT weights are potentially useful. We also study the "good"'
    " subnetworks to see if their success can be attributed to superior linguistic knowledge, but find"
    " them unstable, and not explained by meaningful self-attention patterns."
)
"""arXiv 2005.00561."""
TASKS = {"cola": 0.0, "sst2": 0.5, "rte": 0.5}
"""{task: majority}"""
SCORES = {FULL_MODEL: 0.9, GOOD: 0.87, RANDOM: 0.8, BAD: 0.75, RANDOM_START: 0.55}
NO_SCORES = pd.DataFrame(columns=[*NETWORK_COLUMNS, "seed", "score"])
NO_SEARCHES = pd.DataFrame(columns=["method", "data"])
A, B, C, USEFUL, D, E = (
    "(a) good comes close to full, retrained",
    "(b) bad is worse than good, retrained",
    "(c) bad, retrained, comes closer to full than to majority",
    "(c) pre-trained weights help random, retrained",
    "(d) good differs from seed to seed: heads",
    "(e) attention patterns do not explain good",
)


def judged(
    *,
    sd: float = 0.01,
    n: int = 5,
    tasks: int = 3,
    kappa: float = 0.2,
    searched: str = "dev",
    rule: str | None = None,
    **changes: float,
) -> pd.DataFrame:
    """The claims of a study of structured pruning whose networks have these mean scores on every task.
    searched: on what. rule: how random masks are drawn."""
    names = list(TASKS)[:tasks]
    summary = pd.DataFrame(
        [
            (
                task,
                *(
                    (NO_METHOD, WHOLE, network, "fine-tuned")
                    if network == FULL_MODEL
                    else (STRUCTURED, STOPPING, network, measure)
                ),
            )
            for task in names
            for network in SCORES
            for measure in ("pruned", "retrained")
            if network != FULL_MODEL or measure == "pruned"
        ],
        columns=NETWORK_COLUMNS,
    )
    means = SCORES | {PUBLISHED_NETWORKS[name]: mean for name, mean in changes.items()}
    summary = summary.assign(n=n, mean=summary["network"].map(means), sd=sd if n > 1 else np.nan)
    same: dict[str, Any] = {"method": STRUCTURED, "size": STOPPING, "network": GOOD, "component": "heads"}
    masks = pd.DataFrame({"task": names, "seeds": n}).assign(**same, jaccard=0.5, chance=0.4)
    masks["fleiss_kappa"] = kappa + 0.01 * np.arange(tasks) if n > 1 else np.nan
    masks["kappa_se"] = 0.05
    task_table = pd.DataFrame(
        {"task": names, "majority": [TASKS[name] for name in names], "conclusive": True}
    )
    summary["network"] = [replace(one, rule=rule) if one == RANDOM else one for one in summary["network"]]
    searches = pd.DataFrame({"method": [STRUCTURED], "data": [searched]})
    return claims(unpaired_gaps(summary), summary, task_table, masks, masks, NO_SCORES, searches)


def verdict(table: pd.DataFrame, claim: str) -> str:
    [row] = rows(table[table["claim"] == claim])
    return str(row["verdict"])


@pytest.mark.parametrize(
    ("claim", "supports", "contradicts", "undecided"),
    [
        (A, {"good": 0.87}, {"good": 0.7}, {"good": 0.81}),
        (B, {"bad": 0.75}, {"bad": 0.95}, {"bad": 0.87}),
        (B, {"bad": 0.865, "sd": 0.001}, {"bad": 0.87, "sd": 0.002}, {"bad": 0.865, "sd": 0.004}),
        (C, {"bad": 0.85}, {"bad": 0.45}, {"bad": 0.65}),
        (USEFUL, {"random": 0.8}, {"random": 0.3}, {"random": 0.55}),
        (USEFUL, {"random": 0.8}, {"random": 0.55, "sd": 0.002}, {"random": 0.555, "sd": 0.004}),
        (D, {"kappa": 0.2}, {"kappa": 0.7}, {"kappa": 0.4}),
    ],
)
def test_every_rule_supports_contradicts_and_leaves_open(
    claim: str, supports: dict[str, Any], contradicts: dict[str, Any], undecided: dict[str, Any]
) -> None:
    found = [verdict(judged(**case), claim) for case in (supports, contradicts, undecided)]
    assert found == [SUPPORTED, CONTRADICTED, OPEN]


def test_a_search_on_dev_supports_nothing_about_its_own_floor() -> None:
    claim = A.replace("retrained", "pruned")
    for searched, supported in (("dev", OPEN), ("held_out", SUPPORTED), ("train_subset", SUPPORTED)):
        found = judged(searched=searched)
        assert verdict(found, claim) == supported
        assert verdict(found, A) == SUPPORTED
        said = found.set_index("claim").loc[claim, "measured"]
        assert ("holds by construction: the search stopped there" in str(said)) == (searched == "dev")
    below = judged(good=0.7).set_index("claim").loc[claim]  # as where the last state tried is taken
    assert below["verdict"] == CONTRADICTED
    assert "by construction" not in str(below["measured"])


def test_kappas_need_three_tasks_and_stay_in_their_range() -> None:
    assert verdict(judged(tasks=2), D) == OPEN
    table = judged(tasks=2, kappa=0.99).set_index("claim")
    assert table.loc[D, "high"] == 1
    assert "0 support, 0 contradict" in str(judged(kappa=0.4).set_index("claim").loc[D, "measured"])


def test_networks_have_the_name_that_says_how_they_are_drawn() -> None:
    table = judged(rule="bernoulli").set_index("claim")
    for claim in (B.replace("bad", "random"), USEFUL):
        assert "random (Bernoulli)" in str(table.loc[claim, "measured"])


def test_known_seeds_pair() -> None:
    """Bad and full rise and fall together, so the sum of their spreads is far too much."""
    full, bad = np.array([0.90, 0.80, 0.85]), np.array([0.71, 0.59, 0.65])
    place = dict(zip(NETWORK_COLUMNS, ["rte", STRUCTURED, STOPPING, BAD, "retrained"], strict=True))
    whole = place | {"method": NO_METHOD, "size": WHOLE, "network": FULL_MODEL, "measure": "fine-tuned"}
    scores = pd.DataFrame(
        [
            of | {"seed": seed, "score": score, "weights_kept": 1.0}
            for of, values in ((place, bad), (whole, full))
            for seed, score in enumerate(values)
        ]
    )
    tasks = pd.DataFrame({"task": ["rte"], "majority": 0.5})
    [paired] = rows(evidence.ways(over_seeds(scores), tasks, scores))
    [added] = rows(evidence.ways(over_seeds(scores), tasks, NO_SCORES))
    share = (bad.mean() - 0.5) / (full.mean() - 0.5)
    assert paired["mean"] == added["mean"] == pytest.approx(share)
    assert paired["sd"] == pytest.approx(np.std(bad - share * full, ddof=1) / 0.35)
    assert added["sd"] == pytest.approx((bad.std(ddof=1) + share * full.std(ddof=1)) / 0.35)
    assert (paired["n"], paired["paired"], added["n"], added["paired"]) == (3, True, 3, False)
    controls = [place | {"network": network} for network in (RANDOM, RANDOM_START)]
    scores = pd.DataFrame(
        [
            of | {"seed": seed, "score": score, "weights_kept": 1.0}
            for of, values in zip(controls, (full, bad[:2]), strict=True)
            for seed, score in enumerate(values)
        ]
    )
    [start] = rows(evidence.starts(over_seeds(scores), scores))
    assert (start["n"], start["mean"]) == (2, pytest.approx(0.2))
    assert start["sd"] == pytest.approx(np.std([0.19, 0.21], ddof=1))


TOO_LITTLE: list[Callable[[], pd.DataFrame]] = [lambda: judged(n=1), lambda: judged(tasks=1)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("study", TOO_LITTLE, ids=["one seed", "one task"])
def test_one_seed_and_one_task_are_not_enough(study: Callable[[], pd.DataFrame]) -> None:
    found = study()
    assert set(found["verdict"]) == {OPEN}
    assert found.loc[found["claim"] == A, "estimate"].notna().all()


@pytest.mark.filterwarnings("error")
def test_a_study_without_anything_has_every_claim_and_no_verdict() -> None:
    nothing = judged(tasks=0)
    assert list(nothing) == COLUMNS
    assert set(nothing["verdict"]) == {OPEN}
    assert set(nothing["method"]) == {NO_METHOD}
    assert set(nothing["claim"]) == set(judged()["claim"])


def test_the_estimates_are_the_means_over_tasks() -> None:
    table = judged().set_index("claim")
    assert table.loc[A, "estimate"] == pytest.approx(0.03 / 0.9)
    half = stats.t.ppf(0.975, 4) * (0.02 / 0.9) / np.sqrt(15)
    assert [table.loc[A, "low"], table.loc[A, "high"]] == pytest.approx(
        [0.03 / 0.9 - half, 0.03 / 0.9 + half]
    )
    assert table.loc[C, "estimate"] == pytest.approx((0.75 / 0.9 + 2 * 0.25 / 0.4) / 3)
    assert table.loc[D, "estimate"] == pytest.approx(0.21)
    low, high = stats.ttest_1samp([0.20, 0.21, 0.22], 0).confidence_interval()
    assert [table.loc[D, "low"], table.loc[D, "high"]] == pytest.approx([low, high])
    assert "Mean Jaccard of two seeds 0.500, by chance 0.400." in str(table.loc[D, "measured"])
    assert (table["tasks"].drop(E) <= 3).all()


def test_only_conclusive_tasks_and_the_methods_of_the_abstract_count() -> None:
    """Tasks that are not judged, heads alone and other sizes change nothing."""
    names = dict(zip(NETWORK_COLUMNS, ["cola", STRUCTURED, STOPPING, GOOD, "retrained"], strict=True))

    def row(mean: float, **other: Any) -> dict[str, Any]:
        return names | other | {"n": 5, "mean": mean, "sd": 0.01}

    full = {"method": NO_METHOD, "size": WHOLE, "network": FULL_MODEL, "measure": "fine-tuned"}
    known = [row(0.9, **full), row(0.9, **full | {"task": "rte"}), row(0.87), row(0.87, task="rte")]
    beside = [
        row(0.1, size=TicketSize(0.5)),
        row(0.1, method=MethodName("heads")),
        row(0.1, task="hans"),
        row(0.9, **full, task="hans"),
    ]
    tasks = pd.DataFrame({"task": ["cola", "rte"], "majority": 0.0, "conclusive": True})
    known_of_masks = ["component", "seeds", "fleiss_kappa", "kappa_se", "jaccard", "chance"]
    masks = pd.DataFrame(columns=[*NETWORK_COLUMNS[:4], *known_of_masks])
    tables = [pd.DataFrame(known), pd.DataFrame(known + beside)]
    one, other = (
        claims(unpaired_gaps(table), table, tasks, masks, masks, NO_SCORES, NO_SEARCHES) for table in tables
    )
    pd.testing.assert_frame_equal(one, other)


def test_quotes_are_the_abstracts() -> None:
    for quote in judged()["quote"]:
        assert all(part.strip() in ABSTRACT for part in quote.replace("[...],", "[...]").split("[...]"))


def test_claims_and_methods_name_rows_and_rules_do_not_depend_on_results() -> None:
    one, other = judged(), judged(good=0.5, kappa=0.9)
    assert not one[["claim", "method"]].duplicated().any()
    pd.testing.assert_frame_equal(one[["claim", "rule"]], other[["claim", "rule"]])
    assert one.groupby("claim")["rule"].nunique().eq(1).all()


def test_the_papers_own_results(tmp_path: Path) -> None:
    """Kappas as published, and full minus good as in protocol.md 7.2."""
    if not PAPER.exists():
        pytest.skip("the released masks are not at hand")
    import_published(PAPER / "masks.parquet", str(tmp_path / "root"), PAPER / "published_results.csv")
    root = records.read_root(Store.open(str(tmp_path / "root")), tmp_path)
    groups, summary = mask_groups.groups_of_seeds(root.masks()), published.published_summary(root)
    tables = overlap.overlap_of_seeds(groups), agreement.agreement(groups)
    judged = published.published_tasks(root)
    found = claims(unpaired_gaps(summary), summary, judged, *tables, NO_SCORES, searches(root))
    table = table_in_words(found).set_index(["claim", "method"])
    kappas = [0.2281, 0.3245, 0.2153, 0.2215, 0.1912, 0.2576, 0.3015, 0.1799]  # without WNLI
    assert table.loc[(D, "structured"), "estimate"] == pytest.approx(np.mean(kappas), abs=5e-5)
    assert table.loc[(D, "structured"), "verdict"] == SUPPORTED
    full = np.array([0.5604, 0.9257, 0.8392, 0.9092, 0.8865, 0.8448, 0.9153, 0.6325])
    good = np.array([0.5439, 0.9154, 0.8402, 0.9068, 0.8795, 0.8390, 0.9085, 0.6144])
    assert table.loc[(A, "magnitude"), "estimate"] == pytest.approx(((full - good) / full).mean(), abs=5e-5)
    assert table.loc[(A, "magnitude"), "verdict"] == SUPPORTED
    assert set(found["tasks"]) <= {0, 8}

"""The analysis of a root with every kind, size, control, null draw and three choices of search."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from analysis import Analysis, analyse
from analysis.formats import rows
from analysis.levels import CONFIDENCE
from analysis.masks.overlap import chance_jaccard
from analysis.records import method_names as variants
from analysis.records.inventory import missing
from analysis.records.root import read_root
from analysis.report import page, terminal
from analysis.report import write as report
from analysis.report.words import cautions, conclusions
from analysis.scores.composition import TOTAL, ratio
from analysis.scores.nulls import null_tests as null_tests
from analysis.tables import tables_of
from lottery_ray import streams
from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.masks import read_masks
from lottery_ray.experiment.methods import METHODS, Structured
from lottery_ray.experiment.nodes import KINDS, Finetune, NullDraws, Pretrain, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import BASELINES, PRESETS, RELEASED, Choices
from lottery_ray.identity import digest
from lottery_ray.storage.store import Record, Store
from tests.planted import Planted, quality

DEMO = replace(PRESETS["demo"].study, kinds=("good", "random", "bad"))
EVERYTHING = replace(
    DEMO,
    held_out=0.2,
    search_data="held_out",
    methods=METHODS,
    kinds=KINDS,
    sizes=("stopping", 0.5),
    down_to=0.3,
    null_draws=25,
    baselines=BASELINES,
    random_draws=2,
)
STOPPING = replace(EVERYTHING, sizes=("stopping",), methods=("structured", "magnitude"))
SMALL = replace(DEMO, tasks=("similarity",), methods=("structured",), baselines=())


def beside(folder: Path, **more: Any) -> Planted:
    """A root to record other searches into, of the same fine-tuned models."""
    return Planted(folder, keep=lambda node: not isinstance(node, Pretrain | Finetune), **more)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("everything")
    Planted(folder).fill(EVERYTHING)
    beside(folder).fill(replace(STOPPING, choices=RELEASED, down_to=1.0))
    on_dev = replace(STOPPING, search_data="dev", kinds=("good", "random"), baselines=())
    return beside(folder).fill(on_dev)


@pytest.fixture(scope="module")
def found(root: str) -> Analysis:
    return analyse(root)


@pytest.fixture(scope="module")
def tickets(root: str) -> list[Record]:
    return [record for record in Store.open(root).records() if record.labels["stage"] == "ticket"]


def row_of(table: pd.DataFrame, **labels: object) -> dict[str, Any]:
    """The one row with these labels."""
    [row] = [row for row in rows(table) if labels.items() <= row.items()]
    return row


def text_of(found: Analysis, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    terminal.show(found.facts, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# Names


def test_networks_have_names_of_their_own(found: Analysis) -> None:
    def of(method: str) -> list[str]:
        table = found.scores[(found.scores["method"] == method) & (found.scores["task"] == "similarity")]
        return list(dict.fromkeys(table["network"]))

    assert of("") == ["full", "random start", "frozen encoder"]
    assert of("magnitude") == [
        "good",
        "good, random start",
        "random",
        "random, random start",
        "layer-matched",
        "bad",
        "bad, 10 epochs",
        "pretrained",
        "super",
        "super random",
        "super bad",
        "transfer from Acceptability",
    ]
    released = of("structured, as released")
    assert {"random (Bernoulli)", "random, random start (Bernoulli)", "bad", "super"} <= set(released)
    assert {"super random (as released)", "super bad (as released)"} <= set(released)
    assert "bad (largest removed)" in of("magnitude, as released")


def test_a_controls_pruned_score_is_its_twins(found: Analysis) -> None:
    measures = found.scores.groupby("network")["measure"].unique().map(set)
    for network in ("good, random start", "random, random start", "bad, 10 epochs"):
        assert measures[network] == {"retrained"}
    assert measures["transfer from Similarity"] == {"pruned", "retrained"}


def named(base: str, *chosen: dict[str, Any]) -> list[str]:
    plain = {name: choice.absent for name, choice in variants.CHOICES.items()}
    plain = {name: value for name, value in plain.items() if name in variants.APPLICABLE[base]}
    return list(map(str, variants.told_apart([(base, plain | own) for own in chosen])))


@pytest.mark.parametrize(
    ("base", "chosen", "names"),
    [
        ("structured", [{"importance": "cumulative"}], ["structured"]),
        (
            "structured",
            [{}, {"importance": "cumulative"}],
            ["structured", "structured, cumulative importance"],
        ),
        ("structured", [{"data": "held_out"}, {}], ["structured", "structured, searched on dev"]),
        (
            "structured",
            [{}, {"data": "train_subset"}],
            ["structured", "structured, searched on training rows"],
        ),
        ("magnitude", [{"step": 0.05}, {}], ["magnitude, step 5%", "magnitude"]),
        ("magnitude", [{"step": 0.05}, {"step": 0.2}], ["magnitude, step 5%", "magnitude, step 20%"]),
        ("magnitude", [{}, {"step": 0.05, "max_steps": 30}], ["magnitude", "magnitude, as released"]),
        (
            "structured",
            [{}, {"importance": "cumulative", "later_phases": "released", "floor": 0.8}],
            ["structured", "structured, as released, floor 80%"],
        ),
        (
            "structured",
            [{}, {"importance": "cumulative", "layer_norm": "survivors"}],
            ["structured", "structured, cumulative importance, normalised over survivors"],
        ),
        ("mlps", [{}, {"down_to": 0.3}], ["MLPs", "MLPs, down to 30%"]),
        ("heads", [{"down_to": 0.3}, {"last_head": "kept"}], ["heads", "heads, last heads kept"]),
    ],
)
def test_methods_are_named_by_what_differs(base: str, chosen: list[dict[str, Any]], names: list[str]) -> None:
    assert named(base, *chosen) == names


def test_searches_null_draws_and_tickets_agree_on_their_methods(found: Analysis) -> None:
    methods = set(found.scores["method"]) - {""}
    assert {"structured", "structured, as released", "structured, searched on dev"} <= methods
    assert set(found.searches["method"]) == methods == set(found.methods["method"])
    assert set(found.null_draws["method"]) == methods


def test_super_survivors_of_fewer_seeds_are_not_those_of_all(tmp_path: Path) -> None:
    study = replace(SMALL, kinds=("good", "super"))
    Planted(tmp_path).fill(replace(study, seeds=(1, 2)))
    more = plan(replace(study, seeds=(1, 2, 3))).nodes
    done = set(plan(replace(study, seeds=(1, 2))).nodes)
    Planted(tmp_path).record(node for node in more if node not in done)
    found = analyse(str(tmp_path))
    counts = found.summary[found.summary["measure"] == "pruned"].set_index("network")["n"]
    assert (counts["super"], counts["super (of 2 seeds)"]) == (3, 2)


# Sizes and gaps


def test_every_table_has_the_size(found: Analysis) -> None:
    for name in ("scores", "summary", "gaps", "composition", "null_tests", "overlap", "survival", "sizes"):
        table = getattr(found, name)
        sizes = table.loc[table["method"].isin(["structured", "magnitude"]), "size"]
        assert set(sizes) == {"stopping", "0.5"}, name
    text = text_of(found)
    assert " structured, at 50%" in text
    assert "Heads, at 50%" in page.render_page(found.facts, [])


def test_sizes_are_not_spoken_of_where_there_is_one(tmp_path: Path) -> None:
    found = analyse(Planted(tmp_path).fill(SMALL))
    assert "at 50%" not in text_of(found)
    assert '<th scope="col">size</th>' not in page.render_page(found.facts, [])


@pytest.mark.parametrize("size", ["stopping", "0.5"])
@pytest.mark.parametrize(
    ("kind", "versus", "start"),
    [
        ("layer_matched", "layer-matched", "pretrained"),
        ("super_bad", "super bad", "pretrained"),
        ("transfer", "transfer from Similarity", "pretrained"),
        ("random", "random, random start", "random"),
    ],
)
def test_good_is_compared_with_every_network(
    found: Analysis, tickets: list[Record], kind: str, versus: str, start: str, size: str
) -> None:
    def of(kind: str, start: str) -> dict[int, float]:
        """Retrained scores by seed, draws averaged, of plain magnitude tickets on acceptability."""
        scores: dict[int, list[float]] = {}
        plain = {key for key, method in methods.items() if method == "magnitude"}
        for record in tickets:
            labels = record.labels
            place = (labels["task"], labels["kind"], labels["start"], labels["size"], labels["epochs"])
            if record.key in plain and place == ("acceptability", kind, start, size, 5):
                scores.setdefault(labels["seed"], []).append(record.result["retrained"])
        return {seed: float(np.mean(draws)) for seed, draws in sorted(scores.items())}

    methods = dict(zip(found.scores["node"], found.scores["method"], strict=True))
    good, other = of("good", "pretrained"), of(kind, start)
    test = stats.ttest_rel(list(good.values()), list(other.values()))
    expected = test.confidence_interval(CONFIDENCE)
    labels = {"task": "acceptability", "method": "magnitude", "size": size, "measure": "retrained"}
    gap = row_of(found.gaps, network="good", versus=versus, **labels)
    np.testing.assert_allclose([gap["low"], gap["high"]], [expected.low, expected.high])
    assert gap["n"] == 3


def test_layer_matched_mlps_are_the_good_ones_and_compared_with_nothing(tmp_path: Path) -> None:
    study = replace(SMALL, methods=("mlps",), null_draws=25)
    planned = plan(study).nodes
    good = [node for node in planned if isinstance(node, Ticket) and node.kind == "good"]
    matched = [replace(node, kind="layer_matched") for node in good]
    nulls = [NullDraws(node.finetune, node.sources[0], "layer_matched", 25) for node in good]
    found = analyse(Planted(tmp_path).record(dict.fromkeys([*planned, *matched, *nulls])))
    assert "layer-matched" in set(found.scores["network"])
    assert set(found.gaps["versus"]) == {"random", "bad", "good"}
    assert found.composition.empty
    assert set(found.null_tests["kind"]) == {"random"}


def test_headlines_count_layer_matched_and_pretrained(found: Analysis) -> None:
    text = "\n".join(conclusions.counts(found.facts))
    # structured at two sizes and as released, heads at two sizes, magnitude like structured
    assert "Good against layer-matched: good scores higher in" in text
    assert f"of {2 * 2 * (3 + 2 + 3)} gaps" in text
    assert "Good against pretrained" in text


# What good is made of


def test_the_parts_of_a_gap_add_up(found: Analysis) -> None:
    keys = ["task", "method", "size", "measure", "through"]
    for names, group in found.composition.groupby(keys, sort=False):
        total, *parts = rows(group)
        assert total["part"] == TOTAL
        assert sum(part["mean"] for part in parts) == pytest.approx(total["mean"]), names
        if pd.notna(total["share"]):
            assert sum(part["share"] for part in parts) == pytest.approx(1)
    through = found.composition.groupby("method")["through"].unique().map(set)
    assert through["structured"] == {"layer-matched"}
    assert through["magnitude"] == {"layer-matched", "pretrained"}


def test_parts_are_paired_by_seed(found: Analysis) -> None:
    cell = {"task": "similarity", "method": "structured", "size": "0.5", "measure": "pruned"}
    table = found.scores
    for name, value in cell.items():
        table = table[table[name] == value]
    wide = table.groupby(["seed", "network"])["score"].mean().unstack()
    part = row_of(found.composition, part="the layer profile", **cell)
    expected = stats.ttest_rel(wide["layer-matched"], wide["random"]).confidence_interval(0.95)
    np.testing.assert_allclose([part["low"], part["high"]], [expected.low, expected.high])
    assert part["share"] == pytest.approx(
        (wide["layer-matched"] - wide["random"]).mean() / (wide["good"] - wide["random"]).mean()
    )


def test_a_gap_is_split_over_the_seeds_that_have_all_three(tmp_path: Path) -> None:
    def keep(node: Node) -> bool:
        return not (isinstance(node, Ticket) and node.kind == "layer_matched" and node.finetune.seed == 3)

    study = replace(SMALL, kinds=("good", "random", "layer_matched"))
    found = analyse(Planted(tmp_path, keep=keep).fill(study))
    assert set(found.composition["n"]) == {2}
    for _, group in found.composition.groupby("measure"):
        total, *parts = group["mean"]
        assert sum(parts) == pytest.approx(total)
    gaps = found.gaps[found.gaps["network"] == "good"].set_index("versus")["n"]
    assert set(gaps["random"]) == {3}


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_the_interval_of_a_share_is_where_the_t_test_turns(n: int) -> None:
    rng = streams.generator("ratio", n)
    whole = rng.normal(0.5, 0.01, n)
    part = 0.4 * whole + rng.normal(0, 0.01, n)
    share, low, high = ratio(part, whole)
    assert low < share < high
    for end in (low, high):
        assert stats.ttest_1samp(part - end * whole, 0).pvalue == pytest.approx(0.05)


def test_an_undecided_gap_has_no_shares(tmp_path: Path) -> None:
    planted = Planted(tmp_path, known=lambda node, retrained=False: 0.6)
    found = analyse(planted.fill(replace(SMALL, kinds=("good", "random", "layer_matched"))))
    undecided = found.composition[found.composition["low"] * found.composition["high"] < 0]
    totals = undecided[undecided["part"] == TOTAL]
    assert len(totals)
    assert totals["share"].isna().all()
    assert "no decided gap to split on Similarity" in "\n".join(
        conclusions.composition_sentences(found.facts)
    )
    assert np.isnan(ratio(np.array([0.1]), np.array([0.2]))).all()


# Null draws


def test_good_among_null_draws_is_its_rank(root: str, found: Analysis) -> None:
    checked = 0
    for record in Store.open(root).records():
        labels = record.labels
        if labels["stage"] != "nulls" or (labels["task"], labels["method"]) != ("similarity", "heads"):
            continue
        scores, good = np.array(record.result["scores"]), record.result["good"]
        kind = labels["kind"].replace("_", "-")
        place = {"task": "similarity", "method": "heads", "size": labels["size"], "kind": kind}
        row = row_of(found.null_tests, seed=labels["seed"], **place)
        assert row["percentile"] == pytest.approx(stats.percentileofscore(scores, good, "mean") / 100)
        ranks = stats.rankdata([-good, *-scores], "max")
        assert row["p"] == pytest.approx(ranks[0] / 26)
        assert (row["mean"], row["sd"]) == pytest.approx((scores.mean(), scores.std(ddof=1)))
        checked += 1
    assert checked == 2 * 2 * 3


def test_ties_among_null_draws_count_half_and_against_good() -> None:
    labels = {"task": "sst2", "method": "heads", "size": "stopping", "kind": "random", "seed": 1}
    draws = pd.DataFrame(
        [labels | {"number": i, "score": s, "good": 0.5} for i, s in enumerate([0.4, 0.5, 0.6])]
    )
    [row] = rows(null_tests(draws))
    assert (row["percentile"], row["p"]) == (0.5, 0.75)


def test_null_draws_are_counted_over_seeds(found: Analysis) -> None:
    significant = found.null_tests.assign(small=found.null_tests["p"] <= 0.05)
    expected = significant.groupby(["task", "method", "size", "kind"])["small"].sum()
    table = found.null_summary.set_index(["task", "method", "size", "kind"])["significant"]
    assert table.to_dict() == expected.to_dict()
    assert "p is at most .05" in "\n".join(conclusions.counts(found.facts))


def test_few_null_draws_test_nothing(tmp_path: Path) -> None:
    found = analyse(Planted(tmp_path).fill(replace(SMALL, null_draws=18)))
    assert set(found.null_summary["possible"]) == {0}
    assert not conclusions.null_draw_sentences(found.facts)
    assert "test nothing" in "\n".join(cautions.flags(found.facts))


# Choices


def test_masks_of_one_seed_are_compared_between_choices(found: Analysis, root: str) -> None:
    store, methods = Store.open(root), dict(zip(found.scores["node"], found.scores["method"], strict=True))
    heads: dict[tuple[str, int], np.ndarray] = {}
    for record in store.records():
        labels = record.labels
        place = (labels["task"], labels["method"], labels["kind"], labels["start"], labels["size"])
        if place == ("similarity", "structured", "good", "pretrained", "stopping"):
            table = read_masks(store.fetch(record, "mask.arrow"))
            heads[methods[record.key], labels["seed"]] = masks.heads(masks.from_table(table))
    expected, chance = [], []
    for seed in DEMO.seeds:
        one, two = heads["structured, as released", seed], heads["structured", seed]
        expected.append((one & two).sum() / (one | two).sum())
        chance.append(chance_jaccard(24, one.sum(), two.sum()))
    labels = {"method": "structured, as released", "versus": "structured", "component": "heads"}
    row = row_of(found.choice_masks, task="similarity", **labels)
    assert row["jaccard"] == pytest.approx(np.mean(expected))
    assert row["chance"] == pytest.approx(np.mean(chance))
    plain = {"method": "structured", "size": "stopping", "network": "good", "component": "heads"}
    assert row["between_seeds"] == row_of(found.overlap, task="similarity", **plain)["jaccard"]


def test_good_scores_are_paired_between_choices(found: Analysis) -> None:
    table = found.scores[(found.scores["network"] == "good") & (found.scores["size"] == "stopping")]
    table = table[(table["task"] == "acceptability") & (table["measure"] == "retrained")]
    wide = table.pivot(index="seed", columns="method", values="score")
    expected = stats.ttest_rel(wide["magnitude, searched on dev"], wide["magnitude"]).confidence_interval(
        0.95
    )
    labels = {"task": "acceptability", "method": "magnitude, searched on dev", "measure": "retrained"}
    row = row_of(found.choice_scores, **labels)
    assert row["versus"] == "magnitude"
    np.testing.assert_allclose([row["low"], row["high"]], [expected.low, expected.high])
    for prefix, method in (("", "magnitude, searched on dev"), ("versus_", "magnitude")):
        cell = {"task": "acceptability", "method": method, "size": "stopping", "measure": "retrained"}
        gap = row_of(found.gaps, network="good", versus="random", **cell)
        assert row[f"{prefix}gap"] == gap["mean"]
        assert row[f"{prefix}gap_verdict"] == gap["verdict"]


def test_a_verdict_that_a_choice_changes_is_said(tmp_path: Path) -> None:
    def known(node: Finetune | Ticket | NullDraws, *, retrained: bool = False) -> float:
        source = node.sources[0].method if isinstance(node, Ticket) else None
        cumulative = isinstance(source, Structured) and source.importance == "cumulative"
        flipped = cumulative and isinstance(node, Ticket) and node.kind == "random"
        return 0.99 if flipped else quality(node, retrained=retrained)

    Planted(tmp_path).fill(SMALL)
    other = replace(SMALL, choices=Choices(importance="cumulative"))
    found = analyse(beside(tmp_path, known=known).fill(other))
    assert set(found.choice_scores["method"]) == {"structured, cumulative importance"}
    assert found.choice_scores["changes"].all()
    [sentence] = conclusions.choice_sentences(found.facts)
    assert "changes on Similarity, pruned (good higher under structured, good lower under it)" in sentence


def test_removal_as_released_is_a_choice_too(tmp_path: Path) -> None:
    Planted(tmp_path).fill(SMALL)
    nodes = plan(replace(SMALL, choices=Choices(removal="released"))).nodes
    tickets = [node for node in nodes if isinstance(node, Ticket)]
    searches = [node for node in nodes if isinstance(node, Search)]
    planted = Planted(tmp_path)
    for search in searches:
        planted.good(search)
    found = analyse(planted.record(tickets))
    assert set(found.scores["method"]) == {"", "structured", "structured, parts removed as released"}
    jaccards = found.choice_masks["jaccard"].dropna()
    assert len(jaccards)
    assert (jaccards == 1).all()


# What to read with care


@pytest.mark.parametrize(("share", "word"), [(0.0, "nothing"), (1.0, "everything")])
def test_a_search_that_keeps_nothing_or_everything_is_flagged(
    tmp_path: Path, share: float, word: str
) -> None:
    planted = Planted(tmp_path, kept=lambda search: share if search.finetune.seed == 2 else 0.5)
    found = analyse(planted.fill(SMALL))
    assert cautions.flags(found.facts) == [f"Similarity seed 2, structured: the search kept {word}."]
    report.write_report(str(tmp_path), Console(file=io.StringIO()))


def test_few_held_out_rows_are_flagged(tmp_path: Path) -> None:
    study = replace(SMALL, held_out=0.2, search_data="held_out")
    found = analyse(Planted(tmp_path / "few", examples=200).fill(study))
    assert "200 held-out rows" in "\n".join(cautions.flags(found.facts))
    assert not cautions.flags(tables_of(Planted(tmp_path / "enough", examples=500).fill(study)))


def test_the_caution_says_what_good_was_found_on(tmp_path: Path, found: Analysis) -> None:
    on_dev = analyse(Planted(tmp_path / "dev").fill(SMALL))
    assert "on the dev set that scores them" in cautions.caution(on_dev.facts)
    held_out = replace(SMALL, held_out=0.2, search_data="held_out")
    assert "dev set" not in cautions.caution(tables_of(Planted(tmp_path / "held").fill(held_out)))
    assert "held-out rows that no training saw, others on the dev set" in cautions.caution(found.facts)


def test_steps_past_the_floor_are_marked(found: Analysis) -> None:
    table = found.searches[found.searches["method"] == "structured"]
    steps = table.groupby("step")[["accepted", "past_floor"]].agg(["min", "max"])
    assert not steps.loc[:4, ("past_floor", "max")].any()
    assert steps.loc[5, ("past_floor", "min")]
    assert not table.loc[table["past_floor"], "accepted"].any()
    released = found.searches[found.searches["method"] == "structured, as released"]
    assert not released["past_floor"].any()


def test_the_frozen_encoder_is_a_baseline(found: Analysis) -> None:
    assert found.baselines["beats_frozen"].all()
    units = found.baselines["above_frozen"] / found.baselines["frozen_se"]
    np.testing.assert_allclose(found.baselines["frozen_z"], units)
    assert "with a frozen encoder" in "\n".join(conclusions.controls(found.facts))


@pytest.mark.parametrize("kind", ["bad", "random"])
def test_sizes_say_what_is_shared_with_good_and_what_must_be(
    found: Analysis, tickets: list[Record], kind: str
) -> None:
    nodes = set(found.scores["node"][found.scores["method"] == "heads"])
    chosen = [
        record
        for record in tickets
        if record.key in nodes
        and (record.labels["task"], record.labels["kind"]) == ("similarity", kind)
        and (record.labels["size"], record.labels["epochs"]) == ("stopping", 5)
        and record.labels["start"] == "pretrained"
    ]
    forced = [max(0, 2 * record.result["sizes"]["heads"]["kept"] - 24) for record in chosen]
    shared = [record.result["overlap_with_good"]["heads"] for record in chosen]
    place = {"task": "similarity", "method": "heads", "size": "stopping", "component": "heads"}
    row = row_of(found.sizes, network=kind, **place)
    assert (row["forced"], row["shared"]) == pytest.approx((np.mean(forced), np.mean(shared)))
    assert (shared == forced) == (kind == "bad")


def missing_of(root: str) -> pd.DataFrame:
    return missing(read_root(Store.open(root), Path(root)))


def test_a_complete_root_misses_nothing(tmp_path: Path) -> None:
    study = replace(EVERYTHING, seeds=(1, 2), methods=("heads", "magnitude"), null_draws=2)
    assert missing_of(Planted(tmp_path / "all").fill(study)).empty

    def keep(node: Node) -> bool:
        return not (isinstance(node, NullDraws) and node.kind == "random" and node.finetune.seed == 2)

    found = missing_of(Planted(tmp_path / "some", keep=keep).fill(study))
    assert set(map(str, found["network"])) == {
        f"random null draws ({method}{at})" for method in ("heads", "magnitude") for at in ("", ", at 50%")
    }


def test_records_from_before_have_the_same_analysis(tmp_path: Path) -> None:
    """Labels, and fields of results, that came later are not needed."""
    new = analyse(Planted(tmp_path).fill(SMALL))
    for path in tmp_path.glob("nodes/*/node.json"):
        rewrite(path, lambda content: [content["labels"].pop(name) for name in ("size", "source", "epochs")])
        rewrite(path, lambda content: content["result"].pop("forced_overlap", None))
        rewrite(path, lambda content: content["result"].pop("examples", None))
    old = analyse(str(tmp_path))
    pd.testing.assert_frame_equal(old.scores, new.scores)
    pd.testing.assert_frame_equal(old.gaps, new.gaps)
    report.write_report(str(tmp_path), Console(file=io.StringIO()))


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    del content["checksum"]
    change(content)
    path.write_text(json.dumps(content | {"checksum": digest(content)}))


# The report


@pytest.mark.slow
def test_the_report_of_everything(root: str, found: Analysis) -> None:
    index = report.write_report(root, Console(file=io.StringIO(), width=100))
    text = index.read_text()
    for heading in ("What good is made of", "Null draws", "Choices"):
        assert f"<h2>{heading}</h2>" in text
    drawn = {path.stem for path in (index.parent / "figures").glob("*.png")}
    assert {"composition", "composition_50", "composition_choices", "nulls_structured"} <= drawn
    assert {"survival_similarity_structured_50", "scores_structured_searched_on_dev"} <= drawn
    assert {"survival_similarity_heads", "survival_similarity_mlps"} <= drawn
    first = text[: text.index("<details>", text.index('<section id="gaps">'))]
    assert "gaps_50-" not in first  # other sizes are folded away
    assert max(len(line) for line in text_of(found).splitlines()) <= 100


@pytest.mark.slow
def test_a_study_of_one_seed_claims_nothing(tmp_path: Path) -> None:
    kinds = ("good", "random", "layer_matched", "bad", "pretrained", "transfer")
    study = replace(EVERYTHING, seeds=(1,), kinds=kinds, methods=("structured", "magnitude"))
    found = analyse(Planted(tmp_path).fill(study))
    assert set(found.gaps["verdict"]) == {"undecided"}
    assert found.composition["share"].isna().all()
    assert "in 0 of" in conclusions.counts(found.facts)[0]
    report.write_report(str(tmp_path), Console(file=io.StringIO()))

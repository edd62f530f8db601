"""The analysis of a root: every table of the report, as data frames."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.masks import importance, overlap, survival
from analysis.masks.agreement import agreement
from analysis.masks.groups import groups_of_seeds
from analysis.masks.overlap_of_others import pretrained_overlap, task_overlap
from analysis.paper import choices, published
from analysis.paper.judged import claims
from analysis.paper.versus import versus_paper
from analysis.records import inventory
from analysis.records import root as records
from analysis.records.searches import searches
from analysis.records.size_meanings import size_meanings
from analysis.records.sizes import extremes, sizes_over_seeds, survivors
from analysis.scores import nulls, statistics
from analysis.scores.across_tasks import across_tasks
from analysis.scores.baselines import baselines, judged_tasks
from analysis.scores.composition import composition
from analysis.scores.gaps import gaps as paired_gaps
from analysis.scores.gaps import unpaired_gaps
from analysis.scores.scores import scores
from analysis.scores.summaries import averages, spread
from lottery_ray.storage.published import Published
from lottery_ray.storage.store import Store


@dataclass(frozen=True)
class Tables:
    """The tables of one root; the functions that make them say what their columns are. Networks, methods,
    sizes and verdicts are facts in them, see `formats.table_in_words`.

    scores: one row per score; a full model has NO_METHOD, size WHOLE and measure "fine-tuned"; se is the
    dev set's standard error. summary: means over seeds, and what others published as means;
    averages: over tasks.
    gaps, across_tasks, composition: scores compared (modules of these names); spread: see `summaries`.
    null_draws, null_tests, null_summary: see `nulls`. choice_scores, choice_pairs, choice_masks: see
    `choices`. baselines, tasks: see `baselines`. claims: the paper's, judged. versus_paper: beside the
    published scores. overlap_pairs, overlap, overlap_layers: see `overlap`. task_overlap, pretrained_overlap:
    see `overlap_of_others`. agreement: see the module of that name. survival, task_survival: see `survival`.
    importance, importance_agreement: see `importance`. survivors, sizes, extremes: see `sizes`;
    size_meanings: what they are shares of. searches: see `searches`. missing, setup, methods, costs,
    micro_batches: see `inventory`.
    """

    uri: str
    scores: pd.DataFrame
    summary: pd.DataFrame
    averages: pd.DataFrame
    gaps: pd.DataFrame
    across_tasks: pd.DataFrame
    spread: pd.DataFrame
    composition: pd.DataFrame
    null_draws: pd.DataFrame
    null_tests: pd.DataFrame
    null_summary: pd.DataFrame
    choice_scores: pd.DataFrame
    choice_pairs: pd.DataFrame
    choice_masks: pd.DataFrame
    baselines: pd.DataFrame
    tasks: pd.DataFrame
    claims: pd.DataFrame
    versus_paper: pd.DataFrame
    overlap_pairs: pd.DataFrame
    overlap: pd.DataFrame
    overlap_layers: pd.DataFrame
    agreement: pd.DataFrame
    task_overlap: pd.DataFrame
    pretrained_overlap: pd.DataFrame
    survival: pd.DataFrame
    task_survival: pd.DataFrame
    importance: pd.DataFrame
    importance_agreement: pd.DataFrame
    survivors: pd.DataFrame
    sizes: pd.DataFrame
    size_meanings: pd.DataFrame
    extremes: pd.DataFrame
    searches: pd.DataFrame
    missing: pd.DataFrame
    setup: pd.DataFrame
    methods: pd.DataFrame
    costs: pd.DataFrame
    micro_batches: pd.DataFrame


def tables_of(root: str, only: Sequence[str] = ()) -> Tables:
    """Read a finished or half-finished root, a folder or a URI.

    only: of a root with several studies, FIELD=VALUE of the fine-tuned models of one. Raises InputError if
    it is no root, holds no scores, mixes studies, or has a corrupt file.
    """
    store = Store.open(root)
    with tempfile.TemporaryDirectory(prefix="lottery_ray_") as copies:
        found = records.read_root(store, Path(copies), only)
        table = scores(found)
        every = found.masks()
        groups = groups_of_seeds(every)
        kept = survival.survival_by_mask(every, survival.heads_of_a_layer(found))
        summary = _joined(statistics.summary(table), published.published_summary(found))
        gaps = _joined(paired_gaps(table, found), unpaired_gaps(published.published_summary(found)))
        base = baselines(found)
        tasks = _joined(judged_tasks(base), published.published_tasks(found))
        conclusive = tasks.loc[tasks["conclusive"].astype(bool), "task"]
        overlaps = overlap.overlap_of_seeds(groups)
        agreed = agreement(groups)
        null_tests = nulls.null_tests(null_draws := nulls.null_scores(found))
        choice_pairs = choices.masks_of_choices(found)
        scored = importance.importances(found)
        steps = searches(found)
        kept_by = survivors(found)
        return Tables(
            uri=root,
            scores=table,
            summary=summary,
            averages=averages(summary, tasks),
            gaps=gaps,
            across_tasks=across_tasks(gaps, conclusive),
            spread=spread(table),
            composition=composition(table),
            null_draws=null_draws,
            null_tests=null_tests,
            null_summary=nulls.null_summary(null_tests),
            choice_scores=choices.scores_of_choices(table, gaps),
            choice_pairs=choice_pairs,
            choice_masks=choices.mask_summary(choice_pairs, overlaps),
            baselines=base,
            tasks=tasks,
            claims=claims(gaps, summary, tasks, overlaps, agreed, table, steps),
            versus_paper=versus_paper(summary, published=bool(found.of(Published))),
            overlap_pairs=overlap.overlap_of_pairs(groups),
            overlap=overlaps,
            overlap_layers=overlap.overlap_of_layers(groups),
            agreement=agreed,
            task_overlap=task_overlap(every),
            pretrained_overlap=pretrained_overlap(every),
            survival=survival.survival(kept),
            task_survival=survival.task_survival(kept),
            importance=scored,
            importance_agreement=importance.importance_agreement(scored),
            survivors=kept_by,
            sizes=sizes_over_seeds(kept_by),
            size_meanings=size_meanings(found),
            extremes=extremes(found),
            searches=steps,
            missing=inventory.missing(found),
            setup=inventory.setup(found),
            methods=inventory.methods(found),
            costs=inventory.costs(found),
            micro_batches=inventory.micro_batches(found),
        )


def _joined(own: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """One below the other. An empty frame has no types, and would take those of the other one."""
    filled = [frame for frame in (own, others) if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else others

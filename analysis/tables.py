"""The analysis of a root: every table of the report, as data frames."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import choices, inventory, nulls, overlap, published, records, statistics
from analysis.baselines import baselines, judged
from analysis.composition import composition
from analysis.scores import scores
from analysis.searches import searches
from analysis.size_meanings import size_meanings
from analysis.sizes import extremes, sizes
from analysis.versus_paper import versus_paper
from lottery_ray.store import Store


@dataclass(frozen=True)
class Analysis:
    """The tables of one root; the functions that make them say what their columns are.

    scores: one row per score; a full model has method "", size "" and measure "fine-tuned"; se is the
    dev set's standard error. summary, gaps: see `statistics`. composition: see `composition`.
    null_draws, null_tests, null_summary: see `nulls`. choice_scores, choice_pairs, choice_masks: see
    `choices`. baselines, tasks: see `baselines`. overlap_pairs, overlap, survival: see `overlap`.
    sizes, extremes: see `sizes`. searches: see `searches`. missing, setup, methods: see `inventory`.
    """

    uri: str
    scores: pd.DataFrame
    summary: pd.DataFrame
    gaps: pd.DataFrame
    composition: pd.DataFrame
    null_draws: pd.DataFrame
    null_tests: pd.DataFrame
    null_summary: pd.DataFrame
    choice_scores: pd.DataFrame
    choice_pairs: pd.DataFrame
    choice_masks: pd.DataFrame
    baselines: pd.DataFrame
    tasks: pd.DataFrame
    overlap_pairs: pd.DataFrame
    overlap: pd.DataFrame
    survival: pd.DataFrame
    sizes: pd.DataFrame
    extremes: pd.DataFrame
    searches: pd.DataFrame
    missing: pd.DataFrame
    setup: pd.DataFrame
    methods: pd.DataFrame
    across_tasks: pd.DataFrame
    spread: pd.DataFrame
    claims: pd.DataFrame
    versus_paper: pd.DataFrame
    overlap_layers: pd.DataFrame
    agreement: pd.DataFrame
    task_overlap: pd.DataFrame
    pretrained_overlap: pd.DataFrame
    task_survival: pd.DataFrame
    importance: pd.DataFrame
    importance_agreement: pd.DataFrame
    size_meanings: pd.DataFrame


def analyse(root: str, only: Sequence[str] = ()) -> Analysis:
    """Read a finished or half-finished root, a folder or a URI.

    only: of a root with several studies, FIELD=VALUE of the fine-tuned models of one. Raises InputError if
    it is no root, holds no scores, mixes studies, or has a corrupt file.
    """
    store = Store.open(root)
    with tempfile.TemporaryDirectory(prefix="lottery_ray_") as copies:
        found = records.read(store, Path(copies), only)
        table = scores(found)
        summary = pd.concat([statistics.summary(table), published.summary(found)], ignore_index=True)
        gaps = statistics.gaps(table)
        base = baselines(found)
        pairs = overlap.pairs(found)
        overlaps = overlap.summary(pairs)
        null_draws = nulls.draws(found)
        null_tests = nulls.tests(null_draws)
        choice_pairs = choices.masks_of_choices(found)
        return Analysis(
            uri=root,
            scores=table,
            summary=summary,
            gaps=gaps,
            composition=composition(table),
            null_draws=null_draws,
            null_tests=null_tests,
            null_summary=nulls.summary(null_tests),
            choice_scores=choices.scores_of_choices(table, gaps),
            choice_pairs=choice_pairs,
            choice_masks=choices.mask_summary(choice_pairs, overlaps),
            baselines=base,
            tasks=pd.concat([judged(base), published.judged(found)], ignore_index=True),
            overlap_pairs=pairs,
            overlap=overlaps,
            survival=overlap.survival(found),
            sizes=sizes(found),
            extremes=extremes(found),
            searches=searches(found),
            missing=inventory.missing(found),
            setup=inventory.setup(found),
            methods=inventory.methods(found),
            across_tasks=pd.DataFrame(),
            spread=pd.DataFrame(),
            claims=pd.DataFrame(),
            versus_paper=versus_paper(summary),
            overlap_layers=pd.DataFrame(),
            agreement=pd.DataFrame(),
            task_overlap=pd.DataFrame(),
            pretrained_overlap=pd.DataFrame(),
            task_survival=pd.DataFrame(),
            importance=pd.DataFrame(),
            importance_agreement=pd.DataFrame(),
            size_meanings=size_meanings(found),
        )

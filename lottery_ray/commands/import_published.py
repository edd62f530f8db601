"""Make a root of what the paper's authors published, which report.py reads.

Examples:
    python jobs/import_published.py masks.parquet results/published --results published_results.csv
"""

import shlex
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from lottery_ray.errors import InputError
from lottery_ray.storage.published import import_published
from lottery_ray.terminal import at_work, flags_of, show_error


def import_root(
    masks: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="MASKS")]],
    root: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ROOT")]],
    results: Annotated[Path | None, tyro.conf.arg(metavar="CSV")] = None,
) -> int:
    """Make a root of published masks and scores.

    Args:
        masks: A Parquet file: family, task, seed, component, layer, index, kept, importance.
        root: The folder or URI to write; new, or one of published records.
        results: A CSV file of scores: setting, task, mean, std_sample, main_metric.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        with at_work(console, f"writing masks and scores to {root}"):
            found = import_published(masks, root, results)
    except InputError as error:
        show_error(error)
        return 2
    for family, (method, network) in found.families.items():
        console.print(f"  {family}: {method}, {network}")
    console.print(
        f"{root}: {found.masks} masks and {found.scores} scores (means over seeds, without the seeds)."
    )
    if found.skipped:
        console.print(f"Passed over, no network of a report: {', '.join(found.skipped)}")
    console.print(f"Next: python jobs/report.py {shlex.quote(root)}")
    return 0


def main() -> int:
    """Exit status."""
    return flags_of(import_root, __doc__)

"""Make a root of what the paper's authors published, which report.py reads like any other.

python jobs/import_published.py masks.parquet results/published --results published_results.csv
"""

import sys
from pathlib import Path

import tyro
from rich.console import Console

from lottery_ray.errors import InputError
from lottery_ray.published import import_published


def main(
    masks: tyro.conf.Positional[Path], root: tyro.conf.Positional[str], results: Path | None = None
) -> int:
    """Make a root of published masks and scores.

    Args:
        masks: A Parquet file: family, task, seed, component, layer, index, kept, importance.
        root: The folder or URI to write; new, or one of published records.
        results: A CSV file of scores: setting, task, mean, std_sample, main_metric.
    """
    try:
        found = import_published(masks, root, results)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for family, (method, network) in found.families.items():
        console.print(f"  {family}: {method}, {network}")
    console.print(
        f"{root}: {found.masks} masks and {found.scores} scores (means over seeds, without the seeds)."
    )
    if found.skipped:
        console.print(f"Passed over, no network of a report: {', '.join(found.skipped)}")
    console.print(f'Next: python jobs/report.py "{root}"')
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))

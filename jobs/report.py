"""Analyse a finished or half-finished root: python jobs/report.py ROOT."""

import sys
from typing import Annotated

import tyro

from analysis import report
from lottery_ray.errors import InputError


def main(root: Annotated[str, tyro.conf.Positional]) -> None:
    """Write the report of a root into ROOT/report/ and print its table.

    Args:
        root: A folder or URI that a sweep has written to.
    """
    try:
        report.write(root)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    tyro.cli(main)

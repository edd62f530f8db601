"""Analyse a finished or half-finished root: python jobs/report.py ROOT."""

import sys
import webbrowser
from typing import Annotated

import tyro

from analysis import report
from lottery_ray.errors import InputError


def main(
    root: Annotated[str, tyro.conf.Positional],
    other: Annotated[str | None, tyro.conf.Positional] = None,
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = (),
    open: bool = False,
) -> int:
    """Write the report of a root into ROOT/report/ and print its summary, or put two roots side by side.

    Args:
        root: A folder or URI that a sweep has written to, or import_published.py.
        other: A second one, to be put beside it.
        only: Of a root with several studies, the one whose fine-tuned models have these, such as
            recipe.epochs=3.
        open: Show the page in a browser.
    """
    try:
        index = report.write_two(root, other, only=only) if other else report.write(root, only=only)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if open:
        webbrowser.open(index.as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,)))

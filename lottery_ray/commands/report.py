"""Analyse a finished or half-finished root.

Examples:
    python jobs/report.py results/demo
    python jobs/report.py results/demo results/other
"""

import webbrowser
from typing import Annotated

import tyro

from lottery_ray.errors import InputError
from lottery_ray.terminal import flags_of, show_error


def report(
    root: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ROOT")]],
    other: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[OTHER]")]] = None,
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = (),
    other_only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = (),
    open: bool = False,
) -> int:
    """Write the report of a root into ROOT/report/ and print its summary, or put two roots side by side.

    Args:
        root: A folder or URI that a sweep has written to, or import_published.py.
        other: A second one, to be put beside it.
        only: Of a root with several studies, the one whose fine-tuned models have these fields.
        other_only: The same, of the second root.
        open: Show the page in a browser.
    """
    # it brings pandas and matplotlib, which --help can do without
    from analysis.report.write import write_report, write_two_reports

    try:
        index = (
            write_two_reports(root, other, only=only, other_only=other_only)
            if other
            else write_report(root, only=only)
        )
    except InputError as error:
        show_error(error)
        return 2
    if open:
        webbrowser.open(index.as_uri())
    return 0


def main() -> int:
    """Exit status."""
    return flags_of(report, __doc__)

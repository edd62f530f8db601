"""Export a ticket as a plain Hugging Face folder that any from_pretrained loads.

Examples:
    python jobs/export.py results/demo KEY --to my-ticket
"""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from lottery_ray.errors import InputError
from lottery_ray.terminal import at_work, flags_of, show_error


def export(
    root: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ROOT")]],
    ticket: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="KEY")]],
    to: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    retrained: bool = False,
) -> int:
    """Export a ticket as a plain Hugging Face folder of full size, its pruned parts zeros.

    Args:
        root: A root of results: a folder or a URI.
        ticket: The ticket's key, as scores.csv of the report and --dry-run of a sweep list it.
        to: The folder to write; it must be new or empty.
        retrained: Export the retrained weights (kept with --keep-retrained), not the fine-tuned ones.
    """
    console = Console(soft_wrap=True, highlight=False)
    try:
        with at_work(console, "loading torch") as say:
            from lottery_ray.networks.export import export_ticket

            say(f"writing {to}")
            record = export_ticket(root, ticket, to, retrained=retrained)
    except InputError as error:
        show_error(error)
        return 2
    score = record.result["retrained" if retrained else "pruned"]
    console.print(
        f"Wrote {to}: {record.labels['task']}, {record.labels['method']} {record.labels['kind']},"
        f" dev score {score:.3f}. Load it with\n"
        f'  AutoModelForSequenceClassification.from_pretrained("{to}")',
        markup=False,
    )
    return 0


def main() -> int:
    """Exit status."""
    return flags_of(export, __doc__)

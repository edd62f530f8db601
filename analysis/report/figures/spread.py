"""Figures of where scores spread: between seeds, between draws, and by the dev set's examples."""

from collections.abc import Iterator

from analysis.formats import grouped
from analysis.records.method_names import NO_METHOD
from analysis.records.network_names import GOOD, RANDOM
from analysis.report.figures.drawing import COLOURS, FAINT, INK, Drawing, Slice, grid, lines, mark, slices
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title

KINDS = (
    (GOOD, "seed_sd", "good, SD over seeds", "o", COLOURS["good"]),
    (RANDOM, "seed_sd", "random, SD over seeds", "s", COLOURS["random"]),
    (RANDOM, "draw_sd", "random, SD over draws of one seed", "x", COLOURS["random"]),
    (GOOD, "dev_se", "good, dev-set standard error", "|", INK),
)


def draw(found: Tables) -> Iterator[Drawing]:
    """One per size."""
    for part in slices(found.spread[found.spread["method"] != NO_METHOD]):
        yield _spread(part)


def _spread(part: Slice) -> Drawing:
    """A panel per method and measure, a line per task."""
    panels = list(grouped(part.rows, ["method", "measure"]))
    tasks = list(dict.fromkeys(part.rows["task"]))
    figure, axes = grid(len(panels), 1.6 + 0.26 * len(tasks), 2)
    for number, (axis, (names, group)) in enumerate(zip(axes, panels, strict=True)):
        kinds = group["network"].map(lambda network: network.drawn_as)
        for network, column, _, style, paint in KINDS:
            rows = group[(kinds == network) & group[column].notna()]
            axis.plot(
                rows[column], [-tasks.index(t) for t in rows["task"]], style, ms=7, color=paint, mew=1.6
            )
        axis.axvline(0, lw=1, color=FAINT, zorder=0)
        axis.grid(axis="y", lw=0.4, color=FAINT, alpha=0.35)
        lines(axis, [title(str(task)) for task in tasks], named=number % 2 == 0)
        axis.set_title(", ".join(map(str, names)))
        axis.set_xlabel("dev score")
    drawn = part.rows["network"].map(lambda network: network.drawn_as)
    handles = [
        mark(label, style, paint, mew=1.6)
        for network, column, label, style, paint in KINDS
        if part.rows.loc[drawn == network, column].notna().any()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"Where scores spread{part.size.at}. Marks left of the tick: the dev set"
        " is too small to tell seeds apart. Marks right of it: seeds differ by more than its examples do."
    )
    return Drawing("spread", part.name("spread"), caption, figure, part.folded)

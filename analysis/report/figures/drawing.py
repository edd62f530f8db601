"""How figures look: their style, colours and panels.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; the networks of a
comparison also differ in their markers.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from analysis.records.method_names import NO_METHOD, MethodName, plainest
from analysis.records.network_names import STOPPING, SUPER_SURVIVORS, NetworkName, TicketSize
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title

INK = "#1a1b1e"
FAINT = "#8a8d93"
COLOURS = {
    "good": "#0072b2",
    "random": "#e69f00",
    "layer_matched": "#cc79a7",
    "bad": "#d55e00",
    "pretrained": "#009e73",
    "transfer": "#56b4e9",
    "own": "#a6761d",
}
"""By kind; own: of those that users add."""
TWINS = {"super": "good", "super_random": "random", "super_bad": "bad"}
"""{kind of super-survivors: the kind whose colour and marker they have}"""
MARKERS = {
    "good": "o",
    "random": "s",
    "layer_matched": "D",
    "bad": "v",
    "pretrained": "^",
    "transfer": "P",
}
OWN_MARKERS = ("X", "p", "h", "<", ">")
SEED_COLOURS = ("#009e73", "#cc79a7", "#56b4e9", "#a6761d", FAINT)
WIDTH = 10.8
"""Of a figure, in inches."""
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlecolor": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lottery_ray",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name and what it shows; `group` names the part of the page it is in.

    folded: of less interest; the page shows it when it is asked to.
    """

    group: str
    name: str
    caption: str
    figure: Figure
    folded: bool = False

    @cached_property
    def box(self) -> Bbox:
        """What holds all that is drawn, in inches; laid out once, as that takes long."""
        if layout := self.figure.get_layout_engine():
            layout.execute(self.figure)
        self.figure.set_layout_engine(None)  # "none" would leave a placeholder, and with it one more draw
        return self.figure.get_tightbbox().padded(0.1)

    @cached_property
    def svg(self) -> str:
        """An SVG file on no ground, with fonts as text; made once, too."""
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(
                buffer, format="svg", transparent=True, bbox_inches=self.box, metadata={"Date": None}
            )
        return re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)


def colour(network: NetworkName) -> str:
    return COLOURS.get("own" if network.is_own else TWINS.get(network.kind, network.kind), INK)


def marker(network: NetworkName) -> str:
    if network.is_own:
        # the same in every figure
        return OWN_MARKERS[sum(str(network.drawn_as).encode()) % len(OWN_MARKERS)]
    if network == SUPER_SURVIVORS:
        return "*"
    return MARKERS.get(TWINS.get(network.kind, network.kind), "o")


def file_name(*words: str) -> str:
    """ "scores_structured_searched_on_dev"."""
    return re.sub(r"[^a-z0-9.]+", "_", "_".join(words).lower()).strip("_")


@dataclass(frozen=True)
class Slice:
    """The rows of a table that one figure shows: of one size, and of one method, or of all plain methods,
    or of all their variants.

    method: NO_METHOD where it is of several.
    """

    rows: pd.DataFrame
    size: TicketSize
    method: MethodName
    is_variant: bool

    @property
    def folded(self) -> bool:
        return self.is_variant or self.size != STOPPING

    def name(self, *words: str) -> str:
        """The name of its file."""
        choices = ["choices"] if self.is_variant and self.method == NO_METHOD else []
        size = [] if self.size == STOPPING else [self.size.words]
        return file_name(*words, str(self.method), *choices, *size)


def slices(table: pd.DataFrame, *, by_method: bool = False) -> Iterator[Slice]:
    """The figures that a table makes: the stopping size first, and plain methods before variants.

    by_method: one per method.
    """
    methods = list(dict.fromkeys(table["method"]))
    is_variant = {method: plainest(methods, method) != method for method in methods}
    groups = [(is_variant[method], method if by_method else NO_METHOD) for method in table["method"]]
    for varies, method in dict.fromkeys(groups):
        rows = table[[group == (varies, method) for group in groups]]
        for size in sorted(set(rows["size"])):
            yield Slice(rows[rows["size"] == size], size, method, varies)


def grid(count: int, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width with `count` axes, row by row; height in inches of one."""
    lines = -(-count // columns)
    figure = Figure(figsize=(WIDTH, lines * height), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.08))
    axes = [figure.add_subplot(lines, columns, place + 1) for place in range(count)]
    return figure, axes


def lines(axis: Axes, labels: Sequence[str], *, named: bool = True) -> None:
    """One line per label, from the top down; without the labels where the panel beside has them."""
    axis.set_ylim(-len(labels) + 0.5, 0.5)
    axis.set_yticks([-place for place in range(len(labels))], labels if named else [""] * len(labels))
    axis.tick_params(axis="y", length=0)


def task_title(found: Tables, task: str) -> str:
    """A task, and whether conclusions leave it out."""
    conclusive = found.tasks.set_index("task")["conclusive"].get(task, True)
    return title(task) + ("" if conclusive else " (left out)")


def mark(label: str, style: str, paint: str, **more: Any) -> Line2D:
    """An entry of a legend: a marker."""
    return Line2D([], [], ls="", marker=style, color=paint, label=label, **more)


def bar(label: str, paint: str, width: float) -> Line2D:
    """An entry of a legend: a band."""
    return Line2D([], [], lw=width, color=paint, label=label, alpha=0.55)

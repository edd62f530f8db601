"""The figures of the report, as SVG for the page and PNG for elsewhere."""

import re
from html import escape
from pathlib import Path

import matplotlib as mpl

from analysis.report.figures import (
    gaps,
    importance,
    overlap,
    paper,
    scores,
    searches,
    survival,
    tasks,
)
from analysis.report.figures.drawing import COLOURS, FAINT, INK, STYLE, Drawing
from analysis.tables import Tables

FAST = {"compress_level": 1}
"""PNG in half the time, for a sixth more bytes."""


def draw_figures(found: Tables) -> list[Drawing]:
    """All figures that the tables have data for."""
    subjects = (gaps, scores, paper, overlap, tasks, survival, importance, searches)
    with mpl.rc_context(STYLE):
        return [drawing for subject in subjects for drawing in subject.drawings(found)]


def save_figures(drawn: list[Drawing], folder: Path) -> None:
    """PNG files, 150 dots per inch, and SVG files with their fonts as text, both on white, in place of
    those of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in (*folder.glob("*.png"), *folder.glob("*.svg")):
        earlier.unlink()
    with mpl.rc_context(STYLE):
        for drawing in drawn:
            stem = folder / drawing.name
            drawing.figure.savefig(
                f"{stem}.png", dpi=150, facecolor="white", bbox_inches=drawing.box, pil_kwargs=FAST
            )
            Path(f"{stem}.svg").write_text(_on_white(drawing.svg), encoding="utf-8")


def _on_white(svg: str) -> str:
    start = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:start]}<rect width="100%" height="100%" fill="#ffffff"/>{svg[start:]}'


def svg(drawing: Drawing) -> str:
    """An <svg> element to stand in a page: transparent, its ink and colours set by the page's style."""
    text = drawing.svg[drawing.svg.index("<svg") :]
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{drawing.name}-", text)
    text = text.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name.replace('_', '-')})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(drawing.caption)}"', 1)

"""The figures of the report, as SVG for the page and PNG for elsewhere."""

import io
import re
from pathlib import Path

import matplotlib as mpl

from analysis.figures import masks, scores
from analysis.figures.drawing import COLOURS, FAINT, INK, STYLE, Drawing
from analysis.tables import Analysis


def draw(found: Analysis) -> list[Drawing]:
    """All figures that the tables have data for."""
    with mpl.rc_context(STYLE):
        return [*scores.draw(found), *masks.draw(found)]


def save(drawn: list[Drawing], folder: Path) -> None:
    """PNG files on white, 150 dots per inch, in place of those of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("*.png"):
        earlier.unlink()
    for drawing in drawn:
        drawing.figure.savefig(
            folder / f"{drawing.name}.png", dpi=150, facecolor="white", bbox_inches="tight"
        )


def svg(drawing: Drawing) -> str:
    """An <svg> element to stand in a page: transparent, its ink and colours set by the page's style."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        drawing.figure.savefig(
            buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{drawing.name}-", text)
    text = text.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg", f'<svg role="img" aria-label="{drawing.caption}"', 1)

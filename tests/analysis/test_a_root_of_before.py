"""A root that version 0.1 wrote: its report has the same numbers and words ever since."""

import io
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from analysis.report.write import write_report

MADE = Path(__file__).parent / "a_root_of_0.1"
"""Two seeds of one task of the embedded study, without weights, and the tables that 0.1 made of them."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a root of before")
    shutil.unpack_archive(MADE / "root.zip", root)
    return write_report(str(root), Console(file=io.StringIO())).parent


def same(ours: str, theirs: str) -> bool:
    """Two cells, to the byte; of a fraction the last digits, from the eleventh on, are the processor's own,
    whose linear algebra sums in its order."""
    if ours == theirs:
        return True
    try:
        return "." in theirs and math.isclose(float(ours), float(theirs), rel_tol=1e-10, abs_tol=1e-12)
    except ValueError:
        return False


def test_its_tables_are_the_same_byte_for_byte(report: Path) -> None:
    before = {path.name: path.read_text().splitlines() for path in (MADE / "csv").glob("*.csv")}
    now = {path.name: path.read_text().splitlines() for path in report.glob("*.csv")}
    assert len(before) == 37
    assert now.keys() == before.keys()
    for name, lines in before.items():
        assert len(now[name]) == len(lines), name
        for ours, theirs in zip(now[name], lines, strict=True):
            cells = zip(ours.split(","), theirs.split(","), strict=True)
            assert all(same(*pair) for pair in cells), f"{name}: {ours}, which was {theirs}"

"""A root that version 0.1 wrote: its report has the same numbers and words ever since."""

import io
import shutil
from pathlib import Path

from rich.console import Console

from analysis.report.write import write_report

MADE = Path(__file__).parent / "a_root_of_0.1"
"""Two seeds of one task of the embedded study, without weights, and the tables that 0.1 made of them."""


def test_its_tables_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    shutil.unpack_archive(MADE / "root.zip", tmp_path)
    report = write_report(str(tmp_path), Console(file=io.StringIO())).parent
    before = {path.name: path.read_bytes() for path in (MADE / "csv").glob("*.csv")}
    assert len(before) == 37
    assert {path.name: path.read_bytes() for path in report.glob("*.csv")} == before

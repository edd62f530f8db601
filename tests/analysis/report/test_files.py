"""The files of a report for other programs: tables in LaTeX, and all numbers in one tidy table."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import Analysis, analyse
from analysis.report import latex, tidy
from analysis.report.page.sections import every_table
from analysis.report.page.table import Cell, PageTable, as_it_is
from lottery_ray.experiment.study import PRESETS
from tests.planted import Planted

PDFLATEX = shutil.which("pdflatex")
DOCUMENT = (
    r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,longtable}\begin{document}%s"
    r"\end{document}"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(Planted(tmp_path_factory.mktemp("files")).fill(PRESETS["demo"].study))


def frames(found: Analysis) -> dict[str, pd.DataFrame]:
    every = {field.name: getattr(found, field.name) for field in fields(found.facts)}
    return {name: frame for name, frame in every.items() if isinstance(frame, pd.DataFrame)}


def cells(made: str) -> list[list[str]]:
    """The rows of a LaTeX table, split where it would split them."""
    rows = [line.removesuffix(r"\\") for line in made.splitlines() if line.endswith(r" \\")]
    return [re.split(r"(?<!\\)&", row) for row in rows if r"\caption" not in row]


def columns(made: str) -> int:
    specified = re.search(r"\\begin\{(?:tabular|longtable)\}\{((?:[lr]|p\{4cm\})*)\}", made)
    assert specified
    return len(specified[1].replace(latex.LONG, "p"))


def test_every_table_is_a_latex_file(found: Analysis, tmp_path: Path) -> None:
    latex.write_latex(found.facts, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.tex")} == set(frames(found))
    shown = {table.name for table in every_table(found.facts)}
    assert shown <= set(frames(found))
    for path in tmp_path.glob("*.tex"):
        made = path.read_text()
        if made.startswith("%"):
            assert frames(found)[path.stem].empty
            continue
        assert {len(row) for row in cells(made)} == {columns(made)}, path.name
        begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", made) for word in ("begin", "end"))
        assert sorted(begun) == sorted(ended)
        assert made.count(r"\toprule") == made.count(r"\midrule") > 0
        assert made.count(r"\bottomrule") == 1


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on this machine")
def test_latex_reads_every_table(found: Analysis, tmp_path: Path) -> None:
    latex.write_latex(found.facts, tmp_path)
    inputs = "".join(rf"\input{{{path.stem}}}\clearpage" for path in sorted(tmp_path.glob("*.tex")))
    (tmp_path / "all.tex").write_text(DOCUMENT % inputs)
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_page_table_reads_in_latex_as_on_the_page() -> None:
    rows = [
        [Cell("A & B"), Cell("\N{MINUS SIGN}0.100 ± 0.050", -0.1)],
        [Cell("A & B", again=True), Cell("50%", 0.5)],
    ]
    made = latex.latex(PageTable("gaps", "Shares in %.", ["task", "gap_1"], rows))
    assert r"task & gap\_1 \\" in made
    assert "A \\& B & $-$0.100 $\\pm$ 0.050 \\\\\n & 50\\% \\\\" in made
    assert r"\begin{tabular}{lr}" in made
    assert r"\caption{Shares in \%.}\label{tab:gaps}" in made


def test_headers_break_where_their_column_is_narrower() -> None:
    rows = [[Cell("a long sentence", kind="long"), Cell("0.5", 0.5)]]
    made = latex.latex(PageTable("gaps", "Gaps.", ["what it is", "p & so on"], rows))
    assert r"what it is & \shortstack[r]{p \& \\ so \\ on} \\" in made
    assert r"\begin{tabular}{p{4cm}r}" in made


def test_long_tables_go_on_over_pages() -> None:
    made = latex.latex(as_it_is("many", pd.DataFrame({"n": range(latex.ONE_PAGE + 1)})))
    assert r"\begin{longtable}{r}" in made
    assert len(cells(made)) == latex.ONE_PAGE + 1 + 2  # the header, once for later pages


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_escaped_text_holds_no_command_of_its_own(text: str) -> None:
    """Every special character is behind a backslash or spelled out, and can be read back."""
    made = latex.escaped(text)
    back = made
    for name, character in (("textbackslash", "\\"), ("textasciitilde", "~"), ("textasciicircum", "^")):
        back = back.replace(f"\\{name}{{}}", {"\\": "\0", "~": "\1", "^": "\2"}[character])
    back = back.replace(r"\textless{}", "<").replace(r"\textgreater{}", ">")
    assert not re.search(r"(?<!\\)[&%$#_]", back)
    assert not set(back) & set("~^")
    if back.startswith(("{[}", "{*}")):
        back = back[1] + back[3:]
    assert not re.search(r"(?<!\\)[{}]", back)
    plain_text = re.sub(r"\\([&%$#_{}])", r"\1", back).translate({0: "\\", 1: "~", 2: "^"})
    assert plain_text == text


def test_every_table_can_be_made_again_from_the_tidy_one(found: Analysis, tmp_path: Path) -> None:
    """Read back from its file; every number to the last bit, and each once."""
    tidy.write_parquet(found.facts, tmp_path / "numbers.parquet")
    long = pd.read_parquet(tmp_path / "numbers.parquet")
    assert list(long.columns) == tidy.COLUMNS
    assert not long.duplicated(["table", "row", "quantity"]).any()
    assert not (long["value"].notna() & long["text"].notna()).any()
    for name, table in frames(found).items():
        part = long[long["table"] == name]
        assert len(part) == len(table) * len(set(table.columns) - set(tidy.LABELS)), name
        if len(table):
            assert_made_again(part, table)


def assert_made_again(part: pd.DataFrame, table: pd.DataFrame) -> None:
    values = part.pivot(index="row", columns="quantity", values="value")
    texts = part.pivot(index="row", columns="quantity", values="text")
    labels = part.drop_duplicates("row").set_index("row")
    for column in table.columns:
        own = table[column].tolist()
        if column in tidy.LABELS:
            again = labels[column].tolist()
        else:
            again = [
                value if pd.isna(text) else text
                for value, text in zip(values[column].tolist(), texts[column].tolist(), strict=True)
            ]
        for one, other in zip(own, again, strict=True):
            assert (pd.isna(one) and pd.isna(other)) or one == other, column


def test_labels_of_the_tidy_table_are_whole_numbers_or_missing(found: Analysis) -> None:
    long = tidy.long_table(found.facts)
    assert long["seed"].dtype == pd.Int64Dtype()
    assert long["value"].dtype == np.float64
    assert set(long.loc[long["table"] == "gaps", "seed"].isna()) == {True}
    assert set(long.loc[long["table"] == "scores", "seed"]) == set(found.scores["seed"])

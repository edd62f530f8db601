"""The page of a report: self-contained, and drawn by a real browser."""

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from rich.console import Console

from analysis import analyse
from analysis.records.network_names import STOPPING
from analysis.report import figures
from analysis.report import write as report
from analysis.report.page import columns
from analysis.report.page.sections import PLANS, every_table
from analysis.report.page.table import table as tabulated
from lottery_ray.experiment.nodes import Finetune, Pretrain
from lottery_ray.experiment.study import PRESETS, RELEASED
from lottery_ray.storage.published import import_published
from tests.places import SHARED
from tests.planted import Planted

PAPER = SHARED / "paper"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
HEADINGS = (
    "Summary",
    "Findings",
    "Scores",
    "Gaps",
    "What good is made of",
    "Null draws",
    "Choices",
    "Baselines",
    "Overlap",
    "Sizes",
    "Survival",
    "Searches",
    "What was run",
)

ORDERS = ("none", "ascending", "descending")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = replace(
        PRESETS["demo"].study,
        kinds=("good", "random", "layer_matched", "bad", "pretrained"),
        sizes=("stopping", 0.5),
        down_to=0.3,
        null_draws=20,
    )
    folder = tmp_path_factory.mktemp("page")
    Planted(folder).fill(study)
    other = replace(study, kinds=("good", "random"), sizes=("stopping",), choices=RELEASED)
    root = Planted(folder, keep=lambda node: not isinstance(node, Pretrain | Finetune)).fill(other)
    return report.write_report(root, Console(file=io.StringIO()))


class Page(HTMLParser):
    """Headings, identifiers and references of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "srcset", "action") and value:
                self.references.append(value)


def test_the_page_is_self_contained(index: Path) -> None:
    """What it refers to is in it, but for files beside it to download, which are there."""
    text = index.read_text()
    assert "http" not in text
    assert "@import" not in text
    outside = {reference for reference in Page(text).references if not reference.startswith(("#", "data:"))}
    assert outside
    for reference in outside:
        assert re.fullmatch(r"figures/[a-z0-9_.]+\.(png|svg)|[a-z_]+\.(csv|tex)", reference)
        assert (index.parent / reference).stat().st_size, reference
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", text))


def test_nothing_loads_by_itself(index: Path) -> None:
    """The files beside the page are only linked to."""
    assert not re.findall(r"<(img|link|iframe|object|embed|source)\b|<script[^>]+src", index.read_text())


def test_every_figure_is_linked_as_png_and_svg(index: Path) -> None:
    references = Page(index.read_text()).references
    figures = sorted((index.parent / "figures").iterdir())
    assert {path.suffix for path in figures} == {".png", ".svg"}
    assert {f"figures/{path.name}" for path in figures} <= set(references)


def test_svg_files_stand_alone(index: Path) -> None:
    """Valid XML on white, with fonts as text, and no colours of the page's style."""
    files = list((index.parent / "figures").glob("*.svg"))
    assert files
    for path in files:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root[0].attrib["fill"] == "#ffffff"
        assert any("".join(text.itertext()).strip() for text in root.iter(f"{root.tag[:-3]}text"))
        assert "var(" not in path.read_text()
        assert "currentColor" not in path.read_text()


def test_every_reference_has_its_one_target(index: Path) -> None:
    page = Page(index.read_text())
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)


def test_the_page_says_what_it_found(index: Path) -> None:
    text = index.read_text()
    assert "good scores higher than random on Acceptability" in text
    assert "fine-tuned from pre-trained weights" in text
    assert "prefers-color-scheme: dark" in text


def test_every_table_and_figure_has_a_place(index: Path) -> None:
    """A data frame that the page shows is in some section, with its files, and so is every figure."""
    found = analyse(str(index.parents[1]))
    made = every_table(found.facts)
    assert {table.name for table in made} == {"claims", *(name for plan in PLANS for name in plan.tables)}
    references = Page(index.read_text()).references
    for table in made:
        assert (f"{table.name}.csv" in references) == bool(table.rows), table.name
    assert {drawing.group for drawing in figures.draw_figures(found.facts)} <= {plan.name for plan in PLANS}


def test_what_repeats_is_marked_and_columns_that_say_nothing_are_left_out() -> None:
    frame = pd.DataFrame(
        {
            "task": ["a", "a", "b", "b"],
            "method": ["x", "y", "y", "y"],
            "size": STOPPING,
            "p": [0.5, np.nan, 0.123456789, 0.00001],
            "nothing": np.nan,
        }
    )
    shown = [columns.word("task"), columns.word("method"), columns.size(), columns.probability("p")]
    made = tabulated("gaps", "What: it is.", frame, [*shown, columns.decimals("nothing")], labels=3)
    assert made.headers == ["task", "method", "p"]
    assert [[cell.again for cell in row[:2]] for row in made.rows] == [
        [False, False],
        [True, False],
        [False, False],
        [True, True],
    ]
    assert [cell.text for _, _, cell in made.rows] == ["0.500", "–", "0.123", "1.0e−05"]  # noqa: RUF001
    assert [cell.value for _, _, cell in made.rows] == [0.5, None, 0.123456789, 0.00001]
    assert made.is_number == [False, False, True]
    assert made.title == "What"


def test_a_root_that_has_only_begun_says_what_is_missing(tmp_path: Path) -> None:
    """Fine-tuned models of one task: sections without data are left out or say so in a line."""
    study = PRESETS["demo"].study
    root = Planted(tmp_path, keep=lambda node: isinstance(node, Pretrain | Finetune)).fill(study)
    text = report.write_report(root, Console(file=io.StringIO())).read_text()
    for sentence in ("nothing is concluded", "No search is recorded", "No good subnetwork is recorded yet"):
        assert sentence in text
    for heading in ("Null draws", "Choices", "Importance", "Where scores spread", "Transfer"):
        assert (f"<h2>{heading}</h2>" in text) == (heading == "Where scores spread")


@pytest.mark.slow
@pytest.mark.skipif(not PAPER.exists(), reason="the paper's files are not beside the checkout")
def test_published_masks_and_scores_make_a_page(tmp_path: Path) -> None:
    """No searches, no predictions, and gaps whose pairing is unknown and said to be."""
    root = str(tmp_path / "root")
    import_published(PAPER / "masks.parquet", root, PAPER / "published_results.csv")
    index = report.write_report(root, Console(file=io.StringIO()))
    text = index.read_text()
    assert "scores published without their seeds" in text
    assert "unpaired" in text
    assert "paired by seed, not corrected" not in text
    for heading in ("Gaps", "Overlap of tasks", "Survival", "Importance", "This study and the paper"):
        assert f"<h2>{heading}</h2>" in text
    assert "No search is recorded" in text
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).split()


def browse(index: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """No name resolves but those of files, so a page that needs the network fails."""
    assert CHROMIUM is not None
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    command = [CHROMIUM, *FLAGS, offline, f"--user-data-dir={profile}", *flags, index.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def console(index: Path, profile: Path) -> list[str]:
    """The messages of a page's console, errors of its scripts among them."""
    done = browse(index, profile, "--enable-logging=stderr", "--v=0", "--dump-dom")
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def changed(index: Path, old: str, new: str) -> Path:
    """A copy of the page, beside it, with something else in it."""
    text = index.read_text()
    assert old in text
    copy = index.with_name(f"changed_{len(list(index.parent.glob('changed_*')))}.html")
    copy.write_text(text.replace(old, new, 1))
    return copy


with_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@with_browser
def test_a_browser_reads_the_page(index: Path, tmp_path: Path) -> None:
    text = browse(index, tmp_path, "--dump-dom").stdout
    for heading in HEADINGS:
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") == len(list((index.parent / "figures").glob("*.png")))


@with_browser
def test_the_console_is_silent(index: Path, tmp_path: Path) -> None:
    assert console(index, tmp_path) == []


@with_browser
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("<script>lottery();</script>", "lottery is not defined"),
        ("<script>console.warn('take care')</script>", "take care"),
    ],
)
def test_the_console_would_tell(index: Path, tmp_path: Path, broken: str, says: str) -> None:
    """Of scripts that fail, and of warnings."""
    messages = console(changed(index, "</main>", f"</main>{broken}"), tmp_path)
    assert says in "\n".join(messages)


def loaded(index: Path, profile: Path) -> list[str]:
    """What a page asks for beside itself."""
    list_them = "JSON.stringify(performance.getEntriesByType('resource').map((entry) => entry.name))"
    script = f"<script>onload = () => {{ document.title = {list_them} }}</script>"
    text = browse(changed(index, "</body>", f"{script}</body>"), profile, "--dump-dom").stdout
    found = re.search(r"<title>(\[.*\])</title>", text)
    assert found
    return cast(list[str], json.loads(unescape(found[1])))


@with_browser
def test_the_page_asks_for_nothing(index: Path, tmp_path: Path) -> None:
    assert loaded(index, tmp_path) == []
    asking = changed(index, "</main>", '</main><img src="http://example.org/a.png" alt="">')
    assert loaded(asking, tmp_path) == ["http://example.org/a.png"]


def pressed(index: Path, profile: Path, name: str, header: str, times: int) -> list[dict[str, Any]]:
    """Before a header of a table is pressed, and after each of so many presses: its aria-sort, its column's
    cells, whether all of these can be seen, and the text of all rows."""
    script = f"""<script>
    const file = "{name}.csv";
    const table = [...document.querySelectorAll("table.sortable")].find(
      (one) => one.closest("div").nextElementSibling.querySelector("a").getAttribute("href") === file);
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((head) => head.textContent === {header!r});
    const seen = () => {{
      const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
      return {{
        order: heads[column].getAttribute("aria-sort"),
        cells: cells.map((cell) => cell.dataset.value ?? cell.textContent),
        rows: [...table.tBodies[0].rows].map((row) => row.textContent),
        shown: cells.every((cell) => getComputedStyle(cell.firstElementChild ?? cell).opacity === "1"),
      }};
    }};
    const states = [seen()];
    for (let i = 0; i < {times}; i++) {{
      heads[column].querySelector("button").click();
      states.push(seen());
    }}
    document.body.innerHTML = "<pre>" + JSON.stringify(states) + "</pre>";
    </script>"""
    text = browse(changed(index, "</body>", f"{script}</body>"), profile, "--dump-dom").stdout
    found = re.search(r"<pre>(.*)</pre>", text)
    assert found
    return cast(list[dict[str, Any]], json.loads(unescape(found[1])))


@with_browser
def test_a_header_sorts_numbers_words_and_back(index: Path, tmp_path: Path) -> None:
    """By full values, stably; labels that repeat are shown; a third press restores the order."""
    before, up, down, again = pressed(index, tmp_path, "gaps", "mean", 3)
    assert [found["order"] for found in (before, up, down, again)] == [*ORDERS, ORDERS[0]]
    values = [float(cell) for cell in before["cells"]]
    assert values != sorted(values)
    assert [float(cell) for cell in up["cells"]] == sorted(values)
    assert [float(cell) for cell in down["cells"]] == sorted(values, reverse=True)
    assert again["rows"] == before["rows"]
    unsorted, task = pressed(index, tmp_path, "gaps", "task", 1)
    assert task["cells"] == sorted(unsorted["cells"])
    assert len(set(unsorted["cells"])) == 2
    assert task["shown"]
    assert not unsorted["shown"]
    assert task["rows"] == sorted(before["rows"], key=lambda row: "Similarity" in row)


@with_browser
def test_a_browser_draws_the_page_light_and_dark(index: Path, tmp_path: Path) -> None:
    """The ground follows the reader's preference, and something is drawn on it."""
    brightness = {}
    for scheme, flags in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0",))):
        shot = tmp_path / f"{scheme}.png"
        browse(index, tmp_path / scheme, "--window-size=1200,3000", f"--screenshot={shot}", *flags)
        pixels = imread(shot)
        assert pixels.shape[:2] == (3000, 1200)
        assert pixels.std() > 0.05
        brightness[scheme] = pixels[5, 5, :3].mean()
    assert brightness["light"] > 0.9
    assert brightness["dark"] < 0.2


@with_browser
def test_the_page_prints(index: Path, tmp_path: Path) -> None:
    """Some pages, with fonts and text."""
    pdf = tmp_path / "page.pdf"
    browse(index, tmp_path / "profile", f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 60
    assert b"/Font" in data


WIDTHS = (400, 700, 1440)


@with_browser
def test_only_tables_and_figures_scroll_sideways(index: Path, tmp_path: Path) -> None:
    """Frames of these widths, as windows of a headless browser are not made narrow."""
    page = index.with_name("frames.html")
    frames = "".join(
        f'<iframe src="{index.name}" style="width:{width}px;height:900px;border:0"></iframe>'
        for width in WIDTHS
    )
    widths = "[0, 1, 2].map((place) => frames[place].document.documentElement.scrollWidth)"
    script = f"onload = () => {{ document.title = {widths} }}"
    page.write_text(f"<!doctype html><title></title>{frames}<script>{script}</script>")
    text = browse(
        page,
        tmp_path,
        *("--allow-file-access-from-files", "--window-size=1600,1000", "--dump-dom"),
    ).stdout
    assert f"<title>{','.join(map(str, WIDTHS))}</title>" in text

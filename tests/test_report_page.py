"""The page of a report: self-contained, and drawn by a real browser."""

import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from analysis import report
from lottery_ray.nodes import Finetune, Pretrain
from lottery_ray.study import PRESETS, RELEASED
from tests.planted import Planted

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
    return report.write(root, Console(file=io.StringIO()))


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
    text = index.read_text()
    assert "http" not in text
    assert "@import" not in text
    assert all(reference.startswith(("#", "data:")) for reference in Page(text).references)
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", text))


def test_every_reference_has_its_one_target(index: Path) -> None:
    page = Page(index.read_text())
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)


def test_the_page_says_what_it_found(index: Path) -> None:
    text = index.read_text()
    assert "good scores higher than random on Acceptability" in text
    assert "fine-tuned from pre-trained weights" in text
    assert "prefers-color-scheme: dark" in text


def browse(index: Path, profile: Path, *flags: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, index.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_reads_the_page(index: Path, tmp_path: Path) -> None:
    text = browse(index, tmp_path, "--dump-dom")
    for heading in HEADINGS:
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") == len(list((index.parent / "figures").glob("*.png")))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
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

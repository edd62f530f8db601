"""What the site has of the repository beside docs/: pages and configuration files at its root.

Links are written for the repository's own page, where README.md stands above docs/; on the site it stands
beside what is in there.
"""

import re
from pathlib import Path

from markdown import Extension, Markdown
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "cluster.yaml", "clusters/*")


class AsWritten(Extension):  # type: ignore[misc]
    """Docstrings say <task> and the like, which is no HTML."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.inlinePatterns.deregister("html")


def on_config(config: MkDocsConfig) -> None:
    config.markdown_extensions.append(AsWritten())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path in sorted(path for pattern in BESIDE for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    depth = page.file.src_uri.count("/")
    above, here = "../" * (depth + 1), "../" * depth
    return re.sub(rf"\]\((docs/|{re.escape(above)})", f"]({here}", markdown)

"""Pages from templates."""

from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup

from analysis import figures


def rendered(name: str, **values: Any) -> str:
    """A template of this folder with these values, and what every page has: made (when) and svg (the
    element of a figure)."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        svg=lambda drawing: Markup(figures.svg(drawing)),  # made here, from escaped text only
        **values,
    )

"""Pages from templates."""

import re
from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup, escape

from analysis.report import figures
from lottery_ray.inputs.tasks import known_tasks


def rendered(name: str, **values: Any) -> str:
    """A template of this folder with these values, and what every page has: made (when) and svg (the
    element of a figure)."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["whole"] = whole
    return environment.get_template(name).render(
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        svg=lambda drawing: Markup(figures.svg(drawing)),  # made here, from escaped text only
        **values,
    )


def whole(text: str) -> Markup:
    """With names of tasks such as SST-2 kept on one line."""
    titles = [re.escape(str(escape(task.title))) for task in known_tasks().values() if "-" in task.title]
    hyphenated = re.compile("|".join(titles))
    return Markup(hyphenated.sub(r'<span class="whole">\g<0></span>', str(escape(text))))

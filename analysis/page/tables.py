"""All tables of the page."""

from analysis.page import mask_tables, score_tables, study_tables
from analysis.page.table import Table
from analysis.tables import Analysis


def every(found: Analysis) -> list[Table]:
    """One per data frame that the page shows; those without rows too."""
    return [*score_tables.every(found), *mask_tables.every(found), *study_tables.every(found)]

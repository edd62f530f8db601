"""All tables of the page."""

from analysis.report.page import gap_tables, mask_tables, score_tables, size_tables, study_tables
from analysis.report.page.table import Table
from analysis.tables import Tables

SUBJECTS = (score_tables, gap_tables, mask_tables, size_tables, study_tables)


def every(found: Tables) -> list[Table]:
    """One per data frame that the page shows; those without rows too."""
    return [table for subject in SUBJECTS for table in subject.every(found)]

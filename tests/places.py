"""Where the tests find the checkout, and real data beside it."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
SHARED = CHECKOUT.parent / "shared"
"""GLUE and what the paper's authors released; a test that needs it is skipped without it."""
JOBS = CHECKOUT / "jobs"

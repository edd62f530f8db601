"""How sure is sure enough, everywhere."""

CONFIDENCE = 0.95
"""Of intervals."""
SIGNIFICANT = 0.05
"""A p of at most this is called significant."""

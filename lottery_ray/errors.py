"""The one error for bad input."""


class InputError(Exception):
    """What was wrong, where, and what would be right; shown as one line, exit status 2."""

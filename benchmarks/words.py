"""A few steps are timed with the words of a whole training set: training leaves out those that do not occur,
and in a few batches few do."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import numpy as np

from lottery_ray.inputs.encoding import Encoded
from lottery_ray.training import vocabulary


def words_of(whole: Encoded) -> AbstractContextManager[Any]:
    """Within it every training has the words of this one."""
    ids = np.unique(whole.input_ids)

    def occurring(encoded: Encoded, size: int) -> np.ndarray:
        found = np.zeros(size, bool)
        found[ids] = True
        return found

    return patch.object(vocabulary, "occurring", occurring)


def all_words() -> AbstractContextManager[Any]:
    """Within it every training has the whole vocabulary."""
    return patch.object(vocabulary, "occurring", lambda encoded, size: np.ones(size, bool))

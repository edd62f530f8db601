"""What a trial says of its own memory."""

import numpy as np

from lottery_ray.experiment.recipe import Recipe
from lottery_ray.trial.process import free_memory, memory_taken, prepare

BLOCK = 300 * 2**20


def test_the_peak_is_of_one_node_not_of_the_process_so_far() -> None:
    accelerator = prepare(Recipe(), cpu=True)
    free_memory()
    before = memory_taken(accelerator)["peak_memory_mib"]
    block = np.ones(BLOCK, np.int8)
    assert block.sum()
    del block
    peak = memory_taken(accelerator)["peak_memory_mib"]
    free_memory()
    after = memory_taken(accelerator)["peak_memory_mib"]
    assert before
    assert peak
    assert after
    assert peak > before + 0.9 * BLOCK / 2**20
    assert after < peak - 0.9 * BLOCK / 2**20

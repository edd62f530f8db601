"""What a trial says of its own memory."""

import numpy as np

from lottery_ray.networks import weights as models
from lottery_ray.trial import node as trial

BLOCK = 300 * 2**20


def test_the_peak_is_of_one_node_not_of_the_process_so_far() -> None:
    accelerator = models.accelerator("fp32", cpu=True)
    trial.free_memory()
    before = trial.memory(accelerator)["peak_memory_mib"]
    block = np.ones(BLOCK, np.int8)
    assert block.sum()
    del block
    peak = trial.memory(accelerator)["peak_memory_mib"]
    trial.free_memory()
    after = trial.memory(accelerator)["peak_memory_mib"]
    assert before
    assert peak
    assert after
    assert peak > before + 0.9 * BLOCK / 2**20
    assert after < peak - 0.9 * BLOCK / 2**20

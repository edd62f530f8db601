"""Real offline runs are read back as they were logged."""

import os
import subprocess
import sys
from pathlib import Path

from tests.wandb_files import read_offline

RUN = """
import sys, wandb
part = sys.argv[1]
run = wandb.init(mode="offline", project="p", id="one", group="study", job_type="search", name="a node",
                 tags=["x"], config={"task": "mrpc", "nested": {"seeds": [1, 2]}}, resume="allow",
                 settings=wandb.Settings(silent=True))
run.define_metric("score", step_metric="sparsity")
for step in (1, 2):
    run.log({"score": step / 2, "dev/accuracy": 0.5, "sparsity": part}, step=10 * int(part) + step)
run.log({"long": "x" * 100_000}, step=10 * int(part) + 3)
run.config.update({"later": {"a": part}}, allow_val_change=True)
run.summary["best"] = 0.75
mask = wandb.Artifact("mask", type="mask", metadata={"kept": 7})
with mask.new_file("mask.arrow") as file:
    file.write("bits")
mask.add_reference("urn:base-model", checksum=False, name="base")
run.log_artifact(mask, aliases=["latest", "good"])
run.finish(exit_code=3)
"""


def test_what_two_processes_wrote_is_read_back_as_one_run(tmp_path: Path) -> None:
    # error reports leave the machine of an offline run, too
    environment = os.environ | {"WANDB_DATA_DIR": str(tmp_path), "WANDB_ERROR_REPORTING": "false"}
    for part in ("1", "2"):
        subprocess.run([sys.executable, "-c", RUN, part], cwd=tmp_path, env=environment, check=True)
    found = read_offline(tmp_path)
    run = found.runs["one"]
    assert (run.project, run.group, run.job_type) == ("p", "study", "search")
    assert (run.name, run.tags) == ("a node", ["x"])
    assert run.config == {"task": "mrpc", "nested": {"seeds": [1, 2]}, "later": {"a": "2"}}
    assert run.curve("score") == [(11, 0.5), (12, 1), (21, 0.5), (22, 1)]
    assert run.curve("long") == [(13, "x" * 100_000), (23, "x" * 100_000)]
    assert (run.summary["dev/accuracy"], run.summary["best"]) == (0.5, 0.75)
    assert (run.axes, run.exit_code) == ({"score": "sparsity"}, 3)
    assert list(found.artifacts) == ["mask:v0"]
    mask = found.artifacts["mask:v0"]
    assert (mask.type, mask.metadata, mask.aliases) == ("mask", {"kept": 7}, {"good", "latest"})
    assert (mask.files, mask.references) == ({"mask.arrow": b"bits"}, {"base": "urn:base-model"})
    assert (mask.made_by, mask.used_by) == (["one"], [])

"""The real wandb runs against the server of the tests, and finds there what it sent."""

import subprocess
import sys
import time
from pathlib import Path

from tests.wandb_files import read_offline
from tests.wandb_server import KEY, WandbServer

START = """
import sys, numpy, wandb
def start(id, **more):
    settings = wandb.Settings(silent=True, x_disable_stats=True, init_timeout=20)
    return wandb.init(project="p", entity="e", id=id, resume="allow", settings=settings, **more)
def mask():
    made = wandb.Artifact("mask", type="mask", metadata={"kept": 7})
    with made.new_file("mask.arrow") as file:
        file.write("bits")
    made.add_reference("urn:base-model", checksum=False, name="base")
    return made
"""
SEARCH = """
run = start("search", group="study", job_type="search", name="a search", tags=["x"], config={"task": "mrpc"})
run.define_metric("score", step_metric="sparsity")
for step in range(3):
    run.log({"score": step / 2, "sparsity": step, "dev/accuracy": 0.5}, step=10 * step)
run.log({"image": wandb.Image(numpy.zeros((2, 2, 3))), "page": wandb.Html("<b>gap</b>")}, step=30)
run.log({"table": wandb.Table(columns=["head"], data=[[1], [2]])}, step=31)
run.config.update({"later": [1, {"a": 2}]})
run.summary["best"] = 0.75
run.log_artifact(mask(), aliases=["good"])
run.finish(exit_code=3)
"""
TICKET = """
again = start("search")
assert (again.resumed, again.starting_step) == (True, 32)
again.log({"score": 9}, step=5)
again.log({"score": 2}, step=40)
again.finish()
ticket = start("ticket", job_type="ticket")
assert ticket.use_artifact("mask:good").metadata == {"kept": 7}
ticket.use_artifact(mask())
data = wandb.Artifact("data", type="dataset")
data.add_reference("s3://bucket/data", checksum=False)
ticket.use_artifact(data)
ticket.finish()
"""
OFFLINE = """
run = start("twice", mode="offline", group="study", config={"part": sys.argv[1]})
for step in range(2):
    run.log({"loss": step}, step=2 * int(sys.argv[1]) + step)
run.log_artifact(mask())
data = wandb.Artifact("data", type="dataset")
data.add_reference("s3://bucket/data", checksum=False)
# what use_artifact does online; offline it refuses
run._log_artifact(data, aliases=[], is_user_created=True, use_after_commit=True)
run.finish()
"""
WORKSPACE = """
import wandb_workspaces.workspaces as ws
space = ws.Workspace(entity="e", project="p", name="study", sections=[ws.Section(name="gaps")])
space.save()
loaded = ws.Workspace.from_url(space.url)
assert [section.name for section in loaded.sections] == ["gaps"]
loaded.name = "the study"
loaded.save()
"""


def run(code: str, *arguments: str) -> str:
    """What a new process says that runs this code."""
    command = [sys.executable, "-c", START + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_a_run_sends_is_kept_and_a_resumed_run_goes_on(wandb_server: WandbServer) -> None:
    run(SEARCH)
    sent = wandb_server.tracked.runs["search"]
    assert (sent.project, sent.group, sent.job_type) == ("p", "study", "search")
    assert (sent.name, sent.tags) == ("a search", ["x"])
    assert sent.config == {"task": "mrpc", "later": [1, {"a": 2}]}
    assert sent.axes == {"score": "sparsity"}
    assert sent.curve("score") == [(0, 0), (10, 0.5), (20, 1)]
    assert (sent.summary["dev/accuracy"], sent.summary["best"], sent.exit_code) == (0.5, 0.75, 3)
    last = sent.history[-1]["table"]["path"], sent.summary["page"]["path"], sent.summary["image"]["path"]
    assert [path.rpartition(".")[2] for path in last] == ["json", "html", "png"]
    assert set(last) <= set(sent.files)
    assert b"<b>gap</b>" in sent.files[sent.summary["page"]["path"]]

    run(TICKET)
    assert sent.curve("score") == [(0, 0), (10, 0.5), (20, 1), (40, 2)]
    assert (sent.summary["score"], sent.summary["best"], sent.exit_code) == (2, 0.75, 0)
    assert sent.config == {"task": "mrpc", "later": [1, {"a": 2}]}
    found = wandb_server.tracked.artifacts
    assert list(found) == ["run-search-table:v0", "mask:v0", "data:v0"]
    mask, data = found["mask:v0"], found["data:v0"]
    assert (mask.type, mask.metadata, mask.aliases) == ("mask", {"kept": 7}, {"good", "latest"})
    assert (mask.files, mask.references) == ({"mask.arrow": b"bits"}, {"base": "urn:base-model"})
    assert (mask.made_by, mask.used_by) == (["search"], ["ticket"])
    assert (data.references, data.made_by, data.used_by) == ({"data": "s3://bucket/data"}, [], ["ticket"])


def test_offline_runs_are_synced_as_they_are_read(wandb_server: WandbServer, tmp_path: Path) -> None:
    for part in ("1", "2"):
        run(OFFLINE, part)
    folders = (tmp_path / "wandb").glob("offline-run-*")
    subprocess.run([Path(sys.executable).with_name("wandb"), "sync", *folders], check=True)
    written, sent = read_offline(tmp_path), wandb_server.tracked
    assert sent.runs["twice"].history == written.runs["twice"].history
    assert sent.runs["twice"].config == written.runs["twice"].config == {"part": "2"}
    assert sent.artifacts == written.artifacts
    assert sent.artifacts["data:v0"].used_by == ["twice"]


def test_a_workspace_is_saved_and_loaded(wandb_server: WandbServer) -> None:
    run(WORKSPACE)
    (view,) = wandb_server.views.values()
    assert view["displayName"] == "the study"
    (section,) = view["spec"]["section"]["panelBankConfig"]["sections"]
    assert section["name"] == "gaps"


def test_nothing_is_lost_while_the_server_is_away(wandb_server: WandbServer) -> None:
    code = START + (
        "run = start('outage')\nfor step in range(3):\n    input()\n    run.log({'loss': step}, step=step)\n"
        "    print(step, flush=True)\nrun.finish()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for step in range(3):
            if step == 1:
                wandb_server.stop()
            if step == 2:
                wandb_server.status = 429
                wandb_server.start()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{step}\n"
        while not any(request.startswith("429") for request in wandb_server.requests):
            time.sleep(0.05)
        wandb_server.status = 200
    assert process.returncode == 0
    assert wandb_server.tracked.runs["outage"].curve("loss") == [(0, 0), (1, 1), (2, 2)]


def test_a_wrong_key_is_refused(wandb_server: WandbServer) -> None:
    code = (
        "try:\n    wandb.login(key=sys.argv[1], verify=True, relogin=True)\n"
        "except wandb.errors.AuthenticationError as error:\n    print('refused', error)\n"
    )
    assert "refused" not in run(code, KEY)
    assert "refused" in run(code, KEY[::-1])

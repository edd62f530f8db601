"""The store: records that exist whole or not at all, in folders, behind URIs and on an S3 server."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, key, labels
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.nodes import Finetune, Pretrain, Search, Ticket
from lottery_ray.identity import identity
from lottery_ray.inputs.language import Language
from lottery_ray.storage.attempt import Attempt, begin
from lottery_ray.storage.store import FORMAT, Record, Store
from tests.proxy import Behaviour, proxy

FULL = Finetune("similarity", 1, Pretrain(), Language())
SEARCH = Search(FULL, Structured())
TICKET = Ticket(FULL, (SEARCH,), "good")


@pytest.fixture(params=["folder", "spaces", "file://", "s3://"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "folder":
            return str(tmp_path / "root")
        case "spaces":
            return str(tmp_path / "a root with spaces")
        case "file://":
            return (tmp_path / "a root").as_uri()
        case _:
            return str(request.getfixturevalue("s3_root"))


def attempt(store: Store, node: Node, content: bytes = b"weights") -> Attempt:
    begun = begin(store, node)
    (begun.folder / "model").mkdir()
    (begun.folder / "model" / "weights.bin").write_bytes(content)
    (begun.folder / "note.txt").write_text("a note")
    return begun


def publish(store: Store, node: Node, content: bytes = b"weights") -> Record:
    return attempt(store, node, content).publish({"score": 0.5}, {"seconds": 1.0}, store.inputs(node))


def test_what_is_published_is_read_back(root: str) -> None:
    store = Store.open(root, create=True)
    assert store.read(key(Pretrain())) is None
    assert list(store.records()) == []
    published = publish(store, Pretrain())
    for again in (store, Store.open(root), Store.open(root, create=True)):
        assert again.read(key(Pretrain())) == published
        assert list(again.records()) == [published]
    assert published.result == {"score": 0.5}
    assert published.identity == identity(Pretrain())
    assert published.labels == labels(Pretrain())
    assert set(published.artifacts) == {"model/weights.bin", "note.txt"}


def test_artifacts_are_fetched_as_they_were_written(root: str, tmp_path: Path) -> None:
    store = Store.open(root, create=True)
    record = publish(store, Pretrain(), b"\0\1\2" * 1000)
    weights, note = (
        store.fetch(record, name, tmp_path / "into") for name in ("model/weights.bin", "note.txt")
    )
    assert weights.read_bytes() == b"\0\1\2" * 1000
    assert note.read_text() == "a note"
    assert weights.parent.parent == note.parent, "a node's files lie together"
    assert store.fetch(record, "note.txt").read_text() == "a note"


def test_inputs_are_the_records_of_the_parents(root: str) -> None:
    store = Store.open(root, create=True)
    with pytest.raises(InputError, match=r"finetune similarity seed 1 needs pretrain"):
        store.inputs(FULL)
    pretrained, full = publish(store, Pretrain()), publish(store, FULL)
    search = publish(store, SEARCH)
    assert store.inputs(TICKET) == {FULL: full, Pretrain(): pretrained, SEARCH: search}
    assert search.parents == {full.key: full.digest, pretrained.key: pretrained.digest}
    assert [record.key for record in store.records()] == sorted(map(key, (Pretrain(), FULL, SEARCH)))


def test_a_published_record_is_never_replaced(root: str) -> None:
    store = Store.open(root, create=True)
    first, second = attempt(store, Pretrain(), b"first"), attempt(store, Pretrain(), b"second")
    published = first.publish({"score": 1}, {}, {})
    assert second.publish({"score": 2}, {}, {}) == published
    assert store.read(key(Pretrain())) == published
    assert store.fetch(published, "model/weights.bin").read_bytes() == b"first"
    assert not second.folder.exists(), "the run that came second leaves nothing behind"


def test_a_crash_before_the_record_leaves_no_record(root: str) -> None:
    store = Store.open(root, create=True)
    attempt(store, Pretrain(), b"half of the wei")
    assert store.read(key(Pretrain())) is None
    assert list(store.records()) == []
    record = publish(store, Pretrain(), b"whole")
    assert store.fetch(record, "model/weights.bin").read_bytes() == b"whole"


def test_a_failure_says_its_cause_and_where_its_log_is(root: str) -> None:
    store = Store.open(root, create=True)
    assert store.failure(FULL) is None
    begin(store, FULL).fail(ValueError("no more disk:\n0 bytes left"))
    assert store.failure(Pretrain()) is None
    cause, log = store.failure(FULL) or ("", "")
    assert cause == "ValueError: no more disk: 0 bytes left"
    assert f"nodes/{key(FULL)}/" in log
    assert log.endswith("error.txt")
    assert store.read(key(FULL)) is None


def test_the_newest_checkpoint_is_kept_until_its_node_is_published(root: str) -> None:
    store = Store.open(root, create=True)
    assert store.checkpoints(FULL) == []
    for step in (9, 10, 100_000):
        store.keep_checkpoint(FULL, step, b"state %d" % step)
        (name,) = store.checkpoints(FULL)
        assert store.read_checkpoint(name) == b"state %d" % step
    publish(store, Pretrain())
    assert store.checkpoints(FULL) == [name], "of another node"
    publish(store, FULL)
    assert store.checkpoints(FULL) == []
    publish(store, SEARCH)


def test_a_run_that_comes_second_takes_its_checkpoint_away(root: str) -> None:
    store = Store.open(root, create=True)
    first, second = attempt(store, Pretrain()), attempt(store, Pretrain())
    published = first.publish({}, {}, {})
    store.keep_checkpoint(Pretrain(), 3, b"of the second")
    assert second.publish({}, {}, {}) == published
    assert store.checkpoints(Pretrain()) == []


def test_a_checkpoint_is_no_record_and_no_failure(root: str) -> None:
    store = Store.open(root, create=True)
    store.keep_checkpoint(FULL, 3, b"state")
    assert list(store.records()) == []
    assert store.read(key(FULL)) is None
    assert store.failure(FULL) is None
    assert store.error_logs(FULL) == set()


@pytest.mark.parametrize("damage", [b"", b"sta", b"stalemate"], ids=str)
def test_a_damaged_checkpoint_is_refused_by_name(root: str, damage: bytes) -> None:
    store = Store.open(root, create=True)
    store.keep_checkpoint(FULL, 3, b"state")
    (name,) = store.checkpoints(FULL)
    store._write(name, damage)
    with pytest.raises(InputError, match=rf"{name} is corrupt"):
        store.read_checkpoint(name)


def record_name(node: Node) -> str:
    return f"nodes/{key(node)}/node.json"


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_record_is_refused_by_name(root: str, keep: int) -> None:
    store = Store.open(root, create=True)
    publish(store, Pretrain())
    name = record_name(Pretrain())
    store._write(name, store._read(name)[:keep])
    for look in (
        lambda: store.read(key(Pretrain())),
        lambda: list(store.records()),
        lambda: store.inputs(FULL),
    ):
        with pytest.raises(InputError, match=name):
            look()


def changed(**fields: object) -> dict[str, object]:
    return fields


@pytest.mark.parametrize(
    "damage",
    [
        b"null",
        b"[]",
        b"3",
        b"{}",
        b"\xff\xfe\x00",
        changed(result={"score": 0.9}),
        changed(checksum="0" * 64),
        changed(surplus=1),
        changed(format=FORMAT + 1),
    ],
    ids=str,
)
def test_a_damaged_record_is_refused_by_name(tmp_path: Path, damage: bytes | dict[str, object]) -> None:
    store = Store.open(str(tmp_path), create=True)
    publish(store, Pretrain())
    path = tmp_path / record_name(Pretrain())
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(InputError, match=record_name(Pretrain())):
        store.read(key(Pretrain()))


def test_a_record_in_the_folder_of_another_node_is_refused(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    publish(store, Pretrain())
    publish(store, FULL)
    content = (tmp_path / record_name(FULL)).read_bytes()
    (tmp_path / record_name(Pretrain())).write_bytes(content)
    with pytest.raises(InputError, match=record_name(Pretrain())):
        store.read(key(Pretrain()))


def test_a_result_that_is_not_json_is_not_published(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    with pytest.raises(ValueError, match="JSON"):
        attempt(store, Pretrain()).publish({"score": float("nan")}, {}, {})
    assert store.read(key(Pretrain())) is None


def test_a_flipped_bit_of_an_artifact_is_found(root: str, tmp_path: Path) -> None:
    store = Store.open(root, create=True)
    record = publish(store, Pretrain(), b"\0" * 10_000)
    name = f"nodes/{record.key}/{record.attempt}/model/weights.bin"
    store._write(name, b"\0" * 5_000 + b"\1" + b"\0" * 4_999)
    with pytest.raises(InputError, match=name):
        store.fetch(record, "model/weights.bin", tmp_path / "into")


def test_a_missing_artifact_is_found(root: str, tmp_path: Path) -> None:
    store = Store.open(root, create=True)
    record = publish(store, Pretrain())
    name = f"nodes/{record.key}/{record.attempt}/note.txt"
    store.filesystem.delete_file(f"{store.path}/{name}")
    with pytest.raises(InputError, match=name):
        store.fetch(record, "note.txt", tmp_path / "into")


def test_parents_of_different_runs_are_refused(root: str) -> None:
    store = Store.open(root, create=True)
    publish(store, Pretrain())
    full = publish(store, FULL, b"one run")
    publish(store, SEARCH)
    assert len(store.inputs(TICKET)) == 3
    store.filesystem.delete_file(f"{store.path}/{record_name(FULL)}")
    publish(store, FULL, b"another run")
    with pytest.raises(InputError, match=f"search similarity seed 1 structured.* another run of {full.key}"):
        store.inputs(TICKET)
    store.filesystem.delete_file(f"{store.path}/{record_name(SEARCH)}")
    publish(store, SEARCH)
    assert len(store.inputs(TICKET)) == 3


def test_a_grandparent_of_another_run_is_refused_too(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    publish(store, Pretrain(), b"one run")
    publish(store, FULL)
    (tmp_path / record_name(Pretrain())).unlink()
    publish(store, Pretrain(), b"another run")
    with pytest.raises(InputError, match="finetune similarity seed 1"):
        store.inputs(SEARCH)


def test_a_root_of_a_newer_format_is_refused(root: str) -> None:
    store = Store.open(root, create=True)
    store._write("lottery.json", json.dumps({"format": FORMAT + 1}).encode())
    for create in (False, True):
        with pytest.raises(InputError, match=r"newer lottery_ray \(format 2; this one reads up to 1\)"):
            Store.open(root, create=create)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"format": "2"}', b'{"format": null}'], ids=str
)
def test_a_damaged_format_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lottery.json").write_bytes(content)
    with pytest.raises(InputError, match=r"lottery\.json is corrupt"):
        Store.open(str(tmp_path))


def test_a_folder_that_is_no_root_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="is no root of a study"):
            Store.open(str(folder))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "root",
    ["ftp://host/x", "hdfs://host:1/x", "abfs://host/x", "nonsense://x", "s3://", "gs://", "file://relative"],
)
def test_a_uri_that_cannot_be_a_root_is_refused_with_those_that_can(root: str) -> None:
    # in this order: pyarrow would ask the network for a quarter of an hour about the bucket of "gs://"
    for look in (Store.open, lambda root: Store.open(root, create=True), Store.exists):
        with pytest.raises(InputError, match=r"(?s)The root .*s3://"):
            look(root)


@pytest.mark.parametrize("inner", ["", "below/it"])
def test_a_root_that_cannot_be_written_is_refused(tmp_path: Path, inner: str) -> None:
    (tmp_path / "file").write_text("")
    root = str(tmp_path / "file" / inner)
    with pytest.raises(InputError, match=f"{root} cannot be written"):
        Store.open(root, create=True)


def test_a_server_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    # a proxy-free loopback port that nobody listens on
    root = "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
    with pytest.raises(InputError, match="cannot be read"):
        Store.exists(root)


def test_a_bucket_that_does_not_exist_is_refused(s3_root: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Store.open(s3_root.replace("s3://bucket", "s3://absent"), create=True)


def test_two_parents_must_agree_on_what_only_they_have_read(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    other = Search(Finetune("similarity", 2, Pretrain(), Language()), Structured())
    for node in (Pretrain(), FULL, other.finetune):
        publish(store, node)
    shared = publish(store, Finetune("similarity", 3, Pretrain(), Language()))
    attempt(store, SEARCH).publish({}, {}, {FULL: shared})
    attempt(store, other).publish({}, {}, {FULL: replace(shared, artifacts={"another": "run"})})
    with pytest.raises(InputError, match=f"another run of {shared.key}"):
        store.inputs(Ticket(FULL, (SEARCH, other), "super"))


def test_a_slower_driver_on_object_storage_is_noticed_and_mended(s3_root: str, s3_server: str) -> None:
    looked, published = threading.Event(), threading.Event()

    def hold_the_record(_: int, request: str) -> Behaviour:
        if request.startswith("PUT") and "node.json" in request:
            looked.set()
            published.wait()
        return "pass"

    store = Store.open(s3_root, create=True)
    publish(store, Pretrain())
    with proxy(s3_server, hold_the_record) as front, ThreadPoolExecutor() as pool:
        other = Store.open(s3_root.replace(s3_server, front))
        slower = pool.submit(publish, other, FULL, b"the slower one's")
        assert looked.wait(60)
        publish(store, FULL, b"the faster one's")
        before = publish(store, SEARCH)
        published.set()
        assert slower.result() == store.read(key(FULL))
    with pytest.raises(InputError, match="Run the study again"):
        store.inputs(TICKET)
    assert store.set_aside_outdated()[1] == [before]
    assert store.read(key(SEARCH)) is None
    assert store._exists(f"nodes/{before.key}/{before.attempt}/outdated.json")
    publish(store, SEARCH)
    assert len(store.inputs(TICKET)) == 3
    assert store.set_aside_outdated()[1] == []


def test_what_was_made_from_an_outdated_record_is_set_aside_with_it(root: str) -> None:
    store = Store.open(root, create=True)
    kept = publish(store, Pretrain())
    for node in (FULL, SEARCH, TICKET):
        publish(store, node)
    store.filesystem.delete_file(f"{store.path}/{record_name(FULL)}")
    assert store.set_aside_outdated()[1] == []
    full = publish(store, FULL, b"another run")
    assert {record.key for record in store.set_aside_outdated()[1]} == {key(SEARCH), key(TICKET)}
    assert {record.key for record in store.records()} == {kept.key, full.key}


PUBLISHER = """
import sys, time
from pathlib import Path
from lottery_ray.experiment.nodes import Pretrain
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store
root, me, go, nodes = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
store = Store.open(root, create=True)
print("ready", flush=True)
while not go.exists():
    pass
for seed in range(nodes):
    attempt = begin(store, Pretrain(seed=seed))
    (attempt.folder / "who").write_text(me * 100)
    print(attempt.publish({"who": me}, {}, {}).attempt, flush=True)
"""


def race(root: str, tmp_path: Path, nodes: int) -> list[list[str]]:
    """What processes that publish the same nodes at once are told: the attempts, by process."""
    go = tmp_path / "go"
    arguments = [sys.executable, "-c", PUBLISHER, root]
    processes = [
        subprocess.Popen([*arguments, me, str(go), str(nodes)], stdout=subprocess.PIPE, text=True)
        for me in "abcd"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert {process.returncode for process in processes} == {0}
    return told


def test_processes_at_once_leave_one_whole_record(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    told = race(root, tmp_path, 40)
    store = Store.open(root)
    standing = [store.read(key(Pretrain(seed=n))).attempt for n in range(40)]  # type: ignore[union-attr]
    assert told == [standing] * 4
    for record in store.records():
        who = record.result["who"]
        assert store.fetch(record, "who").read_text() == who * 100
        folder = tmp_path / "root" / "nodes" / record.key
        assert sorted(path.name for path in folder.iterdir()) == sorted([record.attempt, "node.json"])


def test_processes_at_once_on_s3_leave_one_whole_record(s3_root: str, tmp_path: Path) -> None:
    told = race(s3_root, tmp_path, 5)
    store = Store.open(s3_root)
    for number, attempts in enumerate(zip(*told, strict=True)):
        record = store.read(key(Pretrain(seed=number)))
        assert record is not None
        assert record.attempt in attempts
        assert store.fetch(record, "who", tmp_path / record.key).read_text() == record.result["who"] * 100

"""Roots out of reach: what is tried again, and what is told in one line, before any trial."""

import pickle
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import Pretrain
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.location import ATTEMPTS
from lottery_ray.storage.store import Store
from tests.proxy import Behaviour, answering, proxy
from tests.storage.test_store import publish


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own in memory."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def behind(front: str, s3_root: str, s3_server: str) -> str:
    return s3_root.replace(s3_server, front)


@pytest.mark.parametrize("behaviour", ["refuse", "drop", "lose", "stall"])
def test_a_request_that_fails_is_made_again(
    s3_root: str, s3_server: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    seen = []

    def behave(number: int, _: str) -> Behaviour:
        seen.append(number)
        often = 14 if behaviour == "stall" else 3
        return behaviour if number % often == 1 else "pass"

    with proxy(s3_server, behave) as front:
        store = Store.open(behind(front, s3_root, s3_server), create=True)
        record = publish(store, Pretrain(), b"weights" * 1_000_000)
        store.keep_checkpoint(Pretrain(), 3, b"state")
        assert store.read_checkpoint(store.checkpoints(Pretrain())[0]) == b"state"
        assert store.fetch(record, "model/weights.bin", tmp_path).read_bytes() == b"weights" * 1_000_000
        assert store.fetch(record, "note.txt", tmp_path).read_text() == "a note"
    assert len(seen) > 20
    assert list(Store.open(s3_root).records()) == [record]


def test_a_root_that_is_sent_to_another_process_is_as_patient(s3_root: str, s3_server: str) -> None:
    with proxy(s3_server, lambda number, _: "refuse" if number < 6 else "pass") as front:
        sent = pickle.loads(pickle.dumps(Store.at(behind(front, s3_root, s3_server))))
        assert type(sent) is Store
        assert not sent._exists("absent")


@pytest.mark.full
def test_requests_are_made_again_however_many_have_failed_before(s3_root: str, s3_server: str) -> None:
    with proxy(s3_server, lambda number, _: "refuse" if number % 2 else "pass") as front:
        store = Store.open(behind(front, s3_root, s3_server), create=True)
        for number in range(60):
            assert not store._exists(f"absent-{number}")


def test_a_root_that_goes_away_is_told_in_one_line(s3_root: str, s3_server: str) -> None:
    attempts = []

    def refuse(number: int, _: str) -> Behaviour:
        attempts.append(number)
        return "refuse"

    Store.open(s3_root, create=True)
    words = r"The root s3://.* cannot be read: The server failed"
    with proxy(s3_server, refuse) as front, pytest.raises(InputError, match=words) as told:
        Store.exists(behind(front, s3_root, s3_server))
    assert 4 <= len(attempts) < ATTEMPTS
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "refuses the credentials"),
        (403, "SignatureDoesNotMatch", "refuses the credentials"),
        (403, "AccessDenied", "refuses the credentials"),
        (400, "ExpiredToken", "refuses the credentials"),
        (404, "NoSuchBucket", "There is no such bucket"),
        (301, "PermanentRedirect", "in another region"),
        (400, "AuthorizationHeaderMalformed", "in another region"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (507, "InsufficientStorage", "failed or was overloaded"),
    ],
)
def test_what_a_server_refuses_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    with answering(status, code) as server:
        root = f"s3://bucket/a/root?endpoint_override={server}&scheme=http&region=us-east-1"
        with pytest.raises(InputError, match=f"cannot be written: .*{words}") as e:
            Store.open(root, create=True)
    assert "a secret" not in str(e.value)
    assert "\n" not in str(e.value)


def test_without_credentials_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    with answering(403, "AccessDenied") as server:
        root = f"s3://bucket/a/root?endpoint_override={server}&scheme=http&region=us-east-1"
        with pytest.raises(InputError, match="refuses the credentials"):
            Store.open(root, create=True)


@pytest.mark.parametrize(
    "root",
    [
        "s3://KEY:hush@bucket/x",
        "s3://KEY:hush/quiet@bucket/x",
        "s3://hush@bucket/x",
        "gs://user:hush@bucket/x",
        "ftp://user:hush@host/x",
        "s3://bucket/x?region=us-east-1&access_key=KEY&secret_key=hush",
    ],
)
def test_a_root_may_hold_no_secret_and_none_is_repeated(root: str) -> None:
    for look in (Store.open, lambda root: Store.open(root, create=True), Store.exists):
        with pytest.raises(InputError) as told:
            look(root)
        assert "hush" not in str(told.value)
        assert "quiet" not in str(told.value)


def test_no_bucket_is_ever_made(s3_root: str) -> None:
    absent = s3_root.replace("s3://bucket", "s3://absent")
    for root in (absent, f"{absent}&allow_bucket_creation=true"):
        with pytest.raises(InputError, match=r"There is no such bucket\. Make it first"):
            Store.open(root, create=True)


def test_a_read_only_root_is_told_in_one_line(tmp_path: Path) -> None:
    words = r"cannot be written: .*[Rr]ead-only"
    with mounted(tmp_path / "root", "ro"), pytest.raises(InputError, match=words):
        Store.open(str(tmp_path / "root"), create=True)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    with mounted(tmp_path / "root", "size=200k"):
        store = Store.open(str(tmp_path / "root"), create=True)
        record = publish(store, Pretrain(), b"x" * 50_000)
        with pytest.raises(InputError, match=r"The disk is full: .*root has [\d,]+ bytes left\. Make room"):
            store.keep_checkpoint(Pretrain(seed=1), 3, b"x" * 500_000)
        assert store.checkpoints(Pretrain(seed=1)) == []
        begun = begin(store, Pretrain(seed=1))
        with pytest.raises(OSError, match="No space left") as full:
            (begun.folder / "weights").write_bytes(b"x" * 500_000)
        with pytest.raises(InputError, match="The disk is full"):
            begun.fail(full.value)
        cause, _ = store.failure(Pretrain(seed=1)) or ("", "")
        assert "The disk is full" in cause
        assert list(store.records()) == [record]
        publish(store, Pretrain(seed=1), b"x" * 50_000)

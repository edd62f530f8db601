"""Small real parts that the tests share: tiny BERTs, tokenised examples and an S3 server."""

import gc
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from filelock import FileLock
from transformers import BertForSequenceClassification

from lottery_ray.inputs.encoding import Encoded
from lottery_ray.networks.network import Network
from lottery_ray.networks.packing import PACKED
from tests.folders import bert_config
from tests.studies import NODES, command, make_inputs, run

if TYPE_CHECKING:
    from tests.wandb_server import WandbServer

LENGTHS = np.array([5, 9, 40, 3, 17, 33, 12])


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whoever runs the tests keeps their own tokenised data, and has none in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("a cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def only_of_this_file() -> None:
    """Garbage collections, of which every trial has three, look through what a file of tests makes, and not
    through what those before it have."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def encoded() -> Encoded:
    """Seven examples of 3 to 40 tokens with labels 0 and 1."""
    rng = np.random.default_rng(0)
    return Encoded(
        rng.integers(5, 140, LENGTHS.sum()).astype(np.int32),
        rng.integers(0, 2, LENGTHS.sum()).astype(np.int8),
        LENGTHS.cumsum(),
        np.arange(7),
        rng.integers(0, 2, 7).astype(float),
    )


@pytest.fixture
def tiny_bert() -> Callable[..., Network]:
    """Makes equal packed networks: 3 layers of 4 heads, large weights, so that every part matters."""

    def make(dtype: torch.dtype = torch.float32, labels: int = 2, dropout: float = 0.0) -> Network:
        torch.manual_seed(0)
        config = bert_config(labels, dropout)
        model = BertForSequenceClassification._from_config(config, attn_implementation=PACKED)
        return Network(model.to(dtype)).eval()

    return make


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 server on a free port of this machine; returns host:port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3_root(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a root in a new bucket."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    client = boto3.client("s3", endpoint_url=f"http://{s3_server}", region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/a/root?endpoint_override={s3_server}&scheme=http&region=us-east-1"


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[WandbServer]":
    """A server of Weights & Biases on a free port of this machine; what starts now logs in there."""
    from tests.wandb_server import WandbServer

    server = WandbServer()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield server
    server.stop()


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of this run of the tests, which the first of its processes to need it makes."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(base / f"{name}.lock"):
        if not (base / f"{name}.made").exists():
            make(base / name)
            (base / f"{name}.made").touch()
    return base / name


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "the inputs", make_inputs)


@pytest.fixture(scope="session")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an undisturbed sweep on Ray."""

    def sweep(root: Path) -> None:
        output = run(command(inputs, root, report=True))
        assert f"[{NODES}/{NODES}]" in output
        assert "time left" in output or "left" in output
        assert output.strip().splitlines()[-1].endswith("index.html")

    return made_once(tmp_path_factory, "a finished root", sweep)


@pytest.fixture
def nothing_added() -> Iterator[None]:
    """What a test adds to tasks, criteria, kinds and adapters is there for no other."""
    from tests.extensions import for_now

    with for_now():
        yield


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of docs/extending.md, models and data."""
    from tests.extensions import make_place

    return make_place(tmp_path_factory.mktemp("a place of my own"))

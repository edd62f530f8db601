"""A server on loopback that speaks as much of the protocol of Weights & Biases as a study uses, and can fail.

Its GraphQL operations and their fields are those that wandb 0.31 sends and reads."""

import base64
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.wandb_files import Run, Tracked

OPERATION = re.compile(r"(?:query|mutation) (\w+)")
KEY = "0123456789abcdef" * 2 + "01234567"
"""The API key that the server takes."""

USER = "someone"
Json = dict[str, Any]


@dataclass
class Sent:
    """What has come of a run beyond what tests read."""

    run: Run
    history: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    config: str = "{}"
    summary: str = "{}"


class Service:
    """What the server holds, and how it answers; all of it in memory."""

    def __init__(self) -> None:
        self.tracked = Tracked()
        self.views: dict[str, Json] = {}
        """Saved workspaces by name: displayName, and spec, parsed."""
        self.requests: list[str] = []
        """The names of the operations, or method and path, in the order of their coming."""
        self.sent: dict[str, Sent] = {}
        self.committed: set[str] = set()
        self.uploads: dict[str, Callable[[bytes], None]] = {}
        self.url = ""
        self.operations: dict[str, Callable[[Json], Json]] = {
            "Viewer": lambda _: {"viewer": _viewer()},
            "GetViewer": lambda _: {"viewer": _viewer()},
            "RunResumeStatus": self.resume_status,
            "UpsertBucket": self.upsert_run,
            "CreateRunFiles": self.create_run_files,
            "CreateArtifact": self.create_artifact,
            "CreateArtifactManifest": self.create_manifest,
            "CreateArtifactFiles": self.create_artifact_files,
            "CommitArtifact": self.commit_artifact,
            "UseArtifact": self.use_artifact,
            "ArtifactType": self.artifact_type,
            "ArtifactByID": lambda asked: {"artifact": self.described(_name(asked["id"]), asked)},
            "ArtifactMembershipByName": self.artifact_by_name,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "OrganizationCoreWeaveOrganizationID": lambda _: {"entity": None},
            "UpsertView2": self.upsert_view,
            "View": self.view,
        }

    # runs

    def of(self, id_: str) -> Sent:
        if id_ not in self.sent:
            self.sent[id_] = Sent(self.tracked.runs.setdefault(id_, Run(id_)))
        return self.sent[id_]

    def resume_status(self, asked: Json) -> Json:
        bucket = None
        if asked["name"] in self.sent:
            sent = self.of(asked["name"])
            bucket = _run(sent) | {
                "historyLineCount": len(sent.history),
                "eventsLineCount": len(sent.events),
                "logLineCount": len(sent.output),
                "historyTail": json.dumps(sent.history[-1:]),
                "eventsTail": json.dumps(sent.events[-1:]),
                "summaryMetrics": sent.summary,
                "tags": sent.run.tags,
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": _project(asked) | {"bucket": bucket}}

    def upsert_run(self, asked: Json) -> Json:
        inserted = asked["name"] not in self.sent
        sent = self.of(asked["name"])
        run = sent.run
        run.project = asked["project"]
        run.group = asked["groupName"] or run.group
        run.job_type = asked["jobType"] or run.job_type
        run.name = asked["displayName"] or run.name
        run.tags = asked["tags"] or run.tags
        if asked["config"]:
            sent.config = asked["config"]
            values = {key: value["value"] for key, value in json.loads(sent.config).items()}
            run.axes = _axes(values.pop("_wandb", {}).get("m", []))
            run.config = values
        bucket = _run(sent) | {"project": _project(asked), "historyLineCount": len(sent.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def stream(self, id_: str, sent: Json) -> Json:
        held = self.of(id_)
        files = sent.get("files", {})
        for name, lines in (
            ("wandb-history.jsonl", held.history),
            ("wandb-events.jsonl", held.events),
            ("output.log", held.output),
        ):
            if name in files:
                # what comes twice is the same lines again
                lines[files[name]["offset"] :] = files[name]["content"]
        if "wandb-summary.json" in files:
            held.summary = files["wandb-summary.json"]["content"][-1]
        held.run.history = [json.loads(line) for line in held.history]
        held.run.summary = {k: v for k, v in json.loads(held.summary).items() if k != "_wandb"}
        held.run.exit_code = sent["exitcode"] if sent.get("complete") else None
        return {}

    def create_run_files(self, asked: Json) -> Json:
        files = self.of(asked["run"]).run.files
        nodes = [
            {"name": name, "uploadUrl": self.upload(partial(files.__setitem__, name))}
            for name in asked["files"]
        ]
        return {"createRunFiles": {"runID": _id("Run", asked["run"]), "uploadHeaders": [], "files": nodes}}

    # artifacts

    def create_artifact(self, asked: Json) -> Json:
        given = asked["input"]
        name = given["artifactCollectionName"]
        latest = self.named(f"{name}:latest")
        artifact = self.tracked.artifact(name, given["artifactTypeName"], given["digest"])
        self.tracked.alias(artifact, [alias["alias"] for alias in given["aliases"] or []])
        artifact.metadata |= json.loads(given["metadata"] or "{}")
        # without a run: one that use_artifact makes
        if given["runName"] not in (None, *artifact.made_by):
            artifact.made_by.append(given["runName"])
        key = self.tracked.key(artifact)
        made = {
            "id": _id("Artifact", key),
            "state": "COMMITTED" if key in self.committed else "PENDING",
            "artifactSequence": {"latestArtifact": {"id": _id("Artifact", latest)} if latest else None},
        }
        return {"createArtifact": {"artifact": made}}

    def create_manifest(self, asked: Json) -> Json:
        key = _name(asked["artifactID"])

        def keep(body: bytes) -> None:
            contents = json.loads(body)["contents"]
            references = {path: entry["ref"] for path, entry in contents.items() if "ref" in entry}
            self.tracked.artifacts[key].references = references

        file: Json = {"id": _id("File", key), "uploadUrl": None, "uploadHeaders": None}
        if asked["includeUpload"]:
            file |= {"uploadUrl": self.upload(keep), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": _id("Manifest", key), "file": file}}}

    def create_artifact_files(self, asked: Json) -> Json:
        nodes: list[Json] = []
        for given in asked["input"]["artifactFiles"]:
            files = self.tracked.artifacts[_name(given["artifactID"])].files
            url = self.upload(partial(files.__setitem__, given["name"]))
            nodes.append(
                {
                    "storagePath": None,
                    "uploadUrl": url,
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": given["artifactID"]},
                }
            )
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def commit_artifact(self, asked: Json) -> Json:
        key = _name(asked["artifactID"])
        self.committed.add(key)
        digest = self.tracked.artifacts[key].digest
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": digest}}}

    def use_artifact(self, asked: Json) -> Json:
        given = asked.get("input", asked)
        artifact = self.tracked.artifacts[_name(given["artifactID"])]
        if given["runName"] not in artifact.used_by:
            artifact.used_by.append(given["runName"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def artifact_type(self, asked: Json) -> Json:
        key = self.named(asked["name"])
        found = {"artifactType": {"name": self.tracked.artifacts[key].type}} if key else None
        return {"project": {"artifact": found}}

    def artifact_by_name(self, asked: Json) -> Json:
        key = self.named(asked["name"])
        if key is None:
            return {"project": {"artifactCollectionMembership": None}}
        described = self.described(key, asked)
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": _id("Membership", key),
            "versionIndex": described["versionIndex"],
            "createdAt": described["createdAt"],
            "aliases": described["aliases"],
            "artifactCollection": described["artifactSequence"],
            "artifact": described,
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def named(self, name: str) -> str | None:
        """The key of what is called name:version or name:alias."""
        name, _, alias = name.rpartition("/")[2].partition(":")
        for key, artifact in self.tracked.artifacts.items():
            if artifact.name == name and (key.endswith(f":{alias}") or alias in artifact.aliases):
                return key
        return None

    def described(self, key: str, asked: Json) -> Json:
        artifact = self.tracked.artifacts[key]
        project = _project({"entity": None, "project": "project"} | asked) | {"internalId": "1"}
        collection = {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}
        return {
            "__typename": "Artifact",
            "id": _id("Artifact", key),
            "artifactSequence": collection,
            "versionIndex": int(key.rpartition(":v")[2]),
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": json.dumps(artifact.metadata),
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": sum(map(len, artifact.files.values())),
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": None,
            "fileCount": len(artifact.files),
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [
                {"__typename": "ArtifactAlias", "id": "a", "alias": alias, "artifactCollection": collection}
                for alias in sorted(artifact.aliases)
            ],
        }

    # workspaces

    def upsert_view(self, asked: Json) -> Json:
        inserted = asked["name"] not in self.views
        self.views[asked["name"]] = {
            "displayName": asked["displayName"],
            "spec": json.loads(asked["spec"]),
        }
        view = {"id": _id("View", asked["name"]), "name": asked["name"]}
        return {"upsertView": {"view": view, "inserted": inserted}}

    def view(self, asked: Json) -> Json:
        nodes = [
            {"id": _id("View", name), "displayName": view["displayName"], "spec": json.dumps(view["spec"])}
            for name, view in self.views.items()
            if name == asked["viewName"]
        ]
        return {"project": {"allViews": {"edges": [{"node": node} for node in nodes]}}}

    # requests

    def upload(self, keep: Callable[[bytes], None]) -> str:
        path = f"/upload/{len(self.uploads)}"
        self.uploads[path] = keep
        return self.url + path

    def answer(self, method: str, path: str, body: bytes) -> Json:
        if path == "/graphql":
            return self.graphql(json.loads(body))
        self.requests.append(f"{method} {path}")
        if path.endswith("/file_stream"):
            return self.stream(path.split("/")[-2], json.loads(body))
        if path in self.uploads:
            self.uploads[path](body)
        # the rest is telemetry
        return {}

    def graphql(self, asked: Json) -> Json:
        named = OPERATION.search(asked["query"])
        assert named
        self.requests.append(named[1])
        if named[1] in self.operations:
            return {"data": self.operations[named[1]](asked.get("variables") or {})}
        return {"errors": [{"message": f"this server knows no {named[1]}"}]}


def _viewer() -> Json:
    return {
        "id": _id("User", USER),
        "entity": USER,
        "username": USER,
        "name": USER,
        "email": "",
        "admin": False,
        "deletedAt": None,
        "apiKeys": None,
        "flags": "{}",
        "teams": {"edges": []},
    }


def _project(asked: Json) -> Json:
    entity, project = asked["entity"] or USER, asked["project"]
    return {
        "id": _id("Project", project),
        "name": project,
        "entity": {"id": _id("Entity", entity), "name": entity},
    }


def _run(sent: Sent) -> Json:
    return {
        "id": _id("Run", sent.run.id),
        "name": sent.run.id,
        "displayName": sent.run.name,
        "description": None,
        "config": sent.config,
        "sweepName": None,
    }


def _id(kind: str, name: str) -> str:
    return base64.b64encode(f"{kind}:{name}".encode()).decode()


def _name(id_: str) -> str:
    return base64.b64decode(id_).decode().partition(":")[2]


def _axes(metrics: list[Json]) -> dict[str, str]:
    """Of define_metric's records, whose fields come as numbers: 1 name, 2 glob, 4 step_metric, 5 the
    number of step_metric in the list."""
    axes = {}
    for metric in metrics:
        axis = metric.get("4") or (metrics[metric["5"] - 1]["1"] if "5" in metric else None)
        if axis:
            axes[metric.get("1") or metric["2"]] = axis
    return axes


class Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers."""

    protocol_version = "HTTP/1.1"
    respond: ClassVar[Callable[[str, str, str | None, bytes], tuple[int, Json]]]

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""

    def do(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        status, answer = type(self).respond(self.command, self.path, self.headers["Authorization"], body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do  # noqa: N815


class Listening(ThreadingHTTPServer):
    """Knows its open connections."""

    def __init__(self, port: int, handler: type[Handler]) -> None:
        self.connections: set[Any] = set()
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """A client that no longer waits."""


class WandbServer(Service):
    """Listens on a free port. Its attributes make it fail, and so does stop."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        """The status of every answer; with another than 200, nothing is done."""
        self.delay = 0.0
        """Seconds before every answer."""
        self.port = 0
        self.lock = threading.Lock()
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def start(self) -> None:
        """Listens; after a stop, on the same port."""
        handler = type("Answering", (Handler,), {"respond": staticmethod(self.respond)})
        self.listening = Listening(self.port, handler)
        self.port = self.listening.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.listening.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuses connections, and ends those that clients hold open."""
        self.listening.shutdown()
        self.listening.server_close()
        for connection in list(self.listening.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def respond(self, method: str, path: str, authorization: str | None, body: bytes) -> tuple[int, Json]:
        time.sleep(self.delay)
        if self.status != 200:
            self.requests.append(f"{self.status} {method} {path}")
            return self.status, {"errors": [{"message": "not at this moment"}]}
        if (
            path == "/graphql"
            and authorization != f"Basic {base64.b64encode(f'api:{KEY}'.encode()).decode()}"
        ):
            return 401, {"errors": [{"message": "user is not logged in"}]}
        with self.lock:
            return 200, self.answer(method, path, body)

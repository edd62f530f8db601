"""Real HTTP servers on loopback that misbehave as networks and S3 do: a proxy, and one that refuses."""

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Literal

Behaviour = Literal["pass", "refuse", "drop", "lose", "stall"]
"""refuse: 503 SlowDown. drop: end the connection without doing it. lose: do it, but lose the answer. stall:
answer after longer than a client waits."""

STALL = 5.0
HOP = ("connection", "transfer-encoding", "content-length")


class Answering(BaseHTTPRequestHandler):
    """Answers every request as S3 does with an error."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int]
    code: ClassVar[str]

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""

    def do(self) -> None:
        self.refuse(self.status, self.code)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do  # noqa: N815

    def refuse(self, status: int, code: str) -> None:
        content = f"<Error><Code>{code}</Code><Message>No, not at this moment.</Message></Error>".encode()
        self.answer(
            status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))], content
        )

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Forwarding(Answering):
    """Hands requests on to a server, or misbehaves."""

    server_behind: ClassVar[str]
    behave: ClassVar[Callable[[int, str], Behaviour]]
    numbers: ClassVar[Iterator[int]]

    def do(self) -> None:
        body = self.body()
        behaviour = type(self).behave(next(self.numbers), f"{self.command} {self.path}")
        if behaviour == "refuse":
            self.refuse(503, "SlowDown")
        elif behaviour == "drop":
            self.close_connection = True
        else:
            self.forward(body, behaviour)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do  # noqa: N815

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def forward(self, body: bytes, behaviour: Behaviour) -> None:
        if behaviour == "stall":
            time.sleep(STALL)
        # the other headers are signed, so they go on as they came
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        connection = http.client.HTTPConnection(self.server_behind)
        connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        found = connection.getresponse()
        content = found.read()
        connection.close()
        if behaviour == "lose":
            self.close_connection = True
            return
        length = found.headers["Content-Length"] if self.command == "HEAD" else len(content)
        kept = [(name, value) for name, value in found.getheaders() if name.lower() not in HOP]
        self.answer(found.status, [*kept, ("Content-Length", str(length or 0))], content)


@contextmanager
def proxy(server: str, behave: Callable[[int, str], Behaviour]) -> Iterator[str]:
    """In front of server (host:port); yields its own. behave: of the first, second, ... request, such as
    "GET /path"."""
    settings = {"server_behind": server, "behave": staticmethod(behave), "numbers": itertools.count()}
    with _listening(type("Front", (Forwarding,), settings)) as front:
        yield front


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """A server that refuses every request; yields its host:port."""
    with _listening(type("Refusing", (Answering,), {"status": status, "code": code})) as server:
        yield server


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that no longer waits."""


@contextmanager
def _listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    listening = Quiet(("127.0.0.1", 0), handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()

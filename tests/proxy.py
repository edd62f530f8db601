"""A real HTTP proxy on loopback that misbehaves in front of an S3 server, as networks and services do."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Behaviour = Literal["pass", "refuse", "drop", "lose", "stall"]
"""refuse: 503 SlowDown. drop: end the connection without doing it. lose: do it, but lose the answer. stall:
answer after longer than a client waits."""

STALL = 5.0
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@contextmanager
def proxy(server: str, behave: Callable[[int], Behaviour]) -> Iterator[str]:
    """In front of server (host:port); yields its own. behave: of the first, second, ... request."""
    lock = threading.Lock()
    numbers = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def forward(self) -> None:
            body = self.body()
            with lock:
                behaviour = behave(next(numbers))
            if behaviour == "refuse":
                self.answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
            elif behaviour == "drop":
                self.close_connection = True
            else:
                if behaviour == "stall":
                    time.sleep(STALL)
                connection = http.client.HTTPConnection(server)
                headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
                # the headers are signed, so they go on as they came
                headers["Content-Length"] = str(len(body))
                connection.request(self.command, self.path, body, headers)
                found = connection.getresponse()
                content = found.read()
                connection.close()
                if behaviour == "lose":
                    self.close_connection = True
                else:
                    self.answer(found.status, dict(found.getheaders()), content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return found

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            headers = {k: v for k, v in headers.items() if k.lower() not in ("connection", "transfer-encoding")}
            if self.command != "HEAD":
                headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
                headers["Content-Length"] = str(len(content))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that no longer waits."""

    listening = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()

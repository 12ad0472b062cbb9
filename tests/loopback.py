"""A server on this computer, which does to a download what a test says."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

BODY = np.random.default_rng(0).bytes(200_000)
ETAG = '"one"'


class Handler(BaseHTTPRequestHandler):
    """Answer as the test's server says; `reply` writes an answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.command, self.path, dict(self.headers)))
        server.answer(self)

    do_HEAD = do_GET

    def reply(self, body: bytes = b"", status: int = 200, cut: int | None = None, **headers: str) -> None:
        """Send a status, headers (`_` for `-`) and a body, of which only `cut` bytes before the connection ends."""
        headers = {"Content_Length": str(len(body)), **headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if cut is not None or "Content_Length" not in headers:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])

    @property
    def start(self) -> int:
        """The first byte that was asked for."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def serve(self, body: bytes = BODY, etag: str = ETAG, cut: int | None = None) -> None:
        """Answer as a good server does, Range and If-Range included."""
        start = self.start
        if not start or self.headers.get("If-Range", etag) != etag:
            return self.reply(body, cut=cut, ETag=etag)
        if start >= len(body):
            return self.reply(status=416, Content_Range=f"bytes */{len(body)}")
        content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self.reply(body[start:], 206, cut=cut, ETag=etag, Content_Range=content_range)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server on this computer, which logs what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answer: Callable[[Handler], None] = Handler.serve

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.root}/weights/model.bin"

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that hung up."""

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, _, headers in self.asked]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server within this context."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

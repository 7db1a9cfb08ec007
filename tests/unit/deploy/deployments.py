"""What tests of deployments share: settings, and a server that tells what it was asked."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fedbridge.deploy.settings import ServerSettings, host_names


def server_settings(*clients: str, port: int = 8000) -> ServerSettings:
    hosts = host_names(["fed.example.org", "10.0.0.7"])
    return ServerSettings(hosts=hosts, port=port, superlink_port=port + 1, clients=clients)


class Backend(ThreadingHTTPServer):
    """A TLS server that answers every call with one status and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, folder: Path, statuses: dict[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.statuses = statuses
        self.silent = 0  # times that it answers with nothing yet
        self.calls: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.path, dict(self.headers), body))
        answer = b"" if self.server.silent > 0 else b"answer"
        self.server.silent -= 1
        self.send_response(self.server.statuses.get(self.path, 404))
        self.send_header("X-Answer", "yes")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def backend(folder: Path, statuses: dict[str, int]) -> Iterator[Backend]:
    """Serve with the certificate of a server's folder until the block ends."""
    server = Backend(folder, statuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

"""A small server that speaks the Hugging Face Hub's download protocol, with faults on demand."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves `files` (path in the repository → content) of one data set repository.

    Files ending in .bin are large files: HEAD announces their sha256 and sends the client to another host name. cuts:
    paths whose next GET breaks off half-way. failing: paths whose content answers 500. altered: paths whose content
    arrives with its last byte changed, that many times. gets: (path, Range header or "") of every content request.
    """

    def __init__(self, repo_id: str, files: dict[str, bytes]) -> None:
        self.repo_id = repo_id
        self.files = files
        self.cuts: set[str] = set()
        self.failing: set[str] = set()
        self.altered: dict[str, int] = {}
        self.commit = COMMIT  # what main is
        self.gets: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(request.path)
        resolve = f"/datasets/{self.repo_id}/resolve/"
        if path.startswith("/cdn/"):
            self._content(request, path.removeprefix("/cdn/"), body)
        elif not path.startswith(resolve):
            self._error(request, 404, "RepoNotFound")
        else:
            revision, _, name = path.removeprefix(resolve).partition("/")
            if revision not in ("main", self.commit):
                self._error(request, 404, "RevisionNotFound")
            elif name not in self.files:
                self._error(request, 404, "EntryNotFound")
            elif name.endswith(".bin"):
                content = self.files[name]
                request.send_response(302)
                self._about(request, f'"{hashlib.sha1(content).hexdigest()}"')
                request.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                request.send_header("X-Linked-Size", str(len(content)))
                request.send_header("Location", f"http://localhost:{self.port}/cdn/{name}")
                request.send_header("Content-Length", "0")
                request.end_headers()
            else:
                self._content(request, name, body)

    def _content(self, request: BaseHTTPRequestHandler, name: str, body: bool) -> None:
        content = self.files[name]
        wanted = request.headers.get("Range", "")
        if body:
            self.gets.append((name, wanted))
            if name in self.failing:
                self._error(request, 500, "")
                return
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        request.send_response(206 if wanted else 200)
        self._about(request, f'"{hashlib.sha1(f"blob {len(content)}".encode() + bytes(1) + content).hexdigest()}"')
        request.send_header("Content-Length", str(len(content) - start))
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if not body:
            return
        if self.altered.get(name, 0) > 0:
            self.altered[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        if name in self.cuts:
            self.cuts.remove(name)
            request.wfile.write(content[start : (start + len(content)) // 2])
            request.close_connection = True
        else:
            request.wfile.write(content[start:])

    def _about(self, request: BaseHTTPRequestHandler, etag: str) -> None:
        request.send_header("X-Repo-Commit", self.commit)
        request.send_header("ETag", etag)

    def _error(self, request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        request.send_response(status)
        if code:
            request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()

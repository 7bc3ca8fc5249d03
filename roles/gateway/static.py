"""The web pages: one built application, read into memory once and served under every route.

Files under `assets/` carry a hash in their name and never change. The page that names them is
never taken from a cache unasked, so an upgraded gateway is an upgraded page.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.net.httpd import Failure, Handler, Routes
from roles.gateway.pages import render_failure

#: Pages of the application, among them those that KV2 had.
PAGES = (
    "/",
    "/search",
    "/add",
    "/get",
    "/executors",
    "/judicators",
    "/frame",
    "/tasks",
    "/tasks/new",
    "/tasks/<task_id:str>",
    "/jobs",
    "/jobs/<job_id:str>",
    "/presets",
    "/presets/edit",
    "/tokens",
    "/users",
    "/audit",
    "/operations",
    "/queue",
    "/stats",
    "/cluster",
)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_IMMUTABLE = "public, max-age=31536000, immutable"
#: Smaller files gain nothing.
GZIP_BYTES = 1024
_TEXT_TYPES = ("text/", "application/javascript", "application/json", "image/svg+xml")

_NOT_BUILT = b"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Khala</title>
<h1>Khala</h1>
<p>This gateway works, but its web pages were not built into it. Build them in a checkout with
<code>npm ci &amp;&amp; npm run build</code> in <code>ui/</code>, or use the packaged
<code>khala.pex</code>. The HTTP API under <code>/api</code> works without them.</p>
</html>
"""


class StaticFile(Struct, frozen=True, kw_only=True):
    body: bytes
    #: None if it would not be smaller.
    gzipped: bytes | None
    content_type: str
    etag: str
    cache: str

    @classmethod
    def of(cls, path: str, body: bytes) -> StaticFile:
        content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        is_text = content_type.startswith(_TEXT_TYPES)
        if is_text and not content_type.startswith("image/"):
            content_type += "; charset=utf-8"
        packed = gzip.compress(body, 6, mtime=0) if is_text and len(body) >= GZIP_BYTES else None
        return cls(
            body=body,
            gzipped=packed,
            content_type=content_type,
            etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            cache=_IMMUTABLE if path.startswith("assets/") else "no-cache",
        )

    def answer(self, request: Request, status: int = 200) -> HTTPResponse:
        headers = {
            **_HEADERS,
            "Cache-Control": self.cache,
            "ETag": self.etag,
            "Vary": "Accept-Encoding",
        }
        if status == 200 and request.headers.get("if-none-match") == self.etag:
            return HTTPResponse(None, status=304, headers=headers)
        body = self.body
        if self.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
            body = self.gzipped
            headers["Content-Encoding"] = "gzip"
        return HTTPResponse(body, status, headers=headers, content_type=self.content_type)


class StaticSite:
    """The built application, or a page that says that there is none."""

    def __init__(self, built: Traversable | None) -> None:
        self._files: dict[str, StaticFile] = {}
        if built is not None:
            self._load(built, "")
        self._page = self._files.get("index.html") or StaticFile.of("index.html", _NOT_BUILT)

    def _load(self, folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            path = f"{prefix}{entry.name}"
            if entry.is_dir():
                self._load(entry, f"{path}/")
            else:
                self._files[path] = StaticFile.of(path, entry.read_bytes())

    def register(self, routes: Routes) -> None:
        for page in PAGES:
            routes.add("GET", page, self.answer_page)
            if page != "/":
                # As people type it; the application's router takes both.
                routes.add("GET", f"{page}/", self.answer_page)
        for path, file in self._files.items():
            if path != "index.html":
                routes.add("GET", f"/{path}", _answerer(file))
        if "favicon.ico" not in self._files:
            routes.add("GET", "/favicon.ico", self.answer_icon)

    def render_failure(self, request: Request, failure: Failure) -> HTTPResponse:
        """As `pages.render_failure`; but who went astray with a browser meets the application."""
        astray = failure.status == 404 and not request.path.startswith("/api/")
        if astray and "text/html" in request.headers.get("accept", ""):
            return self._page.answer(request, failure.status)
        return render_failure(request, failure)

    async def answer_page(self, request: Request, **_: str) -> HTTPResponse:
        return self._page.answer(request)

    async def answer_icon(self, request: Request) -> HTTPResponse:
        """Browsers ask for it unasked; the application's own icon is an SVG."""
        icon = next((file for path, file in self._files.items() if path.endswith(".svg")), None)
        if icon is None:
            return HTTPResponse(None, status=204, headers={"Cache-Control": "max-age=86400"})
        return icon.answer(request)


def _answerer(file: StaticFile) -> Handler:
    async def answer(request: Request) -> HTTPResponse:
        return file.answer(request)

    return answer


def find_built_site() -> Traversable | None:
    """Inside the package, or in the checkout it was started from; None if it was not built."""
    packaged = files("khala.web").joinpath("dist")
    if packaged.joinpath("index.html").is_file():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "ui" / "dist"
    return checkout if (checkout / "index.html").is_file() else None

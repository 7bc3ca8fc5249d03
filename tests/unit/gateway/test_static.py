"""The pages: their addresses, their headers, their caching."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import aiohttp
import pytest

from khala.net.httpd import Bind, Routes, create_app, serve
from roles.gateway.static import PAGES, StaticSite
from tests.unit.gateway.conftest import Site

INDEX = "<!doctype html><title>Khala</title>" + "<p>" * 1000
SCRIPT = "export const x = 1;\n" * 200


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(INDEX)
    (tmp_path / "assets" / "main-3f2a.js").write_text(SCRIPT)
    (tmp_path / "assets" / "icon-77.svg").write_text("<svg/>")
    (tmp_path / "assets" / "font-1.woff2").write_bytes(bytes(5000))
    return tmp_path


async def test_the_built_application(built: Path) -> None:
    site = StaticSite(built)
    app = create_app("pages", site.render_failure, body_bytes=1024)
    routes = Routes(app)
    site.register(routes)
    routes.finish()
    server = await serve(app, Bind(host="127.0.0.1", port=0, flag="--http-port"))
    base = f"http://127.0.0.1:{server.port}"
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        pages = [re.sub("<[a-z_]+:str>", "6b04d4787d852fb9eb7f7a4e", page) for page in PAGES]
        for path in (*pages, *(f"{page}/" for page in pages if page != "/")):
            async with http.get(f"{base}{path}?id=1", headers={"Accept-Encoding": ""}) as response:
                assert await response.text() == INDEX
                assert response.headers["Cache-Control"] == "no-cache"
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                etag = response.headers["ETag"]
        async with http.get(base, headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        astray = {
            "Accept": "text/html,*/*;q=0.8",
            "Accept-Encoding": "",
            "If-None-Match": etag,
        }
        async with http.get(f"{base}/nope", headers=astray) as response:
            assert (response.status, await response.text()) == (404, INDEX)
        async with http.get(f"{base}/api/nope", headers=astray) as response:
            assert (response.status, "nothing at /api/nope" in await response.text()) == (404, True)
        script = f"{base}/assets/main-3f2a.js"
        async with http.get(script, headers={"Accept-Encoding": "br, gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await response.read()).decode() == SCRIPT
            assert response.content_type in {"text/javascript", "application/javascript"}
            assert "immutable" in response.headers["Cache-Control"]
        async with http.get(f"{base}/assets/font-1.woff2") as response:
            assert "Content-Encoding" not in response.headers
            assert response.content_type == "font/woff2"
        async with http.get(f"{base}/favicon.ico") as response:
            assert response.content_type == "image/svg+xml"
    await server.close(1.0)


@pytest.mark.parametrize(
    "path", ["/nope", "/search.html", "/api/nope", "/api/task/", "/assets/../index.html", "/x/y"]
)
async def test_what_is_not_there_is_a_404(site: Site, path: str) -> None:
    async with site.http.get(site.url(path)) as response:
        assert response.status == 404
        assert response.content_type == "text/html"


async def test_without_a_build_a_page_says_so() -> None:
    page = StaticSite(None)._page
    assert b"npm run build" in page.body

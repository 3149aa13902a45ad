"""REST sources against a real HTTP server in the test: what it answered is in the lake exactly once,
it was asked as the configuration says, and what went wrong is said in health."""

import base64
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import wait_until


class Request:
    def __init__(self, handler, body):
        url = urllib.parse.urlsplit(handler.path)
        self.handler = handler
        self.method = handler.command
        self.path = url.path
        self.query = {k: v[-1] for k, v in urllib.parse.parse_qs(url.query).items()}
        self.headers = handler.headers
        self.body = body
        self.at = time.monotonic()


class Server:
    """answer(request) returns (status, headers, body) or (status, headers, None) when it has written
    the body itself through request.handler.wfile; a body that is no bytes is sent as JSON."""

    def __init__(self, answer, tls=None, host="127.0.0.1"):
        self.answer = answer
        self.requests = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self, body)
                with outer.lock:
                    outer.requests.append(request)
                status, headers, body = outer.answer(request)
                if body is None:
                    self.close_connection = True
                    return
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                    headers = {"Content-Type": "application/json", **headers}
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 304 and "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do

            def log_message(self, *arguments):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

            def handle_error(self, request, client_address):
                pass  # clients that leave are what some tests are about

        self.http = Quiet((host, 0), Handler)
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_port
        self.url = f"http{'s' if tls else ''}://{host}:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def count(self, path=None):
        with self.lock:
            return sum(path in (None, r.path) for r in self.requests)

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve():
    servers = []

    def start(answer, **options):
        servers.append(Server(answer, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def source(url, name="api", **config):
    return {"name": name, "type_name": "rest_api",
            "config": {"url": url, "poll_interval": 1, **config}}


@pytest.fixture
def poll(make_service):
    """poll(url, **config) runs a service with one source."""
    return lambda url, **config: make_service(1, sources=[source(url, **config)])


def health(service):
    return json.loads(service.get("/api/health"))["components"]["data_sources"]


def wait_health(service, *words):
    wait_until(lambda: all(w.lower() in health(service).lower() for w in words),
               lambda: f"{words} in health, which says {health(service)}")


def once(body, status=200, **headers):
    """Answers with it the first time, and with nothing new afterwards."""
    seen = []

    def answer(request):
        seen.append(request)
        return (status, headers, body) if len(seen) == 1 else (204, {}, b"")

    return answer


def stored(service, count):
    wait_until(lambda: len(service.rows()) >= count,
               lambda: f"{count} rows, there are {len(service.rows())}")
    service.stop()
    return service.rows()


# --- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path, body, expected", [
    (None, [{"v": 1}, {"v": 2}], [1, 2]),
    (None, {"v": 3}, [3]),
    ("data.items", {"data": {"items": [{"v": 1}, {"v": 2}]}}, [1, 2]),
    ("items.0.data", {"items": [{"data": {"v": 5}}, {"data": {"v": 6}}]}, [5]),
    ("/data/items", {"data": {"items": [{"v": 7}]}}, [7]),
    ("a[*].b", {"a": [{"b": {"v": 1}}, {"b": [{"v": 2}, {"v": 3}]}, {"c": 0}]}, [1, 2, 3]),
    ("a", {"a": []}, []),
])
def test_data_path(serve, poll, path, body, expected):
    both = [body, [{"v": 99}] if path is None else None]
    server = serve(once(body))
    service = poll(server.url, **({"data_path": path} if path else {}))
    wait_until(lambda: server.count() >= 2, "a second poll")
    rows = stored(service, len(expected))
    assert sorted(r["v"] for r in rows) == expected, both


def test_metadata_of_a_row(serve, poll):
    server = serve(once([{"v": 1, "timestamp": "2024-05-06T07:08:09Z"}]))
    service = poll(server.url + "/some/path?key=1")
    (row,) = stored(service, 1)
    assert row["source_url"] == server.url + "/some/path?key=1"
    assert row["http_status"] == 200
    assert row["content_type"] == "application/json"
    assert row["source_type"] == "rest_api"
    assert row["method"] == "GET"
    assert row["fetch_timestamp"].endswith("+00:00")
    assert row["timestamp"] == "2024-05-06T07:08:09+00:00"
    assert row["ingestion_id"].endswith("_api_rest_api")


def test_path_that_does_not_match(serve, poll):
    server = serve(lambda r: (200, {}, {"v": 1}))
    service = poll(server.url, data_path="data.items")
    wait_health(service, "data_path", "does not match")
    rows = stored(service, 1)
    assert all(r["v"] == 1 for r in rows) and len(rows) >= 1


def test_text_is_a_record(serve, poll):
    server = serve(once(b"temperature=21.5", **{"Content-Type": "text/plain; charset=utf-8"}))
    (row,) = stored(poll(server.url), 1)
    assert row["content"] == "temperature=21.5"
    assert row["content_type"] == "text/plain; charset=utf-8"


def test_odd_elements_and_oversize(serve, poll):
    body = b'[1,"two",[3,4],{"v":5},null,{"v":"' + b"x" * 5000 + b'"}]'
    server = serve(once(body, **{"Content-Type": "application/json"}))
    service = poll(server.url, max_message_bytes=1000)
    rows = stored(service, 5)
    assert len(rows) == 5
    assert len(service.rows(dead_letters=True)) == 1
    assert service.rows(dead_letters=True)[0]["reason"] == "oversize"


def counted(service, rows):
    """Stops when that many are stored: (rows, distinct seqs or values, the greatest)."""
    duckdb = pytest.importorskip("duckdb")
    files = f"'{service.lake}/**/*.parquet'"

    def all_stored():
        account = list(json.loads(service.get("/api/health"))["metrics"]["accounting"].values())
        return account and account[0]["received"] > 0 and account[0]["pending"] == 0

    wait_until(all_stored, f"{rows} rows to be stored")
    service.stop()
    return duckdb.sql(f"select count(*), count(distinct value), max(value) from "
                      f"read_parquet({files}, union_by_name=true)").fetchall()[0]


def test_64_mib_of_records(serve, poll):
    """One group of the journal of some 260 blocks."""
    element = b'{"value":%d,"text":"' + b"x" * 1000 + b'"},'
    count = 64 * 1024 * 1024 // len(element % 100000) - 1
    body = b"[" + b"".join(element % (100000 + i) for i in range(count))[:-1] + b"]"
    server = serve(once(body, **{"Content-Type": "application/json"}))
    service = poll(server.url, timeout_seconds=600)
    wait_until(lambda: server.count() >= 2, "a second poll")
    assert counted(service, count) == (count, count, 100000 + count - 1)


def test_more_records_than_a_group_has_messages(serve, poll):
    count = 2600000
    body = b"[" + b",".join(b"%d" % (1000000 + i) for i in range(count)) + b"]"
    server = serve(once(body, **{"Content-Type": "application/json"}))
    service = poll(server.url, timeout_seconds=600)
    wait_until(lambda: server.count() >= 2, "a second poll")
    assert counted(service, count) == (count, count, 1000000 + count - 1)


# --- asking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("config, name, value", [
    ({"auth_type": "bearer", "auth_token": "t0ken"}, "Authorization", "Bearer t0ken"),
    ({"auth_type": "api_key", "auth_token": "k3y"}, "X-API-Key", "k3y"),
    ({"auth_type": "api_key", "auth_token": "k3y", "api_key_header": "X-Mine"}, "X-Mine", "k3y"),
    ({"auth_type": "basic", "username": "us", "password": "p:w"}, "Authorization",
     "Basic " + base64.b64encode(b"us:p:w").decode()),
    ({"auth_type": "basic", "auth_token": "us:pw"}, "Authorization",
     "Basic " + base64.b64encode(b"us:pw").decode()),
])
def test_credentials(serve, poll, config, name, value):
    def answer(request):
        if request.headers.get(name) != value:
            return 401, {}, {}
        return 200, {}, [{"v": 1}]

    server = serve(answer)
    service = poll(server.url, **config)
    assert stored(service, 1)[0]["v"] == 1
    assert "t0ken" not in service.log() and "k3y" not in service.log()


@pytest.mark.parametrize("in_body", [False, True])
def test_oauth2(serve, poll, in_body):
    tokens = []

    def answer(request):
        if request.path == "/token":
            form = dict(urllib.parse.parse_qsl(request.body.decode()))
            basic = "Basic " + base64.b64encode(b"client:s%26cret").decode()
            good = (form.get("client_secret") == "s&cret" if in_body
                    else request.headers.get("Authorization") == basic)
            if not good or form["grant_type"] != "client_credentials" or form["scope"] != "a b":
                return 401, {}, {"error": "invalid_client"}
            tokens.append(f"token-{len(tokens)}")
            return 200, {}, {"access_token": tokens[-1], "token_type": "bearer", "expires_in": 3600}
        if request.headers.get("Authorization") != f"Bearer {tokens[-1]}":
            return 401, {}, {}
        if server.count("/data") == 3:  # it ends before its time
            tokens.append("another")
            return 401, {}, {}
        return 200, {}, [{"v": server.count("/data")}]

    server = serve(answer)
    service = poll(server.url + "/data", auth_type="oauth2_client_credentials", oauth2={
        "token_url": server.url + "/token", "client_id": "client", "client_secret": "s&cret",
        "scope": "a b", **({"client_auth": "body"} if in_body else {})})
    wait_until(lambda: server.count("/data") >= 5, "polls after the token was renewed")
    rows = stored(service, 3)
    assert server.count("/token") == 2
    assert len({r["v"] for r in rows}) == len(rows)
    assert "s&cret" not in service.log() and "token-0" not in service.log()


def test_oauth2_refused(serve, poll):
    server = serve(lambda r: (401, {}, {"error": "invalid_client"}))
    service = poll(server.url + "/data", auth_type="oauth2_client_credentials", oauth2={
        "token_url": server.url + "/token?key=hidden", "client_id": "c", "client_secret": "hidden"})
    wait_health(service, "/token: ", "401", "invalid_client")
    assert server.count("/data") == 0
    assert "hidden" not in service.log() + health(service)


def test_post_headers_params_and_body(serve, poll):
    server = serve(once([{"v": 1}]))
    service = poll(server.url + "/p?a=1", method="POST", params={"b": "x y&z", "c": [1, 2]},
                   headers={"X-Mine": "yes", "Accept": "text/x"}, body={"query": "all"})
    stored(service, 1)
    request = server.requests[0]
    assert request.method == "POST" and json.loads(request.body) == {"query": "all"}
    assert request.query["a"] == "1" and request.query["b"] == "x y&z"
    assert "c=1&c=2" in request.handler.path
    assert request.headers["X-Mine"] == "yes" and request.headers["Accept"] == "text/x"
    assert request.headers["Content-Type"] == "application/json"


# --- pages --------------------------------------------------------------------------------------

ROWS = [{"seq": i} for i in range(25)]


def paged(kind):
    def answer(request):
        query = request.query
        if kind == "page":
            start = (int(query["page"]) - 1) * 10
            return 200, {}, ROWS[start:start + 10]
        if kind == "offset":
            assert query["limit"] == "10"
            start = int(query["offset"])
            return 200, {}, ROWS[start:start + 10]
        start = int(query.get("at", 0))
        more = start + 10 < len(ROWS)
        if kind == "cursor":
            return 200, {}, {"items": ROWS[start:start + 10],
                             "meta": {"next": str(start + 10) if more else None}}
        links = '</x?at=0>; rel="first"'
        if more:
            links += f', </data?at={start + 10}>; rel="next"'
        return 200, {"Link": links}, ROWS[start:start + 10]

    return answer


@pytest.mark.parametrize("kind, config", [
    ("page", {"kind": "page", "size": 10}),
    ("page", {"kind": "page"}),
    ("offset", {"kind": "offset", "limit": 10}),
    ("cursor", {"kind": "cursor", "field": "meta.next", "param": "at"}),
    ("link", {"kind": "link_header"}),
])
def test_pages(serve, poll, kind, config):
    server = serve(paged(kind))
    service = poll(server.url + "/data", pagination=config, poll_interval=3600,
                   **({"data_path": "items"} if kind == "cursor" else {}))
    rows = stored(service, 25)
    assert sorted(r["seq"] for r in rows) == list(range(25))
    assert server.count() == (4 if config == {"kind": "page"} else 3)


def test_max_pages(serve, poll):
    server = serve(lambda r: (200, {}, [{"seq": int(r.query["page"])}]))
    service = poll(server.url, pagination={"kind": "page", "max_pages": 7}, poll_interval=3600)
    wait_health(service, "max_pages")
    assert sorted(r["seq"] for r in stored(service, 7)) == list(range(1, 8))


# --- what is remembered -------------------------------------------------------------------------


class Feed:
    """Records with growing seq; since=N gives those above, at most `most`, all of one poll at once."""

    def __init__(self, most=1000):
        self.count = 0
        self.most = most

    def grow(self, by):
        self.count += by

    def __call__(self, request):
        since = int(request.query.get("since", -1))
        rows = [{"seq": i, "text": "x" * 200} for i in range(since + 1, self.count)][:self.most]
        return 200, {}, rows


def test_cursor(serve, poll):
    feed = Feed()
    feed.grow(10)
    server = serve(feed)
    service = poll(server.url, cursor={"field": "seq", "param": "since"})
    wait_until(lambda: server.count() >= 2, "a second poll")
    feed.grow(5)
    rows = stored(service, 15)
    assert sorted(r["seq"] for r in rows) == list(range(15))
    assert "since" not in server.requests[0].query
    assert server.requests[-1].query["since"] == "14"


def test_cursor_of_a_server_that_includes_it(serve, poll):
    """since=N gives N too: the last records come again at every poll, and are known."""
    rows = [{"at": f"2024-01-01T00:00:{i // 2:02d}Z", "seq": i} for i in range(20)]

    def answer(request):
        since = request.query.get("since", "")
        most = 6 + 4 * server.count()
        return 200, {}, [row for row in rows[:most] if row["at"] >= since]

    server = serve(answer)
    service = poll(server.url, cursor={"field": "at", "param": "since"})
    wait_until(lambda: server.count() >= 3, "three polls")
    service.kill()
    service.start()
    before = server.count()
    wait_until(lambda: server.count() >= before + 3, "polls after the kill")
    assert sorted(r["seq"] for r in stored(service, 20)) == list(range(20))


def test_cursor_across_kills(serve, poll):
    """Polls of several blocks, killed at any moment: every record once, and no cursor without its
    records."""
    feed = Feed(most=4000)  # about 1 MiB: four blocks of the journal
    server = serve(feed)
    service = poll(server.url, cursor={"field": "seq", "param": "since"})
    for kill in range(10):
        feed.grow(6000)
        seen = server.count()
        wait_until(lambda: server.count() > seen, "the next poll")
        time.sleep(0.013 * kill)
        service.kill()
        service.start()
    wait_until(lambda: server.requests[-1].query.get("since") == str(feed.count - 1),
               "the last record to be read")
    service.stop()
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(f"select count(*), count(distinct seq), max(seq) from read_parquet("
                       f"'{service.lake}/**/*.parquet', union_by_name=true)").fetchall()[0]
    assert found == (feed.count, feed.count, feed.count - 1)


def test_etag(serve, poll):
    version = [1]

    def answer(request):
        tag = f'"v{version[0]}"'
        if request.headers.get("If-None-Match") == tag:
            return 304, {"ETag": tag}, b""
        return 200, {"ETag": tag, "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, [
            {"seq": version[0]}]

    server = serve(answer)
    service = poll(server.url)
    wait_until(lambda: server.count() >= 3, "three polls")
    version[0] = 2
    wait_until(lambda: server.count() >= 5, "two more")
    service.kill()
    service.start()
    before = server.count()
    wait_until(lambda: server.count() >= before + 2, "polls after the kill")
    rows = stored(service, 2)
    assert sorted(r["seq"] for r in rows) == [1, 2]
    assert server.requests[1].headers["If-Modified-Since"] == "Wed, 21 Oct 2015 07:28:00 GMT"


# --- what goes wrong ----------------------------------------------------------------------------


def test_errors_are_tried_again(serve, poll):
    def answer(request):
        if server.count() < 3:
            return 500, {}, {"error": "x"}
        return 200, {}, [{"v": server.count()}]

    server = serve(answer)
    service = poll(server.url, poll_interval=3600)
    assert [r["v"] for r in stored(service, 1)] == [3]
    first, second, third = (r.at for r in server.requests)
    assert second - first >= 0.4 and third - second >= 0.9


def test_three_tries_and_no_more(serve, poll):
    server = serve(lambda r: (503, {}, {}))
    service = poll(server.url, poll_interval=3600)
    wait_health(service, "503", "Service Unavailable")
    time.sleep(2)
    assert server.count() == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refusals_are_not_tried_again(serve, poll, status):
    server = serve(lambda r: (status, {}, {}))
    service = poll(server.url, poll_interval=3600)
    wait_health(service, str(status))
    time.sleep(1.5)
    assert server.count() == 1


def test_source_recovers(serve, poll):
    bad = [True]
    server = serve(lambda r: (404, {}, {}) if bad[0] else (200, {}, [{"v": 1}]))
    service = poll(server.url)
    wait_health(service, "404")
    bad[0] = False
    wait_until(lambda: health(service) == "healthy", "health")
    assert len(stored(service, 1)) >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after(serve, poll, form):
    def answer(request):
        if server.count() > 1:
            return 200, {}, [{"v": 1}]
        after = "3" if form == "seconds" else time.strftime(
            "%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 4))
        return 429, {"Retry-After": after}, {}

    server = serve(answer)
    service = poll(server.url, poll_interval=3600)
    stored(service, 1)
    assert server.requests[1].at - server.requests[0].at >= 2.9


def test_long_retry_after_holds_polls_back(serve, poll):
    server = serve(lambda r: (429, {"Retry-After": "3600"}, {}))
    service = poll(server.url, poll_interval=1)
    wait_health(service, "429")
    time.sleep(3)
    assert server.count() == 1


def test_connection_refused(poll):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        service = poll(f"http://127.0.0.1:{held.getsockname()[1]}/x?secret=not-to-be-told")
        wait_health(service, "connect")
        assert "not-to-be-told" not in health(service)
        told = json.loads(service.get("/api/data-sources"))["data"][0]
        assert told["status"] == "error" and "connect" in told["last_error"]
        said = json.loads(service.get(f"/api/data-sources/{told['id']}/health"))["data"]
        assert not said["healthy"] and said["failed_polls"] > 0 and said["endpoint"]


def test_a_poll_that_is_answered_ends_the_error(serve, poll):
    states = [500, 500, 500]
    server = serve(lambda r: (states.pop(), {}, {}) if states else (200, {}, {"seq": 1}))
    service = poll(server.url, poll_interval=5)
    wait_health(service, "500")
    told = json.loads(service.get("/api/data-sources"))["data"][0]
    assert told["status"] == "error" and "500" in told["last_error"]
    wait_until(lambda: json.loads(service.get("/api/data-sources"))["data"][0]["status"] == "active",
               "the next poll")
    assert json.loads(service.get("/api/data-sources"))["data"][0]["last_error"] is None


def test_name_that_resolves_to_nothing(poll):
    service = poll("http://nowhere.invalid/")
    wait_health(service, "resolve")


def test_slow_body(serve, poll):
    def answer(request):
        request.handler.send_response(200)
        request.handler.end_headers()
        try:
            for _ in range(600):
                request.handler.wfile.write(b" ")
                time.sleep(0.1)
        except OSError:
            pass
        return 200, {}, None

    server = serve(answer)
    service = poll(server.url, timeout_seconds=1, poll_interval=3600)
    wait_health(service, "time-out")
    assert server.count() == 3


@pytest.mark.parametrize("packed", [False, True])
def test_endless_body(serve, poll, packed):
    sent = []

    def answer(request):
        handler = request.handler
        handler.send_response(200)
        if packed:
            handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        chunk = b"[" + b"1," * 500000
        squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
        try:
            for _ in range(1000):
                sent.append(1)
                handler.wfile.write(squeeze.compress(chunk) if packed else chunk)
        except OSError:
            pass
        return 200, {}, None

    server = serve(answer)
    service = poll(server.url, max_response_bytes=3000000, poll_interval=3600)
    wait_health(service, "larger than 3000000 bytes")
    assert server.count() == 1
    wait_until(lambda: len(sent) < 1000, "the transfer to be cut off")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_compressed(serve, poll, coding):
    body = json.dumps([{"v": i} for i in range(1000)]).encode()
    if coding == "br":
        brotli = pytest.importorskip("brotli")
        packed = brotli.compress(body)
    else:
        packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    server = serve(once(packed, **{"Content-Encoding": coding, "Content-Type": "application/json"}))
    assert len(stored(poll(server.url), 1000)) == 1000
    assert coding in server.requests[0].headers["Accept-Encoding"]


def test_redirects(serve, poll):
    def answer(request):
        if request.path.startswith("/r"):
            left = int(request.path[2:])
            return 302, {"Location": f"/r{left - 1}" if left else "/data"}, {}
        return 200, {}, [{"v": 1}]

    server = serve(answer)
    service = poll(server.url + "/r8", auth_type="bearer", auth_token="t")
    assert stored(service, 1)[0]["v"] == 1
    assert server.requests[9].path == "/data"
    assert server.requests[9].headers["Authorization"] == "Bearer t"


def test_redirects_that_lead_nowhere(serve, poll):
    server = serve(lambda r: (302, {"Location": "/again"}, {}))
    service = poll(server.url, poll_interval=3600)
    wait_health(service, "10 redirects")
    assert server.count() == 11

    def own():  # its connector is asked each second at most
        return json.loads(service.get("/api/data-sources/1/health"))["data"]

    wait_until(lambda: own()["healthy"] is False, lambda: f"its own health to tell; it says {own()}")
    assert own()["status"] == "error" and "10 redirects" in own()["error"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/1"])
def test_redirects_to_other_schemes(serve, poll, target):
    server = serve(lambda r: (302, {"Location": target}, {}))
    service = poll(server.url, poll_interval=3600)
    wait_health(service, "not http or https")


@pytest.mark.parametrize("way", ["redirect", "link"])
def test_credentials_stay_with_their_host(serve, poll, way):
    other = serve(lambda r: (200, {}, [{"v": 2}]))  # another port is another origin
    if way == "redirect":
        server = serve(lambda r: (307, {"Location": other.url + "/there"}, {}))
    else:
        server = serve(lambda r: (200, {"Link": f'<{other.url}/there>; rel="next"'}, [{"v": 1}]))
    service = poll(server.url, auth_type="api_key", auth_token="k3y", headers={"X-Secret": "s"},
                   **({"pagination": {"kind": "link_header"}} if way == "link" else {}))
    stored(service, 1)
    assert server.requests[0].headers["X-API-Key"] == "k3y"
    assert server.requests[0].headers["X-Secret"] == "s"
    assert other.requests[0].path == "/there"
    assert "X-API-Key" not in other.requests[0].headers
    assert "X-Secret" not in other.requests[0].headers


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    openssl = shutil.which("openssl") or pytest.skip("there is no openssl")
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.file = str(tmp_path / "cert.pem")
    context.key = str(tmp_path / "key.pem")
    return context


def test_tls(serve, poll, certificate):
    server = serve(once([{"v": 1}]), tls=certificate)
    assert stored(poll(server.url, tls={"ca_file": certificate.file}), 1)[0]["v"] == 1


def test_tls_unknown_certificate(serve, poll, certificate):
    server = serve(lambda r: (200, {}, [{"v": 1}]), tls=certificate)
    service = poll(server.url, poll_interval=3600)
    wait_health(service, "certificate")
    assert server.count() == 0


def test_tls_unverified(serve, poll, certificate):
    server = serve(once([{"v": 1}]), tls=certificate)
    assert stored(poll(server.url, tls={"verify": False}), 1)[0]["v"] == 1


def test_tls_missing_ca_file(serve, poll, certificate):
    server = serve(lambda r: (200, {}, [{"v": 1}]), tls=certificate)
    service = poll(server.url, tls={"ca_file": "/nonexistent/ca.pem"}, poll_interval=3600)
    wait_health(service, "/nonexistent/ca.pem")


def test_tls_client_certificate(serve, poll, certificate):
    certificate.verify_mode = ssl.CERT_REQUIRED
    certificate.load_verify_locations(certificate.file)
    server = serve(once([{"v": 1}]), tls=certificate)
    service = poll(server.url, tls={"ca_file": certificate.file, "cert_file": certificate.file,
                                    "key_file": certificate.key})
    assert stored(service, 1)[0]["v"] == 1


# --- many ---------------------------------------------------------------------------------------


def test_one_bad_source_does_not_hold_up_others(serve, make_service):
    def answer(request):
        if request.path == "/stuck":
            time.sleep(20)
        return 200, {}, [{"seq": int(request.path[1:])}] if request.path[1:].isdigit() else []

    server = serve(answer)
    sources = [source(f"{server.url}/{i}", f"good {i}") for i in range(20)]
    sources += [source(server.url + "/stuck", f"stuck {i}", timeout_seconds=15) for i in range(10)]
    service = make_service(1, sources=sources)
    wait_until(lambda: all(server.count(f"/{i}") >= 3 for i in range(20)), "three polls of each")
    assert {r["seq"] for r in stored(service, 60)} == set(range(20))


def test_polls_keep_their_cadence(serve, poll):
    server = serve(lambda r: (200, {}, [{"v": time.sleep(0.3) or 1}]))
    service = poll(server.url)
    wait_until(lambda: server.count() >= 8, "eight polls")
    service.stop()
    at = [r.at for r in server.requests]
    # no drift: a sleep of 0.3 s in each answer would add up to 2 s otherwise
    assert abs((at[7] - at[0]) / 7 - round((at[7] - at[0]) / 7)) < 0.08

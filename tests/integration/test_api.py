"""The HTTP API over real sockets, served by tests/tools/api_tool.c with canned rows: every route,
good calls and bad ones. Whatever comes, it answers below 500 and stays alive."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import tempfile

import pytest
from conftest import PATIENCE_S, find_program, wait_until


@contextlib.contextmanager
def serving(*arguments):
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([find_program("api_tool"), *arguments], stdin=subprocess.PIPE,
                                   stderr=log)

        def read_log():
            return os.pread(log.fileno(), 1 << 26, 0).decode()

        found = wait_until(lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)", read_log()),
                           "the API to listen")
        server = Server(int(found.group(1)), process)
        try:
            yield server
        finally:
            if not process.stdin.closed:
                process.stdin.close()
            process.wait(timeout=PATIENCE_S)
            server.log = read_log()
        assert process.returncode == 0, server.log
        assert "Sanitizer" not in server.log


class Server:
    def __init__(self, port, process):
        self.port, self.process, self.log = port, process, ""

    def call(self, method, target, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if body:
            connection.send(body)
        response = connection.getresponse()
        answer = response.status, response.headers, response.read()
        connection.close()
        return answer

    def get(self, target, expected=200):
        status, headers, body = self.call("GET", target)
        assert status == expected, (target, status, body)
        return json.loads(body)

    def raw(self, data, timeout=2):
        """Sends bytes as they are, reads what comes until the end or silence."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            received = b""
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while part := s.recv(65536):
                    received += part
            except OSError:  # closed on us (ENOTCONN at shutdown is no ConnectionError), or silent
                pass
            return received

    def feed(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def alive(self):
        assert self.get("/api/live") == {"live": True}


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def test_routes(server):
    assert set(server.get("/")) == {"message", "version", "features", "endpoints"}
    for path in server.get("/")["endpoints"].values():
        assert server.call("GET", path)[0] == 200
    health = server.get("/api/health")
    assert set(health) == {"status", "components", "metrics"}
    assert {"data_sources", "minio", "data_buffer", "journal", "database",
            "metadata"} == set(health["components"])
    assert health["metrics"]["buffered_messages"] == 8
    partitions = server.get("/api/partitions")
    assert partitions == {"status": "success", "data": ["city_a", "city_b"],
                          "message": "Retrieved 2 partitions", "error": None, "total": 2,
                          "page": None, "page_size": None}
    rows = server.get("/api/data")["data"]
    assert [row["seq"] for row in rows] == [0, 1, 2, 3, 4, 0, 1, 2]
    assert list(rows[0])[:7] == ["sensor_id", "seq", "value", "ingestion_id", "timestamp",
                                 "source_type", "ingestion_timestamp"]
    assert server.get("/api/data/city_a?limit=2")["total"] == 2
    analysis = server.get("/api/diagnostics/topic-analysis")["data"]
    assert analysis["topic_to_ingestion_id_mapping"] == {"city/a": ["city_a"],
                                                         "city/b": ["city_b"]}
    assert analysis["partitions"]["city_a"]["message_count"] == 5
    assert server.get("/openapi.json")["openapi"].startswith("3.1")


def test_metrics(server):
    for path in "/metrics", "/api/metrics":
        status, headers, body = server.call("GET", path)
        assert status == 200
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b"# TYPE process_cpu_seconds_total counter" in body


def test_unhealthy():
    with serving("--status", "2") as server:
        assert server.get("/api/health", 503)["status"] == "unhealthy"
        assert server.get("/api/ready", 503)["ready"] is False
        assert server.get("/api/live", 503) == {"live": False}


def test_head_and_methods(server):
    status, headers, body = server.call("HEAD", "/api/partitions")
    assert (status, body) == (200, b"")
    assert headers["Content-Type"] == "application/json"
    for method in "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "FOO":
        status, headers, body = server.call(method, "/api/data")
        assert (status, headers["Allow"]) == (405, "GET, HEAD"), method
        assert json.loads(body)["detail"] == "Method Not Allowed"


def test_request_id(server):
    fresh = server.call("GET", "/")[1]["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", fresh)
    assert server.call("GET", "/nope", None, {"X-Request-ID": "my id"})[1]["X-Request-ID"] == "my id"
    for bad in "x" * 129, "\xe9":
        sent = server.call("GET", "/", None, {"X-Request-ID": bad})[1]["X-Request-ID"]
        assert len(sent) == 36


def test_log():
    with serving() as server:
        server.call("GET", "/api/data/city_a?secret=1", None, {"X-Request-ID": "abc-1"})
        server.call("POST", "/nope", b"{}", {"X-Request-ID": "abc-2"})
    assert re.search(r"GET /api/data/city_a 200 [0-9.]+ ms request_id=abc-1", server.log)
    assert re.search(r"POST /nope 404 [0-9.]+ ms request_id=abc-2", server.log)
    assert "secret" not in server.log


def test_cors(server):
    origin = {"Origin": "https://console.example"}
    assert server.call("GET", "/", None, origin)[1]["Access-Control-Allow-Origin"] == "*"
    assert server.call("GET", "/")[1]["Access-Control-Allow-Origin"] is None
    status, headers, _ = server.call("OPTIONS", "/api/buffer/size", None, {
        **origin, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-a"})
    assert status == 200
    assert headers["Access-Control-Allow-Methods"] == "GET, POST, PUT, DELETE"
    assert headers["Access-Control-Allow-Headers"] == "content-type, x-a"
    assert headers["Access-Control-Allow-Credentials"] is None
    with serving("--cors", "https://console.example,http://b") as one:
        headers = one.call("GET", "/nope", None, origin)[1]
        assert headers["Access-Control-Allow-Origin"] == "https://console.example"
        assert headers["Vary"] == "Origin"
        evil = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        status, headers, body = one.call("OPTIONS", "/api/buffer/size", None, evil)
        assert status == 400 and headers["Access-Control-Allow-Origin"] is None
        assert one.call("GET", "/", None, evil)[1]["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("target", [
    "/nope", "//", "//api/health", "/api/../api/health", "/api/data/a%2Fb", "/" + "x" * 10240,
    "/%", "/%zz", "/%ff%00", "/api/data/a/b/c", "*", "/.%2e/%2e%2e/etc/passwd"])
def test_odd_paths(server, target):
    body = server.get(target, 404)
    assert body["status"] == "error" and body["error"] == body["detail"] == "Not Found"


def test_redirect(server):
    status, headers, body = server.call("GET", "/api/data/?limit_per_partition=1")
    assert (status, headers["Location"], body) == (307, "/api/data?limit_per_partition=1", b"")
    assert server.call("POST", "/api/buffer/size/", b"{}")[0] == 307
    assert server.get("/api/data/%00%ff")["data"] == []


def test_bodies(server):
    def post(body, content_type="application/json"):
        headers = {"Content-Type": content_type} if content_type else {}
        status, _, answer = server.call("POST", "/api/buffer/size", body, headers)
        return status, json.loads(answer)

    assert post(b'{"max_rows": 50}') == (200, {"status": "success", "data": {"max_rows": 50},
                                               "message": None, "error": None})
    assert post(b"{}", None)[1]["data"] == {"max_rows": 100}
    assert post(b'{"max_rows": true}')[0] == 400
    assert post(b"")[1]["detail"][0]["type"] == "missing"
    for body in b"[]", b"null", b"7":
        assert post(body)[1]["detail"][0]["type"] == "dict_type"
    for kind in "text/plain", "application/x-www-form-urlencoded", "multipart/form-data":
        assert post(b"{}", kind)[0] == 422
    assert post(b'{"max_rows": NaN}')[1]["detail"][0]["loc"] == ["body", 13]
    for body in (b"{", b"\xff", b'{"a":"\x00"}', b"[" * 100000, b'{"a":' * 1000, b'{"a":1e999}',
                 b'{"max_rows":' + b"9" * 5000 + b"}", b'{"max_rows":"\\ud800"}'):
        assert 400 <= post(body)[0] < 500, body[:40]
    status, answer = post(b" " * (1024 * 1024 + 1))
    assert status == 413 and answer["status"] == "error"
    assert post(b"{" + b" " * (1024 * 1024 - 2) + b"}")[0] == 200
    assert server.call("GET", "/api/live", b"x" * 5000)[0] == 200
    server.alive()


def test_huge_bodies(server):
    head = b"POST /api/buffer/size HTTP/1.1\r\nHost: x\r\n"
    refused = server.raw(head + b"Content-Length: 99999999999\r\n\r\n{")
    assert refused.startswith(b"HTTP/1.1 413")
    expecting = server.raw(head + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
    assert expecting.startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    chunked = server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n")
    assert b" 413 " in chunked.split(b"\r\n")[0]
    server.alive()


@pytest.mark.parametrize("data", [
    b"", b"\r\n\r\n", b"GET", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00",
    b"\x00" * 1000, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A" * 200000,
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"H%d: v\r\n" % i for i in range(10000)) + b"\r\n",
    b"GET /" + b"x" * 200000 + b" HTTP/1.1\r\n\r\n",
    b"POST /api/buffer/size HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /api/buffer/size HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n{}",
    b"POST /api/buffer/size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/buffer/size HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{}",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX\x00Y: z\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_malformed(server, data):
    answer = server.raw(data)
    assert not answer or re.match(rb"HTTP/1\.[01] [1234]\d\d |HTTP/1\.1 50[15] ", answer), answer[:80]
    server.alive()


def test_keep_alive_and_pipelining(server):
    one = b"GET /api/live HTTP/1.1\r\nHost: x\r\n\r\n"
    assert server.raw(one * 50).count(b'{"live":true}') == 50


def test_slow_loris():
    with serving("--timeout-ms", "500") as server:
        slow = []
        for _ in range(20):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            slow.append(s)
        closed = 0
        for s in slow:  # each gets a byte now and then, for as long as it takes to be cut
            for _ in range(600):
                try:
                    s.sendall(b"A")
                    s.settimeout(0.05)
                    if s.recv(1000) == b"":
                        closed += 1
                        break
                except TimeoutError:
                    continue
                except OSError:
                    closed += 1
                    break
            s.close()
        assert closed == 20
        server.alive()


def test_connections_without_end(server):
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    server.alive()
    for s in held:
        s.close()
    server.alive()


def test_concurrency():
    with serving("--partitions", "300") as server:
        def one(i):
            target = ["/api/data", "/api/partitions", "/api/data/part_000007", "/metrics",
                      "/api/diagnostics/topic-analysis"][i % 5]
            if i % 7 == 0:
                return server.call("POST", "/api/buffer/size", b'{"max_rows": %d}' % (20 + i))[0]
            status, _, body = server.call("GET", target)
            if target.startswith("/api"):
                json.loads(body)
            return status

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert set(pool.map(one, range(200))) == {200}
        # More than a megabyte is streamed in chunks, and complete all the same.
        status, headers, body = server.call("GET", "/api/data")
        answer = json.loads(body)
        assert headers["Transfer-Encoding"] == "chunked"
        assert answer["total"] == len(answer["data"]) == 6000


def test_client_leaves_in_the_middle():
    with serving("--partitions", "300") as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"GET /api/data HTTP/1.1\r\nHost: x\r\n\r\n")
                s.recv(100)
        server.alive()


def test_stop_with_idle_connections():
    with serving() as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        server.alive()
    for s in idle:
        s.close()


class Stream:
    """One client of /api/stream."""

    def __init__(self, server, query=""):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        self.socket.sendall(f"GET /api/stream{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.text = b""
        self.read_until(b"\r\n\r\n")

    def read_until(self, what):
        while what not in self.text:
            part = self.socket.recv(65536)
            assert part, self.text
            self.text += part

    def body(self):
        """What has come, without the lines of its chunks, which may end in the middle of a row."""
        rest = self.text.partition(b"\r\n\r\n")[2]
        body = b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            size = int(size, 16)
            body += rest[:size]
            rest = rest[size + 2:]
        return body

    def rows(self, count):
        """The rows and what was told as dropped, until there are count in all."""
        while True:
            lines = self.body().decode().split("\n")
            rows = [json.loads(line[6:]) for line in lines[:-1]
                    if line.startswith("data: ") and "dropped" not in line]
            dropped = sum(json.loads(line[6:])["dropped"] for line in lines[:-1]
                          if line.startswith('data: {"dropped"'))
            if len(rows) + dropped >= count:
                return rows, dropped
            part = self.socket.recv(65536)
            assert part, self.text
            self.text += part

    def close(self):
        self.socket.close()


def test_stream():
    with serving() as server:
        everything, one, other = Stream(server), Stream(server, "?ingestion_id=city_a"), Stream(
            server, "?ingestion_id=nobody")
        assert b"Content-Type: text/event-stream" in one.text
        assert b"Cache-Control: no-cache" in one.text
        one.read_until(b": rows")
        everything.read_until(b": rows")
        server.feed("rows city_a 3")
        server.feed("rows city_b 2")
        rows, dropped = everything.rows(5)
        assert (len(rows), dropped) == (5, 0)
        rows, dropped = one.rows(3)
        assert [row["seq"] for row in rows] == [0, 1, 2] and dropped == 0
        assert {row["ingestion_id"] for row in rows} == {"city_a"}
        one.close()
        server.feed("rows city_a 1")
        assert len(everything.rows(6)[0]) == 6
        server.alive()
    # The end of the service is the end of the stream, whole.
    everything.read_until(b"\r\n0\r\n\r\n")
    other.read_until(b"\r\n0\r\n\r\n")


def test_slow_stream_client_is_told():
    """Who does not read loses rows, and hears how many; who reads gets all."""
    with serving() as server:
        slow = Stream(server)
        slow.read_until(b": rows")
        total = 0
        for _ in range(1500):
            server.feed("rows city_a 100")
            total += 100
        server.feed("rows city_b 1")
        server.alive()
        rows, dropped = slow.rows(total + 1)
        assert dropped > 0 and len(rows) + dropped == total + 1
        assert rows  # not all of it


def test_too_many_streams():
    with serving() as server:
        streams = [Stream(server) for _ in range(256)]
        status, headers, body = server.call("GET", "/api/stream")
        assert status == 503 and headers["Retry-After"]
        assert "256" in json.loads(body)["error"]
        server.alive()
        streams.pop().close()
        server.feed("rows city_a 1")  # its end is noticed when something is written
        wait_until(lambda: open_close(server), "a place among the streams")


def open_close(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as s:
        s.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = s.recv(4096)
    server.feed("rows city_a 1")
    return b" 200 " in answer


def test_slow_requests_hold_up_nobody():
    wish = {"name": "s", "type_name": "mqtt", "config": {"broker": "slow"}}
    with serving() as server:
        status, _, body = server.call("POST", "/api/data-sources", json.dumps(wish).encode())
        assert status == 200, body
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            starts = [pool.submit(server.call, "POST", "/api/data-sources/1/start")
                      for _ in range(40)]  # 300 ms each, eight at a time
            answered = 0
            while not all(start.done() for start in starts):
                server.alive()
                answered += 1
            assert {start.result()[0] for start in starts} == {200}
        assert answered > 40  # none of the two threads was ever held


def test_slow_request_outlives_the_timeout_and_its_client():
    """The sweeper leaves a request in work alone; a client that goes away harms nobody."""
    wish = {"name": "s", "type_name": "mqtt", "config": {"broker": "slow"}}
    with serving("--timeout-ms", "100") as server:
        server.call("POST", "/api/data-sources", json.dumps(wish).encode())
        assert server.call("POST", "/api/data-sources/1/start")[0] == 200
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"POST /api/data-sources/1/start HTTP/1.1\r\nHost: x\r\n\r\n")
        server.alive()


def test_stop_with_requests_in_work():
    """Those in work are answered, those that wait for a push are told, and the process ends."""
    wish = {"name": "s", "type_name": "mqtt", "config": {"broker": "slow"}}
    sockets = []
    with serving() as server:
        server.call("POST", "/api/data-sources", json.dumps(wish).encode())
        for request in ([b"POST /api/data-sources/1/start HTTP/1.1\r\nHost: x\r\n\r\n"] * 4 +
                        [b"POST /api/ingest/push-never HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Length: 2\r\n\r\n{}"] * 4):
            sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S))
            sockets[-1].sendall(request)
        server.alive()
    for s, status in zip(sockets, [b"200"] * 4 + [b"503"] * 4):
        answer = s.recv(65536)
        assert answer.split(b" ")[1] == status, answer
        s.close()


def test_bodies_in_memory_are_bounded():
    """256 MiB of bodies on their way in, and no more: then 503, and all is well again after it."""
    head = (b"POST /api/ingest/push HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            % (16 << 20))
    with serving() as server:
        sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
                   for _ in range(18)]
        for s in sockets:
            s.sendall(head + b" " * ((16 << 20) - 1))
        answers = []
        for s in sockets:
            s.sendall(b"\n")
            answers.append(s.recv(4096).split(b" ")[1])
            s.close()
        assert answers.count(b"202") == 16 and answers.count(b"503") == 2, answers
        assert server.call("POST", "/api/ingest/push", b"{}")[0] == 202


def test_pushes():
    with serving() as server:
        status, headers, body = server.call("POST", "/api/ingest/push", b"{}\n{}\n")
        assert status == 202
        assert json.loads(body)["data"] == {"ingestion_id": "push", "count": 2}
        assert "127.0.0.1" in json.loads(body)["message"]
        for status in 400, 401, 403, 413, 422, 429, 503:
            assert server.call("POST", f"/api/ingest/push-{status}", b"{}")[0] == status
        assert server.call("POST", "/api/ingest/nobody", b"{}")[0] == 404
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(
                lambda _: server.call("POST", "/api/ingest/push", b"{}\n")[0], range(500)))
        assert set(answers) == {202}


# Good calls, each with the status it must get, over every route of the document.
GOOD = {
    "get /": 200, "get /api/health": 200, "get /api/ready": 200, "get /api/live": 200,
    "get /api/metrics": 200, "get /metrics": 200, "get /api/partitions": 200, "get /api/data": 200,
    "get /api/data/{ingestion_id}": 200, "post /api/buffer/size": 200,
    "get /api/diagnostics/topic-analysis": 200, "get /api/stream": 200,
    "get /api/data-sources/types": 200, "get /api/data-sources": 200, "post /api/data-sources": 200,
    "get /api/data-sources/{id}": 200, "put /api/data-sources/{id}": 200,
    "delete /api/data-sources/{id}": 200, "get /api/data-sources/status/overview": 200,
    "post /api/data-sources/validate": 200, "post /api/data-sources/test": 200,
    "post /api/data-sources/{id}/start": 200, "post /api/data-sources/{id}/stop": 200,
    "post /api/data-sources/{id}/restart": 200, "get /api/data-sources/{id}/health": 200,
    "get /api/data-sources/{id}/metrics": 200, "post /api/ingest/{ingestion_id}": 202,
    "get /openapi.json": 200, "get /docs": 200,
    # api_tool keeps no metadata; test_metadata.py has their good answers
    **{f"get /api/metadata/{name}": 503 for name in ("datasets", "topics", "current", "stats")},
    **{f"get /api/metadata/datasets/{{ingestion_id}}{more}": 503
       for more in ("", "/schema", "/evolution", "/quality")},
    "post /api/metadata/datasets/{ingestion_id}/quality": 400, "post /api/metadata/cleanup": 503,
    # nor dead letters: test_dead_letters.py
    "get /api/dead-letters": 503, "post /api/dead-letters/replay": 400,
}


def documented(operation, status, headers, body):
    """The document names this status, its content type, and (for JSON) its required members."""
    answer = operation["responses"].get(str(status))
    assert answer, (status, body)
    content_type = (headers["Content-Type"] or "").split(";")[0]
    assert content_type in answer["content"], (status, content_type)
    if content_type == "application/json":
        schema = answer["content"][content_type]["schema"]
        name = schema.get("$ref", "").split("/")[-1]
        required = {"Error": ["detail", "error"], "ValidationError": ["detail", "error"]}.get(
            name, schema.get("required", []))
        missing = set(required) - set(json.loads(body))
        assert not missing, (status, missing, body)
        for member in ("error", "total", "data") if "required" in schema else ():
            assert (member in json.loads(body)) == (member in schema["properties"]), (member, body)


def test_document_is_true():
    """Every route of the document is called, well and badly; what comes is what it says."""
    wish = b'{"name":"s%d","type_name":"mqtt","config":{"broker":"b"}}'
    with serving() as server:
        for i in range(3):
            assert server.call("POST", "/api/data-sources", wish % i)[0] == 200
        document = server.get("/openapi.json")
        names = {f"{method} {path}" for path, item in document["paths"].items() for method in item}
        assert names == set(GOOD)
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if path == "/api/stream":
                    continue  # test_stream
                target = path.replace("{id}", "3").replace("{ingestion_id}", "push")
                body = wish % 9 if operation.get("requestBody") else None
                if method == "delete":
                    target = "/api/data-sources/2"
                status, headers, text = server.call(method.upper(), target, body)
                assert status == GOOD[f"{method} {path}"], (method, path, status, text)
                documented(operation, status, headers, text)
                bad = path.replace("{id}", "x").replace("{ingestion_id}", "nobody") + "?limit=x&since=x"
                status, headers, text = server.call(method.upper(), bad, b"[1" if body else None)
                documented(operation, status, headers, text)
                gone = path.replace("{id}", "999").replace("{ingestion_id}", "push-429")
                status, headers, text = server.call(method.upper(), gone, body)
                documented(operation, status, headers, text)

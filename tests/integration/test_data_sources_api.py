"""The data-source API of the running service, over real sockets: create, read, change, start, stop,
delete, health, overview, dry run and connection test, pushes and the event stream
(contract/http-api.md "Data sources")."""

import concurrent.futures
import gzip
import hashlib
import hmac
import http.client
import json
import re
import socket
import threading
import time

import pytest
from conftest import PATIENCE_S, free_port, wait_until
from test_rest import serve  # noqa: F401 (a fixture)

SOURCE_FIELDS = {"id", "name", "type_name", "type_display_name", "config", "ingestion_id", "enabled",
                 "status", "created_by", "last_connection", "last_error", "created_at", "updated_at"}
QUIET = {"AUTO_REGISTER": "false"}


class Api:
    def __init__(self, service):
        self.service = service

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=PATIENCE_S)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, answer.headers, text

    def wait_ready(self):
        """The API answers before the data sources are read."""
        wait_until(lambda: self.call("GET", "/api/data-sources")[0] == 200, "the data sources")

    def json(self, method, path, body=None, expected=200, headers=None):
        status, _, text = self.call(method, path, body, headers)
        assert status == expected, (method, path, status, text)
        answer = json.loads(text)
        if expected >= 400:
            assert set(answer) == {"status", "data", "message", "error", "detail"}
            assert answer["status"] == "error" and answer["data"] is None
            assert expected == 422 or answer["detail"] == answer["error"]
        return answer

    def create(self, name="s", type_name="mqtt", config=None, expected=200, **more):
        config = config if config is not None else {"broker": "127.0.0.1", "port": 1, "topics": "t"}
        return self.json("POST", "/api/data-sources",
                         {"name": name, "type_name": type_name, "config": config, **more}, expected)

    def status(self, source_id):
        return self.json("GET", f"/api/data-sources/{source_id}")["data"]["status"]


@pytest.fixture
def api(make_service):
    service = make_service(free_port(), environment=QUIET)
    api = Api(service)
    api.wait_ready()
    return api


def test_types(api):
    answer = api.json("GET", "/api/data-sources/types")
    assert {"status", "data", "message", "error", "total", "page", "page_size"} == set(answer)
    types = {each["name"]: each for each in answer["data"]}
    assert answer["total"] == len(types) and {"mqtt", "rest_api", "http_push"} <= set(types)
    mqtt = types["mqtt"]
    assert {"id", "name", "display_name", "description", "config_schema", "icon", "category",
            "supported_formats", "real_time", "connector_class", "enabled",
            "created_at"} <= set(mqtt)
    assert (mqtt["display_name"], mqtt["icon"], mqtt["category"], mqtt["real_time"]) == (
        "MQTT Broker", "📡", "IoT", True)
    assert "broker" in mqtt["config_schema"]["properties"]


def test_life(api, broker):
    config = {"broker": "127.0.0.1", "port": broker.port, "topics": "t/#"}
    created = api.create("Local Simulators MQTT", config=config)
    source = created["data"]
    assert created["error"] is None and set(source) == SOURCE_FIELDS
    assert source["ingestion_id"] == "5ec7bb57_local_simulators_mqtt_mqtt"
    assert (source["created_by"], source["enabled"]) == ("api", True)
    path = f"/api/data-sources/{source['id']}"
    wait_until(lambda: api.status(source["id"]) == "active", "the source to run")
    # the same again is the same; another config is a conflict
    assert api.create("Local Simulators MQTT", config=config)["data"]["id"] == source["id"]
    api.create("Local Simulators MQTT", config={**config, "topics": "u"}, expected=409)
    health = api.json("GET", path + "/health")
    assert set(health) == {"status", "data", "message"}
    assert health["data"]["healthy"] is True and health["data"]["broker"] == "127.0.0.1"
    overview = api.json("GET", "/api/data-sources/status/overview")
    assert set(overview) == {"status", "data", "message"}
    assert overview["data"]["active_connectors"] == 1
    assert overview["data"]["connectors"][source["ingestion_id"]]["type"] == "MQTTConnector"
    stopped = api.json("POST", path + "/stop")
    assert set(stopped) == {"status", "message"}
    assert api.status(source["id"]) == "stopped"
    health = api.json("GET", path + "/health")["data"]
    assert health["healthy"] is False and {"status", "message", "last_error"} <= set(health)
    api.json("POST", path + "/start")
    assert api.status(source["id"]) == "active"
    api.json("POST", path + "/start")  # of a running one succeeds
    api.json("POST", path + "/restart")
    renamed = api.json("PUT", path, {"name": "Renamed"})["data"]
    assert (renamed["name"], renamed["ingestion_id"]) == ("Renamed", source["ingestion_id"])
    api.json("PUT", path, {"enabled": False})
    wait_until(lambda: api.status(source["id"]) in ("stopped", "inactive"), "it to be disabled")
    assert api.json("GET", "/api/data-sources")["total"] == 0
    assert api.json("GET", "/api/data-sources?enabled_only=false")["total"] == 1
    assert isinstance(api.json("GET", path + "/metrics")["data"], list)
    assert set(api.json("DELETE", path)) == {"status", "message"}
    error = api.json("GET", path, expected=404)
    assert error["error"] == f"Data source {source['id']} not found"


def test_disabled_does_not_start_and_stop_survives(api, broker):
    config = {"broker": "127.0.0.1", "port": broker.port, "topics": "t"}
    off = api.create("off", config=config, enabled=False)["data"]
    on = api.create("on", config=config)["data"]
    wait_until(lambda: api.status(on["id"]) == "active", "the enabled one to run")
    assert api.status(off["id"]) == "inactive"
    api.json("POST", f"/api/data-sources/{on['id']}/stop")
    api.service.stop()
    api.service.start()
    api.wait_ready()
    assert api.status(on["id"]) == "stopped"
    assert api.status(off["id"]) == "inactive"


def test_secrets_are_masked(api):
    config = {"broker": "127.0.0.1", "port": 1, "topics": "t", "username": "u", "password": "hunter2"}
    source = api.create("secret", config=config, enabled=False)["data"]
    assert source["config"]["password"] == "********"
    path = f"/api/data-sources/{source['id']}"
    changed = api.json("PUT", path, {"config": {**source["config"], "port": 2}})["data"]
    assert (changed["config"]["password"], changed["config"]["port"]) == ("********", 2)
    # the stored secret stayed: sending it in clear is no other config
    again = api.create("secret", config={**config, "port": 2}, enabled=False)["data"]
    assert again["id"] == source["id"]
    for each in "/api/data-sources?enabled_only=false", path, path + "/health":
        assert b"hunter2" not in api.call("GET", each)[2]
    bad = api.create("secret two", config={**config, "password": 7}, expected=400)
    assert "password" in bad["error"]
    assert "hunter2" not in api.service.log()


def test_what_a_form_leaves_empty_is_not_there(api, broker):
    config = {"broker": "127.0.0.1", "port": broker.port, "topics": "t", "username": "",
              "password": "", "shared_group": ""}
    source = api.create("form", config=config)["data"]
    wait_until(lambda: api.status(source["id"]) == "active", "it to run")
    broker.settle()
    assert not {"username", "password"} & set(broker.packets("CONNECT")[0])
    path = f"/api/data-sources/{source['id']}"
    assert api.json("GET", path + "/health")["data"]["shared_group"] == "ingestor-group"
    assert api.json("GET", path)["data"]["config"]["username"] == ""  # stored as it was sent
    api.create("rest", "rest_api", {"url": "http://127.0.0.1:1/", "auth_token": "", "body": "",
                                    "data_path": "", "api_key_header": ""}, enabled=False)
    assert "/token" in api.create("open", "http_push", {"token": ""}, 400)["error"]


def test_a_mask_is_no_secret_of_a_new_source(api):
    wish = {"name": "new", "type_name": "http_push", "config": {"token": "********"}}
    told = "token is the mask that stands for a secret: give the secret itself"
    for path in "/api/data-sources", "/api/data-sources/test":
        assert told in api.json("POST", path, wish, expected=400)["error"]
    dry = api.json("POST", "/api/data-sources/validate", wish)["data"]
    assert not dry["valid"] and dry["errors"][0]["message"] == told
    api.create("new", "http_push", {"token": "s3cret"})
    # of one that is there the mask is what it has
    assert api.json("POST", "/api/data-sources/validate", wish)["data"]["valid"]
    assert api.json("POST", "/api/data-sources", wish)["data"]["config"] == wish["config"]


def test_credentials_are_never_quoted(api, tmp_path):
    (tmp_path / "value").write_text("SEKRITfile")
    for type_name, config in (
            ("rest_api", {"url": f"${{file:{tmp_path}/value}}"}),
            ("rest_api", {"url": "http://u:SEKRIT@ho st/?key=SEKRIT"}),
            ("mqtt", {"broker": "u:SEKRIT@127.0.0.1", "topics": "t"})):
        wish = {"name": "bad", "type_name": type_name, "config": config}
        bad = api.create("bad", type_name, config, expected=400)
        dry = api.json("POST", "/api/data-sources/validate", wish)["data"]
        assert not dry["valid"]
        assert " must be a" in bad["error"] and "SEKRIT" not in json.dumps([bad, dry])
    assert "SEKRIT" not in api.service.log()


def test_start_that_fails_says_why(api):
    port = free_port()
    source = api.create("nowhere", config={"broker": "127.0.0.1", "port": port, "topics": "t"},
                        enabled=False)["data"]
    path = f"/api/data-sources/{source['id']}"
    error = api.json("POST", path + "/start", expected=500)
    assert str(port) in error["error"]
    now = api.json("GET", path)["data"]
    assert now["status"] == "error" and now["last_error"]


def test_validate_and_test(api, broker):
    good = {"name": "v", "type_name": "mqtt",
            "config": {"broker": "127.0.0.1", "port": broker.port, "topics": "t"}}
    assert api.json("POST", "/api/data-sources/validate", good)["data"] == {
        "valid": True, "errors": []}
    bad = {**good, "config": {"broker": 3, "topics": [], "qos": 9}}
    found = api.json("POST", "/api/data-sources/validate", bad)["data"]
    assert found["valid"] is False
    for name in "broker", "topics", "qos":
        assert any(name in error["path"] + error["message"] for error in found["errors"]), name
    tried = api.json("POST", "/api/data-sources/test", good)["data"]
    assert tried["success"] is True
    nowhere = {**good, "config": {**good["config"], "port": free_port()}}
    tried = api.json("POST", "/api/data-sources/test", nowhere)["data"]
    assert tried["success"] is False and tried["message"]
    assert api.json("GET", "/api/data-sources?enabled_only=false")["total"] == 0


def rest_server(serve, endless):
    def answer(request):
        if request.path == "/endless":
            request.handler.send_response(200)
            request.handler.end_headers()
            try:
                while not endless.wait(0.1):
                    request.handler.wfile.write(b" ")
            except OSError:
                pass
            return 200, {}, None
        return {"/good": (200, {}, [{"v": 7}]), "/none": (200, {}, []),
                "/secret": (401, {}, b"")}[request.path]

    return serve(answer)


def test_a_trial_of_a_poll_is_as_good_as_its_answer(api, serve):
    """What polls connects to nothing before it asks: a connection that fails, a refusal and an
    answer that never ends are failures, and the reason is said."""
    endless = threading.Event()
    server = rest_server(serve, endless)
    plain = f"127.0.0.1:{server.http.server_address[1]}"
    expected = {f"http://{plain}/good": (True, "Connection successful"),
                f"http://{plain}/none": (True, "nothing was received"),
                f"http://{plain}/secret": (False, "401 Unauthorized"),
                f"http://{plain}/endless": (False, "no whole answer within the time"),
                f"https://{plain}/good": (False, "SSL routines"),
                "http://127.0.0.1:1/": (False, "connect")}

    def trial(url):
        return api.json("POST", "/api/data-sources/test", {
            "name": "v", "type_name": "rest_api", "config": {"url": url}})["data"]

    with concurrent.futures.ThreadPoolExecutor(len(expected)) as pool:
        tried = dict(zip(expected, pool.map(trial, expected)))
    endless.set()
    for url, (success, words) in expected.items():
        assert tried[url]["success"] is success and words in tried[url]["message"], tried[url]
    assert tried[f"http://{plain}/good"]["sample"]["payload"] == {"v": 7}


def test_a_trial_takes_nothing_from_anybody(api, broker):
    """Neither a share of a shared subscription nor the session of a source that runs."""
    tried = api.json("POST", "/api/data-sources/test", {
        "name": "v", "type_name": "mqtt",
        "config": {"broker": "127.0.0.1", "port": broker.port, "topics": ["$share/g/a", "b"],
                   "client_id": "mine"}})["data"]
    assert tried["success"] is True
    broker.settle()
    (connect,), (subscribe,) = broker.packets("CONNECT"), broker.packets("SUBSCRIBE")
    assert [entry["filter"] for entry in subscribe["filters"]] == ["a", "b"]
    assert connect["client_id"] != "mine" and connect["clean_start"] is True


def test_bad_calls(api):
    detail = api.json("POST", "/api/data-sources", {}, 422)["detail"]
    assert [(d["loc"], d["type"]) for d in detail] == [
        (["body", "name"], "missing"), (["body", "type_name"], "missing"),
        (["body", "config"], "missing")]
    detail = api.json("POST", "/api/data-sources",
                      {"name": 1, "type_name": [], "config": "x", "enabled": "perhaps"}, 422)["detail"]
    assert [d["type"] for d in detail] == ["string_type", "string_type", "dict_type",
                                           "bool_parsing"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("GET", "/health")):
        detail = api.json(method, f"/api/data-sources/abc{path}", expected=422)["detail"]
        assert (detail[0]["loc"], detail[0]["type"]) == (["path", "id"], "int_parsing")
        assert api.json(method, f"/api/data-sources/999{path}", expected=404)["error"] == (
            "Data source 999 not found")
    assert "nothing" in api.create(type_name="nothing", expected=400)["error"]
    for name in "", "x" * 10240:
        api.create(name=name, expected=400)
    assert "broker" in api.create(config={"topics": "t"}, expected=400)["error"]
    assert "colour" in api.create(config={"broker": "b", "topics": "t", "colour": 1},
                                  expected=400)["error"]
    for body, status in ((b"{", 422), (b"[]", 422), (b"\xff", 400), (b'{"name":"\x00"}', 422),
                         (b"", 422), (b"x" * (1 << 20), 422), (b" " * ((1 << 20) + 1), 413)):
        api.json("POST", "/api/data-sources", body, status)
    for content in "text/plain", "application/x-www-form-urlencoded", "multipart/form-data":
        api.json("POST", "/api/data-sources", {}, 422, {"Content-Type": content})
    status, headers, _ = api.call("PATCH", "/api/data-sources/1")
    assert status == 405 and set(headers["Allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    assert api.call("GET", "/api/data-sources/")[0] == 307
    assert api.json("GET", "/api/data-sources?enabled_only=false")["total"] == 0


def test_a_slow_start_holds_up_nobody(api):
    """Starts that wait for a connection sleep; health is answered all the while."""
    listener = socket.create_server(("127.0.0.1", 0))  # accepts, and says nothing
    port = listener.getsockname()[1]
    ids = [api.create(f"slow {i}", config={"broker": "127.0.0.1", "port": port, "topics": "t"},
                      enabled=False)["data"]["id"] for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        starts = [pool.submit(api.call, "POST", f"/api/data-sources/{i}/start") for i in ids]
        answers = 0
        while not all(start.done() for start in starts):
            assert api.json("GET", "/api/live") == {"live": True}
            answers += 1
            time.sleep(0.05)
        assert {start.result()[0] for start in starts} == {500}
    assert answers > 10
    listener.close()


def push_source(api, name="Push", **config):
    source = api.create(name, "http_push", config)["data"]
    wait_until(lambda: api.status(source["id"]) == "active", "the push source to run")
    return source, f"/api/ingest/{source['ingestion_id']}"


def test_push(api):
    source, path = push_source(api)
    answer = api.json("POST", path, {"seq": 1, "a": "x"}, 202)
    assert answer["data"] == {"ingestion_id": source["ingestion_id"], "count": 1}
    assert api.json("POST", path, [{"seq": 2}, {"seq": 3}], 202)["data"]["count"] == 2
    lines = "\n".join(json.dumps({"seq": i}) for i in range(4, 104))
    ndjson = {"Content-Type": "application/x-ndjson"}
    assert api.json("POST", path, lines, 202, ndjson)["data"]["count"] == 100
    packed = gzip.compress(json.dumps([{"seq": 104}]).encode())
    assert api.json("POST", path, packed, 202, {"Content-Encoding": "gzip"})["data"]["count"] == 1
    key = {"Idempotency-Key": "once"}
    for _ in range(3):
        assert api.json("POST", path, [{"seq": 105}, {"seq": 106}], 202, key)["data"]["count"] == 2
    api.service.kill()  # all of it was durable
    api.service.start()
    api.wait_ready()
    wait_until(lambda: api.status(source["id"]) == "active", "the push source to run again")
    assert api.json("POST", path, [{"seq": 105}, {"seq": 106}], 202, key)["data"]["count"] == 2
    api.service.stop()
    assert api.service.seqs() == list(range(1, 107))
    row = next(row for row in api.service.rows() if row["seq"] == 4)
    assert row["source_type"] == "http_push" and row["remote"] == "127.0.0.1"
    assert row["content_type"] == "application/x-ndjson"
    assert row["ingestion_id"] == source["ingestion_id"]


def test_push_refused(api):
    source, path = push_source(api, "Guarded", token="s3cret", max_body_bytes=1000)
    bearer = {"Authorization": "Bearer s3cret"}
    status, headers, _ = api.call("POST", path, "{}")
    assert status == 401 and headers["WWW-Authenticate"] == "Bearer"
    api.json("POST", path, "{}", 403, {"Authorization": "Bearer wrong"})
    signature = "sha256=" + hmac.new(b"s3cret", b'{"a":1}', hashlib.sha256).hexdigest()
    api.json("POST", path, '{"a":1}', 202, {"X-Hub-Signature-256": signature})
    api.json("POST", path, '{"a":2}', 403, {"X-Hub-Signature-256": signature})
    for body, status, more in (
            ("{", 422, {}), ("7", 422, {}), ("", 422, {}), ("{}{}", 422, {}), ("x" * 1001, 413, {}),
            ("a,b", 422, {"Content-Type": "text/csv"}),
            ("a=b", 422, {"Content-Type": "application/x-www-form-urlencoded"}),
            ("{}\nx", 422, {"Content-Type": "application/x-ndjson"}),
            ("{}", 422, {"Content-Encoding": "gzip"}), ("{}", 422, {"Content-Encoding": "br"}),
            ("{}", 400, {"Idempotency-Key": "k" * 256})):
        api.json("POST", path, body, status, {**bearer, **more})
    bomb = gzip.compress(b"\n" * (17 << 20))
    api.json("POST", path, bomb, 413, {**bearer, "Content-Encoding": "gzip"})
    api.json("POST", "/api/ingest/nobody", "{}", 404)
    api.json("POST", f"/api/data-sources/{source['id']}/stop")
    api.json("POST", path, "{}", 503, bearer)
    api.service.stop()
    assert [row["a"] for row in api.service.rows() if row.get("a") is not None] == [1]


def test_push_by_many(api):
    _, path = push_source(api, "Many")

    def post(worker):
        for i in range(20):
            body = [{"seq": worker * 1000 + i * 10 + j} for j in range(10)]
            for _ in range(2):  # each twice
                api.json("POST", path, body, 202, {"Idempotency-Key": f"{worker}-{i}"})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(8)))
    api.service.stop()
    assert api.service.seqs() == sorted(w * 1000 + i for w in range(8) for i in range(200))


def test_stream(api):
    source, path = push_source(api, "Streamed")
    connection = http.client.HTTPConnection("127.0.0.1", api.service.port, timeout=PATIENCE_S)
    connection.request("GET", f"/api/stream?ingestion_id={source['ingestion_id']}")
    answer = connection.getresponse()
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache"
    api.json("POST", path, [{"seq": i} for i in range(5)], 202)
    rows = []
    while len(rows) < 5:
        line = answer.readline().decode()
        if line.startswith("data: "):
            rows.append(json.loads(line[6:]))
    assert [row["seq"] for row in rows] == [0, 1, 2, 3, 4]
    assert {row["ingestion_id"] for row in rows} == {source["ingestion_id"]}
    api.service.stop()  # ends the stream too
    assert answer.read() is not None


def test_docs_and_document(api):
    status, headers, page = api.call("GET", "/docs")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert not re.search(rb"https?://", page)  # works without the internet
    document = api.json("GET", "/openapi.json")
    for path, methods in {"/api/data-sources": {"get", "post"},
                          "/api/data-sources/{id}": {"get", "put", "delete"},
                          "/api/data-sources/{id}/start": {"post"},
                          "/api/ingest/{ingestion_id}": {"post"}, "/api/stream": {"get"},
                          "/docs": {"get"}}.items():
        assert set(document["paths"][path]) == methods
    status, headers, _ = api.call("GET", "/", headers={"Accept": "text/html"})
    assert (status, headers["Location"]) == (307, "/docs")

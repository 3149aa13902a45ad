"""CBOR, SenML, MessagePack and CSV through MQTT, HTTP push and REST into the lake, value for value,
over kill -9 and a change of the source's format."""

import http.server
import json
import math
import threading

import pytest
from conftest import PATIENCE_S, free_port, wait_until

# RFC 8949 appendix A, and what its §6.1 makes of it in JSON.
APPENDIX_A = [
    ("00", 0), ("01", 1), ("0a", 10), ("17", 23), ("1818", 24), ("1819", 25), ("1864", 100),
    ("1903e8", 1000), ("1a000f4240", 1000000), ("1b000000e8d4a51000", 1000000000000),
    ("1bffffffffffffffff", "18446744073709551615"), ("c249010000000000000000", "AQAAAAAAAAAA"),
    ("3bffffffffffffffff", "-18446744073709551616"), ("c349010000000000000000", "~AQAAAAAAAAAA"),
    ("20", -1), ("29", -10), ("3863", -100), ("3903e7", -1000), ("f90000", 0.0), ("f98000", -0.0),
    ("f93c00", 1.0), ("fb3ff199999999999a", 1.1), ("f93e00", 1.5), ("f97bff", 65504.0),
    ("fa47c35000", 100000.0), ("fa7f7fffff", 3.4028234663852886e+38),
    ("fb7e37e43c8800759c", 1.0e+300), ("f90001", 5.960464477539063e-08),
    ("f90400", 0.00006103515625), ("f9c400", -4.0), ("fbc010666666666666", -4.1), ("f97c00", None),
    ("f97e00", None), ("f9fc00", None), ("fa7f800000", None), ("fa7fc00000", None),
    ("faff800000", None), ("fb7ff0000000000000", None), ("fb7ff8000000000000", None),
    ("fbfff0000000000000", None), ("f4", False), ("f5", True), ("f6", None), ("f7", None),
    ("f0", None), ("f8ff", None),
    ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),
    ("c11a514b67b0", 1363896240), ("c1fb41d452d9ec200000", 1363896240.5),
    ("d74401020304", "01020304"), ("d818456449455446", "ZElFVEY="),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", "http://www.example.com"), ("40", ""),
    ("4401020304", "AQIDBA=="), ("60", ""), ("6161", "a"), ("6449455446", "IETF"),
    ("62225c", "\"\\"), ("62c3bc", "\u00fc"), ("63e6b0b4", "\u6c34"),
    ("64f0908591", "\U00010151"), ("80", []), ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))), ("a0", {}),
    ("a201020304", {"1": 2, "3": 4}), ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("826161a161626163", ["a", {"b": "c"}]),
    ("a56161614161626142616361436164614461656145",
     {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}),
    ("5f42010243030405ff", "AQIDBAU="), ("7f657374726561646d696e67ff", "streaming"), ("9fff", []),
    ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]), ("9f01820203820405ff", [1, [2, 3], [4, 5]]),
    ("83018202039f0405ff", [1, [2, 3], [4, 5]]), ("83019f0203ff820405", [1, [2, 3], [4, 5]]),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", list(range(1, 26))),
    ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ("826161bf61626163ff", ["a", {"b": "c"}]), ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
]
# RFC 8428 §6; §5.1.2 in CBOR.
SENML_CBOR = bytes.fromhex(
    "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120"
    "050067766f6c746167650161560" "2fb405e066666666666a3006763757272656e74062402fb3ff33333333333"
    "33a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3"
    "006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e"
    "74060002fb3ffb333333333333")
OW = "urn:dev:ow:10e2073a0108006:"
SENML_ROWS = [(OW + "voltage", "V", 120.1, "2010-06-08T18:01:16.001000+00:00")] + [
    (OW + "current", "A", value, f"2010-06-08T18:01:{second}.001000+00:00") for second, value in
    ((11, 1.2), (12, 1.3), (13, 1.4), (14, 1.5), (15, 1.6), (16, 1.7))]
SENML_JSON = json.dumps([
    {"bn": "urn:dev:ow:10e2073a01080063:", "bt": 1.7e9, "n": "temp", "u": "Cel", "v": 23.1},
    {"n": "label", "vs": "Machine Room"}, {"n": "open", "vb": False},
    {"n": "nfv-reader", "vd": "aGkgCg"}]).encode()


def cbor_map(pairs):
    return b"\xb8" + bytes([len(pairs)]) + b"".join(
        bytes([0x60 | len(key)]) + key.encode() + bytes.fromhex(item) for key, item in pairs)


APPENDIX_RECORD = cbor_map([(f"a{i:02}", item) for i, (item, _) in enumerate(APPENDIX_A)])


def same(expected, got):
    """A column's value; a struct's other fields are null."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(same(v, got.get(k)) for k, v in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(same, expected, got))
    if isinstance(expected, bool) or not isinstance(expected, (int, float)):
        return type(got) is type(expected) and got == expected
    return isinstance(got, float) and got == expected and math.copysign(1, got) == math.copysign(
        1, expected)


def check_appendix(row):
    """Each value is in its column; what no column can have, a list of mixed kinds, is rescued."""
    rescued = json.loads(row["_rescued_data"])
    for i, (item, expected) in enumerate(APPENDIX_A):
        name = f"a{i:02}"
        if name in rescued:
            assert rescued[name] == expected, (item, rescued[name])
            assert isinstance(expected, (list, dict)), item
        else:
            assert same(expected, row.get(name)), (item, expected, row.get(name))


def publish(port, messages):
    client_module = pytest.importorskip("paho.mqtt.client")
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    client = client_module.Client(client_module.CallbackAPIVersion.VERSION2, protocol=5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, content_type, payload in messages:
        properties = Properties(PacketTypes.PUBLISH)
        if content_type:
            properties.ContentType = content_type
        client.publish(topic, payload, qos=1, properties=properties).wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def of_topic(rows, topic):
    return [row for row in rows if row.get("topic") == topic]


def check_senml(rows):
    assert [(r["n"], r["u"], r["v"], r["timestamp"]) for r in rows] == SENML_ROWS


def test_mqtt_over_a_kill(make_service, mosquitto):
    source = {"name": "plant", "type_name": "mqtt",
              "config": {"broker": "127.0.0.1", "port": mosquitto.port, "topics": "f/#"}}
    service = make_service(mosquitto.port, sources=[source],
                           environment={"FLUSH_INTERVAL_SECONDS": "3600"})
    wait_until(lambda: '"active"' in service.get("/api/data-sources"), "the source to run")
    deep = b"\x81" * 10000
    messages = [
        ("f/cbor", "application/cbor", APPENDIX_RECORD),
        ("f/cbor/array", "Application/CBOR; charset=x", bytes.fromhex("9fa161740107a1617402ff")),
        ("f/senml/cbor", "application/senml+cbor", SENML_CBOR),
        ("f/senml/json", "application/senml+json", SENML_JSON),
        ("f/msgpack", "application/msgpack", bytes.fromhex("82a174cb4004000000000000a269640a")),
        ("f/lines", "application/x-ndjson", b'{"t":1}\n{"t":2}\n'),
        ("f/json", "application/json", b'{"t":3}'),
        ("f/none", None, b'{"t":4}'),
        ("f/csv", "text/csv", b"a,b\n1,2\n"),  # without the option a text
        ("f/empty", "application/cbor", b""),
        ("f/bad", "application/cbor", b'{"t":5}'),
        ("f/deep", "application/cbor", deep),
        ("f/bad/senml", "application/senml+json", b'[{"n":"a","v":1},{"v":"x"}]'),
    ]
    publish(mosquitto.port, messages)
    wait_until(lambda: service.metric("ingestor_source_messages_received_total") == len(messages),
               "all messages")
    service.kill()
    # What is in the journal is decoded as it was routed, whatever the source says now.
    source["config"]["format"] = "text"
    (service.folder / "ingestor.yaml").write_text(json.dumps({"sources": [source]}))
    service.start()
    wait_until(lambda: '"active"' in service.get("/api/data-sources"), "the source to run again")
    publish(mosquitto.port, [("f/text", "application/cbor", b"\xa0")])

    def recent(suffix):
        found = json.loads(service.get("/api/partitions"))["data"]
        dataset = next((name for name in found if name.endswith(suffix)), None)
        return dataset and json.loads(service.get(f"/api/data/{dataset}"))["data"]

    wait_until(lambda: recent("_f_text"), "the last message")
    shown = recent("_f_senml_cbor")
    service.stop()
    rows = service.rows()
    check_appendix(of_topic(rows, "f/cbor")[0])
    assert [(r.get("t"), r.get("value")) for r in of_topic(rows, "f/cbor/array")] == [
        (1, None), (None, 7), (2, None)]
    check_senml(of_topic(rows, "f/senml/cbor"))
    kinds = of_topic(rows, "f/senml/json")
    assert [r["n"].rpartition(":")[2] for r in kinds] == ["temp", "label", "open", "nfv-reader"]
    assert (kinds[0]["v"], kinds[1]["vs"], kinds[2]["vb"], kinds[3]["vd"]) == (
        23.1, "Machine Room", False, "aGkgCg")
    assert {r["timestamp"] for r in kinds} == {"2023-11-14T22:13:20+00:00"}
    assert [(r["t"], r["id"]) for r in of_topic(rows, "f/msgpack")] == [(2.5, 10)]
    assert [r["t"] for r in of_topic(rows, "f/lines")] == [1, 2]
    assert [r["t"] for r in of_topic(rows, "f/json") + of_topic(rows, "f/none")] == [3, 4]
    assert of_topic(rows, "f/csv")[0]["content"] == "a,b\n1,2\n"
    assert of_topic(rows, "f/empty")[0]["content"] == ""
    assert of_topic(rows, "f/text")[0]["content"] == "oA=="
    for topic in "f/bad", "f/deep", "f/bad/senml":
        assert not of_topic(rows, topic)
    dead = {row["topic"]: row for row in service.rows(dead_letters=True)}
    assert {topic: row["reason"] for topic, row in dead.items()} == {
        "f/bad": "invalid_cbor", "f/deep": "invalid_cbor", "f/bad/senml": "invalid_senml"}
    assert dead["f/deep"]["payload"] == deep and "1000 levels" in dead["f/deep"]["detail"]
    # Recent rows after the restart say the same.
    assert sorted((r["n"], r["v"], r["timestamp"]) for r in shown) == sorted(
        (n, v, t) for n, _, v, t in SENML_ROWS)


def test_format_is_checked(make_service):
    service = make_service(free_port(), environment={"AUTO_REGISTER": "false"})
    wait_until(lambda: '"total":0' in service.get("/api/data-sources"), "the data sources")
    import urllib.request

    def validate(kind, config):
        request = urllib.request.Request(
            f"http://127.0.0.1:{service.port}/api/data-sources/validate",
            json.dumps({"name": "x", "type_name": kind, "config": config}).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())["data"]

    for kind, config in (("mqtt", {"broker": "b", "topics": "t"}), ("http_push", {}),
                         ("rest_api", {"url": "http://h/"})):
        for name in "auto", "json", "cbor", "senml", "text", "csv", "msgpack":
            assert validate(kind, {**config, "format": name})["valid"], (kind, name)
        refused = validate(kind, {**config, "format": "xml"})
        assert not refused["valid"] and "format" in json.dumps(refused)


def push(service, source_id, body, content_type, expected):
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{service.port}/api/ingest/{source_id}", body,
                                     {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    assert status == expected, (status, text)
    return json.loads(text)


def source_ids(service, count):
    def ready():
        found = json.loads(service.get("/api/data-sources"))["data"] or []  # none before they are read
        return len(found) == count and all(s["status"] == "active" for s in found) and {
            s["name"]: s["ingestion_id"] for s in found}

    return wait_until(ready, "the sources to run")


def test_push(make_service):
    service = make_service(free_port(), environment={"FLUSH_INTERVAL_SECONDS": "3600"}, sources=[
        {"name": "any", "type_name": "http_push", "config": {}},
        {"name": "csv", "type_name": "http_push", "config": {"format": "csv"}}])
    ids = source_ids(service, 2)

    def count(name, body, content_type):
        return push(service, ids[name], body, content_type, 202)["data"]["count"]

    assert count("any", APPENDIX_RECORD, "application/cbor") == 1
    assert count("any", SENML_CBOR, "application/senml+cbor") == 7
    assert count("any", SENML_JSON, "application/senml+json") == 4
    assert count("any", bytes.fromhex("9281a16d0181a16d02"), "application/x-msgpack") == 2
    assert count("csv", b"time;t\n2026-03-04T05:00:00Z;1.5\n;2\n", "text/csv") == 2
    for body, content_type, word in ((b"\xa1", "application/cbor", "ends"),
                                     (b"\x81" * 10000, "application/cbor", "1000"),
                                     (b"\xbf\x61a" * 10000, "application/cbor", "1000"),
                                     (b"\x91" * 10000, "application/msgpack", "1000"),
                                     (b'[{"v":1}]', "application/senml+json", "name"),
                                     (b"\xc1", "application/msgpack", "never")):
        assert word in json.dumps(push(service, ids["any"], body, content_type, 422))
    push(service, ids["any"], b"a\n1", "text/csv", 422)
    push(service, ids["csv"], b"a\n1,2", "text/csv", 422)
    service.kill()  # all of it was durable
    service.start()
    source_ids(service, 2)
    service.stop()
    rows = [row for row in service.rows() if row["ingestion_id"] == ids["any"]]
    assert len(rows) == 14
    check_appendix(next(r for r in rows if r["a55"] is not None))
    check_senml([r for r in rows if (r.get("n") or "").startswith(OW)])
    assert sorted(r["m"] for r in rows if r.get("m") is not None) == [1, 2]
    assert [r["t"] for r in service.rows() if r["ingestion_id"] == ids["csv"]] == [1.5, 2]
    assert not service.files(dead_letters=True)


def test_rest(make_service):
    """CBOR with a path into it, and a body that is none."""
    bodies = {"/good": bytes.fromhex("a16464617461" "9fa161740107a1617402ff"), "/bad": b"\xa1"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/cbor")
            self.send_header("Content-Length", str(len(bodies[self.path])))
            self.end_headers()
            self.wfile.write(bodies[self.path])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        service = make_service(free_port(), sources=[
            {"name": "good", "type_name": "rest_api",
             "config": {"url": url + "/good", "data_path": "data", "poll_interval": 86400}},
            {"name": "bad", "type_name": "rest_api",
             "config": {"url": url + "/bad", "poll_interval": 86400}}])
        wait_until(lambda: service.files() and service.files(dead_letters=True), "both to land")
        service.stop()
    finally:
        server.shutdown()
        server.server_close()
    rows = service.rows()
    assert [(r.get("t"), r.get("value")) for r in sorted(
        rows, key=lambda r: r["t"] or r["value"])] == [(1, None), (2, None), (None, 7)]
    assert {r["content_type"] for r in rows} == {"application/cbor"}
    dead, = service.rows(dead_letters=True)
    assert (dead["reason"], dead["payload"]) == ("invalid_cbor", b"\xa1")

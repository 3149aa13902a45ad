"""Dead letters over the API: listed as they lie in the lake, and sent again, each once, also when the
service is killed while it does so."""

import base64
import json
import os
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import PATIENCE_S, wait_until

SOURCE = {"name": "letters", "type_name": "mqtt"}
KILLS = int(os.environ.get("INGESTOR_TEST_KILLS", "4"))


def call(service, method, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}{path}", method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def letters(service, **query):
    status, answer = call(service, "GET", "/api/dead-letters?" + urllib.parse.urlencode(query))
    assert status == 200, answer
    assert answer["total"] == len(answer["data"])
    return answer["data"]


def replay(service, **body):
    """The service may still be replaying its journal."""
    def ask():
        status, answer = call(service, "POST", "/api/dead-letters/replay", body)
        assert status in (200, 503), answer
        return answer["data"] if status == 200 else None
    return wait_until(ask, "the letters to be sent again")


def publish(port, messages):
    client_module = pytest.importorskip("paho.mqtt.client")
    client = client_module.Client(client_module.CallbackAPIVersion.VERSION2, protocol=5)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(topic, payload, qos=1) for topic, payload in messages]:
        info.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def source_of(port, **options):
    return {**SOURCE, "config": {"broker": "127.0.0.1", "port": port, "topics": ["d/#"], **options}}


def configure(service, source):
    """The source as the service's configuration has it from the next start on."""
    (service.folder / "ingestor.yaml").write_text(json.dumps({"sources": [source]}))


def all_stored(service, count):
    accounting = json.loads(service.get("/api/health"))["metrics"]["accounting"]
    assert all(a["received"] == a["stored"] + a["rejected"] + a["repeated"] + a["pending"]
               for a in accounting.values())
    return (sum(a["received"] for a in accounting.values()) == count and
            all(a["pending"] == 0 for a in accounting.values()))


def restart(service, kill=False):
    service.kill() if kill else service.stop()
    service.start()
    service.wait_log("connected")


def test_listed_and_sent_again(mosquitto, make_service):
    port = mosquitto.port
    service = make_service(port, sources=[source_of(port, format="cbor", max_message_bytes=1000)])
    service.wait_log("connected")
    payloads = [json.dumps({"timestamp": "2026-01-01T00:00:00Z", "n": n}).encode() for n in range(20)]
    publish(port, [(f"d/{n % 2}", payload) for n, payload in enumerate(payloads)])
    publish(port, [("d/0", b"\xff\xfe"), ("d/0", b'{"n":' + b" " * 2000 + b"99}"),
                   ("d/big", b"z" * 100000), ("d/good", b"\xa1\x61n\x07")])
    wait_until(lambda: all_stored(service, 24), "all to be stored")

    found = letters(service)
    assert len(found) == 23 and len({letter["id"] for letter in found}) == 23
    assert [letter["received_at"] for letter in found] == sorted(
        (letter["received_at"] for letter in found), reverse=True) or len(service.files(True)) > 1
    by_payload = {letter["payload"]: letter for letter in found}
    for n, payload in enumerate(payloads):
        letter = by_payload[payload.decode()]
        assert letter["reason"] == "invalid_cbor" and letter["detail"] and letter["whole"]
        assert letter["topic"] == f"d/{n % 2}" and letter["source_type"] == "mqtt"
        assert letter["payload_encoding"] == "text" and not letter["payload_cut"]
        assert letter["metadata"]["topic"] == letter["topic"] and not letter["replayed"]
    binary = by_payload[base64.b64encode(b"\xff\xfe").decode()]
    assert binary["payload_encoding"] == "base64" and binary["payload_size"] == 2
    big = by_payload["z" * 65536]
    assert big["reason"] == "oversize" and not big["whole"]

    # filters, and the way through the pages
    source_id = by_payload[payloads[0].decode()]["ingestion_id"].rsplit("_d_0", 1)[0]
    assert len(letters(service, ingestion_id=source_id + "_d_0")) == 12
    assert len(letters(service, source=source_id)) == 23 and letters(service, source="other") == []
    assert len(letters(service, reason="oversize")) == 2
    assert letters(service, until="2020-01-01T00:00:00Z") == []
    assert len(letters(service, since="2020-01-01T00:00:00Z")) == 23
    pages, after = [], {}
    while page := letters(service, limit=5, **after):
        pages += page
        after = {"after": page[-1]["id"]}
    assert pages == found

    # with the source as it is, they would become dead letters again; so it is mended first
    configure(service, source_of(port, format="json", max_message_bytes=5000))
    restart(service)
    one = by_payload[payloads[3].decode()]["id"]
    assert replay(service, ids=[one, one])["replayed"] == 1
    told = replay(service, source=source_id)
    assert told["replayed"] == 21 and told["already_replayed"] == 1 and told["after"] is None
    assert told["skipped"] == {"incomplete": 1, "no_source": 0, "too_large": 0, "other_journal": 0,
                               "not_found": 0}
    again = replay(service, source=source_id)
    assert again["replayed"] == 0 and again["already_replayed"] == 22
    assert all(letter["replayed"] == letter["whole"] for letter in letters(service))

    restart(service, kill=True)
    assert replay(service, reason="invalid_cbor")["replayed"] == 0
    assert replay(service, ids=[one])["already_replayed"] == 1
    service.stop()
    rows = [row for row in service.rows() if row.get("replayed_from")]
    assert sorted(row["n"] for row in rows if row.get("n") is not None) == [*map(float, range(20)), 99.0]
    assert len(rows) == 22
    for row in rows:
        if row.get("n") is not None and row["n"] < 20:
            assert row["timestamp"] == "2026-01-01T00:00:00+00:00" and row["source_type"] == "mqtt"
            assert row["topic"] == f"d/{int(row['n']) % 2}" and row["qos"] == 1.0
            letter = by_payload[payloads[int(row["n"])].decode()]
            assert row["replayed_from"] == letter["id"]
            assert row["ingestion_timestamp"] == letter["received_at"]
            assert row["ingestion_id"] == letter["ingestion_id"]


def test_each_once_over_kills(mosquitto, make_service):
    port = mosquitto.port
    count = 3000
    service = make_service(port, sources=[source_of(port, format="cbor")])
    service.wait_log("connected")
    publish(port, [(f"d/{n % 3}", json.dumps({"n": n}) + " " * 300) for n in range(count)])
    wait_until(lambda: all_stored(service, count), "all to be stored")
    configure(service, source_of(port, format="json"))
    restart(service)
    wait_until(lambda: len(letters(service, limit=1)) == 1, "a letter to be listed")
    chance = random.Random(int(os.environ.get("INGESTOR_TEST_SEED", "7")))
    for _ in range(KILLS):
        def ask():
            try:
                while True:
                    call(service, "POST", "/api/dead-letters/replay",
                         {"reason": "invalid_cbor", "limit": chance.randrange(100, 900)})
            except (OSError, ValueError):
                pass  # killed
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(chance.random() * 0.4)
        service.kill()
        asking.join()
        service.start()
        service.wait_log("connected")
    told = replay(service, reason="invalid_cbor", limit=10000)
    assert told["replayed"] + told["already_replayed"] == count
    service.stop()
    assert sorted(int(row["n"]) for row in service.rows() if row.get("n") is not None) == [*range(count)]


def test_failing_again_and_without_a_source(mosquitto, make_service):
    """What fails once more is a new letter, and goes on from there; of a deleted source's letters
    nobody knows the format, unless it is named."""
    service = make_service(mosquitto.port, sources=[])
    wait_until(lambda: call(service, "GET", "/api/dead-letters")[0] == 200, "an answer")
    status, answer = call(service, "POST", "/api/data-sources",
                          source_of(mosquitto.port, format="cbor"))
    assert status == 200, answer
    source = answer["data"]
    service.wait_log("connected")
    publish(mosquitto.port, [("d/1", b'{"n": 1}'), ("d/1", b'{"n": 2}')])
    found = wait_until(lambda: len(letters(service)) == 2 and letters(service), "the letters")
    first = next(letter for letter in found if "1" in letter["payload"])
    assert replay(service, ids=[first["id"]])["replayed"] == 1
    found = wait_until(lambda: len(letters(service)) == 3 and letters(service), "the new letter")
    again = next(letter for letter in found if not letter["replayed"] and "1" in letter["payload"])
    assert [letter["id"] for letter in found if letter["replayed"]] == [first["id"]]
    assert (again["reason"], again["ingestion_id"]) == ("invalid_cbor", first["ingestion_id"])
    assert again["metadata"]["topic"] == "d/1"

    assert call(service, "DELETE", f"/api/data-sources/{source['id']}")[0] == 200
    told = replay(service, source=source["ingestion_id"])
    assert (told["replayed"], told["already_replayed"]) == (0, 1)
    assert told["skipped"]["no_source"] == 2
    told = replay(service, source=source["ingestion_id"], format="json")
    assert (told["replayed"], told["already_replayed"]) == (2, 1)
    service.kill()
    service.start()
    told = replay(service, source=source["ingestion_id"], format="json")
    assert (told["replayed"], told["already_replayed"]) == (0, 3)
    wait_until(lambda: len(service.rows()) == 2, "the rows")
    service.stop()
    rows = sorted(service.rows(), key=lambda row: row["n"])
    assert [row["n"] for row in rows] == [1.0, 2.0]
    assert rows[0]["replayed_from"] == again["id"] and rows[1]["replayed_from"]
    assert all(row["ingestion_id"] == first["ingestion_id"] for row in rows)


def test_refusals(mosquitto, make_service):
    service = make_service(mosquitto.port, sources=[])
    wait_until(lambda: call(service, "GET", "/api/dead-letters")[0] == 200, "an answer")
    assert letters(service) == []
    assert call(service, "GET", "/api/dead-letters?limit=0")[0] == 422
    assert call(service, "GET", "/api/dead-letters?since=never")[0] == 422
    for after in ("x", "date=2026-01-01/../../secret.1", "date=2026-01-01/hour=00/part-a.4000000"):
        status, answer = call(service, "GET", "/api/dead-letters?" + urllib.parse.urlencode(
            {"after": after}))
        assert status == 400 and "after" in answer["error"]
    good = "date=2026-01-01/hour=00/part-a.1"
    for body in ({}, {"ids": []}, {"ids": [1]}, {"ids": ["x"]}, {"ids": [good] * 1001},
                 {"reason": 5}, {"reason": "x", "limit": 0}, {"reason": "x", "limit": 10001},
                 {"reason": "x", "format": "xml"}, {"since": "never"},
                 {"reason": "x", "other_journals": "yes"}):
        assert call(service, "POST", "/api/dead-letters/replay", body)[0] == 400, body
    assert call(service, "POST", "/api/dead-letters/replay", [])[0] == 422
    told = replay(service, ids=[good])
    assert told["skipped"]["not_found"] == 1 and told["replayed"] == 0

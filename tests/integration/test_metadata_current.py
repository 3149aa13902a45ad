"""What /api/metadata/current says while records are on their way: in an open batch, cut, landed,
committed. Each is in it once from the moment its worker has it, wherever it is.

INGESTOR_METADATA_CURRENT_SECONDS says how long the moves are watched."""

import json
import os
import sqlite3
import threading
import time

import pytest
from conftest import free_port, wait_until
from test_data_sources_api import QUIET, Api, push_source
from test_metadata import data, dataset

SECONDS = float(os.environ.get("INGESTOR_METADATA_CURRENT_SECONDS", "4"))


def readable(api):
    return api.call("GET", "/api/metadata/stats")[0] == 200


def start(make_service, **settings):
    api = Api(make_service(free_port(), environment={**QUIET, **settings}))
    api.wait_ready()
    wait_until(lambda: readable(api), "the database to be opened")
    return api


def post(api, path, records):
    """The bytes that were sent as payload."""
    lines = [json.dumps(record) for record in records]
    api.json("POST", path, "\n".join(lines), 202, {"Content-Type": "application/x-ndjson"})
    return sum(map(len, lines))


def current(api, ident):
    return data(api, "current")["current_metadata"].get(ident)


def wait_current(api, ident, count):
    wait_until(lambda: (current(api, ident) or {}).get("record_count", 0) >= count,
               lambda: f"{count} records: {current(api, ident)}")
    return current(api, ident)


def test_open_batches_show_and_count_once(make_service):
    """Nothing is cut: all that is known is what is open."""
    api = start(make_service, FLUSH_INTERVAL_SECONDS="3600")
    source, path = push_source(api, "Open")
    ident, before = source["ingestion_id"], time.time()
    size = post(api, path, [{"sensor_id": f"s{i % 3}", "v": i} for i in range(40)])
    found = wait_current(api, ident, 40)
    assert (found["record_count"], found["data_size_bytes"]) == (40, size)
    assert found["ingestion_id"] == ident and found["topic"] == "unknown"
    assert time.strftime("%Y-%m-%dT%H", time.gmtime(before)) <= found["first_seen"] <= \
        found["last_seen"] <= found["updated_at"]
    assert dataset(api, ident) is None
    fields = {field["name"]: field for field in found["schema_fields"]}
    assert fields["v"]["type"] == "double" and fields["sensor_id"]["type"] == "string"
    assert fields["ingestion_id"]["sample_values"] == [ident]
    assert sorted(found["unique_sensor_ids"]) == ["s0", "s1", "s2"]
    assert found["unique_sensor_count"] == 3
    size += post(api, path, [{"v": 1}])
    size += post(api, path, [{"v": 2}])
    found = wait_current(api, ident, 42)
    assert (found["record_count"], found["data_size_bytes"]) == (42, size)
    assert data(api, "current")["dataset_count"] == 1
    api.service.stop()  # cuts, lands and commits it
    api.service.start()
    api.wait_ready()
    wait_until(lambda: readable(api) and dataset(api, ident), "the metadata to be read")
    assert dataset(api, ident)["record_count"] == current(api, ident)["record_count"] == 42
    wait_until(lambda: api.status(source["id"]) == "active", "the source to run again")
    size += post(api, path, [{"v": 3}])
    found = wait_current(api, ident, 43)
    assert (found["record_count"], found["data_size_bytes"]) == (43, size)
    assert found["first_seen"] == dataset(api, ident)["first_seen"] < found["last_seen"]
    assert dataset(api, ident)["record_count"] == 42


def test_sensors_of_open_records_are_those_of_their_cut(make_service):
    """A record has one sensor, whichever of the names its device uses; a boolean is none."""
    api = start(make_service, FLUSH_INTERVAL_SECONDS="3600")
    source, path = push_source(api, "One each")
    ident, long = source["ingestion_id"], "long" * 200
    post(api, path, [{"sensor_id": "a", "sensorId": "no"}, {"sensor_id": "a"}, {"sensorId": "b"},
                     {"sensor_id": 5}, {"sensor_id": 5.0, "sensorId": 6}, {"sensor_id": "5"},
                     {"sensor_id": True}, {"sensor_id": False, "sensorId": "c"},
                     {"sensor_id": {"deep": 1}}, {"sensor_id": None}, {"sensor_id": long + "1"},
                     {"sensor_id": long + "2"}, {"sensor_id": 9007199254740993}])
    opened = wait_current(api, ident, 13)
    sensors = set(opened["unique_sensor_ids"])
    assert {s for s in sensors if len(s) < 200} == {"a", "b", "5", "c", "9007199254740993"}
    assert opened["unique_sensor_count"] == len(opened["unique_sensor_ids"]) == 7
    api.service.stop()
    api.service.start()
    api.wait_ready()
    wait_until(lambda: readable(api) and dataset(api, ident), "the metadata to be read")
    for found in (dataset(api, ident), current(api, ident)):
        assert (set(found["unique_sensor_ids"]), found["unique_sensor_count"]) == (sensors, 7)


def test_committed_waiting_and_open_at_once(make_service):
    """A database that is locked keeps the three apart; a kill takes none of them away."""
    api = start(make_service, FLUSH_INTERVAL_SECONDS="1")
    source, path = push_source(api, "Apart")
    ident = source["ingestion_id"]
    size = post(api, path, [{"v": i} for i in range(10)])
    wait_until(lambda: dataset(api, ident), "the first to be committed")
    other = sqlite3.connect(api.service.folder / "metadata.db", timeout=30, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    size += post(api, path, [{"v": i, "late": True} for i in range(10)])
    wait_until(lambda: len(api.service.rows()) == 20, "the second cut to land")
    for n in range(5):
        size += post(api, path, [{"v": n}])
        found = wait_current(api, ident, 21 + n)
        assert (found["record_count"], dataset(api, ident)["record_count"]) == (21 + n, 10)
    assert found["data_size_bytes"] == size
    assert "late" in {field["name"] for field in found["schema_fields"]}
    api.service.kill()
    api.service.start()
    api.wait_ready()
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: readable(api), "the database to be opened")
    assert wait_current(api, ident, 25)["record_count"] == 25
    wait_until(lambda: dataset(api, ident)["record_count"] == 25, "the counts")
    found = current(api, ident)
    assert (found["record_count"], found["data_size_bytes"]) == (25, size)


@pytest.mark.parametrize("kill", [False, True])
def test_never_less_and_never_double(make_service, kill):
    """Watched while records move from stage to stage, as often as they can."""
    api = start(make_service, FLUSH_INTERVAL_SECONDS="1", FLUSH_MAX_BYTES=str(1 << 20))
    source, path = push_source(api, "Moving")
    ident, sent, acknowledged, over = source["ingestion_id"], [0], [0], threading.Event()
    padding = "x" * 5000

    def feed():
        client = Api(api.service)
        while not over.is_set():
            count = 1 + sent[0] % 50
            sent[0] += count
            post(client, path, [{"v": i, "p": padding} for i in range(count)])
            acknowledged[0] = sent[0]

    feeder = threading.Thread(target=feed)
    feeder.start()
    end, last, looks = time.monotonic() + SECONDS, 0, 0
    try:
        while time.monotonic() < end:
            count = (current(api, ident) or {}).get("record_count", 0)
            assert last <= count <= sent[0], "records vanished, or count twice"
            last, looks = count, looks + 1
    finally:
        over.set()
        feeder.join()
    assert looks > 5
    if kill:
        api.service.kill()
        api.service.start()
        api.wait_ready()
        wait_until(lambda: readable(api), "the database to be opened")
    for _ in range(20):
        found = wait_current(api, ident, acknowledged[0])
        assert found["record_count"] == sent[0]
        time.sleep(0.05)
    wait_until(lambda: dataset(api, ident)["record_count"] == sent[0], "all to be committed")
    assert len(api.service.rows()) == current(api, ident)["record_count"] == sent[0]


def test_only_null(make_service):
    """null is the lowest type: a field that only ever was null is listed with it."""
    api = start(make_service, FLUSH_INTERVAL_SECONDS="1")
    source, path = push_source(api, "Null")
    ident = source["ingestion_id"]
    post(api, path, [{"a": None, "b": 1, "c": None}, {"a": None}])
    wait_until(lambda: dataset(api, ident), "the first to be committed")
    fields = {field["name"]: field for field in dataset(api, ident)["schema_fields"]}
    assert fields["a"] == {"name": "a", "type": "null", "nullable": True, "sample_values": []}
    assert fields["c"]["type"] == "null" and fields["b"]["type"] == "double"
    post(api, path, [{"a": False}])
    wait_until(lambda: dataset(api, ident)["record_count"] == 3, "the second to be committed")
    fields = {field["name"]: field for field in dataset(api, ident)["schema_fields"]}
    assert fields["a"] == {"name": "a", "type": "boolean", "nullable": True,
                           "sample_values": ["false"]}
    assert [row["field_type"] for row in data(api, f"datasets/{ident}/evolution")["evolution"]
            if row["field_name"] == "a"] == ["null", "boolean"]

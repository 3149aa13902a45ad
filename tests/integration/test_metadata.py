"""Metadata of the datasets (contract/data.md and contract/http-api.md, "Metadata"), told by a model
in Python that counts what was sent, apart from the service: through kills, with a database that is
locked, damaged, read-only or gone, and with one that the Python service wrote.

INGESTOR_METADATA_KILLS says how often the service is killed."""

import json
import os
import random
import shutil
import sqlite3
import time
import uuid

import pytest
from conftest import free_port, wait_until
from metadata_model import RANKS, type_of
from test_api import documented
from test_data_sources_api import QUIET, Api, push_source

KILLS = int(os.environ.get("INGESTOR_METADATA_KILLS", "4"))
OWN = {"ingestion_id", "timestamp", "source_type", "ingestion_timestamp", "remote", "content_type"}
NAMES = {"completeness", "missing_timestamp_ratio", "late_ratio", "rescued_ratio",
         "duplicate_ratio", "schema_changes", "freshness_seconds"}


class Model:
    """What the metadata of a dataset must say."""

    def __init__(self):
        self.records = self.size = 0
        self.sensors = set()
        self.types, self.filled, self.evolution = {}, {}, set()

    def add(self, record):
        self.records += 1
        self.size += len(json.dumps(record))
        sensor = record.get("sensor_id", record.get("sensorId"))
        if sensor is not None:
            self.sensors.add(sensor)
        for name, value in record.items():
            if value is None or name == "timestamp":
                continue
            self.filled[name] = self.filled.get(name, 0) + 1
            kind = type_of(value)
            if name not in self.types or RANKS[kind] > RANKS[self.types[name]]:
                self.types[name] = kind
                self.evolution.add((name, kind))

    def nullable(self, name):
        return self.filled[name] < self.records


def data(api, path):
    return api.json("GET", f"/api/metadata/{path}")["data"]


def dataset(api, ident):
    status, _, text = api.call("GET", f"/api/metadata/datasets/{ident}")
    return json.loads(text)["data"]["dataset"] if status == 200 else None


def wait_counted(api, ident, model):
    wait_until(lambda: (dataset(api, ident) or {}).get("record_count", 0) >= model.records,
               lambda: f"{model.records} records, it has {dataset(api, ident)}")


def check(api, ident, model):
    found = dataset(api, ident)
    assert found["record_count"] == model.records
    assert found["data_size_bytes"] == model.size
    assert found["unique_sensor_count"] == len(model.sensors)
    if len(model.sensors) <= 1000:
        assert set(found["unique_sensor_ids"]) == {str(s) for s in model.sensors}
    fields = {f["name"]: f for f in found["schema_fields"]}
    assert set(fields) - OWN == set(model.types)
    assert OWN <= set(fields)
    for name, kind in model.types.items():
        assert (name, fields[name]["type"]) == (name, kind)
        assert (name, fields[name]["nullable"]) == (name, model.nullable(name))
        samples = fields[name]["sample_values"]
        assert 1 <= len(samples) <= 5 and len(set(samples)) == len(samples), (name, samples)
        assert all(len(sample.encode()) <= 256 for sample in samples)
    evolution = data(api, f"datasets/{ident}/evolution")
    seen = [(e["field_name"], e["field_type"]) for e in evolution["evolution"]
            if e["field_name"] not in OWN]
    assert sorted(seen) == sorted(model.evolution)
    assert data(api, f"datasets/{ident}/schema")["schema_fields"] == found["schema_fields"]
    return found


def reading(rng, i):
    record = {"seq": i, "sensor_id": f"s-{rng.randrange(40)}", "temp": rng.random() * 40,
              "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
              "on": rng.random() < 0.5, "run": str(uuid.UUID(int=rng.getrandbits(128)))}
    if rng.random() < 0.9:
        record["note"] = rng.choice(["übung", "x" * 300, ""])
    if i > 150:
        record["at"] = {"lat": 1.5, "tags": ["a", None]}
        record["list"] = [i, 2]
    return record


def settings(**more):
    return {**QUIET, "METADATA_QUALITY_SECONDS": "1", **more}


@pytest.fixture
def api(make_service):
    started = Api(make_service(free_port(), environment=settings()))
    started.wait_ready()
    return started


def test_counts_once_through_kills(api):
    """A batch that is posted again under its key counts once; so must its metadata."""
    source, path = push_source(api)
    ident, model, rng = source["ingestion_id"], Model(), random.Random(5)
    for kill in range(KILLS + 1):
        for batch in range(6):
            records = [reading(rng, model.records + i) for i in range(rng.randrange(1, 80))]
            for record in records:
                model.add(record)
            body = "\n".join(map(json.dumps, records))
            headers = {"Content-Type": "application/x-ndjson",
                       "Idempotency-Key": f"{kill}-{batch}"}
            wait_until(lambda: api.call("POST", path, body, headers)[0] == 202, "the post")
            time.sleep(rng.random() * 0.4)
        if kill < KILLS:
            time.sleep(rng.random() * 1.5)
            api.service.kill()
            api.service.start()
            api.wait_ready()
            wait_until(lambda: api.status(source["id"]) == "active", "the source to run again")
    wait_counted(api, ident, model)
    found = check(api, ident, model)
    samples = {f["name"]: f["sample_values"] for f in found["schema_fields"]}
    assert samples["on"] and set(samples["on"]) <= {"true", "false"}
    assert samples["at"] == ['{"lat": 1.5, "tags": ["a", null]}']
    assert json.loads(samples["list"][0])[1] == 2
    api.service.stop()
    api.service.start()
    api.wait_ready()
    wait_until(lambda: dataset(api, ident), "the metadata to be read")
    assert check(api, ident, model)["record_count"] == len(api.service.rows())


def test_all_the_answers(api):
    source, path = push_source(api, "Many sensors")
    ident, model = source["ingestion_id"], Model()
    for start in (0, 2500):  # beyond the list of 1,000
        records = [{"sensorId": f"device-{i}", "v": "n/a" if i == 2600 else i}
                   for i in range(start, start + 2500)]
        for record in records:
            model.add(record)
        api.json("POST", path, "\n".join(map(json.dumps, records)), 202,
                 {"Content-Type": "application/x-ndjson"})
        wait_counted(api, ident, model)
    found = dataset(api, ident)
    assert len(found["unique_sensor_ids"]) == 1000 and found["topic"] == "unknown"
    assert abs(found["unique_sensor_count"] - 5000) < 100
    assert {f["name"]: f["type"] for f in found["schema_fields"]}["v"] == "string"
    assert [e["field_type"] for e in data(api, f"datasets/{ident}/evolution")["evolution"]
            if e["field_name"] == "v"] == ["double", "string"]
    assert data(api, "datasets") == {"datasets": [found], "total": 1}
    topic = data(api, "topics")["topics"][0]
    assert (topic["topic"], topic["dataset_count"], topic["total_records"]) == ("unknown", 1, 5000)
    stats = data(api, "stats")["stats"]
    assert stats["dataset_count"] == stats["active_datasets"] == 1
    assert stats["total_records"] == 5000 and stats["total_size_bytes"] == model.size
    assert data(api, "current")["current_metadata"][ident]["record_count"] == 5000
    assert api.json("GET", "/api/metadata/datasets/no", expected=404)["error"] == \
        "Dataset 'no' not found"
    api.json("GET", "/api/metadata/datasets/no/schema", expected=404)
    assert data(api, "datasets/no/evolution") == \
        {"ingestion_id": "no", "evolution": [], "change_count": 0}
    assert data(api, "datasets/no/quality") == {"ingestion_id": "no", "metrics": [],
                                                "metric_count": 0}


def test_the_document_holds(api):
    source, push = push_source(api)
    count_on(api, push, source["ingestion_id"], 0)
    document = json.loads(api.call("GET", "/openapi.json")[2])
    routes = {path: item for path, item in document["paths"].items() if "/api/metadata/" in path}
    assert len(routes) == 9
    for path, item in routes.items():
        for method, operation in item.items():
            for ident, bad in ((source["ingestion_id"], ""), ("nobody", "?days_to_keep=x")):
                body = '{"metric_name":"m","metric_value":1.5}' if "requestBody" in operation else None
                target = path.replace("{ingestion_id}", ident) + bad
                status, headers, text = api.call(method.upper(), target, body)
                documented(operation, status, headers, text)
                assert bad or status == 200, (method, target, status, text)


def values(api, ident):
    """The latest of each."""
    latest = {}
    for metric in data(api, f"datasets/{ident}/quality")["metrics"]:
        latest.setdefault(metric["metric_name"], metric["metric_value"])
    return latest


def test_data_quality(api):
    source, path = push_source(api, "Doubtful")
    ident = source["ingestion_id"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    records = [{"timestamp": now, "a": 1, "b": i} for i in range(8)]
    records += [{"timestamp": "1999-01-01T00:00:00Z", "a": 1}] * 2     # late, and the same
    records += [{"a": 1, "b": "bad"}, {"timestamp": "soon", "a": 1, "b": 9}]
    assert api.json("POST", path, records, 202)["data"]["count"] == 12
    wait_until(lambda: set(values(api, ident)) >= NAMES, lambda: values(api, ident))
    first = values(api, ident)
    assert first["completeness"] == pytest.approx(21 / 24)
    assert first["missing_timestamp_ratio"] == pytest.approx(2 / 12)
    assert first["late_ratio"] == pytest.approx(2 / 12)
    assert first["duplicate_ratio"] == pytest.approx(1 / 12)
    assert first["rescued_ratio"] == pytest.approx(2 / 12)
    # a, b, b as text too, and ours: no content type was sent
    assert first["schema_changes"] == 3 + len(OWN) - 1
    posted = f"/api/metadata/datasets/{ident}/quality"
    assert api.json("POST", posted, {"metric_name": "trust", "metric_value": 0.5})["data"] == \
        {"ingestion_id": ident, "metric_name": "trust", "metric_value": 0.5}
    for body in ({}, {"metric_name": "x"}, {"metric_value": 1}, {"metric_name": "", "metric_value": 1}):
        assert api.json("POST", posted, body, 400)["error"] == \
            "Both 'metric_name' and 'metric_value' are required"
    api.json("POST", posted, {"metric_name": "x", "metric_value": "1"}, 400)
    api.json("POST", "/api/metadata/datasets/new/quality", {"metric_name": "x", "metric_value": 1})
    assert values(api, "new") == {"x": 1} and values(api, ident)["trust"] == 0.5
    gauge = "ingestor_data_quality"
    assert api.service.metric(gauge, ingestion_id=ident, metric_name="trust") == 0.5
    assert api.service.metric(gauge, ingestion_id=ident, metric_name="completeness") == \
        pytest.approx(21 / 24)
    with sqlite3.connect(api.service.folder / "metadata.db", timeout=30) as database:
        database.execute("UPDATE data_quality SET measurement_time = '2001-01-01 00:00:00' "
                         "WHERE metric_name = 'trust'")
    assert api.json("POST", "/api/metadata/cleanup")["data"] == \
        {"deleted_count": 1, "days_to_keep": 30}
    assert "trust" not in values(api, ident)


def count_on(api, path, ident, before):
    """One more record, and the count when it has arrived."""
    api.json("POST", path, {"sensor_id": "s", "v": 1}, 202)
    wait_until(lambda: (dataset(api, ident) or {}).get("record_count", 0) > before,
               lambda: f"more than {before}: {dataset(api, ident)}")
    return dataset(api, ident)["record_count"]


def metadata_health(api):
    return json.loads(api.call("GET", "/api/health")[2])["components"]["metadata"]


def test_a_database_that_is_locked(api):
    """Reads go on, ingestion goes on, and the counts come when the lock is gone."""
    source, path = push_source(api, "Locked")
    ident = source["ingestion_id"]
    count_on(api, path, ident, 0)
    other = sqlite3.connect(api.service.folder / "metadata.db", timeout=30, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        api.json("POST", path, {"sensor_id": "t", "v": 2}, 202)
        time.sleep(0.5)
    wait_until(lambda: "locked" in metadata_health(api), lambda: metadata_health(api))
    wait_until(lambda: len(api.service.rows()) == 4, "the lake to have all of it")
    assert dataset(api, ident)["record_count"] == 1
    wait_until(lambda: data(api, "current")["current_metadata"][ident]["record_count"] == 4,
               "what waits to be shown")
    api.service.kill()  # the journal has what the database lacks, and the lake has it already
    journal = api.service.folder / "journal"
    shutil.copytree(journal, api.service.folder / "journal-before")
    api.service.start()
    api.wait_ready()
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: (dataset(api, ident) or {}).get("record_count") == 4, "the counts")
    assert sorted(dataset(api, ident)["unique_sensor_ids"]) == ["s", "t"]
    wait_until(lambda: metadata_health(api) == "healthy", lambda: metadata_health(api))
    # As if it had been killed after the commit and before the journal knew of it.
    api.service.kill()
    shutil.rmtree(journal)
    (api.service.folder / "journal-before").rename(journal)
    api.service.start()
    api.wait_ready()
    wait_until(lambda: api.status(source["id"]) == "active", "the source to run again")
    assert count_on(api, path, ident, 4) == 5
    assert len(api.service.rows()) == 5


def test_a_database_that_is_damaged_or_gone(api):
    source, path = push_source(api, "Damaged")
    ident, file = source["ingestion_id"], api.service.folder / "metadata.db"
    count_on(api, path, ident, 0)
    api.service.stop()
    file.write_bytes(b"no database at all " * 500)
    api.service.start()
    api.wait_ready()
    wait_until(lambda: api.status(source["id"]) == "active", "the source to run again")
    wait_until(lambda: "damaged" in metadata_health(api), lambda: metadata_health(api))
    assert count_on(api, path, ident, 1) == 2
    assert len(list(api.service.folder.glob("metadata.db.damaged-*"))) == 1
    for name in ("", "-wal", "-shm"):
        (api.service.folder / f"metadata.db{name}").unlink(missing_ok=True)
    wait_until(file.exists, "the loss to be seen")
    assert count_on(api, path, ident, 2) == 3
    fields = {f["name"]: f for f in dataset(api, ident)["schema_fields"]}
    assert fields["v"]["type"] == "double" and fields["v"]["sample_values"] == ["1"]
    assert file.exists() and len(api.service.rows()) == 3


OLD = """
CREATE TABLE dataset_metadata (ingestion_id TEXT PRIMARY KEY, topic TEXT NOT NULL,
  record_count INTEGER NOT NULL DEFAULT 0, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL,
  unique_sensor_count INTEGER NOT NULL DEFAULT 0, unique_sensor_ids TEXT NOT NULL,
  data_size_bytes INTEGER NOT NULL DEFAULT 0, schema_fields TEXT NOT NULL,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE schema_evolution (id INTEGER PRIMARY KEY AUTOINCREMENT, ingestion_id TEXT NOT NULL,
  field_name TEXT NOT NULL, field_type TEXT NOT NULL,
  first_seen TIMESTAMP DEFAULT CURRENT_TIMESTAMP, sample_values TEXT);
CREATE TABLE data_quality (id INTEGER PRIMARY KEY AUTOINCREMENT, ingestion_id TEXT NOT NULL,
  metric_name TEXT NOT NULL, metric_value REAL NOT NULL,
  measurement_time TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX idx_dataset_metadata_topic ON dataset_metadata (topic);
"""


def test_goes_on_with_an_old_database(make_service, tmp_path):
    path = tmp_path / "old.db"
    api = Api(make_service(free_port(), environment=settings(METADATA_DB_PATH=str(path))))
    api.wait_ready()
    source, push = push_source(api, "Old")
    ident = source["ingestion_id"]
    api.service.stop()
    for name in ("", "-wal", "-shm"):
        (tmp_path / f"old.db{name}").unlink(missing_ok=True)
    fields = [{"name": "v", "type": "double", "nullable": False, "sample_values": ["1", "2"]},
              {"name": "odd", "type": "boolean", "nullable": False, "sample_values": [True, 7]}]
    with sqlite3.connect(path) as old:
        old.executescript(OLD)
        old.execute("INSERT INTO dataset_metadata VALUES (?, 'old/topic', 1000, ?, ?, 2500, ?, "
                    "5000, ?, '2025-03-01 10:00:00', '2025-03-01 10:00:00')",
                    (ident, "2025-03-01T10:00:00.123456", "2025-03-02T10:00:00.5+00:00",
                     json.dumps([f"s{i}" for i in range(1000)]), json.dumps(fields)))
        old.execute("INSERT INTO schema_evolution (ingestion_id, field_name, field_type, first_seen,"
                    " sample_values) VALUES (?, 'v', 'double', '2025-03-01 10:00:00', '[\"1\"]')",
                    (ident,))
    api.service.start()
    api.wait_ready()
    wait_until(lambda: dataset(api, ident), "the old row")
    found = dataset(api, ident)
    assert found["first_seen"] == "2025-03-01T10:00:00.123456+00:00"
    assert found["last_seen"] == "2025-03-02T10:00:00.500000+00:00"
    assert found["created_at"] == "2025-03-01 10:00:00"
    assert found["schema_fields"][1]["sample_values"] == ["true", "7"]
    wait_until(lambda: api.status(source["id"]) == "active", "the source to run again")
    api.json("POST", push, {"v": 3, "sensor_id": "s1"}, 202)
    wait_until(lambda: dataset(api, ident)["record_count"] == 1001, lambda: dataset(api, ident))
    found = dataset(api, ident)
    assert (found["topic"], found["unique_sensor_count"]) == ("old/topic", 2500)
    assert found["first_seen"] == "2025-03-01T10:00:00.123456+00:00"
    assert found["data_size_bytes"] > 5000 and len(found["unique_sensor_ids"]) == 1000
    shown = {f["name"]: f for f in found["schema_fields"]}
    assert shown["v"]["sample_values"] == ["1", "2", "3"] and not shown["v"]["nullable"]
    assert shown["sensor_id"]["nullable"]  # a thousand records came without
    evolution = data(api, f"datasets/{ident}/evolution")["evolution"]
    assert evolution[0]["first_seen"] == "2025-03-01 10:00:00"
    assert sum(e["field_name"] == "v" for e in evolution) == 1

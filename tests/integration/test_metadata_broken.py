"""A metadata database that is read-only, full, locked before the start or for long, damaged at its
head or in its middle while the service runs, and one that stays away while gigabytes go by; and
input that no metadata can hold whole. Ingestion goes on, health and /api/metadata say what is
wrong, and afterwards the metadata is that of a model (test_metadata.Model)."""

import json
import os
import random
import sqlite3
import subprocess
import time
import uuid

import pytest
from conftest import free_port, wait_until
from test_bad_environment import fill, small_disk
from test_data_sources_api import Api, push_source
from test_metadata import (OWN, Model, check, data, dataset, metadata_health, reading, settings,
                           wait_counted)

__all__ = ["small_disk"]  # a fixture
NDJSON = {"Content-Type": "application/x-ndjson"}


class Fed:
    """A service with one push source, and the model of what it got."""

    def __init__(self, make_service, **environment):
        self.api = Api(make_service(free_port(), environment=settings(**environment)))
        self.service = self.api.service
        self.api.wait_ready()
        self.source, self.path = push_source(self.api)
        self.ident, self.model = self.source["ingestion_id"], Model()
        self.rng = random.Random(9)

    def send(self, *records):
        for record in records:
            self.model.add(record)
        self.api.json("POST", self.path, "\n".join(map(json.dumps, records)), 202, NDJSON)

    def feed(self, count=20):
        self.send(*(reading(self.rng, self.model.records + i) for i in range(count)))

    def start(self):
        self.service.start()
        self.api.wait_ready()
        wait_until(lambda: self.api.status(self.source["id"]) == "active", "the source to run")

    def stored(self):
        accounts = json.loads(self.service.get("/api/health"))["metrics"]["accounting"].values()
        return sum(a["stored"] for a in accounts)

    def wait_told(self, *words):
        """Health says what is wrong, and is no worse than degraded."""
        wait_until(lambda: any(word in metadata_health(self.api).lower() for word in words),
                   lambda: f"{words} in {metadata_health(self.api)}")
        report = json.loads(self.service.get("/api/health"))
        assert report["status"] == "degraded" and report["components"]["journal"] == "healthy"
        assert json.loads(self.service.get("/api/ready"))["ready"]

    def wait_readable(self, count):
        """What stands in the database is answered though it cannot be written, and what waits is
        in `current`; nothing is posted."""
        wait_until(lambda: self.api.call("GET", "/api/metadata/datasets")[0] == 200, "an answer")
        assert dataset(self.api, self.ident)["record_count"] == count
        assert data(self.api, f"datasets/{self.ident}/schema")["field_count"] > 0
        wait_until(lambda: data(self.api, "current")["current_metadata"][self.ident]["record_count"]
                   == self.model.records, "what waits to be shown")
        status, _, text = self.api.call("POST", f"/api/metadata/datasets/{self.ident}/quality",
                                        {"metric_name": "m", "metric_value": 1})
        assert status == 503, text

    def check(self, others=0):
        wait_counted(self.api, self.ident, self.model)
        wait_until(lambda: metadata_health(self.api) == "healthy",
                   lambda: metadata_health(self.api))
        check(self.api, self.ident, self.model)
        assert len(self.service.rows()) == self.model.records + others


def refused(api):
    """What /api/metadata says when it cannot be read."""
    status, headers, text = api.call("GET", "/api/metadata/datasets")
    assert (status, headers["Retry-After"]) == (503, "5"), (status, text)
    return json.loads(text)["error"]


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")


def test_read_only(make_service, small_disk):
    disk = small_disk("8m")
    fed = Fed(make_service, METADATA_DB_PATH=str(disk / "meta %41?#.db"))
    fed.feed()
    fed.check()
    fed.service.stop()
    mount("-o", "remount,ro", disk)
    fed.start()
    fed.feed()
    fed.wait_told("read-only", "readonly")
    wait_until(lambda: fed.stored() == 20, "what came since to be stored")
    fed.wait_readable(20)
    fed.service.kill()  # the journal has what the database lacks
    fed.start()
    fed.feed()
    fed.wait_told("read-only", "readonly")
    fed.wait_readable(20)
    mount("-o", "remount,rw", disk)
    fed.check()


def test_full(make_service, small_disk):
    disk = small_disk("6m")
    fed = Fed(make_service, METADATA_DB_PATH=str(disk / "metadata.db"))
    fed.feed()
    fed.check()
    filler = fill(disk)
    for part in range(4):
        fed.send({f"{part}-{i}": "x" * 300 for i in range(100)}, {"sensor_id": "x" * 200})
    fed.wait_told("full", "space")
    assert dataset(fed.api, fed.ident)["record_count"] < fed.model.records
    filler.unlink()
    fed.check()


def test_locked_before_the_start(make_service):
    """By a transaction, and by a process that lets nobody in; for longer than anybody waits."""
    fed = Fed(make_service)
    fed.feed()
    fed.check()
    fed.service.stop()
    other = sqlite3.connect(fed.service.folder / "metadata.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    fed.start()
    fed.feed()
    fed.wait_told("locked")
    assert "locked" in refused(fed.api)
    wait_until(lambda: fed.stored() == 20, "what came since to be stored")
    fed.service.kill()
    fed.start()
    fed.feed()
    fed.wait_told("locked")
    other.execute("ROLLBACK")
    other.close()
    fed.check()


@pytest.mark.parametrize("name", ["metadata.db", "metadata.db-wal"])
def test_a_file_that_may_not_change(make_service, name):
    """Also one to be made anew by whoever opens it: the log that a kill leaves."""
    fed = Fed(make_service)
    fed.feed()
    fed.check()
    assert "wait" not in metadata_health(fed.api)
    fed.service.kill()
    file = fed.service.folder / name
    if subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file can be made immutable here")
    try:
        fed.start()
        fed.wait_told("cannot")
        assert "of 0 datasets" not in metadata_health(fed.api)
        fed.wait_readable(20)
        fed.feed()
        wait_until(lambda: "1 dataset wait" in metadata_health(fed.api), lambda: metadata_health(fed.api))
        fed.wait_readable(20)
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    fed.check()


def test_locked_by_a_writer_before_the_start(make_service):
    """One that lets others read: the service does, and writes once it may."""
    fed = Fed(make_service)
    fed.feed()
    fed.check()
    fed.service.stop()
    other = sqlite3.connect(fed.service.folder / "metadata.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fed.start()
    fed.feed()
    fed.wait_told("locked")
    fed.wait_readable(20)
    other.execute("ROLLBACK")
    other.close()
    fed.check()
    fed.api.json("POST", f"/api/metadata/datasets/{fed.ident}/quality",
                 {"metric_name": "m", "metric_value": 1}, 200)


def test_the_journal_is_not_held(make_service, tmp_path):
    """While the database is locked far more goes by than the journal may hold; what a dataset that
    got nothing since waits to tell is in the checkpoints."""
    fed = Fed(make_service, JOURNAL_MAX_BYTES=str(128 << 20))
    fed.feed()
    fed.check()
    other = sqlite3.connect(fed.service.folder / "metadata.db", timeout=30, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    quiet, path = push_source(fed.api, "Quiet")
    fed.api.json("POST", path, [{"v": 1, "sensor_id": "q"}] * 7, 202)
    pads = [os.urandom(60000).hex() for _ in range(8)]
    for part in range(20):
        fed.send(*({"sensor_id": f"{part}-{i}", "pad": pads[i % 8], f"f{part}": i}
                   for i in range(80)))
    wait_until(lambda: fed.stored() == fed.model.records + 7, "all to be stored")
    fed.wait_told("locked")
    size = sum(f.stat().st_blocks * 512 for f in (fed.service.folder / "journal").rglob("*")
               if f.is_file())
    assert fed.model.size > 180 << 20 > 128 << 20 >= size
    fed.service.kill()
    fed.start()
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: dataset(fed.api, quiet["ingestion_id"]), "the quiet one's metadata")
    assert dataset(fed.api, quiet["ingestion_id"])["record_count"] == 7
    fed.check(others=7)


def damage(path, *names):
    """Random bytes over the root pages of these tables and indexes."""
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.execute("PRAGMA page_size").fetchone()[0]
        roots = [database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?",
                                  (name,)).fetchone()[0] for name in names]
    database.close()
    with open(path, "r+b") as file:
        for root in roots:
            file.seek((root - 1) * size)
            file.write(os.urandom(size))


@pytest.mark.parametrize("lost, names", [
    (False, ("idx_dataset_metadata_topic", "idx_schema_evolution_ingestion_field",
             "idx_data_quality_time")),
    (False, ("data_quality", "dataset_quality", "sqlite_autoindex_dataset_metadata_1")),
    (True, ("dataset_metadata",)), (True, ("metadata_progress",))])
def test_damaged_in_the_middle(make_service, lost, names):
    """What can still be read is taken over; what cannot be read is counted from the lake. Health is
    well again, and says what happened; so do the log and the metrics."""
    fed = Fed(make_service)
    fed.feed()
    fed.check()
    fed.service.stop()
    damage(fed.service.folder / "metadata.db", *names)
    fed.start()
    fed.feed()
    told = wait_until(lambda: "taken over" in metadata_health(fed.api) and
                      metadata_health(fed.api), "the damage to be told")
    wait_counted(fed.api, fed.ident, fed.model)
    assert f"of {0 if lost else 1} datasets could be taken over" in told
    assert len(list(fed.service.folder.glob("metadata.db.damaged-*"))) >= 1
    check(fed.api, fed.ident, fed.model)
    wait_until(lambda: metadata_health(fed.api).startswith("healthy; the database was damaged"),
               lambda: metadata_health(fed.api))
    assert json.loads(fed.service.get("/api/health"))["status"] == "healthy"
    assert fed.service.metric("ingestor_metadata_set_asides_total") >= 1
    wait_until(lambda: "could be taken over" in fed.service.log(), "the log to say so")
    fed.service.stop()
    assert len(fed.service.rows()) == 40


def test_damage_that_only_a_reader_meets(make_service):
    """A page that no commit reads: who asks for it meets the damage, and it is mended all the same."""
    fed = Fed(make_service)
    fed.feed()
    fed.check()
    fed.service.stop()
    damage(fed.service.folder / "metadata.db", "schema_evolution")
    fed.start()
    path = f"/api/metadata/datasets/{fed.ident}/evolution"
    fed.api.call("GET", path)
    wait_until(lambda: "could be taken over" in metadata_health(fed.api), "the damage to be found")
    wait_until(lambda: fed.api.call("GET", path)[0] == 200, "an answer")
    fed.feed()
    wait_mended(fed)
    assert list(fed.service.folder.glob("metadata.db.damaged-*"))


def wait_mended(fed):
    """Exact in all that the model knows, lists and evolution too; of its own accord."""
    wait_counted(fed.api, fed.ident, fed.model)
    wait_until(lambda: metadata_health(fed.api).startswith("healthy"),
               lambda: metadata_health(fed.api))
    check(fed.api, fed.ident, fed.model)


def damage_lists(path):
    """Random bytes over the pages on which the sensors' list goes on."""
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.execute("PRAGMA page_size").fetchone()[0]
    database.close()
    data = path.read_bytes()
    bad = [at for at in range(0, len(data), size)
           if b"long-sensor-" in data[at:at + size] and data[at] == 0]
    assert len(bad) > 2
    with open(path, "r+b") as file:
        for at in bad:
            file.seek(at)
            file.write(os.urandom(size))


@pytest.mark.parametrize("kills", [0, 3])
def test_lists_lost(make_service, kills):
    """Counts, progress and what was posted are taken over; sensors, fields and bytes are read from
    the lake, whenever the service is killed meanwhile, and nothing counts twice."""
    fed = Fed(make_service)
    for part in range(3):
        fed.send(*({"sensor_id": f"long-sensor-{'x' * 60}-{part}-{i}", f"field_{part}": i,
                    "note": f"{i}"} for i in range(150)))
        fed.check()
    fed.api.json("POST", f"/api/metadata/datasets/{fed.ident}/quality",
                 {"metric_name": "posted", "metric_value": 4.25}, 200)
    fed.service.stop()
    damage_lists(fed.service.folder / "metadata.db")
    for _ in range(kills):
        fed.start()
        fed.send({"sensor_id": f"late-{fed.rng.random()}"})
        wait_until(lambda: list(fed.service.folder.glob("metadata.db.*-20*")), "it to be set aside")
        time.sleep(fed.rng.random() * 0.3)
        fed.service.kill()
    fed.start()
    fed.send({"sensor_id": "last"})
    wait_mended(fed)
    if not kills:
        assert "metadata of 1 datasets could be taken over (what 1 of them lack" in metadata_health(fed.api)
    posted = [m["metric_value"] for m in data(fed.api, f"datasets/{fed.ident}/quality")["metrics"]
              if m["metric_name"] == "posted"]
    assert posted == [4.25]


def killed_moving(database, waiting):
    """Its own file was moved, and its log, which has the newest of it, was not."""
    database.rename(waiting)


def killed_before_tables(database, waiting):
    """The new one is a file without tables."""
    log = database.with_name(database.name + "-wal")
    log.rename(waiting.with_name(waiting.name + "-wal"))
    database.rename(waiting)
    sqlite3.connect(database).execute("PRAGMA journal_mode = WAL")


@pytest.mark.parametrize("killed", [killed_moving, killed_before_tables])
def test_killed_while_set_aside(make_service, killed):
    """What only the database knew is taken over all the same, by the next start."""
    fed = Fed(make_service)
    fed.feed()
    fed.check()
    path = f"/api/metadata/datasets/{fed.ident}/quality"
    fed.api.json("POST", path, {"metric_name": "posted", "metric_value": 4.25}, 200)
    fed.service.kill()
    database = fed.service.folder / "metadata.db"
    waiting = fed.service.folder / "metadata.db.salvage-2026-01-02T03:04:05"
    assert (fed.service.folder / "metadata.db-wal").stat().st_size > 0
    killed(database, waiting)
    for _ in range(2):
        fed.start()
        fed.feed()
        wait_counted(fed.api, fed.ident, fed.model)
        wait_until(lambda: metadata_health(fed.api).startswith("healthy"),
                   lambda: metadata_health(fed.api))
        posted = [m for m in data(fed.api, f"datasets/{fed.ident}/quality")["metrics"]
                  if m["metric_name"] == "posted"]
        assert [m["metric_value"] for m in posted] == [4.25]
        assert not waiting.exists()
        assert (fed.service.folder / "metadata.db.damaged-2026-01-02T03:04:05").exists()
        check(fed.api, fed.ident, fed.model)
        fed.service.kill()


# --- bad input -----------------------------------------------------------------------------------

def test_ten_thousand_fields(make_service):
    """Of a record a thousand leaves get columns, of a dataset two thousand; the metadata has three
    thousand fields at most, whatever names come."""
    fed = Fed(make_service)
    wide = {f"field_{i}": i for i in range(10000)}
    fed.send({"sensor_id": "a", **wide})
    fed.send({"sensor_id": "b", **{f"other_{i}": "x" for i in range(10000)}})
    fed.send({"sensor_id": "c", "field_3": "text"})
    wait_counted(fed.api, fed.ident, fed.model)
    found = dataset(fed.api, fed.ident)
    names = {field["name"] for field in found["schema_fields"]} - OWN
    assert 2000 <= len(names) < 3000 and names <= set(fed.model.types)
    assert found["record_count"] == 3 and found["data_size_bytes"] == fed.model.size
    assert set(found["unique_sensor_ids"]) == {"a", "b", "c"}
    assert {f["name"]: f["type"] for f in found["schema_fields"]}["field_3"] == "string"
    evolution = data(fed.api, f"datasets/{fed.ident}/evolution")["evolution"]
    assert len(evolution) <= 3000 + 1 and OWN <= {e["field_name"] for e in evolution}
    assert len(fed.service.rows()) == 3 and metadata_health(fed.api) == "healthy"


def test_sensors_without_a_column(make_service):
    """A record counts for one sensor, also where a dataset has no room for more columns."""
    fed = Fed(make_service)
    for part in "abc":
        fed.send({f"{part}_{i}": i for i in range(1000)})
        wait_counted(fed.api, fed.ident, fed.model)
    fed.send({"sensor_id": "one", "sensorId": "no"}, {"sensorId": "two"}, {"sensorId": "no", "sensor_id": 3})
    wait_counted(fed.api, fed.ident, fed.model)
    found = dataset(fed.api, fed.ident)
    assert set(found["unique_sensor_ids"]) == {"one", "two", "3"} and found["unique_sensor_count"] == 3


def test_names_that_are_alike_or_ours(make_service):
    fed = Fed(make_service)
    collide = {"Temp": 1, "temp": "x", "TEMP": True, "a.b": 1, "a": {"b": 2}, "/a/b": [1],
               "": "empty", "x" * 900: 1, "übung": 1, "date": "d", "hour": 3, "record_count": "r"}
    fed.send(collide, {**collide, "Temp": "late", "a.b": "late", "/a/b": "late"})
    fed.check()
    # ours stand as ours, whatever a device sends under their names
    fed.send(*({"ingestion_id": {"x": 1}, "source_type": 7, "_rescued_data": "r", "remote": [1],
                "_event_time": True, "sensor_id": "s"} for _ in range(2)))
    wait_counted(fed.api, fed.ident, fed.model)
    types = {f["name"]: f["type"] for f in dataset(fed.api, fed.ident)["schema_fields"]}
    assert {name: types[name] for name in ("ingestion_id", "source_type", "remote")} == {
        "ingestion_id": "string", "source_type": "string", "remote": "string"}
    assert dataset(fed.api, fed.ident)["unique_sensor_ids"] == ["s"]


def test_odd_sensor_ids(make_service):
    """Objects, arrays and booleans are none; long ones differ at their end."""
    fed = Fed(make_service)
    long = "é" * 524000  # a megabyte
    for ids in (["a", 1, 2.5, None, {"deep": [1]}, [1, 2], True, "", "1"],
                [long + "1", long + "2", long + "1", {"deep": 2}, 10**17]):
        fed.api.json("POST", fed.path, "\n".join(json.dumps({"sensor_id": i}) for i in ids), 202,
                     NDJSON)
        fed.model.records += len(ids)
        wait_counted(fed.api, fed.ident, fed.model)
    found = dataset(fed.api, fed.ident)
    short = {i for i in found["unique_sensor_ids"] if len(i) < 30}
    assert short - {"True", "true"} == {"a", "1", "2.5", "", "100000000000000000"}
    assert found["unique_sensor_count"] == len(found["unique_sensor_ids"]) == len(short) + 2
    for sensor in set(found["unique_sensor_ids"]) - short:
        assert len(sensor.encode()) <= 256 and sensor.startswith("é" * 100)
    assert metadata_health(fed.api) == "healthy"


def test_endless_new_names(make_service):
    """What is one name too many for one dataset is no trouble to another."""
    fed = Fed(make_service)
    other, path = push_source(fed.api, "Other")
    for _ in range(2):
        fed.send(*({uuid.UUID(int=fed.rng.getrandbits(128)).hex + "x" * 400: {}
                    for _ in range(1000)} for _ in range(3)))
        fed.api.json("POST", path, {"v": 1, "sensor_id": "s"}, 202)
        wait_counted(fed.api, fed.ident, fed.model)
    wait_until(lambda: (dataset(fed.api, other["ingestion_id"]) or {}).get("record_count") == 2,
               "the other's counts")
    assert len(dataset(fed.api, fed.ident)["schema_fields"]) <= 3000
    assert metadata_health(fed.api) == "healthy"

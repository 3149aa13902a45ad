"""A dataset that the database does not know takes its columns over from its files in the lake: a
lost ingestor.db, or files that another service wrote, never make a column change its type."""

import shutil
import time
import urllib.error

import pytest

from conftest import wait_until
from test_stores import Server

TOPIC = "site/a"
SOURCE = {"name": "plant", "type_name": "mqtt"}


def publish(mosquitto, *payloads, topic=TOPIC):
    client = pytest.importorskip("paho.mqtt.publish")
    for payload in payloads:
        client.single(topic, payload, qos=1, hostname="127.0.0.1", port=mosquitto.port)


def source(mosquitto, **config):
    return {**SOURCE, "config": {"broker": "127.0.0.1", "port": mosquitto.port,
                                 "topics": [f"{TOPIC}/#"], "shared_group": None, **config}}


def wait_active(service):
    def active():
        try:
            return '"active_data_sources":1' in service.get("/api/health").replace(" ", "")
        except urllib.error.URLError:
            return False

    wait_until(active, "the source to be active")


def lose_database(service):
    for name in ("ingestor.db", "ingestor.db-wal", "ingestor.db-shm"):
        (service.folder / name).unlink(missing_ok=True)


def field_types(file):
    parquet = pytest.importorskip("pyarrow.parquet")
    return {field.name: str(field.type) for field in parquet.read_schema(file)}


def field_ids(file):
    parquet = pytest.importorskip("pyarrow.parquet")
    return {field.name: field.metadata[b"PARQUET:field_id"] for field in parquet.read_schema(file)}


def newest_last(folder):
    return sorted(folder.glob("**/bronze/**/*.parquet"), key=lambda f: f.stat().st_mtime_ns)


def flip_after_loss(service, mosquitto, lake):
    """Numbers, then the database is lost, then a text under the same name: both types must agree."""
    wait_active(service)
    publish(mosquitto, '{"seq": 1, "temp": 21.5, "a b": true, "at": {"lat": 1, "tags": [1, 2]}}')
    wait_until(lambda: newest_last(lake), "the first file")
    service.stop()
    before = newest_last(lake)[-1]
    lose_database(service)

    service.start()
    wait_active(service)
    publish(mosquitto, '{"seq": 2, "temp": "warm", "a b": "x", "at": "here", "more": 1}')
    wait_until(lambda: len(newest_last(lake)) > 1, "the second file")
    service.stop()
    after = newest_last(lake)[-1]
    assert after != before
    types = field_types(after)
    assert {name: types[name] for name in field_types(before)} == field_types(before)
    assert types["temp"] == "double" and types["more"] == "double"
    ids = field_ids(after)
    assert {name: ids[name] for name in field_ids(before)} == field_ids(before)
    parquet = pytest.importorskip("pyarrow.parquet")
    row = parquet.ParquetFile(after).read().to_pylist()[0]
    assert row["temp"] is None and '"temp":"warm"' in row["_rescued_data"].replace(" ", "")
    assert row["topic"] == TOPIC and "topic_2" not in row and "a_b_2" not in row


def test_lost_database_folder(mosquitto, make_service):
    service = make_service(mosquitto.port, sources=[source(mosquitto, topics=[TOPIC])])
    flip_after_loss(service, mosquitto, service.lake)


@pytest.mark.parametrize("kind", ["minio", "versitygw", "rclone"])
def test_lost_database_s3(mosquitto, make_service, tmp_path, kind):
    server = Server(kind, tmp_path / kind)
    try:
        server.start()
        service = make_service(mosquitto.port, sources=[source(mosquitto, topics=[TOPIC])],
                               environment={"OBJECT_STORE_URL": "",
                                            "MINIO_ENDPOINT": f"127.0.0.1:{server.port}",
                                            "MINIO_ACCESS_KEY": "minio",
                                            "MINIO_SECRET_KEY": "minio12345"})
        wait_active(service)
        publish(mosquitto, '{"seq": 1, "temp": 21.5}')
        wait_until(lambda: service.metric("ingestor_files_written_total") >= 1, "the first file")
        service.stop()
        lose_database(service)
        service.start()
        wait_active(service)
        publish(mosquitto, '{"seq": 2, "temp": "warm"}')
        wait_until(lambda: service.metric("ingestor_files_written_total") >= 1, "the second file")
        service.stop()
        assert types_in_database(service)["/temp"] == "DOUBLE"
    finally:
        server.stop()


def types_in_database(service):
    import sqlite3
    with sqlite3.connect(service.folder / "ingestor.db") as database:
        return dict(database.execute("SELECT field_path, column_type FROM dataset_columns"))


def dataset_folder(service, mosquitto):
    """Where the dataset's files go, learned from a first file."""
    wait_active(service)
    publish(mosquitto, '{"seq": 1}')
    wait_until(service.files, "the first file")
    return service.files()[0].parents[2]


def test_file_of_pyarrow(mosquitto, make_service):
    """As the Python service left it: SNAPPY, ingestion_id inside, integers below the top."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    service = make_service(mosquitto.port, sources=[source(mosquitto, topics=[TOPIC])])
    folder = dataset_folder(service, mosquitto)
    service.stop()
    lose_database(service)
    shutil.rmtree(folder)
    table = pyarrow.table({
        "temp": pyarrow.array([21.5]), "state": pyarrow.array(["on"]),
        "never": pyarrow.array([None], pyarrow.int32()),
        "at": pyarrow.array([{"n": 1, "list": [1, 2], "never": None}]),
        "ingestion_id": ["x"], "timestamp": ["2026-01-01T00:00:00+00:00"], "source_type": ["mqtt"],
        "ingestion_timestamp": ["2026-01-01T00:00:00+00:00"], "topic": [TOPIC],
        "qos": pyarrow.array([1.0]), "retain": [False], "broker": ["b"],
        "original_source_id": ["plant"]})
    place = folder / "date=2026-01-01" / "hour=00"
    place.mkdir(parents=True)
    parquet.write_table(table, place / "part-0.parquet", compression="snappy")

    service.start()
    wait_active(service)
    publish(mosquitto, '{"seq": 2, "temp": "warm", "state": 5, "never": true, "at": '
                       '{"n": "x", "list": ["a"], "never": "now"}}')
    wait_until(lambda: len(service.files()) > 1, "a file of ours")
    service.stop()
    ours = max(service.files(), key=lambda f: f.stat().st_mtime_ns)
    types = field_types(ours)
    assert types["temp"] == "double" and types["state"] == "string" and types["never"] == "bool"
    assert "n: double" in types["at"] and "never: string" in types["at"]
    assert "list<element: double>" in types["at"]
    assert types["topic"] == "string" and "topic_2" not in types
    assert "ingestion_id" not in types


def test_store_away_is_waited_for(mosquitto, make_service, tmp_path):
    """No type is guessed while the lake cannot be asked; health says what waits."""
    lake = tmp_path / "away"
    service = make_service(mosquitto.port, sources=[source(mosquitto, topics=[TOPIC])],
                           environment={"OBJECT_STORE_URL": "", "MINIO_BUCKET": "lake",
                                        "MINIO_ENDPOINT": "127.0.0.1:9", "MINIO_ACCESS_KEY": "minio",
                                        "MINIO_SECRET_KEY": "minio12345"})
    wait_active(service)
    publish(mosquitto, '{"seq": 1, "temp": 21.5}')
    wait_until(lambda: "columns" in service.get("/api/health"), "health to say what waits")
    time.sleep(2)  # longer than the age at which it would have been cut
    assert not (service.folder / "ingestor.db").exists() or not types_in_database(service)
    begin = time.monotonic()
    service.stop()
    assert time.monotonic() - begin < 15, "a stop must not wait for what cannot be"
    assert not lake.exists()
    # the journal has it: with the store back it is landed
    service.environment["MINIO_ENDPOINT"] = ""
    service.environment["OBJECT_STORE_URL"] = f"file://{service.lake}"
    service.start()
    wait_until(lambda: service.seqs() == [1], "the record in the lake")

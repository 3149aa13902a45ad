"""Names that devices choose: whatever a topic is, every engine reads the whole lake, a scraper
the metrics, and the API knows the dataset by its id."""

import json
import urllib.parse
import urllib.request

import pytest
from conftest import PATIENCE_S, wait_until
from test_hostile_payloads import publish
from hostile import Message

duckdb = pytest.importorskip("duckdb")
polars = pytest.importorskip("polars")
dataset = pytest.importorskip("pyarrow.dataset")
parser = pytest.importorskip("prometheus_client.parser")

# ASCII before it moves the place of the cut within a character; long enough for both cuts.
TOPICS = [f"n/{'a' * shift}{letter * count}" for letter, count in
          (("\u00e4", 150), ("\u20ac", 80), ("\U0001f40d", 60), ("\u00e4", 45))
          for shift in range(4)] + ["n/plain"]


def raw_get(service, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}",
                                timeout=PATIENCE_S) as answer:
        return answer.read()


def check_api(service):
    metrics = raw_get(service, "/metrics").decode()  # strictly
    assert list(parser.text_string_to_metric_families(metrics))
    ids = json.loads(raw_get(service, "/api/partitions").decode())["data"]
    assert len(ids) == len(TOPICS)
    assert all(len(name.encode()) <= 200 and "\ufffd" not in name for name in ids)
    topics = set()
    for name in ids:
        rows = json.loads(service.get("/api/data/" + urllib.parse.quote(name, safe="")))["data"]
        topics |= {row["topic"] for row in rows if row["ingestion_id"] == name}
    assert topics == set(TOPICS)
    return set(ids)


def test_long_topics_of_any_script_are_read_by_all(mosquitto, make_service):
    source = {"name": "names", "type_name": "mqtt",
              "config": {"broker": "127.0.0.1", "port": mosquitto.port, "topics": ["n/#"]}}
    service = make_service(mosquitto.port, sources=[source])
    service.wait_log("connected")
    messages = [Message(topic, json.dumps({"seq": i})) for i, topic in enumerate(TOPICS)]
    for i, message in enumerate(messages):
        message.number = i
    publish(mosquitto.port, messages)
    wait_until(lambda: service.metric("ingestor_source_messages_stored_total") == len(TOPICS),
               "all to be stored")
    ids = check_api(service)
    service.stop()

    bronze = service.lake.glob("**/bronze")
    (bronze,) = [path for path in bronze if path.is_dir()]
    rows = duckdb.sql(f"select ingestion_id, topic, seq from read_parquet('{bronze}/*/*/*/*.parquet', "
                      "hive_partitioning=true, union_by_name=true)").fetchall()
    assert {topic: seq for _, topic, seq in rows} == {t: i for i, t in enumerate(TOPICS)}
    assert len({name for name, _, _ in rows}) == len(TOPICS)
    table = dataset.dataset(bronze, partitioning="hive").to_table()
    assert {r["topic"]: r["ingestion_id"] for r in table.to_pylist()} == {t: n for n, t, _ in rows}
    frame = polars.read_parquet(f"{bronze}/**/*.parquet", hive_partitioning=True)
    assert set(frame["topic"]) == set(TOPICS)
    stored = {polars.read_parquet_metadata(file)["ingestion_id"] for file in service.files()}
    assert stored == ids

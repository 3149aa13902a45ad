"""Options of every source: columns, pinned before the first value, and dedupe_key, over kill -9."""

import json
import urllib.error
import urllib.request

import pytest
from conftest import PATIENCE_S, free_port, wait_until

CONFIG = {"columns": {"serial": "STRING", "level": "DOUBLE", "on": "BOOLEAN"},
          "dedupe_key": {"field": "key", "window_seconds": 3600}, "sensor_id_field": "device"}


@pytest.fixture
def push(make_service):
    """A service with one push source: push(records) posts them, push.service is the service."""
    service = make_service(free_port(), sources=[
        {"name": "hook", "type_name": "http_push", "config": CONFIG}])

    def source_id():
        answer = json.loads(service.get("/api/data-sources"))
        return answer["data"] and answer["data"][0]["ingestion_id"]

    def post(*records):
        path = wait_until(source_id, "the source")
        request = urllib.request.Request(
            f"http://127.0.0.1:{service.port}/api/ingest/{path}", json.dumps(records).encode(),
            {"Content-Type": "application/json"})

        def answer():
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                    return response.status
            except urllib.error.HTTPError:
                return None  # it is just starting

        assert wait_until(answer, "the push to be taken") == 202

    post.service = service
    return post


def keys(service):
    return sorted(row["key"] for row in service.rows() if row.get("key"))


def test_columns_are_pinned_before_their_first_value(push):
    pyarrow = pytest.importorskip("pyarrow")
    push({"serial": 17, "level": "N/A"}, {"serial": "0017", "level": "N/A", "other": "N/A"})
    push.service.stop()
    rows = push.service.rows()
    assert [row["serial"] for row in rows] == ["17", "0017"]
    assert [row["level"] for row in rows] == [None, None]
    assert json.loads(rows[0]["_rescued_data"]) == {"level": "N/A"}
    schema = pyarrow.parquet.read_schema(push.service.files()[0])
    assert schema.field("serial").type == pyarrow.string()
    assert schema.field("level").type == pyarrow.float64()
    assert schema.field("on").type == pyarrow.bool_()


def test_the_field_that_names_the_sensor(push):
    """It travels with the records: what the journal has is counted by it after a kill."""
    push.service.environment["FLUSH_INTERVAL_SECONDS"] = "3600"
    push.service.kill()
    push.service.start()
    push({"device": "d1", "sensor_id": "no"}, {"device": 2}, {"device": "d1"}, {"v": 1})
    push.service.kill()
    push.service.environment["FLUSH_INTERVAL_SECONDS"] = "1"
    push.service.start()

    def sensors():
        sources = json.loads(push.service.get("/api/data-sources"))["data"]
        found = sources and json.loads(push.service.get(
            f"/api/metadata/datasets/{sources[0]['ingestion_id']}"))["data"]
        return found and sorted(found["dataset"]["unique_sensor_ids"])

    assert wait_until(sensors, "the dataset") == ["2", "d1"]


def test_repetitions_stay_out_over_kills(push):
    service = push.service
    push({"key": "landed"}, {"key": "landed"}, {"plain": 1}, {"plain": 1})
    wait_until(service.files, "the first file")
    service.kill()
    service.start()
    push({"key": "landed"}, {"key": "next"})
    push({"key": "next"})
    service.kill()  # most of it is in the journal only
    service.environment["FLUSH_INTERVAL_SECONDS"] = "3600"
    service.start()
    push({"key": "next"}, {"key": "landed"}, {"key": "open"})
    service.kill()
    service.start()
    push({"key": "open"}, {"key": "last"})
    wait_until(lambda: service.metric("ingestor_source_messages_repeated_total") >= 1,
               "the repetition to be counted")
    totals = [service.metric(f"ingestor_source_messages_{what}") for what in
              ("received_total", "stored_total", "rejected_total", "repeated_total", "pending")]
    assert totals[0] == sum(totals[1:])
    service.stop()
    assert keys(service) == ["landed", "last", "next", "open"]
    assert sum(1 for row in service.rows() if row.get("plain") == 1) == 2

"""What the API and the metrics say of a known load, against the lake; and what an idle service
costs."""

import json
import time
import urllib.error
import urllib.request
from datetime import datetime

import pytest
from conftest import PATIENCE_S, wait_until

COUNT = 1000
TOPICS = 4
METRICS = {
    "ingestor_messages_received_total": {"pod", "source_type", "ingestion_id"},
    "ingestor_messages_processed_total": {"pod", "source_type", "ingestion_id"},
    "ingestor_messages_failed_total": {"pod", "source_type", "ingestion_id", "error_type"},
    "ingestor_bytes_received_total": {"pod", "source_type"},
    "ingestor_bytes_written_total": {"pod", "layer"},
    "ingestor_timestamp_delay_seconds": {"pod", "source_type"},
    "ingestor_active_data_sources": {"pod", "source_type"},
    "ingestor_buffer_size_messages": {"pod", "ingestion_id"},
    "ingestor_buffer_size_bytes": {"pod", "ingestion_id"},
    "ingestor_files_written_total": {"pod", "layer"},
    "ingestor_info": {"pod_name", "namespace", "version"},
    "mqtt_messages_received_total": set(),
    "mqtt_messages_processed_total": set(),
    "mqtt_message_processing_latency_seconds": set(),
}
BUCKETS = {
    "ingestor_timestamp_delay_seconds": "0.1 0.5 1.0 2.0 5.0 10.0 30.0 60.0 300.0 +Inf",
    "mqtt_message_processing_latency_seconds":
        "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 +Inf",
}


def publish(port, payloads):
    module = pytest.importorskip("paho.mqtt.client")
    client = module.Client(module.CallbackAPIVersion.VERSION2, protocol=5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    infos = [client.publish(topic, payload, qos=1) for topic, payload in payloads]
    for info in infos:
        info.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def load():
    for i in range(COUNT):
        record = {"sensor_id": f"s{i % 10}", "v": i + 0.5, "timestamp": datetime.utcnow().isoformat()}
        yield f"smartcity/sensors/{i % TOPICS}", json.dumps({"seq": i, **record})


def ask(service, path, body=None, method=None, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode(),
                                     headers={"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def data(service, path):
    status, answer, _ = ask(service, path)
    assert status == 200 and answer["status"] == "success" and answer["error"] is None, answer
    return answer["data"]


@pytest.fixture
def loaded(mosquitto, make_service):
    """A service that has stored the load."""
    service = make_service(mosquitto.port, environment={"POD_NAME": "pod-7", "BUFFER_MAX_ROWS": "20"})
    service.wait_log("connected")
    service.sent = list(load())
    publish(mosquitto.port, service.sent)

    def stored():
        accounts = json.loads(service.get("/api/health"))["metrics"]["accounting"].values()
        return sum(a["stored"] for a in accounts) == COUNT
    wait_until(stored, "all to be stored")
    service.source_id = "5ec7bb57_local_simulators_mqtt_mqtt"
    yield service
    service.stop()


def dataset(service, i):
    return f"{service.source_id}_smartcity_sensors_{i}"


def test_recent_data(loaded):
    partitions = data(loaded, "/api/partitions")
    assert partitions == [dataset(loaded, i) for i in range(TOPICS)]
    for i, partition in enumerate(partitions):
        rows = data(loaded, f"/api/data/{partition}")
        wanted = list(range(i, COUNT, TOPICS))[-20:]
        assert [row["seq"] for row in rows] == wanted  # the newest, oldest first
        assert list(rows[0])[:4] == ["seq", "sensor_id", "v", "timestamp"]  # in the device's order
        for row in rows:
            assert row["ingestion_id"] == partition and row["source_type"] == "mqtt"
            assert row["topic"] == f"smartcity/sensors/{i}" and row["v"] == row["seq"] + 0.5
            assert row["timestamp"].endswith("+00:00")
            assert row["original_source_id"] == loaded.source_id
        assert [row["seq"] for row in data(loaded, f"/api/data/{partition}?limit=3")] == wanted[-3:]
    for limit in (1, 5, 1000):
        status, answer, _ = ask(loaded, f"/api/data?limit_per_partition={limit}")
        assert status == 200 and answer["total"] == len(answer["data"]) == TOPICS * min(limit, 20)
    assert len(data(loaded, "/api/data?limit_per_partition=0")) == TOPICS * 20
    assert data(loaded, "/api/data/unknown") == []
    assert data(loaded, "/api/partitions") == partitions  # nothing was created
    status, answer, _ = ask(loaded, "/api/data?limit_per_partition=many")
    assert status == 422 and answer["status"] == "error" and answer["detail"]


def test_buffer_size(loaded):
    partition = dataset(loaded, 0)
    newest = list(range(0, COUNT, TOPICS))
    for sent, wanted in [({"max_rows": 5}, 5), ({"max_rows": 0}, 1), ({"max_rows": "7"}, 7),
                         ({"max_rows": 3.9}, 3), ({}, 100), ({"max_rows": -4}, 1)]:
        status, answer, _ = ask(loaded, "/api/buffer/size", sent)
        assert status == 200 and answer["data"] == {"max_rows": wanted}, sent
        rows = data(loaded, f"/api/data/{partition}")
        assert len(rows) <= wanted and [r["seq"] for r in rows] == newest[-len(rows):]
    for bad in ({"max_rows": "many"}, {"max_rows": None}, {"max_rows": []}):
        status, answer, _ = ask(loaded, "/api/buffer/size", bad)
        assert status == 400 and answer["error"] == answer["detail"], bad
    assert ask(loaded, "/api/buffer/size", [1])[0] == 422
    assert ask(loaded, "/api/buffer/size")[0] == 405


def test_topic_analysis(loaded):
    analysis = data(loaded, "/api/diagnostics/topic-analysis")
    assert analysis["total_partitions"] == TOPICS and analysis["sensor_types_by_partition"] == {}
    for i in range(TOPICS):
        partition = analysis["partitions"][dataset(loaded, i)]
        assert partition["message_count"] == 20
        assert partition["topics_seen"] == [f"smartcity/sensors/{i}"]
        last = list(range(i, COUNT, TOPICS))[-10:]
        assert sorted(partition["sensor_ids_seen"]) == sorted({f"s{n % 10}" for n in last})
        assert [m["seq"] for m in partition["sample_recent_messages"]] == last[-3:]
    assert set(analysis["topic_to_ingestion_id_mapping"]) == {
        f"smartcity/sensors/{i}" for i in range(TOPICS)}
    status = analysis["buffer_status"]
    assert status["max_rows_per_partition"] == 20
    assert status["total_messages_in_buffers"] == 20 * TOPICS and status["note"]


def test_health_and_errors(loaded):
    status, health, headers = ask(loaded, "/api/health", **{"X-Request-ID": "mine-1"})
    assert status == 200 and headers["X-Request-ID"] == "mine-1"
    assert health["status"] == "healthy" and set(health) == {"status", "components", "metrics"}
    assert set(health["components"]) >= {"data_sources", "minio", "data_buffer", "journal",
                                         "database", "metadata"}
    assert all(text == "healthy" for text in health["components"].values())
    figures = health["metrics"]
    assert figures["buffered_messages"] == 20 * TOPICS and figures["active_data_sources"] == 1
    assert figures["messages_received"] == figures["messages_processed"] == COUNT
    assert ask(loaded, "/api/ready")[1]["ready"] is True and ask(loaded, "/api/live")[0] == 200
    status, answer, _ = ask(loaded, "/api/nowhere")
    assert status == 404 and answer["error"] == answer["detail"] == "Not Found"
    status, answer, headers = ask(loaded, "/api/health", {}, "POST")
    assert status == 405 and "GET" in headers["Allow"]


def series(text):
    """{name: [(labels, value)]} and {name: type}; the format is checked on the way."""
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif line and not line.startswith("#"):
            head, value = line.rsplit(" ", 1)
            name, _, rest = head.partition("{")
            labels = {}
            for pair in filter(None, rest.rstrip("}").split('",')):
                key, _, text_value = pair.partition('="')
                labels[key] = text_value.rstrip('"')
            found.setdefault(name, []).append((labels, float(value)))
    return found, types


def test_metrics(loaded):
    found, types = series(loaded.get("/api/metrics"))
    assert loaded.get("/metrics").splitlines()[0].startswith("#")
    for name, labels in METRICS.items():
        assert name in types, f"{name} is missing"
        histogram = types[name] == "histogram"
        for got, value in found.get(f"{name}_count" if histogram else name, []):
            assert set(got) == labels, name
            assert value >= 0 and got.get("pod", "pod-7") == "pod-7"
            assert got.get("layer", "bronze") == "bronze"
    for name, bounds in BUCKETS.items():
        buckets = found[f"{name}_bucket"]
        assert [labels["le"] for labels, _ in buckets] == bounds.split(" ")
        values = [value for _, value in buckets]
        assert values == sorted(values) and values[-1] == found[f"{name}_count"][0][1] == COUNT
        assert found[f"{name}_sum"][0][1] >= 0

    def total(name):
        return sum(value for _, value in found.get(name, []))

    assert total("ingestor_messages_received_total") == COUNT
    assert total("ingestor_messages_processed_total") == COUNT
    assert total("ingestor_messages_failed_total") == 0
    assert total("mqtt_messages_received_total") == total("mqtt_messages_processed_total") == COUNT
    assert total("ingestor_bytes_received_total") == sum(len(p) for _, p in loaded.sent)
    assert total("ingestor_active_data_sources") == 1 and total("ingestor_info") == 1
    assert total("ingestor_buffer_size_messages") == 20 * TOPICS
    assert len(found["ingestor_buffer_size_bytes"]) == TOPICS
    files = loaded.files()
    assert total("ingestor_files_written_total") == len(files)
    assert total("ingestor_bytes_written_total") == sum(f.stat().st_size for f in files)
    assert loaded.seqs() == list(range(COUNT))
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total"):
        assert total(name) > 0


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_idle_with_ten_sources(mosquitto, make_service, record_property):
    """Memory is asserted, CPU only told: other things run on the machine."""
    sources = [{"name": f"idle {i}", "type_name": "mqtt",
                "config": {"broker": "127.0.0.1", "port": mosquitto.port, "topics": f"idle/{i}/#"}}
               for i in range(10)]
    service = make_service(mosquitto.port, sources=sources)
    wait_until(lambda: service.log().count("connected") >= 10, "all sources to connect")
    time.sleep(1)
    before, begin = cpu_seconds(service.process.pid), time.monotonic()
    time.sleep(20)
    cpu = (cpu_seconds(service.process.pid) - before) / (time.monotonic() - begin)
    resident = resident_bytes(service.process.pid)
    print(f"idle: {100 * cpu:.2f} % of a core, {resident / 2 ** 20:.1f} MiB")
    record_property("idle_cpu_percent", 100 * cpu)
    record_property("idle_resident_mib", resident / 2 ** 20)
    assert resident < 96 * 2 ** 20
    service.stop()

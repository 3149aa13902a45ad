"""contract/http-api.md "Metrics", whole: names, labels and bounds as dashboards query them, and
values that are true, told by what was published and by what lies in the lake."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from conftest import PATIENCE_S, wait_until
from test_redelivery import TOPIC as SCRIPTED_TOPIC
from test_redelivery import begin, publish, reading, reconnect

paho = pytest.importorskip("paho.mqtt.client")
parser = pytest.importorskip("prometheus_client.parser")

ENVIRONMENT = {"POD_NAME": "pod-7", "POD_NAMESPACE": "city"}
POD = {"pod": "pod-7"}
MQTT = {**POD, "source_type": "mqtt"}
TOPICS = ("city/a", "city/b")

DELAY_BOUNDS = ["0.1", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "60.0", "300.0", "+Inf"]
LATENCY_BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0",
                  "2.5", "5.0", "7.5", "10.0", "+Inf"]

# name: type, labels
FOURTEEN = {
    "ingestor_messages_received_total": ("counter", {"pod", "source_type", "ingestion_id"}),
    "ingestor_messages_processed_total": ("counter", {"pod", "source_type", "ingestion_id"}),
    "ingestor_messages_failed_total": ("counter",
                                       {"pod", "source_type", "ingestion_id", "error_type"}),
    "ingestor_bytes_received_total": ("counter", {"pod", "source_type"}),
    "ingestor_bytes_written_total": ("counter", {"pod", "layer"}),
    "ingestor_timestamp_delay_seconds": ("histogram", {"pod", "source_type"}),
    "ingestor_active_data_sources": ("gauge", {"pod", "source_type"}),
    "ingestor_buffer_size_messages": ("gauge", {"pod", "ingestion_id"}),
    "ingestor_buffer_size_bytes": ("gauge", {"pod", "ingestion_id"}),
    "ingestor_files_written_total": ("counter", {"pod", "layer"}),
    "ingestor_info": ("gauge", {"pod_name", "namespace", "version"}),
    "mqtt_messages_received_total": ("counter", set()),
    "mqtt_messages_processed_total": ("counter", set()),
    "mqtt_message_processing_latency_seconds": ("histogram", set()),
}

NEW = ["ingestor_journal_bytes", "ingestor_spool_bytes", "ingestor_oldest_unlanded_seconds",
       "ingestor_upload_latency_seconds_total", "ingestor_upload_failures_total",
       "ingestor_source_reconnects_total", "ingestor_unlanded_messages",
       "ingestor_values_rescued_total", "ingestor_source_messages_received_total",
       "ingestor_source_messages_stored_total", "ingestor_source_messages_rejected_total",
       "ingestor_source_messages_repeated_total", "ingestor_source_messages_pending",
       "ingestor_queue_depth", "process_cpu_seconds_total", "process_resident_memory_bytes"]


class Page:
    """One scrape, as Prometheus reads it."""

    def __init__(self, service):
        self.text = service.get("/api/metrics")
        self.samples = [s for family in parser.text_string_to_metric_families(self.text)
                        for s in family.samples]

    def of(self, name, **labels):
        return [s for s in self.samples
                if s.name == name and labels.items() <= s.labels.items()]

    def value(self, name, **labels):
        """Of the one series that has just these labels."""
        found = [s for s in self.of(name) if s.labels == labels]
        assert len(found) == 1, f"{name}{labels}: {len(found)} series in\n{self.text}"
        return found[0].value

    def buckets(self, name, **labels):
        """le text -> count, in the page's order."""
        lines = [line for line in self.text.splitlines() if line.startswith(f"{name}_bucket{{")
                 and all(f'{k}="{v}"' in line for k, v in labels.items())]
        return {line.split('le="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1])
                for line in lines}


def source(port, **more):
    return [{"name": "City", "type_name": "mqtt",
             "config": {"broker": "127.0.0.1", "port": port, "topics": ["city/#"],
                        "protocol_version": 5, **more}}]


@pytest.fixture
def city(mosquitto, make_service):
    """The service on Mosquitto, and a publisher: send(topic, payload) and settle()."""
    service = make_service(mosquitto.port, environment=ENVIRONMENT,
                           sources=source(mosquitto.port, max_message_bytes=2000))
    service.wait_log("connected")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "city", protocol=paho.MQTTv5)
    client.max_inflight_messages_set(0)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    sent = []

    def send(topic, payload):
        text = payload if isinstance(payload, str) else json.dumps(payload)
        sent.append(client.publish(topic, text, qos=1))

    def settle():
        for message in sent:
            message.wait_for_publish(PATIENCE_S)
        wait_until(lambda: service.metric("ingestor_source_messages_received_total") >= len(sent)
                   and service.metric("ingestor_source_messages_pending") == 0,
                   "all to be in the lake")
        return Page(service)

    yield service, send, settle
    client.disconnect()
    client.loop_stop()


def check_shape(page, with_series):
    for name, (kind, labels) in FOURTEEN.items():
        assert f"\n# TYPE {name} {kind}\n" in "\n" + page.text
        sample = {"counter": name, "gauge": name, "histogram": f"{name}_count"}[kind]
        for found in page.of(sample):
            assert set(found.labels) == labels
        if with_series:
            assert page.of(sample), f"{name} has no series"
    # each series once, and everything a number
    keys = [line.rsplit(" ", 1)[0] for line in page.text.splitlines() if line[0] != "#"]
    assert len(keys) == len(set(keys))


def test_names_before_the_first_message(make_service):
    service = make_service(1, environment=ENVIRONMENT)
    service.wait_log("listening")
    page = Page(service)
    check_shape(page, with_series=False)
    version = page.of("ingestor_info")[0].labels["version"]
    assert page.value("ingestor_info", pod_name="pod-7", namespace="city", version=version) == 1
    assert page.value("mqtt_messages_received_total") == 0
    assert page.value("ingestor_bytes_written_total", **POD, layer="bronze") == 0


def test_pod_is_the_host_without_a_name(make_service):
    service = make_service(1, environment={"HOSTNAME": "host-9"})
    service.wait_log("listening")
    assert Page(service).value("ingestor_files_written_total", pod="host-9", layer="bronze") == 0


def test_a_thousand_messages(city):
    service, send, settle = city
    now = datetime.now(timezone.utc)
    texts = []
    for i in range(1000):
        # late by 20 s, or early: an early one is not observed
        at = now - timedelta(seconds=20) if i % 4 else now + timedelta(minutes=10)
        texts.append(json.dumps({"sensor_id": "s", "value": i / 4, "seq": i,
                                 "timestamp": at.isoformat()}))
        send(TOPICS[i % 2], texts[-1])
    for _ in range(3):
        send(TOPICS[0], "x" * 3000)
    page = settle()
    check_shape(page, with_series=True)

    ids = sorted({s.labels["ingestion_id"] for s in page.of("ingestor_messages_received_total")})
    assert len(ids) == 2 and ids[0].endswith("_city_a") and ids[1].endswith("_city_b")
    a, b = ({**MQTT, "ingestion_id": i} for i in ids)
    assert page.value("ingestor_messages_received_total", **a) == 503
    assert page.value("ingestor_messages_received_total", **b) == 500
    assert page.value("ingestor_messages_processed_total", **a) == 500
    assert page.value("ingestor_messages_processed_total", **b) == 500
    assert page.value("ingestor_messages_failed_total", **a, error_type="oversize") == 3
    assert len(page.of("ingestor_messages_failed_total")) == 1
    assert page.value("mqtt_messages_received_total") == 1003
    assert page.value("mqtt_messages_processed_total") == 1000
    assert page.value("ingestor_bytes_received_total", **MQTT) == sum(map(len, texts)) + 3 * 3000
    assert page.value("ingestor_active_data_sources", **MQTT) == 1

    delays = page.buckets("ingestor_timestamp_delay_seconds", **MQTT)
    assert list(delays) == DELAY_BOUNDS
    assert delays["10.0"] == 0 and delays["+Inf"] == 750
    assert page.value("ingestor_timestamp_delay_seconds_count", **MQTT) == 750
    assert 750 * 20 <= page.value("ingestor_timestamp_delay_seconds_sum", **MQTT)
    latencies = page.buckets("mqtt_message_processing_latency_seconds")
    assert list(latencies) == LATENCY_BOUNDS
    assert latencies["+Inf"] == 1003
    assert page.value("mqtt_message_processing_latency_seconds_sum") > 0

    buffered = {s.labels["ingestion_id"]: s.value for s in page.of("ingestor_buffer_size_messages")}
    assert set(buffered) == set(ids) and all(0 < rows <= 500 for rows in buffered.values())
    files = service.files() + service.files(dead_letters=True)
    assert page.value("ingestor_files_written_total", **POD, layer="bronze") == len(files)
    assert (page.value("ingestor_bytes_written_total", **POD, layer="bronze") ==
            sum(file.stat().st_size for file in files))

    (account,) = page.of("ingestor_source_messages_received_total")
    counts = {name: page.value(f"ingestor_source_messages_{name}", **account.labels)
              for name in ("received_total", "stored_total", "rejected_total", "repeated_total",
                           "pending")}
    assert counts == {"received_total": 1003, "stored_total": 1000, "rejected_total": 3,
                      "repeated_total": 0, "pending": 0}
    for name in NEW:
        assert page.of(name), f"{name} is not on the page"
    assert page.value("ingestor_unlanded_messages", **POD) == 0
    assert page.value("ingestor_upload_cuts_total", **POD) > 0
    assert page.value("ingestor_upload_latency_seconds_total", **POD) > 0
    assert page.value("ingestor_upload_failures_total", **POD) == 0


def test_without_a_timestamp(city):
    """Such a record's event time is its arrival: no delay."""
    _, send, settle = city
    for seq in range(10):
        send(TOPICS[0], {"seq": seq})
    delays = settle().buckets("ingestor_timestamp_delay_seconds", **MQTT)
    assert delays["0.1"] == delays["+Inf"] == 10


def test_rescued_values(city):
    _, send, settle = city
    send(TOPICS[0], {"seq": 1, "value": 20.5})
    settle()  # the column is a double now
    for seq in range(2, 6):
        send(TOPICS[0], {"seq": seq, "value": "broken"})
    page = settle()
    (rescued,) = page.of("ingestor_values_rescued_total")
    assert rescued.value == 4
    assert page.value("mqtt_messages_processed_total") == 5
    assert not page.of("ingestor_messages_failed_total")


def test_active_sources_and_reconnects(mosquitto, make_service):
    service = make_service(mosquitto.port, environment=ENVIRONMENT,
                           sources=source(mosquitto.port) + [
                               {**source(1)[0], "name": "Nobody listens"}])
    service.wait_log("connected")

    def active():
        return Page(service).value("ingestor_active_data_sources", **MQTT)

    wait_until(lambda: active() == 1, "one of two sources to be active")
    mosquitto.stop()
    wait_until(lambda: active() == 0, "no source to be active")
    mosquitto.start()
    wait_until(lambda: active() == 1, "the source to come back")
    reconnects = {s.labels["source_id"]: s.value
                  for s in Page(service).of("ingestor_source_reconnects_total")}
    assert len(reconnects) == 2 and all(count >= 1 for count in reconnects.values())


def test_repetitions_are_received_too(broker, make_service):
    service = begin(broker, make_service, environment=ENVIRONMENT)
    publish(broker, 1, 1)
    publish(broker, 2, 2)
    broker.wait("PUBACK", count=2)
    reconnect(broker)
    publish(broker, 1, 1, dup=True)
    publish(broker, 2, 2, dup=True)
    publish(broker, 3, 3)
    broker.wait("PUBACK", count=3)
    wait_until(lambda: service.metric("ingestor_source_messages_pending") == 0 and
               service.metric("mqtt_messages_processed_total") == 3, "all to be in the lake")
    page = Page(service)
    (received,) = page.of("ingestor_messages_received_total")
    assert received.labels["ingestion_id"].endswith(SCRIPTED_TOPIC.replace("/", "_"))
    assert received.value == 5
    assert page.value("ingestor_messages_processed_total", **received.labels) == 3
    assert page.value("mqtt_messages_received_total") == 5
    assert page.value("ingestor_bytes_received_total", **MQTT) == 5 * len(reading(1))


def test_partitions_past_the_cap_fold(mosquitto, make_service):
    service = make_service(mosquitto.port, sources=source(mosquitto.port),
                           environment={**ENVIRONMENT, "METRICS_MAX_PARTITIONS": "3"})
    service.wait_log("connected")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "many", protocol=paho.MQTTv5)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    for i in range(20):
        client.publish(f"city/{i}", json.dumps({"seq": i}), qos=1).wait_for_publish(PATIENCE_S)
    client.loop_stop()
    wait_until(lambda: service.metric("mqtt_messages_processed_total") == 20, "all to be decoded")
    page = Page(service)
    for name in ("ingestor_messages_received_total", "ingestor_buffer_size_messages"):
        values = {s.labels["ingestion_id"]: s.value for s in page.of(name)}
        assert len(values) == 4 and values["_other"] == 17 and sum(values.values()) == 20


def test_a_restart_counts_what_was_pending(mosquitto, make_service):
    """What recovery finds in the journal is received, processed and closes the account again."""
    service = make_service(mosquitto.port, sources=source(mosquitto.port),
                           environment={**ENVIRONMENT, "FLUSH_INTERVAL_SECONDS": "3600"})
    service.wait_log("connected")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "city", protocol=paho.MQTTv5)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    for i in range(20):
        client.publish("city/a", json.dumps({"seq": i}), qos=1).wait_for_publish(PATIENCE_S)
    client.loop_stop()
    wait_until(lambda: service.metric("mqtt_messages_processed_total") == 20, "all to be decoded")
    service.kill()
    service.environment["FLUSH_INTERVAL_SECONDS"] = "1"
    service.start()

    def settled():
        try:
            return service.metric("ingestor_source_messages_stored_total") == 20
        except OSError:
            return False

    wait_until(settled, "all to be stored")
    page = Page(service)
    (received,) = page.of("ingestor_source_messages_received_total")
    repeated = page.value("ingestor_source_messages_repeated_total", **received.labels)
    assert received.value == 20 + repeated
    assert page.value("mqtt_messages_processed_total") == 20
    assert page.value("ingestor_source_messages_pending", **received.labels) == 0
    # how long they lay in the journal is no latency
    assert page.buckets("mqtt_message_processing_latency_seconds")["+Inf"] == 0

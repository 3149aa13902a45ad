"""A broker that waits whenever N messages are unacknowledged is told to the user, with what to raise."""

from brokers import HiveMq
from certificates import Authority
from conftest import wait_until
from test_exactly_once import source

WINDOW = 50  # HiveMQ's; Mosquitto 2.0.11 does not keep to its own (mqtt_stall.h)
MESSAGES = 6000  # more than MQTT_STALL_HITS windows


def test_told(tmp_path, make_service, simulate):
    broker = HiveMq(tmp_path / "hivemq", *Authority(tmp_path / "authority").issue("server"))
    try:
        service = make_service(broker.port, sources=source(broker.port))
        service.wait_log("connected")
        told = f"waits whenever {WINDOW} messages are unacknowledged"
        for rounds in range(1, 11):  # on a busy machine the broker is seldom what is waited for
            simulate(broker.port, "--count", str(MESSAGES), "--rate", "0", "--qos", "1", "--faults", "0")
            wait_until(lambda count=rounds * MESSAGES: service.metric(
                "ingestor_messages_received_total") >= count, "all to arrive")
            if told in service.log():
                break
        assert told in service.log()
        assert "connections" in service.get("/api/health")
        service.stop()
    finally:
        broker.stop()

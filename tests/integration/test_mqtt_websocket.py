"""MQTT over WebSocket, plain and over TLS, through a real Mosquitto and a broker of another make."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from brokers import Mochi
from certificates import Authority
from conftest import Mosquitto, free_port, wait_until

MESSAGES = 2000


class WebMosquitto(Mosquitto):
    """Beside the plain listener one for WebSocket, with TLS if there is a certificate."""

    def __init__(self, folder, certificate=None, key=None):
        super().__init__(folder)
        self.web_port = free_port()
        lines = f"listener {self.web_port} 127.0.0.1\nprotocol websockets\n"
        if certificate:
            lines += f"certfile {certificate}\nkeyfile {key}\n"
        self.config.write_text(self.config.read_text() + lines)


@pytest.fixture
def web_mosquitto(tmp_path):
    broker = WebMosquitto(tmp_path).start()
    yield broker
    broker.stop()


@pytest.fixture
def mochi():
    broker = Mochi()
    yield broker
    broker.stop()


def source(port, **config):
    return [{"name": "city", "type_name": "mqtt",
             "config": {"broker": "127.0.0.1", "port": port, "topics": ["smartcity/sensors/#"],
                        "websocket": "/mqtt", **config}}]


def check_delivers(broker, make_service, simulate, **config):
    service = make_service(broker.port, sources=source(broker.web_port, **config))
    service.wait_log("connected")
    simulate(broker.port, "--count", str(MESSAGES), "--rate", "0", "--qos", "1", "--faults", "0")
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= MESSAGES,
               "all to arrive")
    service.stop()
    assert service.seqs() == list(range(1, MESSAGES + 1))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_mosquitto(web_mosquitto, make_service, simulate, version):
    check_delivers(web_mosquitto, make_service, simulate, protocol_version=version)


def test_mosquitto_tls(tmp_path, make_service, simulate):
    authority = Authority(tmp_path / "authority")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = WebMosquitto(folder, *authority.issue("server")).start()
    try:
        check_delivers(broker, make_service, simulate, tls={"ca_file": str(authority.ca_file)})
    finally:
        broker.stop()


def test_mochi(mochi, make_service, simulate):
    """QoS 0: mochi 2.7.9 locks up when a PUBACK meets a PUBLISH (Inflight.NextImmediate takes the
    lock of Inflight.GetAll twice, and Inflight.Set waits between)."""
    check_delivers(mochi, make_service, simulate, qos=0)


def test_messages_larger_than_a_read(mochi, make_service):
    """Not Mosquitto: 2.0.11 delivers no message of 1 MiB by WebSocket, to paho neither."""
    mqtt = pytest.importorskip("paho.mqtt.client")
    service = make_service(mochi.port, sources=source(mochi.web_port, qos=0))
    service.wait_log("connected")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", mochi.port)
    client.loop_start()
    for seq, size in ((1, 1 << 10), (2, 1 << 20), (3, 5 << 20)):
        client.publish("smartcity/sensors/large", f'{{"seq":{seq},"text":"{"x" * size}"}}',
                       qos=1).wait_for_publish(60)
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= 3, "all to arrive")
    client.loop_stop()
    service.stop()
    assert {row["seq"]: len(row["text"]) for row in service.rows()} == {1: 1 << 10, 2: 1 << 20,
                                                                        3: 5 << 20}


def check_says(port, make_service, text):
    service = make_service(port, sources=source(port))
    service.wait_log(text)
    assert service.alive()
    service.stop()


def test_plain_port(mosquitto, make_service):
    check_says(mosquitto.port, make_service, "is it a WebSocket port?")


def test_wrong_path(make_service):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        check_says(server.server_port, make_service, "correct the path in websocket")
    finally:
        server.shutdown()

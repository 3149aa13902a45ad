"""The flooding broker, which measures the service, is itself right: all of it, once, in order."""

import json
import socket
import subprocess
import time

import pytest
from conftest import PATIENCE_S, find_program

paho = pytest.importorskip("paho.mqtt.client")
properties = pytest.importorskip("paho.mqtt.properties")
packettypes = pytest.importorskip("paho.mqtt.packettypes")


class Flood:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [find_program("scripted_broker"), "--flood", "--exit", *options],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def totals(self):
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0
        return json.loads(out)


@pytest.fixture
def start():
    """start("--qos", "0", …) starts a flood, which ends with the test."""
    started = []

    def run(*options):
        started.append(Flood(*options))
        return started[-1]

    yield run
    for flood in started:
        flood.process.kill()
        flood.process.wait()


def receive(port, count, acknowledge_max, clean_start, qos=1):
    """Reads until count messages are there; returns them. Acknowledges the first so many."""
    got = []

    def on_message(client, _, message):
        got.append(message)
        if qos and len(got) <= acknowledge_max:
            client.ack(message.mid, message.qos)

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "reader", protocol=paho.MQTTv5,
                         manual_ack=True)
    session = properties.Properties(packettypes.PacketTypes.CONNECT)
    session.SessionExpiryInterval = 100
    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("#", qos)
    client.connect("127.0.0.1", port, clean_start=clean_start, properties=session)
    while len(got) < count and client.loop(1) == paho.MQTT_ERR_SUCCESS:
        pass
    for _ in range(5):
        client.loop(0.05)  # the last acknowledgements leave
    client.socket() and client.socket().close()
    return got


def seqs(messages):
    return [json.loads(message.payload)["seq"] for message in messages]


@pytest.mark.parametrize("qos, count", [(0, 5000), (1, 70000)])  # over the ring and all identifiers
def test_all_in_order(start, qos, count):
    flood = start("--qos", str(qos), "--messages", str(count), "--topics", "7")
    got = receive(flood.port, count, count, True, qos)
    assert seqs(got) == list(range(10**9, 10**9 + count))
    assert len({message.topic for message in got}) == 7
    totals = flood.totals()
    assert totals["sent"] == count and totals["out_of_order"] == 0
    assert totals["acknowledged"] == (count if qos else 0)


def test_window_and_redelivery(start):
    flood = start("--messages", "3000", "--window", "1000")
    first = receive(flood.port, 1000, 400, True)
    again = receive(flood.port, 2600, 2600, False)
    assert seqs(first)[:400] == list(range(10**9, 10**9 + 400))
    assert seqs(again) == list(range(10**9 + 400, 10**9 + 3000))
    assert [m.dup for m in again[:600]] == [True] * 600 and not any(m.dup for m in again[1000:])
    assert flood.totals()["sent_again"] >= 600


def test_readings_are_json_of_the_size_asked_for(start):
    flood = start("--messages", "100", "--payload", "400")
    got = receive(flood.port, 100, 100, True)
    assert {len(message.payload) for message in got} == {400}
    reading = json.loads(got[0].payload)
    assert {"sensor_id", "timestamp", "value", "location"} <= set(reading)
    assert len({json.loads(m.payload)["value"] for m in got}) > 50


def packets(stream):
    """Cuts what a socket's file gives into (first byte, body) until it ends."""
    while first := stream.read(1):
        size = shift = 0
        while True:
            byte = stream.read(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield first[0], stream.read(size)


def test_pings_are_answered_between_packets(start):
    flood = start("--qos", "0", "--messages", "100000")
    with socket.create_connection(("127.0.0.1", flood.port)) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(bytes.fromhex("100d00044d5154540502000000 0000"))
        client.sendall(bytes.fromhex("8207000100000123 00"))
        time.sleep(0.3)  # the socket fills up, most likely within a packet
        client.sendall(b"\xc0\x00" * 2000)
        time.sleep(0.1)
        got, answers = [], 0
        for first, body in packets(client.makefile("rb")):
            if first == 0x30:
                size = int.from_bytes(body[:2], "big")
                got.append(json.loads(body[3 + size:])["seq"])
                if len(got) % 10 == 0 and len(got) <= 50000:
                    client.sendall(b"\xc0\x00")
            answers += first == 0xD0
            if len(got) == 100000 and answers >= 7000:
                break
    assert got == list(range(10**9, 10**9 + 100000))

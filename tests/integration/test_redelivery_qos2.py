"""The whole program against the scripted broker: QoS 2, contract/data.md "MQTT redelivery".

The broker answers PUBREC with PUBREL by itself unless a test says hold().
"""

import pytest
from conftest import wait_until
from test_redelivery import TOPIC, begin, lake_after_stop, publish, reading, reconnect


@pytest.fixture
def make(broker, make_service):
    def start():
        source = {"name": "city", "type_name": "mqtt",
                  "config": {"broker": "127.0.0.1", "port": broker.port, "topics": TOPIC,
                             "qos": 2}}
        return begin(broker, make_service, sources=[source])

    return start


def publish_2(broker, seq, packet_identifier, **fields):
    publish(broker, seq, packet_identifier, qos=2, **fields)


def hold(broker):
    broker.do("auto", pubrel=False)


def release(broker, packet_identifier):
    broker.do("ack", type="PUBREL", packet_identifier=packet_identifier)
    broker.wait("PUBCOMP")


def restart(broker, service):
    service.kill()
    broker.wait("close")
    service.start()
    broker.wait("CONNECT")


def test_is_asked_for(broker, make):
    make()
    assert broker.packets("SUBSCRIBE")[0]["filters"][0]["qos"] == 2


def test_received_is_durable(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 7)
    broker.wait("PUBREC")
    restart(broker, service)
    assert lake_after_stop(service) == [1]


def test_completed_in_order(broker, make):
    service = make()
    broker.do("publish", topic=TOPIC, payload=reading("{i}"), qos=2, packet_identifier=100,
              repeat=2000)
    broker.wait("PUBCOMP", count=2000)
    assert broker.identifiers("PUBREC") == list(range(100, 2100))
    assert broker.identifiers("PUBCOMP") == list(range(100, 2100))
    assert lake_after_stop(service) == list(range(2000))
    (row, *_) = service.rows()
    assert row["qos"] == 2


def test_repetition_on_reconnect(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 7)
    broker.wait("PUBREC")
    reconnect(broker)
    publish_2(broker, 1, 7, dup=True)
    broker.wait("PUBREC")
    release(broker, 7)
    assert broker.identifiers("PUBREC") == [7, 7]
    assert lake_after_stop(service) == [1]


def test_the_received_set_survives_a_kill(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 7)
    publish_2(broker, 2, 8)
    broker.wait("PUBREC", count=2)
    restart(broker, service)
    publish_2(broker, 1, 7, dup=True)
    publish_2(broker, 9, 8, dup=True)  # whatever it carries: the identifier is in the set
    publish_2(broker, 3, 9)
    broker.wait("PUBREC", count=3)
    for packet_identifier in (7, 8, 9):
        release(broker, packet_identifier)
    assert broker.identifiers("PUBCOMP") == [7, 8, 9]
    assert lake_after_stop(service) == [1, 2, 3]


def test_release_after_a_kill(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 7)
    broker.wait("PUBREC")
    restart(broker, service)
    release(broker, 7)
    restart(broker, service)
    release(broker, 7)  # as if PUBCOMP had been lost
    assert [e.get("reason", 0) for e in broker.packets("PUBCOMP")] == [0, 0x92]
    assert lake_after_stop(service) == [1]


def test_a_released_identifier_is_new(broker, make):
    """PUBCOMP goes out after the release is durable: a kill cannot bring the identifier back."""
    service = make()
    publish_2(broker, 1, 7)
    broker.wait("PUBCOMP")
    restart(broker, service)
    publish_2(broker, 2, 7, dup=True)  # sent before the kill, and never seen
    broker.wait("PUBCOMP")
    assert lake_after_stop(service) == [1, 2]


def test_a_reused_identifier_is_stored_and_reported(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 7)
    publish_2(broker, 2, 7)
    publish_2(broker, 2, 7)  # DUP forgotten, but the same
    broker.wait("PUBREC", count=3)
    service.wait_log("packet identifier 7")
    release(broker, 7)
    assert lake_after_stop(service) == [1, 2]


def test_a_lost_session_forgets_the_set(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 7)
    broker.wait("PUBREC")
    broker.do("forget")
    reconnect(broker)
    publish_2(broker, 1, 7, dup=True)
    broker.wait("PUBREC")
    assert lake_after_stop(service) == [1, 1]


def test_qos_1_and_2_in_one_session(broker, make):
    service = make()
    publish(broker, 1, 1)
    publish_2(broker, 2, 2)
    publish(broker, 3, 3)
    broker.wait("PUBACK", count=2)
    broker.wait("PUBCOMP")
    publish_2(broker, 4, 1)
    publish(broker, 5, 2)
    broker.wait("PUBCOMP")
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 2, 3, 4, 5]


def test_accounting(broker, make):
    hold(broker)
    service = make()
    publish_2(broker, 1, 1)
    publish_2(broker, 2, 2)
    broker.wait("PUBREC", count=2)
    reconnect(broker)
    publish_2(broker, 2, 2, dup=True)
    broker.wait("PUBREC")
    names = ("received_total", "stored_total", "rejected_total", "repeated_total", "pending")
    wait_until(lambda: [int(service.metric(f"ingestor_source_messages_{name}"))
                        for name in names] == [3, 2, 0, 1, 0], "the accounts to close")
    assert lake_after_stop(service) == [1, 2]

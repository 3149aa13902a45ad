"""Brokers that are wrong, away or hostile: one clear sentence, nothing lost, nothing crashed, and
the service mends itself when the broker does (issue 3, "Bad input")."""

import pytest
from conftest import wait_until
from test_redelivery import TOPIC, begin, lake_after_stop, publish, reading


def check_still_works(broker, service, seq=1000):
    """After the fault the client comes back, and a message is stored and acknowledged."""
    broker.wait("CONNECT")
    publish(broker, seq, 500)
    broker.wait("PUBACK")
    assert service.alive()
    assert lake_after_stop(service) == [seq]


@pytest.mark.parametrize("reason, text", [(0x86, "bad user name or password"),
                                          (0x87, "not authorized"), (0x85, "client identifier"),
                                          (0x88, "server unavailable"), (0x8a, "banned")])
def test_refused(broker, make_service, reason, text):
    broker.do("auto", connack_reason=reason)
    service = make_service(broker.port)
    broker.wait("close")
    service.wait_log(text)
    broker.do("auto", connack_reason=0)
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


@pytest.mark.parametrize("how", ["refuse", "refuse_old"])
def test_falls_back_to_3_1_1(broker, make_service, how):
    broker.do("auto", v5=how)
    service = make_service(broker.port)
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    assert [e["version"] for e in broker.packets("CONNECT")][-1] == 4
    assert lake_after_stop(service) == [1]


def test_subscription_refused(broker, make_service):
    broker.do("auto", suback_codes=[0x87])
    service = make_service(broker.port)
    broker.wait("SUBSCRIBE")
    service.wait_log("not authorized")
    broker.do("auto", suback_codes=[1])
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


MALFORMED = {
    "QoS 3": "36 08 00 01 61 00 01 00 7b 7d",
    "DUP with QoS 0": "38 06 00 01 61 00 7b 7d",
    "length of five bytes": "32 ff ff ff ff 7f",
    "topic beyond the end": "32 05 00 ff 61 00 01",
    "topic with wildcard": "32 08 00 03 61 2f 23 00 01 00",
    "topic with U+0000": "32 08 00 03 61 00 62 00 01 00",
    "topic not UTF-8": "32 08 00 03 61 ff 62 00 01 00",
    "identifier 0": "32 06 00 01 61 00 00 00",
    "empty topic": "32 05 00 00 00 01 00",
    "alias 0": "32 08 00 00 00 01 03 23 00 00",
    "alias over the maximum": "32 09 00 01 61 00 01 03 23 ff ff",
    "unknown property": "32 08 00 01 61 00 01 02 7f 00",
    "property twice": "32 0a 00 01 61 00 01 04 01 01 01 01",
    "properties beyond the end": "32 08 00 01 61 00 01 7f 01 01",
    "packet type 0": "00 00",
    "reserved flags": "41 02 00 01",
    "PINGRESP with a body": "d0 01 00",
    "SUBACK unasked": "90 04 12 34 00 00",
    "CONNACK again": "20 03 00 00 00",
    "CONNECT from a broker": "10 0d 00 04 4d 51 54 54 05 02 00 00 00 00 00",
    "SUBSCRIBE from a broker": "82 07 00 01 00 00 01 61 00",
    "AUTH unasked": "f0 00",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_packet(broker, make_service, name):
    service = begin(broker, make_service)
    broker.do("raw", hex=MALFORMED[name])
    broker.wait("close")
    check_still_works(broker, service)
    log = service.log()
    assert "§" in log or "protocol" in log.lower() or "malformed" in log.lower() or "MQTT" in log


@pytest.mark.parametrize("seed", range(5))
def test_garbage(broker, make_service, seed):
    service = begin(broker, make_service)
    broker.do("garbage", bytes=100000, seed=seed, connection=1)
    broker.do("drop", connection=1)
    broker.wait("close")
    check_still_works(broker, service)


def test_garbage_for_connack(broker, make_service):
    broker.do("auto", connack=False)
    service = make_service(broker.port)
    broker.wait("CONNECT")
    broker.do("raw", hex="48 54 54 50 2f 31 2e 31 20 34 30 30 0d 0a 0d 0a")  # HTTP/1.1 400
    broker.wait("close")
    broker.do("auto", connack=True)
    check_still_works(broker, service)


@pytest.mark.parametrize("cut", [1, 2, 5, 30, -1])
def test_closed_in_the_middle_of_a_packet(broker, make_service, cut):
    service = begin(broker, make_service)
    publish(broker, 1, 1, cut=cut, connection=1)
    broker.do("drop", connection=1)
    broker.wait("close")
    check_still_works(broker, service)


def test_closed_at_once(broker, make_service):
    broker.do("auto", connack=False)
    service = make_service(broker.port)
    for _ in range(3):
        broker.wait("open")
        broker.do("reset")
        broker.wait("close")
    broker.do("auto", connack=True)
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


def test_never_answers_connect(broker, make_service):
    broker.do("auto", connack=False)
    service = make_service(broker.port)
    broker.wait("CONNECT")
    broker.wait("close")  # by the client
    broker.do("auto", connack=True)
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    assert service.alive() and lake_after_stop(service) == [1]


def test_never_answers_ping(broker, make_service):
    broker.do("auto", pingresp=False, connack_properties={"server_keep_alive_seconds": 1})
    service = begin(broker, make_service)
    broker.wait("PINGREQ")
    broker.wait("close")
    broker.do("auto", pingresp=True)
    check_still_works(broker, service)


def test_stops_reading(broker, make_service):
    """A broker that does not read acknowledgements gets no more of them than fit, and loses nothing."""
    service = begin(broker, make_service)
    broker.do("stop_reading")
    broker.do("publish", topic=TOPIC, payload=reading("{i}"), qos=1, repeat=60000)
    broker.do("sleep", ms=500)
    broker.do("resume_reading")
    broker.wait("PUBACK", count=60000)
    assert lake_after_stop(service) == list(range(60000))


def test_oversize_is_a_dead_letter(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 1)
    publish(broker, 2, 2, payload_size=17 << 20)
    publish(broker, 3, 3)
    broker.wait("PUBACK", count=3)
    assert broker.identifiers() == [1, 2, 3]
    assert lake_after_stop(service) == [1, 3]
    (letter,) = service.rows(dead_letters=True)
    assert letter["reason"] == "oversize" and letter["topic"] == TOPIC
    assert len(letter["payload"]) == 64 << 10 and letter["payload"].startswith(b'{"sensor_id"')


def test_unsolicited_acknowledgements(broker, make_service):
    service = begin(broker, make_service)
    for kind in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        broker.do("ack", type=kind, packet_identifier=77, connection=1)
    broker.do("drop", connection=1)
    broker.wait("close")
    check_still_works(broker, service)


@pytest.mark.parametrize("reason, text", [(0x8b, "server shutting down"), (0x8e, "taken over"),
                                          (0x98, "administrative action")])
def test_disconnected_with_a_reason(broker, make_service, reason, text):
    service = begin(broker, make_service)
    broker.do("disconnect", reason=reason, connection=1,
              properties={"reason_string": "because I say so"})
    broker.do("drop", connection=1)
    broker.wait("close")
    service.wait_log(text)
    check_still_works(broker, service)


def test_broker_away_then_back(broker, make_service):
    broker.do("listen", on=False)
    broker.settle()
    service = make_service(broker.port)
    service.wait_log("refused")
    wait_until(lambda: '"degraded"' in service.get("/api/health"), "health to say degraded")
    broker.do("listen", on=True)
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


def test_unknown_host(broker, make_service):
    service = make_service(broker.port, environment={"MQTT_BROKER": "no-such-host.invalid"})
    service.wait_log("no-such-host.invalid")
    assert service.alive()
    service.stop()


HOSTILE_PAYLOADS = ["", "{", '{"a":}', "[" * 5000, "null", "3.14", '"text"', "[]", "[1,2]", "NaN",
                    '{"a":1,"a":2}', '{"seq":1e999}', '{"\\ud800":1}', "{} {}"]


def test_hostile_payloads_are_all_accounted_for(broker, make_service):
    service = begin(broker, make_service)
    for i, payload in enumerate(HOSTILE_PAYLOADS):
        broker.do("publish", topic=TOPIC, payload=payload, qos=1, packet_identifier=i + 1)
    for i, payload in enumerate(["ff fe 00", "00", "7b 22 61 22 3a 22 ff 22 7d"]):
        broker.do("publish", topic=TOPIC, payload_hex=payload, qos=1, packet_identifier=i + 100)
    broker.wait("PUBACK", count=len(HOSTILE_PAYLOADS) + 3)
    service.stop()
    rows = len(service.rows()) + len(service.rows(dead_letters=True))
    assert rows == len(HOSTILE_PAYLOADS) + 3 - 1 + 1  # [] has no record, [1,2] has two

"""The whole program against the scripted broker: contract/data.md "MQTT redelivery", rule by rule.

Each test ends with a clean stop, which flushes all, and then counts the lake.
"""

from conftest import wait_until

TOPIC = "smartcity/sensors/temperature/t1"


def reading(seq):
    return f'{{"sensor_id":"t1","value":20.5,"seq":{seq}}}'


def publish(broker, seq, packet_identifier, **fields):
    broker.do("publish", **{"topic": TOPIC, "payload": reading(seq), "qos": 1,
                            "packet_identifier": packet_identifier, **fields})


def lake_after_stop(service):
    service.stop()
    return service.seqs()


def reconnect(broker):
    """The connection breaks; returns when the client has it again."""
    broker.do("reset")
    broker.wait("close")
    broker.wait("CONNECT")


def begin(broker, service_maker, **options):
    service = service_maker(broker.port, **options)
    broker.wait("CONNECT")
    broker.wait("SUBSCRIBE")
    return service


# Acknowledgement


def test_acknowledged_is_durable(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    service.kill()
    service.start()
    broker.wait("CONNECT")
    assert lake_after_stop(service) == [1]


def test_acknowledged_in_order(broker, make_service):
    service = begin(broker, make_service)
    for first in range(100, 2100, 50):  # over several datasets
        broker.do("publish", topic=f"{TOPIC}/{first % 4}", payload=reading("{i}"), qos=1,
                  packet_identifier=first, repeat=50)
    broker.wait("PUBACK", count=2000)
    assert broker.identifiers() == list(range(100, 2100))
    assert lake_after_stop(service) == sorted(list(range(50)) * 40)


def test_one_at_a_time_does_not_stall(broker, make_service):
    service = begin(broker, make_service)
    broker.do("publish", topic=TOPIC, payload=reading("{i}"), qos=1, repeat=200, window=1)
    broker.wait("PUBACK", count=200)
    assert lake_after_stop(service) == list(range(200))


def test_qos_0(broker, make_service):
    service = begin(broker, make_service)
    broker.do("publish", topic=TOPIC, payload=reading("{i}"), qos=0, repeat=500)
    publish(broker, 500, 1)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == list(range(501))
    assert broker.identifiers() == [1]


# Repetitions: DUP, the same identifier, the same content


def test_dup_with_same_content_is_a_repetition(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 1, 7, dup=True)
    broker.wait("PUBACK")
    assert broker.identifiers() == [7, 7]
    assert lake_after_stop(service) == [1]


def test_dup_of_what_was_never_acknowledged(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    reconnect(broker)
    publish(broker, 1, 7, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


def test_dup_on_the_same_connection_waits_its_turn(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    publish(broker, 2, 8)
    publish(broker, 1, 7, dup=True)
    publish(broker, 3, 9)
    broker.wait("PUBACK", count=4)
    assert broker.identifiers() == [7, 8, 7, 9]
    assert lake_after_stop(service) == [1, 2, 3]


def test_a_whole_window_again(broker, make_service):
    service = begin(broker, make_service)
    many = {"topic": TOPIC, "payload": reading("{i}"), "qos": 1, "packet_identifier": 1}
    broker.do("publish", repeat=1000, **many)
    broker.wait("PUBACK", count=400)
    reconnect(broker)
    broker.do("publish", repeat=1000, dup=True, **many)
    broker.watch(lambda: len(broker.identifiers(connection=2)) == 1000, "the second window's PUBACKs")
    assert broker.identifiers(connection=2) == list(range(1, 1001))
    assert lake_after_stop(service) == list(range(1000))


def test_repetition_after_kill(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    publish(broker, 2, 8)
    broker.wait("PUBACK", count=2)
    service.kill()
    broker.wait("close")
    service.start()
    broker.wait("CONNECT")
    publish(broker, 1, 7, dup=True)
    publish(broker, 2, 8, dup=True)
    publish(broker, 3, 9)
    broker.wait("PUBACK", count=3)
    assert broker.identifiers(connection=2) == [7, 8, 9]
    assert lake_after_stop(service) == [1, 2, 3]


def test_alias_and_expiry_do_not_count(broker, make_service):
    service = begin(broker, make_service)
    user = [["unit", "C"]]
    publish(broker, 1, 7, properties={"message_expiry_seconds": 100, "user": user})
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 1, 7, dup=True, properties={"message_expiry_seconds": 42, "user": user})
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


# New messages


def test_dup_with_other_content_is_new(broker, make_service):
    """The identifier was free after its PUBACK; the first copy of its next use was lost."""
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 2, 7, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 2]


def test_dup_with_other_topic_is_new(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 1, 7, dup=True, topic=TOPIC + "/other")
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 1]


def test_dup_with_other_properties_is_new(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7, properties={"user": [["unit", "C"]]})
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 1, 7, dup=True, properties={"user": [["unit", "K"]]})
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 1]


def test_reused_identifier_without_dup_is_new(broker, make_service):
    service = begin(broker, make_service)
    for _ in range(3):
        publish(broker, 1, 7)
        broker.wait("PUBACK")
    assert broker.identifiers() == [7, 7, 7]
    assert lake_after_stop(service) == [1, 1, 1]


def test_dup_of_the_last_but_one_use_is_new(broker, make_service):
    """Only the last message with the identifier counts."""
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    publish(broker, 2, 7)
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 1, 7, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 1, 2]


def test_dup_of_an_unknown_identifier_is_new(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 99, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1]


def test_dup_in_a_new_session_is_new(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    broker.do("forget")
    reconnect(broker)
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 7, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 1]


def test_dup_in_a_new_session_after_kill_is_new(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    broker.do("forget")
    service.kill()
    broker.wait("close")
    service.start()
    broker.wait("SUBSCRIBE")
    publish(broker, 1, 7, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 1]


def test_pingresp_frees_identifiers(broker, make_service):
    """The broker has seen the PUBACK: what comes now with that identifier is another message."""
    broker.do("auto", connack_properties={"server_keep_alive_seconds": 1})
    service = begin(broker, make_service)
    publish(broker, 1, 7)
    broker.wait("PUBACK")
    seen = len(broker.packets("PINGREQ"))
    broker.wait("PINGREQ", count=seen + 3)  # at least one began after the PUBACK and was answered
    publish(broker, 1, 7, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 1]


# Sessions and acknowledgements of an earlier connection


def test_stale_acknowledgements_are_discarded(broker, make_service):
    service = begin(broker, make_service)
    broker.do("publish", topic=TOPIC, payload=reading("{i}"), qos=1, repeat=300)
    broker.do("forget")
    reconnect(broker)
    broker.wait("SUBSCRIBE")
    publish(broker, 1000, 301)
    broker.watch(lambda: 301 in broker.identifiers(connection=2), "the new message's PUBACK")
    assert broker.identifiers(connection=2) == [301]
    stored = lake_after_stop(service)
    assert len(stored) == len(set(stored)) and stored[-1] == 1000


def test_session_is_kept_and_subscribed_once(broker, make_service):
    begin(broker, make_service)
    reconnect(broker)
    publish(broker, 1, 1)
    broker.wait("PUBACK")
    first, second = broker.packets("CONNECT")
    assert first["client_id"] == second["client_id"] and 0 < len(first["client_id"]) <= 23
    assert not second["clean_start"]
    assert second["properties"]["session_expiry_seconds"] > 0
    assert len(broker.packets("SUBSCRIBE")) == 1
    assert broker.packets("SUBSCRIBE")[0]["filters"][0]["retain_handling"] == 1


def test_subscribes_again_when_the_session_is_lost(broker, make_service):
    begin(broker, make_service)
    broker.do("forget")
    reconnect(broker)
    broker.wait("SUBSCRIBE")
    assert len(broker.packets("SUBSCRIBE")) == 2


# Aliases


def test_topic_alias(broker, make_service):
    service = begin(broker, make_service)
    maximum = broker.packets("CONNECT")[0].get("properties", {}).get("topic_alias_maximum", 0)
    assert maximum > 0
    publish(broker, 1, 1, properties={"topic_alias": 1})
    publish(broker, 2, 2, topic="", properties={"topic_alias": 1})
    publish(broker, 3, 3, topic=TOPIC + "/x", properties={"topic_alias": 1})
    publish(broker, 4, 4, topic="", properties={"topic_alias": 1})
    broker.wait("PUBACK", count=4)
    service.stop()
    topics = {int(row["seq"]): row["topic"] for row in service.rows()}
    assert topics == {1: TOPIC, 2: TOPIC, 3: TOPIC + "/x", 4: TOPIC + "/x"}


def test_repetition_is_told_by_the_resolved_topic(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 1, properties={"topic_alias": 1})
    publish(broker, 2, 2, topic="", properties={"topic_alias": 1})
    broker.wait("PUBACK", count=2)
    reconnect(broker)
    publish(broker, 2, 2, dup=True)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 2]


def test_aliases_end_with_their_connection(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 1, properties={"topic_alias": 1})
    broker.wait("PUBACK")
    reconnect(broker)
    publish(broker, 2, 2, topic="", properties={"topic_alias": 1})
    broker.wait("close")
    assert broker.packets("DISCONNECT")[-1]["reason"] in (0x82, 0x94)
    broker.wait("CONNECT")
    publish(broker, 3, 3)
    broker.wait("PUBACK")
    assert lake_after_stop(service) == [1, 3]


# What a message brings along


def test_properties_become_columns(broker, make_service):
    service = begin(broker, make_service)
    publish(broker, 1, 1, retain=True, properties={"content_type": "application/json",
                                                   "user": [["unit", "C"], ["unit", "K"]]})
    broker.wait("PUBACK")
    service.stop()
    (row,) = service.rows()
    assert row["topic"] == TOPIC and row["qos"] == 1 and row["source_type"] == "mqtt"
    assert row["retain"] is True
    assert "unit" in row["user_properties"] and "K" in row["user_properties"]


def test_accounting(broker, make_service):
    """received = stored + rejected + repeated + pending, always."""
    service = begin(broker, make_service)
    publish(broker, 1, 1)
    publish(broker, 2, 2)
    broker.wait("PUBACK", count=2)
    reconnect(broker)
    publish(broker, 2, 2, dup=True)
    publish(broker, 3, 3)
    broker.wait("PUBACK", count=2)

    def counts():
        names = ("received_total", "stored_total", "rejected_total", "repeated_total", "pending")
        return [int(service.metric(f"ingestor_source_messages_{name}")) for name in names]

    try:
        wait_until(lambda: counts() == [4, 3, 0, 1, 0], "the accounts to close")
    except AssertionError:
        assert counts() == [4, 3, 0, 1, 0]
    assert lake_after_stop(service) == [1, 2, 3]

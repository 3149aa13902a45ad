"""CoAP sources against aiocoap, libcoap's server and one that a test scripts: what a server counts
as acknowledged is in the lake; what goes wrong is that resource's health, and is tried again."""

import concurrent.futures
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from certificates import Authority
from coap_peers import (ACK, BLOCK2, CON, CONTENT, CONTENT_FORMAT, ETAG, JSON, MAX_AGE, NON,
                        NOT_FOUND, OBSERVE, RST, UNAVAILABLE, AioServer, Between, LibcoapServer,
                        Message, ScriptedServer, coap_source, peer, run, source_health,
                        source_of, wait_health, wait_registered, wait_seq, wait_well)
from conftest import find_program, free_port, wait_until

pytest.importorskip("aiocoap")
__all__ = ["peer", "run"]  # fixtures


# --- observe ---------------------------------------------------------------------------------------


def test_every_notification_is_there_once(peer, run):
    server = peer(AioServer, {"/sensors/t": b'{"seq": 0}'})
    service = run(server.port, "/sensors/t")
    wait_registered(server, "/sensors/t")
    for seq in range(1, 30):
        server.put("/sensors/t", {"seq": seq})
        time.sleep(0.02)
    wait_seq(service, 29)
    assert service.seqs() == list(range(30))
    row = service.rows()[-1]
    assert row["ingestion_id"].endswith("_coap_sensors_t")
    assert row["resource_uri"] == f"coap://127.0.0.1:{server.port}/sensors/t"
    assert (row["coap_code"], row["content_format"], row["mode"], row["source_type"]) == (
        "2.05", 50, "observe", "coap")
    assert row["original_source_id"] == row["ingestion_id"].removesuffix("_sensors_t")


def test_registers_again_after_the_server_was_started_anew(peer, run):
    server = AioServer({"/t": b'{"seq": 1}'})
    try:
        service = run(server.port, "/t", observe_refresh_seconds=2)
        wait_registered(server, "/t")
        wait_seq(service, 1)
    finally:
        server.stop()
    again = peer(AioServer, {"/t": b'{"seq": 2}'}, port=server.port)
    wait_registered(again, "/t")
    again.put("/t", {"seq": 3})
    wait_seq(service, 3)
    wait_well(service)
    assert service.seqs() == [1, 2, 3]


def test_registers_again_after_max_age_with_another_token(peer, run):
    """Max-Age 0 and 5 to 15 s: the only waiting that RFC 7641 asks for."""
    registrations = []

    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            registrations.append((message.token, time.monotonic()))
            server.reply(message, address, options=[(OBSERVE, 9), (MAX_AGE, 0)],
                         payload=b'{"seq": %d}' % len(registrations))

    server = peer(ScriptedServer, answer)
    service = run(server.port, "/t")
    wait_until(lambda: len(registrations) >= 2, "two registrations")
    assert registrations[0][0] != registrations[1][0]
    assert registrations[1][1] - registrations[0][1] >= 5
    wait_seq(service, 2)  # though its number is not newer


def test_older_and_repeated_notifications_are_dropped(peer, run):
    done = []

    def answer(server, message, address):
        if message.get(OBSERVE) != 0 or done:
            return
        server.reply(message, address, options=[(OBSERVE, 10)], payload=b'{"seq": 10}')
        for number in (12, 11, 12, 13, 9, 13, 0xffffff, 14):
            server.send(address, Message(NON, CONTENT, server.mid(), message.token,
                                         [(OBSERVE, number)], b'{"seq": %d}' % number))
        done.append(True)

    service = run(peer(ScriptedServer, answer).port, "/t")
    wait_seq(service, 14)
    assert service.seqs() == [10, 12, 13, 14]


def test_a_value_that_only_came_again_is_not_stored_twice(peer, run):
    registered = []

    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            registered.append(message)
            server.reply(message, address, options=[(OBSERVE, 1)], payload=b'{"seq": 1}')

    service = run(peer(ScriptedServer, answer).port, "/t", observe_refresh_seconds=1)
    wait_until(lambda: len(registered) >= 4, "four registrations")
    wait_seq(service, 1)
    assert service.seqs() == [1]


def test_what_was_not_asked_for_is_rejected(peer, run):
    """So a server that counts on an old registration forgets it."""
    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            server.reply(message, address, options=[(OBSERVE, 1)], payload=b'{"seq": 1}')
            server.send(address, Message(CON, CONTENT, 4711, b"old one!", [(OBSERVE, 5)],
                                         b'{"seq": 666}'))

    server = peer(ScriptedServer, answer)
    service = run(server.port, "/t")
    wait_until(lambda: any(m.kind == RST and m.mid == 4711 for m in server.seen), "a reset")
    wait_seq(service, 1)
    assert service.seqs() == [1]


def test_deregisters_when_it_is_stopped(peer, run):
    server = peer(AioServer, {"/t": b'{"seq": 1}'})
    service = run(server.port, "/t")
    wait_registered(server, "/t")
    wait_until(lambda: service.metric("ingestor_messages_received_total") == 1, "the answer")
    service.stop()
    wait_until(lambda: server.observers("/t") == 0, "no observer")


# --- the promise -----------------------------------------------------------------------------------


class Counting:
    """Sends confirmable notifications one after the other, as fast as they are acknowledged, and
    each again until it is; drop() says which acknowledgements are lost on their way."""

    def __init__(self, drop=lambda message: False):
        self.acknowledged, self.next, self.now = [], 1, None
        self.drop, self.token, self.address, self.sent_at, self.again = drop, None, None, 0, 0

    def notify(self, server):
        if self.now is None:
            self.now = (server.mid(), self.next)
            self.next += 1
        mid, seq = self.now
        self.sent_at = time.monotonic()
        server.send(self.address, Message(CON, CONTENT, mid, self.token,
                                          [(OBSERVE, 100 + seq), (CONTENT_FORMAT, JSON)],
                                          b'{"seq": %d}' % seq))

    def __call__(self, server, message, address):
        if message.get(OBSERVE) == 0:
            self.token, self.address, self.now = message.token, address, None
            server.reply(message, address, options=[(OBSERVE, 100 + self.next - 1)],
                         payload=b'{"registered": true}')
            self.notify(server)
        elif message.kind == ACK and self.now and message.mid == self.now[0]:
            if self.drop(message):
                return
            self.acknowledged.append(self.now[1])
            self.now = None
            self.notify(server)


def test_acknowledged_notifications_survive_a_kill(peer, make_service):
    counting = Counting()
    server = peer(ScriptedServer, counting)
    service = make_service(1, sources=[coap_source(server.port, "/t", observe_refresh_seconds=1)])
    for round_ in range(3):
        so_far = len(counting.acknowledged)
        wait_until(lambda: len(counting.acknowledged) >= so_far + 300, "acknowledgements")
        service.kill()
        service.start()
    so_far = len(counting.acknowledged)
    wait_until(lambda: len(counting.acknowledged) > so_far, "acknowledgements after the kill")
    last = list(counting.acknowledged)
    wait_seq(service, last[-1])
    stored = service.seqs()
    assert not set(last) - set(stored), "acknowledged and lost"


def test_a_lost_acknowledgement_is_sent_again(peer, run):
    """libcoap 4.3.1 itself keeps silent when the same message comes again."""
    lost = []

    def drop(message):
        lose = message.mid not in lost and len(lost) < 5
        if lose:
            lost.append(message.mid)
        return lose

    counting = Counting(drop)
    server = peer(ScriptedServer, counting)
    service = run(server.port, "/t")

    def step():
        if counting.now and time.monotonic() - counting.sent_at > 0.2:
            counting.again += 1
            counting.notify(server)
        return len(counting.acknowledged) >= 50

    wait_until(step, "50 acknowledgements")
    assert len(lost) == 5
    wait_seq(service, 50)
    assert service.seqs() == sorted(set(service.seqs()))


def test_a_repetition_is_neither_stale_nor_acknowledged_before_the_first(peer, run):
    """Which libcoap 4.3.1 lets through when another message came between the two."""
    rounds, over = 40, []

    def answer(server, message, address):
        if message.get(OBSERVE) != 0 or over:
            return
        server.reply(message, address, options=[(OBSERVE, 1), (MAX_AGE, 3600)], payload=b"[]")
        for seq in range(2, 2 + 2 * rounds, 2):
            first, second = (Message(CON, CONTENT, seq + i, message.token, [
                (OBSERVE, seq + i), (MAX_AGE, 3600), (CONTENT_FORMAT, JSON)],
                b'{"seq": %d}' % (seq + i)) for i in range(2))
            for each in (first, second, first):
                server.send(address, each)
        over.append(True)

    server = peer(ScriptedServer, answer)
    service = run(server.port, "/t")
    expected = list(range(2, 2 + 2 * rounds))
    wait_until(lambda: {m.mid for m in server.seen if m.kind == ACK} >= set(expected), "all ACKs")
    wait_seq(service, expected[-1])
    assert service.seqs() == expected
    assert source_health(service)["stale_notifications"] == 0


# --- poll ------------------------------------------------------------------------------------------


def test_polls(peer, run):
    server = peer(AioServer, {"/t": b'{"seq": 1}', "/u": b"21.5"})
    service = run(server.port, ["/t", "u"], mode="poll", poll_interval=5)
    wait_seq(service, 1)
    server.put("/t", {"seq": 2})
    wait_seq(service, 2)
    assert {row["mode"] for row in service.rows()} == {"poll"}
    wait_until(lambda: any(row.get("value") == 21.5 for row in service.rows()), "the number")
    assert server.observers("/t") == 0


def test_what_cannot_be_observed_is_polled(peer, run):
    asked = []

    def answer(server, message, address):
        asked.append(message)
        server.reply(message, address, payload=b'{"seq": %d}' % len(asked))

    service = run(peer(ScriptedServer, answer).port, "/t", poll_interval=5)
    wait_seq(service, 2)
    said = source_health(service)
    assert said["polled_resources"] == said["resources"]
    assert said["healthy"] and "error" not in said
    assert (said["resource_errors"], said["failing_resources"]) == ({}, 0)
    wait_well(service)


def test_discovers_what_matches(peer, run):
    server = peer(AioServer, {"/sensors/a": b'{"seq": 1}', "/sensors/b": b'{"seq": 2}',
                              "/actuators/c": b'{"seq": 3}'})
    service = run(server.port, "/sensors/*", discover=True)
    wait_until(lambda: service.seqs() == [1, 2], "both")
    assert server.observers("/sensors/a") == 1 and server.observers("/actuators/c") == 0


class Offering:
    """Serves /a and /b, observed, and in turn what /.well-known/core says: bytes, or an error code;
    the last stays."""

    def __init__(self, *core):
        self.core, self.asked, self.cancelled = list(core), 0, []

    def __call__(self, server, message, address):
        if message.code != 1:
            return
        if message.path == "/.well-known/core":
            said = self.core[min(self.asked, len(self.core) - 1)]
            self.asked += 1
            if isinstance(said, int):
                server.reply(message, address, code=said)
            else:
                server.reply(message, address, options=[(CONTENT_FORMAT, 40)], payload=said)
        elif message.get(OBSERVE) == 1:
            self.cancelled.append((message.path, message.token))
            server.reply(message, address, payload=b"{}")
        else:
            server.reply(message, address, options=[(OBSERVE, 1), (MAX_AGE, 3600)],
                         payload=b'{"seq": 1}')


def rediscovering(peer, run, *core):
    """A source that has found /a and /b, then lost its server, and now reads core there."""
    first = ScriptedServer(Offering(b"</a>,</b>"))
    try:
        service = run(first.port, "*", discover=True, observe_refresh_seconds=1)
        wait_until(lambda: service.seqs() == [1, 1], "both")
    finally:
        first.stop()
    wait_health(service, "nothing listens")
    offering = Offering(*core)
    return service, peer(ScriptedServer, offering, port=first.port), offering


def test_what_is_no_longer_offered_is_dropped(peer, run):
    """Not because nobody says what is offered, nor because nothing is."""
    service, server, offering = rediscovering(peer, run, UNAVAILABLE, b"", b"</a>;ct=50,</other>")
    wait_until(lambda: offering.cancelled, "the end of the observation")
    assert offering.asked == 3
    registered = [m.token for m in server.seen if m.path == "/b" and m.get(OBSERVE) == 0]
    assert offering.cancelled == [("/b", registered[-1])]
    wait_until(lambda: source_health(service)["active_observations"] == 2, "/a and /other")
    said = source_health(service)
    base = f"coap://127.0.0.1:{server.port}"
    assert sorted(said["resources"]) == [f"{base}/a", f"{base}/other"]
    assert (said["dropped_resources"], said["resource_errors"]) == (1, {})


def test_what_is_offered_in_rubbish_drops_nothing(peer, run):
    service, server, offering = rediscovering(peer, run, UNAVAILABLE, b'</a>;title="x, </c>')
    wait_until(lambda: offering.asked == 2, "the rubbish to be read")
    wait_until(lambda: (said := source_health(service))["active_observations"] == 2
               and not said["resource_errors"], "both, still")
    assert len(source_health(service)["resources"]) == 2
    assert not offering.cancelled and source_health(service)["dropped_resources"] == 0


# --- block-wise ------------------------------------------------------------------------------------


def test_large_bodies_come_in_blocks(peer, run):
    large = json.dumps({"seq": 1, "big": "x" * 100 * 1024}).encode()
    server = peer(AioServer, {"/plain/big": large})
    service = run(server.port, "/plain/big", mode="poll", poll_interval=5)
    wait_seq(service, 1)
    server.put("/plain/big", json.dumps({"seq": 2, "big": "y" * 100 * 1024}).encode())
    wait_seq(service, 2)
    assert {len(row["big"]) for row in service.rows()} == {100 * 1024}


def test_a_notification_in_blocks_is_acknowledged_when_all_of_it_is_there(peer, run):
    """RFC 7959 §3.4: the notification has the first block, the others are asked for."""
    body = json.dumps({"seq": 1, "big": "x" * 5000}).encode()
    held = []

    def answer(server, message, address):
        number = (message.get(BLOCK2) or 0) >> 4
        if message.get(OBSERVE) == 0:
            server.reply(message, address, options=[(OBSERVE, 1), (MAX_AGE, 60)], payload=b'[]')
            server.send(address, Message(CON, CONTENT, 99, message.token, [
                (OBSERVE, 2), (BLOCK2, 1 << 3 | 4), (CONTENT_FORMAT, JSON)], body[:256]))
        elif message.code == 1:
            assert message.get(OBSERVE) is None
            held.append(not any(m.kind == ACK and m.mid == 99 for m in server.seen))
            part = body[number * 256:][:256]
            more = len(body) > (number + 1) * 256
            server.reply(message, address, payload=part, options=[
                (BLOCK2, number << 4 | more << 3 | 4), (CONTENT_FORMAT, JSON)])

    server = peer(ScriptedServer, answer)
    service = run(server.port, "/t")
    wait_until(lambda: any(m.kind == ACK and m.mid == 99 for m in server.seen), "the end")
    assert len(held) == 19 and all(held)
    wait_seq(service, 1)
    assert len(service.rows()[0]["big"]) == 5000


def block_server(body, size=64, break_at=None, etag=lambda number: 1):
    """Serves body(number) in blocks; break_at: the block that is not what it should be."""
    def answer(server, message, address):
        if message.code != 1:
            return
        number = (message.get(BLOCK2) or 0) >> 4
        part, more = body(number)
        shown = number if break_at != number else number + 3
        server.reply(message, address, options=[
            (BLOCK2, shown << 4 | more << 3 | (size.bit_length() - 5)), (ETAG, etag(number)),
            (CONTENT_FORMAT, JSON)], payload=part)
    return answer


def test_endless_blocks_end_at_the_limit(peer, run):
    server = peer(ScriptedServer, block_server(lambda number: (b"7" * 1024, 1), 1024))
    service = run(server.port, "/endless", max_message_bytes=50000)
    wait_health(service, "larger than max_message_bytes")
    wait_until(lambda: service.rows(dead_letters=True), "a dead letter")
    assert service.rows(dead_letters=True)[0]["reason"] == "oversize"
    assert len(server.seen) < 200


@pytest.mark.parametrize("what", ["number", "size", "etag"])
def test_blocks_that_do_not_fit(peer, run, what):
    options = {"number": {"break_at": 2}, "size": {}, "etag": {"etag": lambda number: number + 1}}
    size = 60 if what == "size" else 64
    server = peer(ScriptedServer, block_server(lambda number: (b"7" * size, 1), **options[what]))
    service = run(server.port, "/t")
    wait_health(service, "changes faster" if what == "etag" else "do not fit together")
    assert service.rows() == []


def test_a_host_that_vanishes_between_blocks(peer, run):
    """Between those of an answer, and of a confirmable notification: health says so, nothing of them is
    stored or acknowledged, and when the host is back all of both is, once."""
    bodies = {path: b'{"seq": %d, "big": "%s"}' % (seq, b"x" * 300)
              for path, seq in (("/t", 1), ("/n", 2))}
    stuck, is_back, notification = set(), threading.Event(), []

    def options(path, number):
        more = len(bodies[path]) > (number + 1) * 64
        return [(BLOCK2, number << 4 | more << 3 | 2), (ETAG, 1), (CONTENT_FORMAT, JSON),
                (MAX_AGE, 3600)]

    def answer(server, message, address):
        number = (message.get(BLOCK2) or 0) >> 4
        if number == 3 and not is_back.is_set():
            stuck.add(message.path)
        if message.code != 1 or (stuck and not is_back.is_set()):
            return
        observe = [(OBSERVE, 1)] if message.get(OBSERVE) == 0 else []
        if observe and message.path == "/n":
            server.reply(message, address, options=observe + [(MAX_AGE, 3600)], payload=b"[]")
            notification[:] = [address, Message(CON, CONTENT, 99, message.token, [
                (OBSERVE, 2), *options("/n", 0)], bodies["/n"][:64])]
            server.send(*notification)
        else:
            server.reply(message, address, payload=bodies[message.path][number * 64:][:64],
                         options=observe + options(message.path, number))

    server = peer(ScriptedServer, answer)
    service = run(server.port, ["/n", "/t"])
    wait_until(lambda: stuck, "the host to vanish")
    wait_health(service, "no answer for 10 s")
    assert not any(m.kind == ACK and m.mid == 99 for m in server.seen) and service.rows() == []
    is_back.set()
    server.send(*notification)
    wait_until(lambda: service.seqs() == [1, 2], lambda: f"both, not {service.seqs()}")
    wait_until(lambda: any(m.kind == ACK and m.mid == 99 for m in server.seen), "its ACK")
    wait_well(service)
    assert service.seqs() == [1, 2] and {len(r["big"]) for r in service.rows()} == {300}


# --- what goes wrong -------------------------------------------------------------------------------


def post(service, path):
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", b"", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def assert_not_well(service, words):
    def not_well():
        told = source_health(service)
        return not told["healthy"] and not told["connected"] and words in told["error"]

    wait_until(not_well, lambda: f"{words} in a bad health, which is {source_health(service)}")


def test_an_error_is_that_resources_health(peer, run):
    server = peer(AioServer, {"/t": b'{"seq": 0}'})
    service = run(server.port, ["/nope", "/t"])
    wait_health(service, "/nope: answered 4.04 not found")
    wait_registered(server, "/t")
    server.put("/t", {"seq": 1})
    wait_seq(service, 1)


def test_a_notification_of_an_error_is_told_and_tried_again(peer, run):
    registered = []

    def answer(server, message, address):
        if message.get(OBSERVE) != 0:
            return
        registered.append(message)
        server.reply(message, address, options=[(OBSERVE, len(registered))],
                     payload=b'{"seq": %d}' % len(registered))
        if len(registered) == 1:
            server.send(address, Message(CON, NOT_FOUND, server.mid(), message.token, [],
                                         b"gone fishing"))

    server = peer(ScriptedServer, answer)
    service = run(server.port, "/t")
    service.wait_log("gone fishing")
    wait_seq(service, 2)
    wait_well(service)


RUBBISH = {
    "no CoAP": lambda m: b"\xff\xfe\x00 rubbish",
    "empty": lambda m: b"",
    "cut": lambda m: Message(ACK, CONTENT, m.mid, m.token, [(OBSERVE, 1)], b"x" * 20).encode()[:9],
    "reserved code": lambda m: Message(ACK, 0xE1, m.mid, m.token, [], b"{}").encode(),
    "no code of success": lambda m: Message(ACK, 0x44, m.mid, m.token, [], b"{}").encode(),
    "critical option": lambda m: Message(NON, CONTENT, 1, m.token, [(9999, b"1")], b"{}").encode(),
    "long observe": lambda m: Message(ACK, CONTENT, m.mid, m.token, [(OBSERVE, b"1" * 9)],
                                      b"{}").encode(),
    "szx 7": lambda m: Message(ACK, CONTENT, m.mid, m.token, [(BLOCK2, 15)], b"{}").encode(),
    "another token": lambda m: Message(ACK, CONTENT, m.mid, b"12345678", [], b"{}").encode(),
    "a request": lambda m: Message(CON, 1, 77, m.token, [], b"{}").encode(),
}


def test_rubbish_disturbs_nobody(peer, make_service):
    """One source for each kind of it, and one that is well."""
    well = peer(AioServer, {"/t": b'{"seq": 0}'})

    def answering(make):
        return lambda server, message, address: (
            message.code == 1 and server.send(address, make(message)))

    rogues = [peer(ScriptedServer, answering(make)) for make in RUBBISH.values()]
    service = make_service(1, sources=[
        coap_source(well.port, "/t", name="well"),
        *(coap_source(rogue.port, "/t", name=f"rogue {i}", confirmable=i % 2 == 0)
          for i, rogue in enumerate(rogues))])
    wait_registered(well, "/t")
    wait_until(lambda: all(rogue.seen for rogue in rogues), "questions to all")
    for seq in range(1, 40):
        well.put("/t", {"seq": seq})
        time.sleep(0.05)
    wait_seq(service, 39)
    assert service.seqs() == list(range(40))
    assert service.alive()


def test_wrong_content_format_is_kept_as_it_came(peer, run):
    def answer(server, message, address):
        server.reply(message, address, options=[(OBSERVE, 1), (CONTENT_FORMAT, JSON)],
                     payload=b"it is not JSON")

    service = run(peer(ScriptedServer, answer).port, "/t")
    wait_until(lambda: any(r.get("content") == "it is not JSON" for r in service.rows()), "it")


def test_a_server_that_says_nothing_is_told_of_and_comes_back(peer, run):
    server = AioServer({"/t": b'{"seq": 1}'})
    server.stop()  # its port: nobody is there
    service = run(server.port, "/t")
    wait_health(service, "nothing listens at coap://127.0.0.1")
    assert_not_well(service, "nothing listens at")
    told = source_of(service)
    assert told["status"] == "error" and "nothing listens at" in told["last_error"]
    assert {"host", "resources", "message", "last_error", "sessions"} <= set(source_health(service))
    status, answer = post(service, f"/api/data-sources/{told['id']}/start")
    assert status == 500 and "nothing listens at" in answer["error"]
    again = peer(AioServer, {"/t": b'{"seq": 2}'}, port=server.port)
    wait_registered(again, "/t")
    wait_seq(service, 2)
    wait_well(service)
    wait_until(lambda: source_health(service)["healthy"], "the source to be healthy")
    assert source_health(service)["connected"] is True
    told = source_of(service)
    assert (told["status"], told["last_error"]) == ("active", None) and told["last_connection"]
    assert post(service, f"/api/data-sources/{told['id']}/start")[0] == 200


def test_refusals_are_tried_again_after_longer_and_longer(run):
    """A socket of UDP is there at once, which is no answer: 1, 2, 4, 8 s, each with up to half of it
    off, lie between five sessions."""
    begun = time.monotonic()
    service = run(free_port(), "/t")
    wait_health(service, "nothing listens")
    wait_until(lambda: source_health(service).get("sessions", 0) >= 5, "five sessions")
    assert time.monotonic() - begun >= 7.5


def test_a_silent_server_is_late(peer, run):
    service = run(peer(ScriptedServer, lambda *_: None).port, "/t")
    wait_health(service, "no answer yet from coap://127.0.0.1")
    assert_not_well(service, "no answer for 10 s")
    told = source_of(service)
    assert told["status"] == "error" and "no answer yet from coap://" in told["last_error"]
    assert "malformed" not in told["last_error"]


def test_a_server_that_falls_silent_is_told_of_while_it_is_waited_for(peer, run):
    speaks = threading.Event()
    speaks.set()

    def answer(server, message, address):
        if speaks.is_set() and message.code == 1:
            server.reply(message, address, options=[(OBSERVE, 1), (MAX_AGE, 3600)],
                         payload=b'{"seq": 1}')

    service = run(peer(ScriptedServer, answer).port, "/t", observe_refresh_seconds=1)
    wait_seq(service, 1)
    wait_until(lambda: source_health(service)["healthy"], "health")
    speaks.clear()
    assert_not_well(service, "no answer for 10 s")
    told = source_of(service)
    assert told["status"] == "error" and "no answer for 10 s from coap://" in told["last_error"]
    assert source_health(service)["sessions"] == 1
    speaks.set()
    wait_until(lambda: source_health(service)["healthy"], "health again")
    assert source_of(service)["status"] == "active" and source_health(service)["sessions"] == 1


def test_a_server_that_only_sends_what_is_malformed_is_told_so(peer, run):
    service = run(peer(ScriptedServer, lambda server, message, address: server.send(
        address, RUBBISH["no CoAP"](message))).port, "/t")
    wait_health(service, "no answer yet from coap://127.0.0.1", "malformed")
    assert_not_well(service, "malformed")
    assert source_health(service)["discarded_datagrams"] > 0


def test_a_file_of_tls_that_is_not_there_is_named(run):
    service = run(free_port(), "/t", scheme="coaps", tls={"ca_file": "/nowhere/ca.pem"})
    wait_health(service, "tls.ca_file: cannot use /nowhere/ca.pem")
    assert "tls.ca_file" in source_of(service)["last_error"]


def test_an_unknown_name_is_told(run):
    service = run(1, "/t", host="no-such-host.invalid")
    wait_health(service, "cannot find the address of no-such-host.invalid")


def test_loss_and_reordering_both_ways(peer, run):
    """A tenth is lost each way and more comes late: what was acknowledged is there, nothing twice,
    and the newest value is there in the end."""
    server = peer(AioServer, {"/t": b'{"seq": 0}', "/plain/big": b'{"big": "%s"}' % (b"x" * 9000)})
    way = peer(Between, server.port, loss=0.1, late=0.1)
    service = run(way.port, ["/t", "/plain/big"], observe_refresh_seconds=10)
    wait_registered(server, "/t")
    for seq in range(1, 20):
        server.put("/t", {"seq": seq})
        time.sleep(0.05)
    wait_seq(service, 19)
    wait_until(lambda: any(r.get("big") for r in service.rows()), "the large body")
    assert len(service.seqs()) == len(set(service.seqs()))
    assert way.lost > 3 and way.turned > 3, way.story()


def test_a_trial_is_good_when_somebody_answers(peer, run, tmp_path):
    good = peer(AioServer, {"/t": b'{"seq": 1}'})
    silent = peer(ScriptedServer, lambda *_: None)
    keyed = peer(LibcoapServer, tmp_path, "-k", "s3cret-key")
    closed = free_port()
    wrong_key = {"scheme": "coaps", "psk_identity": "me", "psk_key": "another"}
    expected = [({"port": good.port}, True, "Connection successful"),
                ({"port": good.port, "resources": "/nope"}, True, "4.04"),
                ({"port": closed}, False, "nothing listens at coap://127.0.0.1"),
                ({"port": closed, "scheme": "coap+tcp"}, False, "coap+tcp://127.0.0.1"),
                ({"host": "no-such.invalid"}, False, "cannot find the address of no-such.invalid"),
                ({"port": silent.port}, False, "no answer yet from coap://127.0.0.1"),
                ({"port": keyed.port + 1, **wrong_key}, False, "psk_identity and psk_key")]
    service = run(good.port, "/t")
    wait_seq(service, 1)

    def trial(config):
        body = {"name": "v", "type_name": "coap",
                "config": {"host": "127.0.0.1", "resources": "/t", **config}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{service.port}/api/data-sources/test", json.dumps(body).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    with concurrent.futures.ThreadPoolExecutor(len(expected)) as pool:
        tried = list(pool.map(trial, [config for config, _, _ in expected]))
    for (config, success, words), told in zip(expected, tried):
        assert told["success"] is success and words in told["message"], (config, told)


def test_try_says_why_nobody_answers():
    done = subprocess.run([find_program("ingestor"), "try", f"coap://127.0.0.1:{free_port()}/t",
                           "--seconds", "2"], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 1 and "nothing listens at coap://127.0.0.1" in done.stderr
    assert "connected" not in done.stderr


def test_try_shows_what_a_server_offers(peer):
    server = peer(AioServer, {"/sensors/a": b'{"seq": 1}', "/sensors/b": b'{"seq": 2}'})
    done = subprocess.run([find_program("ingestor"), "try", f"coap://127.0.0.1:{server.port}",
                           "--messages", "2", "--json"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "sensors_a" in done.stdout and "sensors_b" in done.stdout


# --- TCP, DTLS -------------------------------------------------------------------------------------


def test_tcp(peer, run):
    server = AioServer({"/t": b'{"seq": 1}', "/plain/big": b'{"big": "%s"}' % (b"x" * 200000)},
                       scheme="coap+tcp")
    try:
        service = run(server.port, ["/t", "/plain/big"], scheme="coap+tcp")
        wait_registered(server, "/t")
        server.put("/t", {"seq": 2})
        wait_seq(service, 2)
        wait_until(lambda: any(len(r.get("big") or "") == 200000 for r in service.rows()), "it")
    finally:
        server.stop()
    wait_health(service, "coap+tcp://127.0.0.1")
    again = peer(AioServer, {"/t": b'{"seq": 3}', "/plain/big": b"{}"}, port=server.port,
                 scheme="coap+tcp")
    wait_registered(again, "/t")
    wait_seq(service, 3)


def texts(service):
    return [row["content"] for row in service.rows() if row.get("content")]


def test_libcoaps_server(peer, run, tmp_path):
    server = peer(LibcoapServer, tmp_path, tls=False)
    service = run(server.port, "/time")
    wait_until(lambda: len(set(texts(service))) >= 3, "three seconds")
    # the answer to the registration, and a notification in the same second
    assert len(texts(service)) <= len(set(texts(service))) + 1


def test_dtls_with_a_key(peer, run, tmp_path):
    server = peer(LibcoapServer, tmp_path, "-k", "s3cret-key", "-h", "hint")
    service = run(server.port + 1, "/time", scheme="coaps", psk_identity="me",
                  psk_key="hex:" + b"s3cret-key".hex())
    wait_until(lambda: len(set(texts(service))) >= 2, "two seconds")


def test_dtls_with_a_wrong_key(peer, run, tmp_path):
    server = peer(LibcoapServer, tmp_path, "-k", "s3cret-key")
    service = run(server.port + 1, "/time", scheme="coaps", psk_identity="me", psk_key="another")
    wait_health(service, "coaps://127.0.0.1", "do psk_identity and psk_key fit?")
    assert_not_well(service, "psk_identity")
    assert "another" not in service.log()
    assert service.rows() == []


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


def certified(peer, tmp_path, authority, name, **options):
    cert, key = authority.issue(name, **options)
    return peer(LibcoapServer, tmp_path, "-c", cert, "-j", key, "-C", authority.ca_file)


def test_dtls_with_certificates(peer, run, tmp_path, authority):
    server = certified(peer, tmp_path, authority, "server")
    cert, key = authority.issue("client")
    service = run(server.port + 1, "/time", scheme="coaps",
                  tls={"ca_file": str(authority.ca_file), "cert_file": str(cert),
                       "key_file": str(key)})
    wait_until(lambda: len(set(texts(service))) >= 2, "two seconds")


@pytest.mark.parametrize("fault", ["authority", "name", "expired"])
def test_certificates_that_do_not_fit(peer, run, tmp_path, authority, fault):
    options = {"name": {"alternative": "DNS:elsewhere.example"}, "expired": {"days": -1}}
    server = certified(peer, tmp_path, authority, "server", **options.get(fault, {}))
    trusted = Authority(tmp_path / "other") if fault == "authority" else authority
    cert, key = authority.issue("client")
    service = run(server.port + 1, "/time", scheme="coaps",
                  tls={"ca_file": str(trusted.ca_file), "cert_file": str(cert),
                       "key_file": str(key)})
    wait_health(service, "coaps://127.0.0.1", {"authority": "ca", "name": "mismatch",
                                               "expired": "expired"}[fault])
    assert service.rows() == []

"""What a CoAP server says again, and what only looks so: message ids that begin anew, events that
say the same, bodies that change while they are read. What is acknowledged is in the lake, or counted
as stale."""

import pytest

from coap_peers import (ACK, BLOCK2, CBOR, CON, CONTENT, CONTENT_FORMAT, ETAG, JSON, MAX_AGE, OBSERVE,
                        Message, ScriptedServer, coap_source, peer, run, source_health, wait_seq)
from conftest import wait_until

pytest.importorskip("aiocoap")
__all__ = ["peer", "run"]  # fixtures

URI_QUERY = 15


class Device:
    """Says `count` things each time that it is started, confirmable, one after the other, with
    message ids from 1 on; it begins anew when all were acknowledged and it is registered again."""

    def __init__(self, count):
        self.count, self.mid, self.seq, self.acknowledged, self.starts = count, 0, 0, [], 0

    def say(self, server):
        server.send(self.address, Message(CON, CONTENT, self.mid, self.token, [
            (OBSERVE, 10 + self.mid), (CONTENT_FORMAT, JSON)], b'{"seq": %d}' % self.seq))

    def __call__(self, server, message, address):
        if message.get(OBSERVE) == 0:
            self.token, self.address = message.token, address
            server.reply(message, address, payload=b'{"now": %d}' % self.seq,
                         options=[(OBSERVE, 5), (CONTENT_FORMAT, JSON), (MAX_AGE, 3600)])
            if self.mid in (0, self.count + 1):
                self.mid, self.starts, self.seq = 1, self.starts + 1, self.seq + 1
            self.say(server)  # also again what was not yet acknowledged
        elif message.kind == ACK and message.mid == self.mid:
            self.acknowledged.append(self.seq)
            self.mid += 1
            if self.mid <= self.count:
                self.seq += 1
                self.say(server)


@pytest.mark.parametrize("count", [1, 5])
def test_a_device_that_is_started_anew_counts_from_the_beginning(peer, run, count):
    """With one thing to say its id is the one that libcoap heard last, and would drop."""
    device = Device(count)
    service = run(peer(ScriptedServer, device).port, "/t", observe_refresh_seconds=1)
    wait_until(lambda: len(device.acknowledged) >= 3 * count, "three starts")
    service.stop()
    assert not set(device.acknowledged) - set(service.seqs()), "acknowledged and lost"
    assert service.seqs() == sorted(set(service.seqs()))


def test_an_event_that_overtakes_the_answer_is_stored_though_it_says_the_same(peer, run):
    waiting, acknowledged = set(), set()

    def answer(server, message, address):
        if message.get(OBSERVE) == 0 and len(waiting) < 4:
            mid = server.mid()
            waiting.add(mid)
            for kind, each, number in ((CON, mid, 2), (ACK, message.mid, 1)):
                server.send(address, Message(kind, CONTENT, each, message.token, [
                    (OBSERVE, number), (CONTENT_FORMAT, JSON)], b'{"event": %d}' % number))
        elif message.kind == ACK and message.mid in waiting:
            acknowledged.add(message.mid)

    service = run(peer(ScriptedServer, answer).port, "/button", observe_refresh_seconds=1)
    wait_until(lambda: len(acknowledged) == 4, "four events")
    service.stop()
    assert sum(row.get("event") == 2 for row in service.rows()) == 4


def test_a_notification_whose_body_has_changed_is_stale(peer, run):
    """The newer body is stored; what the notification told of is nowhere."""
    bodies = [b'{"seq": %d, "b": "%s"}' % (i, b"x" * 1500) for i in (1, 2)]

    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            server.reply(message, address, payload=b"[]", options=[
                (OBSERVE, 1), (CONTENT_FORMAT, JSON), (MAX_AGE, 3600)])
            server.send(address, Message(CON, CONTENT, 777, message.token, [
                (OBSERVE, 2), (CONTENT_FORMAT, JSON), (ETAG, 1), (BLOCK2, 8 | 6)], bodies[0][:1024]))
        elif message.code == 1:
            number = (message.get(BLOCK2) or 6) >> 4
            more = len(bodies[1]) > (number + 1) * 1024
            server.reply(message, address, payload=bodies[1][number * 1024:][:1024], options=[
                (CONTENT_FORMAT, JSON), (ETAG, 2), (BLOCK2, number << 4 | more << 3 | 6)])

    server = peer(ScriptedServer, answer)
    service = run(server.port, "/t")
    wait_until(lambda: any(m.kind == ACK and m.mid == 777 for m in server.seen), "the ACK")
    wait_seq(service, 2)
    assert service.seqs() == [2]
    assert source_health(service)["stale_notifications"] == 1


def test_a_first_block_that_is_too_large_is_acknowledged_when_its_dead_letter_is_kept(peer, make_service):
    """The service is killed as soon as the acknowledgement is there."""
    services, registered, acknowledged = [], [], []

    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            registered.append((message.token, address))
            server.reply(message, address, payload=b"[]", options=[
                (OBSERVE, 1), (CONTENT_FORMAT, JSON), (MAX_AGE, 3600)])
        elif message.kind == ACK and message.mid == 4242:
            services[0].process.kill()
            acknowledged.append(message)

    server = peer(ScriptedServer, answer)
    services.append(make_service(1, sources=[coap_source(server.port, "/t", max_message_bytes=1024)]))
    wait_until(lambda: registered, "the registration")
    token, address = registered[0]
    server.send(address, Message(CON, CONTENT, 4242, token, [(OBSERVE, 2), (BLOCK2, 8 | 6)], b"z" * 1024))
    wait_until(lambda: acknowledged, "the ACK")
    services[0].kill()
    services[0].start()
    wait_until(lambda: services[0].rows(dead_letters=True), "the dead letter")


def test_of_two_queries_of_a_path_health_says_which_it_does_not_know(peer, run):
    """Dead letters are known by path."""
    def answer(server, message, address):
        if message.code == 1:
            bad = (URI_QUERY, b"u=2") in message.options
            server.reply(message, address, payload=b"\x9f\x01" if bad else bytes.fromhex("a1616101"),
                         options=[(CONTENT_FORMAT, CBOR), (MAX_AGE, 3600)] + (
                             [(OBSERVE, 1)] if message.get(OBSERVE) == 0 else []))

    server = peer(ScriptedServer, answer)
    service = run(server.port, ["/s?u=1", "/s?u=2"])
    bad = f"coap://127.0.0.1:{server.port}/s?u=2"
    wait_until(lambda: bad in source_health(service).get("resource_errors", {}), "its health")
    for uri, told in source_health(service)["resource_errors"].items():
        assert told.startswith("its last value became a dead letter" if uri == bad else
                               "a value of this path, of this or another query, became a dead letter")

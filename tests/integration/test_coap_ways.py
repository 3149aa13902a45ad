"""CoAP sources over ways that lose, turn round and move: what the server counts as acknowledged is in
the lake or counted as stale (RFC 7641 §3.4), and whatever happens on the way mends itself."""

import itertools
import json
import os
import time

import pytest

from coap_peers import (ACK, CON, CONTENT, CONTENT_FORMAT, JSON, MAX_AGE, NON, OBSERVE, RST,
                        AioServer, Between, LibcoapServer, Message, ScriptedServer, coap_source, peer,
                        source_health, wait_registered, wait_seq, wait_well)
from conftest import find_program, free_port, wait_until

pytest.importorskip("aiocoap")
__all__ = ["peer"]  # fixtures
NOTIFICATIONS = int(os.environ.get("INGESTOR_COAP_NOTIFICATIONS", "200"))
SEED = int(os.environ.get("INGESTOR_COAP_SEED", "1"))
LOSSY = {"loss": 0.1, "late": 0.1}


class Streaming:
    """Sends confirmable notifications, every third one not, and does not wait: four are on their way
    at once, so they overtake each other, and each is sent again until it is acknowledged."""

    def __init__(self, count):
        self.numbers = iter(range(1, count + 1))
        self.token = self.address = None
        self.waiting, self.acknowledged, self.is_over = {}, [], False

    def __call__(self, server, message, address):
        if message.get(OBSERVE) == 0:
            # Who registers again is told the state of now; what waits is sent under the new token.
            self.token, self.address = message.token, address
            server.reply(message, address, options=[(OBSERVE, 1), (MAX_AGE, 3600)], payload=b"[]")
        elif message.kind in (ACK, RST) and message.mid in self.waiting:
            seq = self.waiting.pop(message.mid)[0]
            if message.kind == ACK:
                self.acknowledged.append(seq)

    def _send(self, server, kind, mid, seq):
        server.send(self.address, Message(kind, CONTENT, mid, self.token, [
            (OBSERVE, 1 + seq), (MAX_AGE, 3600), (CONTENT_FORMAT, JSON)], b'{"seq": %d}' % seq))

    def step(self, server):
        """True when all are acknowledged."""
        now = time.monotonic()
        for mid, (seq, sent_at) in list(self.waiting.items()):
            if now - sent_at > 0.4:
                self._send(server, CON, mid, seq)
                self.waiting[mid] = (seq, now)
        while self.token and len(self.waiting) < 4 and not self.is_over:
            seq = next(self.numbers, None)
            self.is_over = seq is None
            if self.is_over:
                break
            mid = server.mid()
            if seq % 3 != 0:
                self.waiting[mid] = (seq, now)
            self._send(server, CON if seq % 3 != 0 else NON, mid, seq)
        return self.is_over and not self.waiting


def seqs_of(service, source_id):
    return [int(r["seq"]) for r in service.rows()
            if r.get("seq") is not None and r["original_source_id"] == source_id]


def check_account(service, name, acknowledged, way):
    """Nothing twice; what was acknowledged is there, or was older than what was."""
    told = json.loads(service.get("/api/data-sources"))["data"]
    source_id = next(s["ingestion_id"] for s in told if s["name"] == name)
    # What was acknowledged a moment ago is in the journal, and on its way to the lake; what comes again
    # after a registration is fresh, so the highest number need not be the last to land.
    assert service.metric("ingestor_source_messages_received_total", source_id=source_id) > 0
    wait_until(lambda: max(seqs_of(service, source_id), default=-1) >= max(acknowledged)
               and service.metric("ingestor_source_messages_pending", source_id=source_id) == 0,
               f"{max(acknowledged)} of {name} to land")
    stale = source_health(service, name)["stale_notifications"]
    stored = seqs_of(service, source_id)
    assert len(stored) == len(set(stored)), name
    missing = set(acknowledged) - set(stored)
    assert len(missing) <= stale, (name, sorted(missing), stale, "\n".join(way.story()))
    assert all(any(s > seq for s in stored) for seq in missing), (name, sorted(missing), stored)
    return missing


def test_what_a_server_counts_as_acknowledged_is_there_or_stale(peer, make_service, tmp_path):
    """Three servers, each behind a way of its own that loses and turns round both ways: aiocoap and
    libcoap's, whose acknowledged notifications the way counts, and one that lets its notifications
    overtake each other and counts by itself."""
    aio = peer(AioServer, {"/t": b'{"seq": 0}'}, max_age=3600, ack_timeout_s=0.3)
    libcoap = peer(LibcoapServer, tmp_path, tls=False)
    libcoap.put("/t", {"seq": 0})
    streaming = Streaming(NOTIFICATIONS)
    stream = peer(ScriptedServer, streaming)
    ways = {name: peer(Between, server.port, seed=SEED + i, **LOSSY) for i, (name, server)
            in enumerate({"aio": aio, "libcoap": libcoap, "stream": stream}.items())}
    service = make_service(1, sources=[
        coap_source(way.port, "/t", name=name, observe_refresh_seconds=10)
        for name, way in ways.items()])
    wait_registered(aio, "/t")
    wait_until(lambda: streaming.token, "a registration")
    puts = itertools.count(1)

    def step():
        seq = next(puts)
        aio.put("/t", {"seq": seq})
        if seq % 4 == 0:
            libcoap.put("/t", {"seq": seq})
        time.sleep(0.03)
        return streaming.step(stream) and seq > NOTIFICATIONS / 2

    wait_until(step, "all notifications to be acknowledged", 600)
    last = next(puts)
    aio.put("/t", {"seq": last})
    libcoap.put("/t", {"seq": last})

    def there():
        stored = service.seqs()
        return stored.count(last) >= 2 and max(streaming.acknowledged) in stored

    def story():
        return f"the last of each, {last}, among {service.seqs()}" + "".join(
            f"\n{name}: {source_health(service, name)}\n" + "\n".join(way.story()[-40:])
            for name, way in ways.items())

    wait_until(there, story)
    for way in ways.values():
        assert way.lost + way.turned > 0, way.story()
    assert sum(way.lost for way in ways.values()) > NOTIFICATIONS / 20
    assert sum(way.turned for way in ways.values()) > NOTIFICATIONS / 20

    def counted(way):
        return [json.loads(payload)["seq"] for payload in way.acknowledged()]

    check_account(service, "aio", counted(ways["aio"]), ways["aio"])
    check_account(service, "libcoap", counted(ways["libcoap"]), ways["libcoap"])
    assert check_account(service, "stream", streaming.acknowledged, ways["stream"])
    assert len(streaming.acknowledged) > NOTIFICATIONS / 2


def test_dtls_over_a_lossy_way(peer, make_service, tmp_path):
    """The handshake too is sent again by itself."""
    server = peer(LibcoapServer, tmp_path, "-k", "s3cret-key")
    way = peer(Between, server.port + 1, seed=SEED + 7, **LOSSY)
    service = make_service(1, sources=[coap_source(
        way.port, "/time", scheme="coaps", psk_identity="me", psk_key="s3cret-key",
        observe_refresh_seconds=10)])
    wait_until(lambda: len({r["content"] for r in service.rows()}) >= 5, "five seconds")
    assert way.lost > 0 and way.turned > 0


def test_a_way_that_moves(peer, make_service):
    """A NAT between forgets its clients: the server talks to where we were, until we ask again."""
    server = peer(AioServer, {"/t": b'{"seq": 0}'})
    way = peer(Between, server.port)
    service = make_service(1, sources=[coap_source(way.port, "/t", observe_refresh_seconds=2)])
    for seq in 1, 2, 3:
        wait_registered(server, "/t")
        server.put("/t", {"seq": seq})
        wait_seq(service, seq)
        way.rebind()
    wait_well(service)
    server.put("/t", {"seq": 4})
    wait_seq(service, 4)
    assert service.seqs() == [0, 1, 2, 3, 4]


def test_a_name_whose_address_changes(peer, make_service, tmp_path):
    """The server moves to another address, and its name with it, over UDP and TCP."""
    names = tmp_path / "names"
    names.write_text("plant.example 127.0.0.1\n")
    ports = {"coap": free_port(), "coap+tcp": free_port()}
    old = [AioServer({"/t": b'{"seq": %d}' % (10 * i)}, port=port, scheme=scheme)
           for i, (scheme, port) in enumerate(ports.items())]
    try:
        service = make_service(1, environment={
            "LD_PRELOAD": find_program("resolver_shim.so"), "RESOLVER_SHIM_FILE": str(names)},
            sources=[coap_source(port, "/t", name=scheme, scheme=scheme, host="plant.example",
                                 observe_refresh_seconds=1) for scheme, port in ports.items()])
        for server in old:
            wait_registered(server, "/t")
        wait_until(lambda: service.seqs() == [0, 10], "what they had")
    finally:
        for server in old:
            server.stop()
    new = [peer(AioServer, {"/t": b'{"seq": %d}' % (10 * i + 1)}, port=port, scheme=scheme,
                host="127.0.0.2") for i, (scheme, port) in enumerate(ports.items())]
    for scheme in ports:
        wait_until(lambda scheme=scheme: "plant.example" in source_health(service, scheme).get(
            "error", ""), "health to say that it is lost")
    names.write_text("plant.example 127.0.0.2\n")
    for server in new:
        wait_registered(server, "/t")
        server.put("/t", {"seq": 7})
    wait_until(lambda: service.seqs() == [0, 1, 7, 7, 10, 11], lambda: f"all, not {service.seqs()}")
    wait_well(service)


def test_the_first_address_of_a_name_does_not_answer(peer, make_service, tmp_path):
    """localhost is ::1 first where there is IPv6; the server is at 127.0.0.1 only."""
    server = peer(AioServer, {"/t": b'{"seq": 1}'})
    service = make_service(1, sources=[coap_source(server.port, "/t", host="localhost")])
    wait_registered(server, "/t")
    wait_seq(service, 1)
    assert {row["resource_uri"] for row in service.rows()} == {f"coap://localhost:{server.port}/t"}


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(peer, make_service, host):
    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            server.reply(message, address, options=[(OBSERVE, 1)], payload=b'{"seq": 1}')

    try:
        server = peer(ScriptedServer, answer, host="::1")
    except OSError:
        pytest.skip("there is no IPv6 here")
    service = make_service(1, sources=[coap_source(server.port, "/t", host=host)])
    wait_seq(service, 1)
    assert service.rows()[0]["resource_uri"] == f"coap://[::1]:{server.port}/t"
    uri = f"coap://[::1]:{server.port}/t"
    assert source_health(service)["resources"] == [uri]
    assert not any(number == 3 for number, _ in server.seen[0].options)  # no Uri-Host for an address

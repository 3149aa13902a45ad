"""More notifications than a source can read for a while: what the socket holds is stored when there is
time, and what it had no room for is counted (dropped_datagrams in the source's health)."""

import json
import signal
import subprocess

import pytest

from coap_peers import (CON, CONTENT_FORMAT, JSON, NON, OBSERVE, Message, ScriptedServer,
                        coap_source)
from conftest import find_program, wait_until

CONTENT = 0x45


class Chatterbox:
    """A server whose one resource says what it is told to, as fast as it is told."""

    def __init__(self):
        self.observer = None
        self.server = ScriptedServer(self._answer)
        self.port = self.server.port

    def _answer(self, server, message, address):
        if message.kind in (CON, NON) and message.get(OBSERVE) == 0:
            server.reply(message, address, options=[(OBSERVE, 0), (CONTENT_FORMAT, JSON)],
                         payload=self.payload(0))
            self.observer = (address, message.token)

    @staticmethod
    def payload(seq):
        return json.dumps({"seq": seq, "text": "x" * 180}).encode()

    def say(self, first, count):
        address, token = self.observer
        for seq in range(first, first + count):
            self.server.send(address, Message(
                NON, CONTENT, self.server.mid(), token,
                [(OBSERVE, seq), (CONTENT_FORMAT, JSON)], self.payload(seq)))


@pytest.fixture
def chatterbox():
    one = Chatterbox()
    yield one
    one.server.stop()


def details(service):
    listed = json.loads(service.get("/api/data-sources"))
    rows = listed["data"] if isinstance(listed, dict) else listed
    answer = json.loads(service.get(f"/api/data-sources/{rows[0]['id']}/health"))
    return answer.get("data", answer)


def test_what_comes_while_we_are_busy_waits(chatterbox, make_service):
    service = make_service(1, sources=[coap_source(chatterbox.port, "/t")])
    wait_until(lambda: chatterbox.observer, "the observation")
    # 166 of these are what a socket holds that nobody has enlarged.
    service.process.send_signal(signal.SIGSTOP)
    chatterbox.say(1, 300)
    service.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(service.seqs()) == 301, lambda: f"301, and not {len(service.seqs())}")
    assert details(service)["dropped_datagrams"] == 0


def test_what_had_no_room_is_counted(chatterbox, make_service):
    service = make_service(1, sources=[coap_source(chatterbox.port, "/t")])
    wait_until(lambda: chatterbox.observer, "the observation")
    service.process.send_signal(signal.SIGSTOP)
    chatterbox.say(1, 20000)
    service.process.send_signal(signal.SIGCONT)

    def all_there():
        known = details(service)
        return known["dropped_datagrams"] > 0 and \
            known["messages_received"] + known["dropped_datagrams"] == 20001
    wait_until(all_there, lambda: f"20001 in {details(service)}")
    dropped = details(service)["dropped_datagrams"]
    wait_until(lambda: len(service.seqs()) == 20001 - dropped, "the rows")
    assert len(set(service.seqs())) == 20001 - dropped


def test_a_flood_is_accounted_for(make_service):
    """bench/coap_flood.c, shortly: stored, or older than what was stored, or dropped by the socket."""
    sender = subprocess.Popen(
        [find_program("coap_flood"), "--resources", "200", "--rate", "5000", "--count", "10000"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = int(sender.stdout.readline().split()[1])
        service = make_service(1, sources=[coap_source(
            port, [f"/r/{i}" for i in range(200)], dataset="{source}")])
        assert sender.stdout.readline().strip() == "ready"
        assert sender.stdout.readline().strip() == "done"

        def missing():
            known = details(service)
            return 10200 - sum(known[name] for name in (
                "messages_received", "stale_notifications", "dropped_datagrams"))
        wait_until(lambda: missing() == 0, lambda: f"{missing()} of {details(service)}")
        received = details(service)["messages_received"]
        wait_until(lambda: len(service.seqs()) == received, "the rows")
        rows = [(row["resource"], row["seq"]) for row in service.rows()]
        assert len(set(rows)) == received
        sender.stdin.close()
        counted = json.loads(sender.stdout.read())
        assert (counted["sent"], counted["registrations"]) == (10000, 200)
    finally:
        sender.kill()
        sender.wait()

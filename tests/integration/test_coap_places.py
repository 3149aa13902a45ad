"""A source's places: resources that are silent hold nobody up, and bodies that wait for their next
question are no more than there is room for."""

import socket
import threading

import pytest

from coap_peers import (BLOCK2, CONTENT, CONTENT_FORMAT, JSON, MAX_AGE, OBSERVE, Message,
                        ScriptedServer, peer, run, source_health, wait_seq)
from conftest import wait_until

pytest.importorskip("aiocoap")
__all__ = ["peer", "run"]  # fixtures


def test_silent_resources_keep_no_other_from_being_asked(peer, run):
    """Those asked first have all the places, for 10 s; nobody has heard of the server by then."""
    silent = [f"/silent/{i}" for i in range(5)]

    def answer(server, message, address):
        if message.code == 1 and message.path == "/good":
            server.reply(message, address, payload=b'{"seq": 1}', options=[
                (OBSERVE, 1), (CONTENT_FORMAT, JSON), (MAX_AGE, 3600)])

    server = peer(ScriptedServer, answer)
    service = run(server.port, [*silent, "/good"])
    wait_seq(service, 1)
    told = source_health(service)
    assert told["connected"] and told["sessions"] == 1
    for path in silent[:4]:
        assert told["resource_errors"][f"coap://127.0.0.1:{server.port}{path}"].startswith("no answer")
    # The last of them has its place, too, and the answered one is done.
    wait_until(lambda: silent[4] in {m.path for m in server.seen}, "the fifth to be asked")


class Bert:
    """coap+tcp: each resource answers its registration with a block of 1000 KiB, after which more
    follows."""

    FIRST = 1000 * 1024

    def __init__(self):
        self.registered, self.anew, self.later = 0, [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def frame(code, token=b"", options=(), payload=b""):
        rest = Message(0, code, 0, token, options, payload).encode()[4 + len(token):]
        size = len(rest)
        nibble, tail = ((size, b"") if size < 13 else (13, bytes([size - 13])) if size < 269 else
                        (14, (size - 269).to_bytes(2, "big")) if size < 65805 else
                        (15, (size - 65805).to_bytes(4, "big")))
        return bytes([nibble << 4 | len(token)]) + tail + bytes([code]) + token + rest

    def first(self, token, seq):
        head = b'{"seq": %d, "b": "' % seq
        return self.frame(CONTENT, token, [(OBSERVE, 5), (CONTENT_FORMAT, JSON), (BLOCK2, 8 | 7)],
                          head + b"y" * (self.FIRST - len(head)))

    @staticmethod
    def read(stream):
        head = stream.read(1)[0]
        size, token = head >> 4, head & 15
        if size > 12:
            size = int.from_bytes(stream.read(size - 12), "big") + (13, 269)[size - 13]
        code, token = stream.read(1)[0], stream.read(token)
        return Message.decode(bytes([0x40 | len(token), code, 0, 0]) + token + stream.read(size))

    def _run(self):
        try:
            connection, _ = self.listener.accept()
            stream = connection.makefile("rb")
            connection.sendall(self.frame(0xe1, options=[(2, 8 << 20), (4, b"")]))
            while True:
                self._answer(connection, self.read(stream))
        except (OSError, IndexError):
            pass  # the end

    def _answer(self, connection, message):
        seq = int(message.path[1:] or 0)
        if message.code == 0xe2:
            connection.sendall(self.frame(0xe3, message.token))
        elif message.code == 1 and message.get(OBSERVE) == 0:
            self.registered += 1
            connection.sendall(self.first(message.token, seq))
        elif message.code == 1 and message.get(BLOCK2):
            self.later.append(seq)
            connection.sendall(self.frame(CONTENT, message.token, [
                (CONTENT_FORMAT, JSON), (BLOCK2, 1000 << 4 | 7)], b'"}'))
        elif message.code == 1:
            self.anew.append(seq)
            connection.sendall(self.frame(CONTENT, message.token, [(CONTENT_FORMAT, JSON)],
                                          b'{"seq": %d}' % seq))

    def stop(self):
        self.listener.close()


def test_what_is_kept_of_bodies_that_wait_is_bounded(peer, run):
    """What is beyond 16 MiB is read anew, when its turn comes."""
    count = 24
    server = peer(Bert)
    service = run(server.port, [f"/{i}" for i in range(1, count + 1)], scheme="coap+tcp")
    wait_until(lambda: len(server.later) + len(server.anew) >= count, "all to be read")
    assert server.registered == count
    assert server.anew and len(server.later) >= 10
    for seq in range(1, count + 1):
        wait_seq(service, seq)
    assert source_health(service)["resource_errors"] == {}

"""CoAP over TCP (RFC 8323): what a server sends arrives however the connection cuts it."""

import random
import socket
import threading
import time

from coap_peers import (CONTENT, CONTENT_FORMAT, GET, JSON, OBSERVE, Message, peer, run, source_health,
                        wait_health)
from conftest import wait_until

__all__ = ["peer", "run"]  # fixtures
CSM, ABORT = 0xE1, 0xE5


def frame(code, token=b"", options=(), payload=b""):
    """RFC 8323 §3.2."""
    body = Message(0, code, 0, token, options, payload).encode()[4 + len(token):]
    for nibble, size, offset in ((0, 0, 0), (13, 1, 13), (14, 2, 269), (15, 4, 65805)):
        if len(body) < (13, 269, 65805, 1 << 32)[max(0, nibble - 12)]:
            length = (len(body) - offset).to_bytes(size, "big") if size else b""
            return (bytes([(nibble or len(body)) << 4 | len(token)]) + length + bytes([code]) + token
                    + body)
    raise ValueError(len(body))


class TcpServer:
    """Answers each GET with register(server, connection, token), in a thread."""

    def __init__(self, register):
        self.register, self.sessions, self.seq = register, 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def value(self, token, size):
        """The next notification."""
        self.seq += 1
        text = b'{"seq": %d, "p": "%s"}' % (self.seq, b"p" * size)
        return frame(CONTENT, token, [(OBSERVE, self.seq), (CONTENT_FORMAT, JSON)], text)

    def _accept(self):
        try:
            while True:
                connection = self.listener.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sessions += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except OSError:
            pass

    def _serve(self, connection):
        try:
            with connection, connection.makefile("rb") as stream:
                self.send(connection, frame(CSM, b"", [(2, 8 << 20), (4, b"")]), [1, 2])
                while first := stream.read(1):
                    size = first[0] >> 4
                    if size >= 13:
                        extra = 1 << (size - 13)
                        size = int.from_bytes(stream.read(extra), "big") + (13, 269)[extra - 1]
                    code, token = stream.read(1)[0], stream.read(first[0] & 15)
                    stream.read(size)
                    if code == GET:
                        self.register(self, connection, token)
        except OSError:
            pass

    def send(self, connection, data, cuts=()):
        """In parts, that the other side has had the time to read."""
        for at, end in zip([0, *cuts], [*cuts, len(data)]):
            connection.sendall(data[at:end])
            if cuts:
                time.sleep(0.03)

    def stop(self):
        self.listener.close()


def all_come(server, service, done):
    """What the server has sent until done, in one session."""
    wait_until(done.is_set, "all to be sent")
    expected = set(range(1, server.seq + 1))
    wait_until(lambda: set(service.seqs()) >= expected,
               lambda: f"all: missing {sorted(expected - set(service.seqs()))[:20]} of {server.seq}, "
                       f"{source_health(service)}")
    assert server.sessions == 1


def test_messages_cut_at_every_byte_of_their_headers(peer, run):
    done = threading.Event()

    def register(server, connection, token):
        # a change of size after each: what is taken for another length shows
        for at in range(1, 16):
            for size in (100, 600, 3, 1400, 70000, 230):
                server.send(connection, server.value(token, size), [at])
        # and two at a time, the cut in the second
        for at in range(1, 8):
            for sizes in ((100, 600), (600, 70000), (70000, 100)):
                first, second = (server.value(token, size) for size in sizes)
                server.send(connection, first + second, [len(first) + at])
        # empty ones, of which there is a header alone
        empty = frame(0)
        server.send(connection, empty * 3 + server.value(token, 100), [1, 3])
        done.set()

    server = peer(TcpServer, register)
    service = run(server.port, "/t", scheme="coap+tcp")
    all_come(server, service, done)


def test_many_messages_at_once(peer, run):
    """However they meet with what libcoap reads at a time."""
    done = threading.Event()

    def register(server, connection, token):
        sizes = random.Random(1)
        for _ in range(40):
            server.send(connection, b"".join(
                server.value(token, sizes.randrange(1, 400)) for _ in range(50)))
        done.set()

    server = peer(TcpServer, register)
    service = run(server.port, "/t", scheme="coap+tcp")
    all_come(server, service, done)


def test_a_stream_whose_place_is_lost_is_ended(peer, run):
    def register(server, connection, token):
        good = server.sessions > 1
        server.send(connection, server.value(token, 10) if good else b"\x0f" + b"x" * 40)

    server = peer(TcpServer, register)
    service = run(server.port, "/t", scheme="coap+tcp")
    wait_until(lambda: 1 in service.seqs(), "a value of the second session")
    assert server.sessions == 2


def test_what_is_wrong_with_a_stream_is_said(peer, run):
    server = peer(TcpServer, lambda server, connection, token: server.send(connection, b"\x09" * 9))
    service = run(server.port, "/t", scheme="coap+tcp")
    wait_health(service, "token length", "RFC 8323")

"""A proxy between the service and a broker that reads along, MQTT 3.1.1: of each QoS 2 message, what
was sent and what was acknowledged. For brokers that lose messages themselves: it tells whose fault it was."""

import re
import socket
import threading
from collections import Counter

PUBLISH, PUBREC, PUBCOMP = 3, 5, 7


def packets(data):
    """(first byte, body) of each whole packet, and the bytes that are left."""
    found, at = [], 0
    while True:
        length, shift, start = 0, 0, at + 1
        while True:
            if start >= len(data):
                return found, data[at:]
            length |= (data[start] & 127) << shift
            shift, start = shift + 7, start + 1
            if data[start - 1] < 128:
                break
        if start + length > len(data):
            return found, data[at:]
        found.append((data[at], data[start:start + length]))
        at = start + length


class Wire:
    def __init__(self, broker_port):
        self.broker_port = broker_port
        self.sent = set()  # sequence numbers ("seq" of the payload) of messages that the broker sent
        self.received = Counter()  # … and the service said it has: deliveries as §4.3.3 counts them
        self.held = {}  # packet identifier -> sequence number, from PUBREC to PUBCOMP, over connections
        self.strange = []  # PUBRECs that answer nothing
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
                broker = socket.create_connection(("127.0.0.1", self.broker_port))
            except OSError:
                return
            seqs = {}  # packet identifier -> sequence number, of this connection
            threading.Thread(target=self._pump, args=(broker, client, self._from_broker, seqs),
                             daemon=True).start()
            threading.Thread(target=self._pump, args=(client, broker, self._from_service, seqs),
                             daemon=True).start()

    def _pump(self, source, target, look, seqs):
        rest = b""
        try:
            while data := source.recv(1 << 16):
                found, rest = packets(rest + data)
                for first, body in found:
                    look(first, body, seqs)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()

    def _from_broker(self, first, body, seqs):
        if first >> 4 != PUBLISH or not first & 6:
            return
        at = 2 + int.from_bytes(body[:2], "big")
        seq = int(re.search(rb'"seq":(\d+)', body[at + 2:])[1])
        seqs[int.from_bytes(body[at:at + 2], "big")] = seq
        self.sent.add(seq)

    def _from_service(self, first, body, seqs):
        identifier = int.from_bytes(body[:2], "big")
        if first >> 4 == PUBCOMP:
            self.held.pop(identifier, None)
        elif first >> 4 == PUBREC and identifier not in seqs:
            self.strange.append(identifier)
        elif first >> 4 == PUBREC and self.held.get(identifier) != seqs[identifier]:
            self.held[identifier] = seqs[identifier]
            self.received[seqs[identifier]] += 1

    def stop(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

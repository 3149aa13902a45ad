"""CoAP servers for tests: aiocoap's, libcoap's example, one that a test scripts message by message,
and a way between them that loses and turns round. Fixtures: a test module imports peer and run."""

import asyncio
import itertools
import json
import random
import select
import socket
import subprocess
import threading
import time

import pytest

from conftest import end_process, find_tool, free_port, wait_until

CON, NON, ACK, RST = range(4)
GET, CONTENT, NOT_FOUND, UNAVAILABLE = 0x01, 0x45, 0x84, 0xA3
ETAG, OBSERVE, URI_PATH, CONTENT_FORMAT, MAX_AGE, BLOCK2 = 4, 6, 11, 12, 14, 23
TEXT, JSON, CBOR, SENML_JSON, SENML_CBOR = 0, 50, 60, 110, 112


@pytest.fixture
def peer():
    """peer(kind, …) makes a server, or a way to one, that ends with the test."""
    made = []

    def make(kind, *arguments, **options):
        made.append(kind(*arguments, **options))
        return made[-1]

    yield make
    for one in reversed(made):
        one.stop()


@pytest.fixture
def run(make_service):
    """run(port, resources, **config) runs a service with one source."""
    return lambda port, resources, **config: make_service(
        1, sources=[coap_source(port, resources, **config)])


def uint(value):
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Message:
    """RFC 7252 §3, written here so that a test can also send what no library would."""

    def __init__(self, kind, code, mid, token=b"", options=(), payload=b""):
        self.kind, self.code, self.mid, self.token = kind, code, mid, token
        self.options, self.payload = list(options), payload

    def encode(self):
        out = bytearray([0x40 | self.kind << 4 | len(self.token), self.code])
        out += self.mid.to_bytes(2, "big") + self.token
        last = 0
        for number, value in sorted(self.options, key=lambda option: option[0]):
            value = uint(value) if isinstance(value, int) else value
            nibbles, tail = [], b""
            for size in (number - last, len(value)):
                nibbles.append(size if size < 13 else 13 if size < 269 else 14)
                tail += b"" if size < 13 else bytes([size - 13]) if size < 269 else (
                    size - 269).to_bytes(2, "big")
            out += bytes([nibbles[0] << 4 | nibbles[1]]) + tail + value
            last = number
        return bytes(out) + (b"\xff" + self.payload if self.payload else b"")

    @classmethod
    def decode(cls, data):
        size = data[0] & 15
        message = cls(data[0] >> 4 & 3, data[1], int.from_bytes(data[2:4], "big"), data[4:4 + size])
        at, number = 4 + size, 0
        while at < len(data) and data[at] != 0xff:
            sizes = [data[at] >> 4, data[at] & 15]
            at += 1
            for i in range(2):
                extra = max(0, sizes[i] - 12)
                if extra:
                    sizes[i] = int.from_bytes(data[at:at + extra], "big") + (13, 269)[extra - 1]
                    at += extra
            number += sizes[0]
            message.options.append((number, data[at:at + sizes[1]]))
            at += sizes[1]
        message.payload = data[at + 1:]
        return message

    def get(self, number):
        """An option as a number, or None."""
        found = [value for key, value in self.options if key == number]
        return int.from_bytes(found[0], "big") if found else None

    @property
    def path(self):
        return "/" + "/".join(v.decode() for k, v in self.options if k == URI_PATH)


class ScriptedServer:
    """answer(server, message, address) is called for what comes, in a thread; send() is for any."""

    def __init__(self, answer, port=0, host="127.0.0.1"):
        self.answer = answer
        self.socket = socket.socket(family_of(host), socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.port = self.socket.getsockname()[1]
        self.seen = []
        self._mids = itertools.count(random.randrange(65536))
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def mid(self):
        return next(self._mids) & 0xffff

    def send(self, address, message):
        self.socket.sendto(message if isinstance(message, bytes) else message.encode(), address)

    def reply(self, request, address, code=CONTENT, options=(), payload=b""):
        """A piggybacked one."""
        self.send(address, Message(ACK if request.kind == CON else NON, code,
                                   request.mid if request.kind == CON else self.mid(),
                                   request.token, options, payload))

    def _run(self):
        while self._running:
            if not select.select([self.socket], [], [], 0.05)[0]:
                continue
            data, address = self.socket.recvfrom(65536)
            message = Message.decode(data)
            self.seen.append(message)
            self.answer(self, message, address)

    def stop(self):
        self._running = False
        self._thread.join()
        self.socket.close()


class AioServer:
    """aiocoap in a thread: values is {path: bytes}, put() changes one and notifies. Paths that begin
    with /plain cannot be observed: aiocoap 0.4.17 breaks off an observation in blocks. Over coaps its
    DTLS is tinydtls, with the keys of psk, {identity: key}. It sends each value of a resource, one
    after the other: one that is lost holds up those behind it for ack_timeout_s and more."""

    TRANSPORTS = {"coap": ["simple6", "udp6"], "coap+tcp": ["tcpserver"], "coaps": ["tinydtls_server"]}

    def __init__(self, values, port=None, scheme="coap", max_age=60, host="127.0.0.1", psk=None,
                 ack_timeout_s=2.0):
        self.port = port or free_port()
        self.psk = psk or {}
        self.ack_timeout_s = ack_timeout_s
        self.host = host
        self.values = dict(values)
        self.max_age = max_age
        self.loop = asyncio.new_event_loop()
        self._resources = {}
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(scheme, started), daemon=True)
        self._thread.start()
        assert started.wait(30)

    def _run(self, scheme, started):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._begin(scheme))
        started.set()
        self.loop.run_forever()

    async def _begin(self, scheme):
        import aiocoap.credentials
        from aiocoap import resource
        outer = self

        class Tuning(aiocoap.TransportTuning):
            ACK_TIMEOUT = self.ack_timeout_s

        async def render_get(self, request):
            value = outer.values[self.path]
            kind = 0 if value[:1] not in b"{[" else JSON
            return aiocoap.Message(payload=value, content_format=kind, max_age=outer.max_age,
                                   transport_tuning=Tuning())

        class Observed(resource.ObservableResource):
            pass

        class Plain(resource.Resource):
            pass

        Observed.render_get = Plain.render_get = render_get

        site = resource.Site()
        site.add_resource([".well-known", "core"],
                          resource.WKCResource(site.get_resources_as_linkheader))
        for path in self.values:
            self._resources[path] = (Plain if path.startswith("/plain") else Observed)()
            self._resources[path].path = path
            site.add_resource(path.strip("/").split("/"), self._resources[path])
        credentials = aiocoap.credentials.CredentialsMap()
        credentials.load_from_dict({f":{identity}": {"dtls": {
            "psk": {"ascii": key}, "client-identity": {"ascii": identity}}}
            for identity, key in self.psk.items()})
        # aiocoap binds what is secure one above the port that it is told.
        self.context = await aiocoap.Context.create_server_context(
            site, bind=(self.host, self.port - (scheme == "coaps")),
            transports=self.TRANSPORTS[scheme], server_credentials=credentials)

    def put(self, path, value):
        def do():
            self.values[path] = value if isinstance(value, bytes) else json.dumps(value).encode()
            if not path.startswith("/plain"):
                self._resources[path].updated_state()
        self.loop.call_soon_threadsafe(do)

    def observers(self, path):
        return len(self._resources[path]._observations)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.context.shutdown(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class LibcoapServer:
    """libcoap's coap-server: /time changes every second and is observable, put() makes resources;
    UDP and TCP are at port, DTLS at port + 1."""

    def __init__(self, folder, *options, tls=True, port=None):
        self.port = port or free_port()
        self.folder = folder
        name = "coap-server-openssl" if tls else "coap-server-notls"
        self.log = open(folder / f"coap-server-{self.port}.log", "ab")
        self.process = subprocess.Popen(
            [find_tool(name), "-A", "127.0.0.1", "-p", str(self.port), "-d", "100", "-v", "6",
             *map(str, options)], stdout=self.log, stderr=self.log, cwd=folder)

    def put(self, path, value, content_format=JSON):
        body = self.folder / f"body-{self.port}"
        body.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())

        def client(method, *options):
            return subprocess.run([find_tool("coap-client-notls"), "-m", method, "-b", "1024", "-B", "5",
                                   *options, f"coap://127.0.0.1:{self.port}{path}"],
                                  capture_output=True, check=False)

        def done():
            answer = client("put", "-t", str(content_format), "-f", body)
            # A server that was too slow to say so may have it: put again it would be told of again.
            return answer.returncode == 0 and not answer.stderr or (
                body.read_bytes() in client("get").stdout)

        wait_until(done, f"{path} to be put")

    def stop(self):
        self.process.kill()
        end_process(self.process)
        self.log.close()


class Between:
    """A way between a client and a server over UDP that loses, and turns round, a share of what
    passes, both ways."""

    def __init__(self, server_port, loss=0.0, late=0.0, seed=1):
        self.loss, self.late = loss, late
        self.random = random.Random(seed)
        self.server = ("127.0.0.1", server_port)
        self.moves = False
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.backs = {}
        self.waiting, self.passed = [], []
        self.lost = self.turned = 0
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _pass(self, send, to_server, data):
        lost, late = (self.random.random() < share for share in (self.loss, self.late))
        self.passed.append((time.monotonic(), to_server, lost, late, data))
        if lost:
            self.lost += 1
        elif late:
            self.turned += 1
            self.waiting.append((time.monotonic() + self.random.uniform(0.02, 0.15), send))
        else:
            send()

    def rebind(self):
        """As a NAT that has forgotten its clients: the server sees them at new addresses, and what
        it sends to the old ones gets nowhere."""
        self.moves = True
        wait_until(lambda: not self.moves, "the way to move")

    def acknowledged(self):
        """The payloads of the server's confirmable messages whose acknowledgement came through."""
        sent, acknowledged = {}, []
        for _, to_server, lost, _, data in list(self.passed):
            message = Message.decode(data)
            if not to_server and message.kind == CON:
                sent[message.mid] = message.payload
            elif to_server and message.kind == ACK and not lost and message.mid in sent:
                acknowledged.append(sent.pop(message.mid))
        return acknowledged

    def _run(self):
        while self._running:
            if self.moves:
                for back in self.backs.values():
                    back.close()
                self.backs, self.moves = {}, False
            sockets = [self.front, *self.backs.values()]
            for ready in select.select(sockets, [], [], 0.01)[0]:
                try:
                    data, address = ready.recvfrom(65536)
                except OSError:
                    continue
                if ready is self.front:
                    if address not in self.backs:
                        self.backs[address] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        self.backs[address].connect(self.server)
                    back = self.backs[address]
                    self._pass(lambda back=back, data=data: back.send(data), True, data)
                else:
                    to = next(a for a, back in self.backs.items() if back is ready)
                    self._pass(lambda to=to, data=data: self.front.sendto(data, to), False, data)
            due = [w for w in self.waiting if w[0] <= time.monotonic()]
            self.waiting = [w for w in self.waiting if w not in due]
            for _, send in due:
                try:
                    send()
                except OSError:
                    pass

    def story(self):
        """What passed, for who looks into a failure."""
        return [f"{at:.3f} {'->' if out else '<-'}{' lost' if lost else ' late' if late else ''} "
                f"{message.kind} {message.code >> 5}.{message.code & 31:02} mid={message.mid} "
                f"token={message.token.hex()} observe={message.get(OBSERVE)} "
                f"{message.get(BLOCK2)} {message.payload[:20]}"
                for at, out, lost, late, data in self.passed for message in [Message.decode(data)]]

    def stop(self):
        self._running = False
        self._thread.join()
        for each in (self.front, *self.backs.values()):
            each.close()


def coap_source(port, resources, name="things", **config):
    return {"name": name, "type_name": "coap",
            "config": {"host": "127.0.0.1", "port": port, "resources": resources, **config}}


def source_of(service, name="things"):
    """What the API lists of a source."""
    found = json.loads(service.get("/api/data-sources"))["data"]
    return next(s for s in found if s["name"] == name)


def source_health(service, name="things"):
    """What the API says of a source, connection details and all."""
    number = source_of(service, name)["id"]
    return json.loads(service.get(f"/api/data-sources/{number}/health"))["data"]


def health(service):
    return json.loads(service.get("/api/health"))["components"]["data_sources"]


def wait_health(service, *words):
    wait_until(lambda: all(w.lower() in health(service).lower() for w in words),
               lambda: f"{words} in health, which says {health(service)}")


def wait_seq(service, seq):
    wait_until(lambda: seq in service.seqs(), lambda: f"{seq} among {service.seqs()}")


def wait_registered(server, path, count=1):
    wait_until(lambda: server.observers(path) >= count, "an observer")


def wait_well(service):
    wait_until(lambda: not any(w in health(service) for w in ("resources", ": /", "coap://")),
               lambda: f"health without a complaint, which says {health(service)}")

"""What CoAP resources answer: every format value for value in Parquet, rubbish as dead letters, names
that are escaped, a thousand resources of one source, and a journal that is full."""

import json
import math
import os
import time
from urllib.parse import unquote

import pytest

from coap_peers import (ACK, BLOCK2, CBOR, CON, CONTENT, CONTENT_FORMAT, JSON, MAX_AGE, NON, OBSERVE,
                        SENML_CBOR, SENML_JSON, TEXT, URI_PATH, Message, ScriptedServer, coap_source,
                        AioServer, peer, run, source_health, wait_health, wait_registered, wait_seq,
                        wait_well)
from conftest import wait_until
from senml_examples import MORE, PACKS, resolve, to_cbor
from test_exactly_once import RcloneS3
from test_formats import APPENDIX_A, APPENDIX_RECORD, check_appendix

__all__ = ["peer", "run"]  # fixtures
PRINTABLE = bytes(35 + b % 56 for b in range(256))  # and neither quote nor backslash
RESOURCES = int(os.environ.get("INGESTOR_COAP_RESOURCES", "1000"))


def serving(bodies):
    """bodies is {path: (content format or None, bytes)}; what is larger than 1 KiB comes in blocks.
    All can be observed."""
    def answer(server, message, address):
        if message.code != 1:
            return
        content_format, body = bodies[message.path]
        number = (message.get(BLOCK2) or 0) >> 4
        part, more = body[number * 1024:][:1024], len(body) > (number + 1) * 1024
        options = [(MAX_AGE, 3600)]
        options += [(OBSERVE, 1)] if message.get(OBSERVE) == 0 else []
        options += [(CONTENT_FORMAT, content_format)] if content_format is not None else []
        options += [(BLOCK2, number << 4 | more << 3 | 6)] if len(body) > 1024 else []
        server.reply(message, address, options=options, payload=part)
    return answer


def of_resource(rows, path):
    return [r for r in rows if r["resource_uri"].endswith(path)]


# --- formats ---------------------------------------------------------------------------------------


def check_pack(rows, pack):
    expected = resolve(pack)
    got = [{k: r.get(k) for k in ("n", "u", "v", "vs", "vb", "vd", "s", "ut", "t")} for r in rows]
    assert len(got) == len(expected)
    for row, want in zip(got, expected):
        if want["t"] is None:  # it has no time of its own: the arrival's
            assert abs(row["t"] - time.time()) < 3600
        else:
            assert row["t"] == pytest.approx(want["t"], abs=1e-6)
        assert {k: v for k, v in row.items() if v is not None and k != "t"} == {
            k: v for k, v in want.items() if k != "t"}


def test_every_format_value_for_value(peer, make_service):
    """RFC 8949's appendix A, and every example of RFC 8428, and more, in JSON and in CBOR."""
    pytest.importorskip("cbor2")
    bodies = {"/cbor": (CBOR, APPENDIX_RECORD), "/array": (CBOR, bytes.fromhex("9fa161740107ff")),
              "/text": (TEXT, b"plain text"), "/none": (None, b'{"t": 8}'),
              "/decimal": (SENML_CBOR, bytes.fromhex("81a300616102c48221196ab3061a6553f100")),  # tag 4
              "/number": (TEXT, b"21.5"), "/unknown": (65000, b'{"t": 9}')}
    packs = [*PACKS.values(), *MORE.values()]
    for i, pack in enumerate(packs):
        bodies[f"/senml/json/{i}"] = (SENML_JSON, json.dumps(pack).encode())
        bodies[f"/senml/cbor/{i}"] = (SENML_CBOR, to_cbor(pack))
    server = peer(ScriptedServer, serving(bodies))
    service = make_service(1, sources=[coap_source(server.port, list(bodies))])
    wait_until(lambda: len({r["resource_uri"] for r in service.rows()}) == len(bodies),
               "rows of all")
    service.stop()
    rows = service.rows()
    check_appendix(of_resource(rows, "/cbor")[0])
    assert [(r.get("t"), r.get("value")) for r in of_resource(rows, "/array")] == [(1, None), (None, 7)]
    assert of_resource(rows, "/text")[0]["content"] == "plain text"
    assert of_resource(rows, "/number")[0]["value"] == 21.5
    assert [of_resource(rows, path)[0]["t"] for path in ("/none", "/unknown")] == [8, 9]
    for i, pack in enumerate(packs):
        check_pack(of_resource(rows, f"/senml/json/{i}"), pack)
        check_pack(of_resource(rows, f"/senml/cbor/{i}"), pack)
    check_pack(of_resource(rows, "/decimal"), [{"n": "a", "v": 273.15, "t": 1700000000}])
    assert {(r["resource_uri"].rpartition("/")[2], r["content_format"])
            for r in rows if "senml" not in r["resource_uri"]} == {
        (path[1:], kind) for path, (kind, _) in bodies.items() if "senml" not in path}
    assert not service.rows(dead_letters=True)


def records_of(value):
    """contract/data.md, "Payload to records"."""
    elements = value if isinstance(value, list) else [value]
    return [e if isinstance(e, dict) else {"value": e} for e in elements]


def is_text_of(cell, value):
    """What a STRING column has of a value."""
    if value is None or isinstance(value, str):
        return cell == value
    got = json.loads(cell)
    return type(got) is type(value) and got == value and (
        not isinstance(value, float) or math.copysign(1, got) == math.copysign(1, value))


def test_each_of_appendix_a_is_a_resource(peer, run):
    """All 81 of RFC 8949's, a payload each: an item that is no object is "value", an array records."""
    assert len(APPENDIX_A) == 81
    bodies = {f"/a/{i:02}": (CBOR, bytes.fromhex(item)) for i, (item, _) in enumerate(APPENDIX_A)}
    wanted = [records_of(value) for _, value in APPENDIX_A]
    names = sorted({name for records in wanted for record in records for name in record})
    server = peer(ScriptedServer, serving(bodies))
    service = run(server.port, list(bodies), dataset="{source}",
                  columns={name: "STRING" for name in names})
    wait_until(lambda: len(service.rows()) == sum(map(len, wanted)),
               lambda: f"{sum(map(len, wanted))} rows, not {len(service.rows())}")
    assert not service.rows(dead_letters=True)
    rows = service.rows()
    for path, records in zip(bodies, wanted):
        found = of_resource(rows, path)
        assert len(found) == len(records), path
        for row, record in zip(found, records):
            for name in names:
                assert is_text_of(row.get(name), record.get(name)), (path, record, name, row)


RUBBISH = {
    "/deep": (CBOR, b"\x81" * 10000, "invalid_cbor"),
    "/deep/open": (CBOR, b"\x9f" * 10000, "invalid_cbor"),
    "/open": (CBOR, b"\xbf\x61a\x01", "invalid_cbor"),
    "/long": (CBOR, b"\x9b" + b"\xff" * 8 + b"\x00", "invalid_cbor"),
    "/lies": (CBOR, b'{"a": 1}', "invalid_cbor"),
    "/nobody": (SENML_JSON, b'[{"v": 1}]', "invalid_senml"),
    "/nowhere": (SENML_CBOR, bytes.fromhex("81a10201"), "invalid_senml"),
    "/version": (SENML_JSON, b'[{"n": "a", "bver": 11, "v": 1}]', "invalid_senml"),
    "/no/pack": (SENML_JSON, b"21.5", "invalid_senml"),
    "/cut": (SENML_CBOR, bytes.fromhex("81a200616102"), "invalid_senml"),
}


def test_rubbish_is_a_dead_letter_and_the_others_go_on(peer, make_service):
    bodies = {path: (kind, body) for path, (kind, body, _) in RUBBISH.items()}
    bodies["/well"] = (JSON, b'{"seq": 1}')
    server = peer(ScriptedServer, serving(bodies))
    service = make_service(1, sources=[coap_source(server.port, list(bodies))])
    wait_until(lambda: len(service.rows(dead_letters=True)) == len(RUBBISH), "all dead letters")
    wait_seq(service, 1)
    wait_well(service)
    dead = {r["topic"]: (r["reason"], r["payload"]) for r in service.rows(dead_letters=True)}
    assert dead == {path[1:]: (reason, body) for path, (_, body, reason) in RUBBISH.items()}
    said = source_health(service)
    assert said["active_observations"] == len(bodies)
    assert said["healthy"] and said["failing_resources"] == len(RUBBISH)
    for path, (_, _, reason) in RUBBISH.items():
        assert f"dead letter ({reason}: " in said["resource_errors"][
            f"coap://127.0.0.1:{server.port}{path}"]


def test_a_dead_letter_is_its_resources_health_until_a_good_value_comes(peer, run):
    server = peer(AioServer, {"/t": b'[{"n": "a", "v": 1, "seq": 1}]'})
    service = run(server.port, "/t", format="senml")
    wait_registered(server, "/t")
    wait_seq(service, 1)
    assert source_health(service)["resource_errors"] == {}
    for count in (1, 2):
        server.put("/t", b'[{"n": "a", "v": 1, "vs": "%d"}]' % count)
        wait_until(lambda: any("(invalid_senml: the SenML has a record with more than" in e and f"one of {count} " in e for e in
                               source_health(service)["resource_errors"].values()),
                   lambda: f"{count} dead letters in {source_health(service)}")
    assert "dead letter" in source_health(service)["error"]
    server.put("/t", [{"n": "a", "v": 2, "seq": 2}])
    wait_seq(service, 2)
    wait_until(lambda: source_health(service)["resource_errors"] == {}, "no error any more")
    assert "error" not in source_health(service)


def test_long_datagrams(peer, run):
    """As long as one of Ethernet may be they are taken; a longer one is counted, and no part of it."""
    def answer(server, message, address):
        if message.get(OBSERVE) == 0:
            server.reply(message, address, options=[(OBSERVE, 1)], payload=b"[]")
            for seq, size in enumerate((1100, 1300, 1471, 1472, 1473, 9000, 40)):
                start = Message(NON, CONTENT, server.mid(), message.token, [
                    (OBSERVE, 2 + seq), (CONTENT_FORMAT, JSON)], b'{"seq": %d}' % seq)
                start.payload += b" " * (size - len(start.encode()))
                server.send(address, start)

    service = run(peer(ScriptedServer, answer).port, "/t")
    wait_seq(service, 6)
    assert service.seqs() == [0, 1, 2, 6]
    assert source_health(service)["discarded_datagrams"] == 3


# --- names, numbers --------------------------------------------------------------------------------


def test_discovers_names_that_are_escaped(peer, run):
    """What a link has escaped is sent as it is meant (RFC 6690 §2, RFC 7252 §6.4): a slash within a
    part is none between parts. What is escaped badly is left out."""
    links = ["/a%20b", "/gr%C3%B6%C3%9Fe/x%2Fy?q=1%262", "/größe", "/plain", "/bad%zz", "/nul%00",
             "/cut%2", "/raw space"]
    asked = []

    def answer(server, message, address):
        if message.code != 1:
            return
        parts = tuple(value.decode() for number, value in message.options if number == URI_PATH)
        query = tuple(value.decode() for number, value in message.options if number == 15)
        if parts == (".well-known", "core"):
            text = ",".join(f"<{link}>" for link in links).encode()
            server.reply(message, address, options=[(CONTENT_FORMAT, 40)], payload=text)
        elif message.get(OBSERVE) == 0:
            asked.append((parts, query))
            server.reply(message, address, options=[(OBSERVE, 1)],
                         payload=b'{"seq": %d}' % len(asked))

    server = peer(ScriptedServer, answer)
    service = run(server.port, "*", discover=True)
    wait_until(lambda: service.seqs() == [1, 2, 3, 4], lambda: f"four, not {service.seqs()}")
    assert sorted(asked) == [(("a b",), ()), (("größe",), ()), (("größe", "x/y"), ("q=1&2",)),
                             (("plain",), ())]
    assert {r["resource_uri"] for r in service.rows()} == {
        f"coap://127.0.0.1:{server.port}{link}" for link in links[:4]}
    assert {unquote(r["ingestion_id"]).partition("_coap_")[2] for r in service.rows()} == {
        "a%20b", "gr%C3%B6%C3%9Fe_x%2Fy", "größe", "plain"}


def test_a_thousand_resources_of_one_source(peer, run):
    """All are observed, each of their notifications is there, and none of the others' errors hides
    another's."""
    tokens, failing = {}, {f"/r/{i}" for i in range(0, RESOURCES, 100)}

    def answer(server, message, address):
        if message.code == 1 and message.path in failing:
            server.reply(message, address, code=0x84)
        elif message.get(OBSERVE) == 0:
            tokens[int(message.path[3:])] = (message.token, address)
            server.reply(message, address, options=[(OBSERVE, 1), (MAX_AGE, 3600)], payload=b"[]")

    server = peer(ScriptedServer, answer)
    service = run(server.port, [f"/r/{i}" for i in range(RESOURCES)], dataset="{source}")
    well = [i for i in range(RESOURCES) if f"/r/{i}" not in failing]
    wait_until(lambda: len(tokens) == len(well), lambda: f"{len(well)} of them, not {len(tokens)}")
    for i in well:
        token, address = tokens[i]
        mid = server.mid()
        server.send(address, Message(CON, CONTENT, mid, token, [
            (OBSERVE, 2), (MAX_AGE, 3600), (CONTENT_FORMAT, JSON)], b'{"seq": %d}' % i))
        if i % 100 == 1:  # a receive buffer has room for so many
            wait_until(lambda mid=mid: any(
                m.kind == ACK and m.mid == mid for m in server.seen), "an acknowledgement")
    wait_until(lambda: len(service.seqs()) == len(well), lambda: f"{len(well)} rows")
    assert service.seqs() == well
    told = source_health(service)
    assert told["active_observations"] == len(well)
    assert told["failing_resources"] == len(failing) == len(told["resource_errors"])
    wait_health(service, f"{len(failing)} of {RESOURCES} resources do not work")


# --- pressure --------------------------------------------------------------------------------------


class Flooding:
    """Sends notifications that are not confirmable and hardly compress, as many as it is told, and
    confirmable ones, one after the other, each again until it is acknowledged."""

    def __init__(self):
        self.token = self.address = self.now = None
        self.number, self.seq, self.acknowledged, self.registrations = 1, 0, [], 0
        self.pads = [os.urandom(1200).translate(PRINTABLE) for _ in range(2000)]

    def __call__(self, server, message, address):
        if message.get(OBSERVE) == 0:
            self.token, self.address, self.now = message.token, address, None
            self.registrations += 1
            server.reply(message, address, options=[(OBSERVE, self.number), (MAX_AGE, 3600)],
                         payload=b"[]")
        elif message.kind == ACK and self.now and message.mid == self.now[0]:
            self.acknowledged.append(self.now[1])
            self.now = None

    def _send(self, server, kind, mid, body):
        server.send(self.address, Message(kind, CONTENT, mid, self.token, [
            (OBSERVE, self.number), (MAX_AGE, 3600), (CONTENT_FORMAT, JSON)], body))

    def flood(self, server):
        for _ in range(64):
            self.number += 1
            self._send(server, NON, server.mid(),
                       b'{"pad": "%s"}' % self.pads[self.number % len(self.pads)])

    def notify(self, server):
        if self.now is None:
            self.seq, self.number = self.seq + 1, self.number + 1
            self.now = (server.mid(), self.seq)
        self._send(server, CON, self.now[0], b'{"seq": %d}' % self.now[1])


def seqs_among_many(service):
    """Without reading what is large."""
    parquet = pytest.importorskip("pyarrow.parquet")
    files = [parquet.ParquetFile(file) for file in service.files()]
    return [int(seq) for file in files if "seq" in file.schema_arrow.names
            for seq in file.read(["seq"])["seq"].to_pylist() if seq is not None]


def test_a_full_journal_acknowledges_nothing_and_loses_nothing(peer, make_service, tmp_path):
    """The store is away and the journal full: the source is paused, what the server sends is not
    acknowledged and so sent again; when the store is back it goes on by itself, and registers again,
    as a server strikes off who does not acknowledge."""
    folder = tmp_path / "s3"
    (folder / "lake").mkdir(parents=True)
    store = RcloneS3(folder)
    flooding = Flooding()
    server = peer(ScriptedServer, flooding)
    service = make_service(1, sources=[coap_source(server.port, "/t")], environment={
        "MINIO_ENDPOINT": f"127.0.0.1:{store.port}", "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key, "OBJECT_STORE_URL": "s3://lake",
        "JOURNAL_MAX_BYTES": "128MiB"})
    service.lake = folder
    wait_until(lambda: flooding.token, "a registration")
    flooding.notify(server)
    wait_until(lambda: flooding.acknowledged, "an acknowledgement")

    def paused():
        for _ in range(50):
            flooding.flood(server)
            time.sleep(0.002)  # what fits into a receive buffer
        return source_health(service)["paused"]

    wait_until(paused, lambda: f"a pause: {source_health(service)}")
    so_far = len(flooding.acknowledged)
    for _ in range(11):
        flooding.notify(server)
        time.sleep(1)
    assert source_health(service)["paused"] and len(flooding.acknowledged) == so_far
    store.start()
    try:
        def more():
            flooding.notify(server)
            time.sleep(0.1)
            return len(flooding.acknowledged) >= so_far + 5

        wait_until(more, lambda: f"acknowledgements: {source_health(service)}")
        wait_until(lambda: flooding.acknowledged[-1] in seqs_among_many(service), "the last of them")
        assert flooding.registrations == 2
        wait_well(service)
        service.stop()
    finally:
        store.stop()
    seqs = seqs_among_many(service)
    assert set(flooding.acknowledged) <= set(seqs) and len(seqs) == len(set(seqs))

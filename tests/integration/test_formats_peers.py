"""What others' encoders write: values that Python's cbor2 and msgpack encode come out of the service as
the same values in JSON do, and as contract/data.md's table says they must. Seeded; more with
INGESTOR_FORMAT_VALUES."""

import base64
import json
import math
import os
import random
import struct
import urllib.request

import pytest

from conftest import PATIENCE_S, free_port, wait_until

cbor2 = pytest.importorskip("cbor2")
msgpack = pytest.importorskip("msgpack")

COUNT = int(os.environ.get("INGESTOR_FORMAT_VALUES", "2000"))
SEED = int(os.environ.get("INGESTOR_FORMAT_SEED", "1"))
DEPTH_MAX = 4
TEXTS = ["", "a", "\u00e4\u20ac\U0001f40d", "\"\\\n\t\u0001\u007f\u2028", "null", "12", "x" * 300]
EDGES = [0, 1, 23, 24, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53]


class Values:
    """Values that both encoders know, and what is expected of them."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def number(self):
        kind = self.random.randrange(5)
        if kind == 0:
            return self.random.choice(EDGES) * self.random.choice((1, -1))
        if kind == 1:
            return self.random.randrange(-2**53, 2**53)
        if kind == 2:  # what single precision holds exactly: cbor2's canonical form shortens it
            return struct.unpack("f", struct.pack("f", self.random.uniform(-1e6, 1e6)))[0]
        if kind == 3:
            return self.random.choice((-0.0, 0.5, 1e300, 5e-324, 1.5e-7, 65504.0, 2.0**-24, 1e22))
        while True:
            value = struct.unpack("d", self.random.randbytes(8))[0]
            if math.isfinite(value):
                return value

    def scalar(self):
        kind = self.random.randrange(8)
        if kind < 3:
            return self.number()
        if kind < 5:
            return self.random.choice(TEXTS) + str(self.random.randrange(100))
        if kind == 5:
            return self.random.randbytes(self.random.randrange(40))
        return self.random.choice((True, False, None, math.nan, math.inf, -math.inf))

    def value(self, depth=0):
        kind = self.random.randrange(10) if depth < DEPTH_MAX else 9
        if kind < 2:
            return [self.value(depth + 1) for _ in range(self.random.randrange(30 if depth else 4))]
        if kind < 4:
            return {f"k{i}{self.random.choice(TEXTS)}": self.value(depth + 1)
                    for i in range(self.random.randrange(20 if depth > 2 else 4))}
        return self.scalar()


def as_null(_):
    return None


def as_text(value):
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def equivalent(value, special=as_null):
    """contract/data.md "Payload to records". special: what NaN and the infinities become; CBOR's are
    null (RFC 8949 §6.1), MessagePack's stay what they are, which is a text in JSON text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return special(value)
    if isinstance(value, list):
        return [equivalent(v, special) for v in value]
    if isinstance(value, dict):
        return {k: equivalent(v, special) for k, v in value.items()}
    return value


def same(expected, got):
    """1 and 1.0 are one number; 0.0 and -0.0 are two."""
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(same, expected, got))
    if isinstance(expected, dict):
        return isinstance(got, dict) and got.keys() == expected.keys() and all(
            same(v, got[k]) for k, v in expected.items())
    if isinstance(expected, bool) or not isinstance(expected, (int, float)):
        return type(got) is type(expected) and got == expected
    return (isinstance(got, (int, float)) and not isinstance(got, bool) and got == expected
            and math.copysign(1, got) == math.copysign(1, expected))


def push(service, ident, body, content_type):
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}/api/ingest/{ident}", body,
                                     {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.status == 202, answer.read()


ENCODERS = {
    "json": ("application/json", lambda records: json.dumps(equivalent(records)).encode()),
    "cbor": ("application/cbor", cbor2.dumps),
    "cbor canonical": ("application/cbor", lambda records: cbor2.dumps(records, canonical=True)),
    "msgpack": ("application/msgpack", msgpack.packb),
}


def test_what_cbor2_and_msgpack_write(make_service):
    """Each value in a column that is a STRING holds its JSON text whole."""
    values = Values(SEED)
    wanted = [[values.value()] for _ in range(COUNT)]
    service = make_service(free_port(), sources=[
        {"name": name, "type_name": "http_push", "config": {"columns": {"v": "STRING"}}}
        for name in ENCODERS])

    def ids():
        found = json.loads(service.get("/api/data-sources"))["data"] or []
        return len(found) == len(ENCODERS) and all(s["status"] == "active" for s in found) and {
            s["name"]: s["ingestion_id"] for s in found}

    ids = wait_until(ids, "the sources to run")
    for name, (content_type, encode) in ENCODERS.items():
        for first in range(0, COUNT, 500):
            push(service, ids[name], encode([{"i": first + i, "v": v} for i, v in
                                             enumerate(wanted[first:first + 500])]), content_type)
    service.stop()
    assert not service.files(dead_letters=True)
    rows = {}
    for row in service.rows():
        rows.setdefault(row["ingestion_id"], {})[int(row["i"])] = row
    for name, ident in ids.items():
        assert sorted(rows[ident]) == list(range(COUNT)), name
        for i, value in enumerate(wanted):
            row = rows[ident][i]
            assert row.get("_rescued_data") is None, (name, value, row)
            expected = equivalent(value, as_text if name == "msgpack" else as_null)
            assert same(expected, json.loads(row["v"])), (name, value, row["v"])


def test_what_only_one_of_them_knows(make_service):
    """Big integers, tags, keys that are no text, single precision, times of msgpack."""
    import datetime
    day = datetime.datetime(2026, 3, 4, 5, 6, 7, 250000, tzinfo=datetime.timezone.utc)
    single = struct.unpack("f", struct.pack("f", 21.537))[0]
    cbor = [
        (2**64 - 1, 2**64 - 1), (-2**64, -2**64), (2**64, "AQAAAAAAAAAA"), (-2**64 - 1, "~AQAAAAAAAAAA"),
        (day, "2026-03-04T05:06:07.250000Z"), ({1: "a", False: "b", (1,): "c"}, {"1": "a", "false": "b",
                                                                                  "[1]": "c"}),
        (cbor2.CBORTag(23, b"\x01\xff"), "01FF"), (cbor2.CBORTag(21, b"\xfb\xff"), "-_8"),
        (cbor2.undefined, None), (cbor2.CBORSimpleValue(99), None), ({"a": [b""]}, {"a": [""]}),
    ]
    packed = [
        (msgpack.packb([2**64 - 1]), [2**64 - 1]), (msgpack.packb([-2**63]), [-2**63]),
        (msgpack.packb([21.537, 0.5], use_single_float=True), [single, 0.5]),
        (msgpack.packb([{7: "x"}]), [{"7": "x"}]),
    ]
    service = make_service(free_port(), sources=[
        {"name": "any", "type_name": "http_push", "config": {"columns": {"v": "STRING"}}}])
    ident = wait_until(lambda: next((s["ingestion_id"] for s in json.loads(
        service.get("/api/data-sources"))["data"] or [] if s["status"] == "active"), None), "it")
    for i, (value, _) in enumerate(cbor):
        push(service, ident, cbor2.dumps({"i": i, "v": [value]}), "application/cbor")
    for i, (body, _) in enumerate(packed):
        push(service, ident, b"\x82\xa1i" + msgpack.packb(100 + i) + b"\xa1v" + body,
             "application/msgpack")
    service.stop()
    rows = {int(row["i"]): json.loads(row["v"]) for row in service.rows()}

    def plain(value):
        """Integers beyond 2^53 may be texts."""
        if isinstance(value, list):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, int) and abs(value) > 2**53 else value

    for i, (value, expected) in enumerate(cbor):
        assert plain(rows[i]) == plain([expected]), (value, rows[i])
    for i, (body, expected) in enumerate(packed):
        assert plain(rows[100 + i]) == plain(expected), (body.hex(), rows[100 + i])

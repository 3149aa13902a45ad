"""Numbers, tags and extensions at their edges, in CBOR, MessagePack and JSON, through HTTP push into
Parquet: what contract/data.md and docs/formats.md promise of each, written here by hand."""

import json
import math

from conftest import free_port
from test_formats import push, same, source_ids

NAN, INFINITY = math.nan, math.inf
# What is in the payload, and what is in the column. A number is a double there; beyond 2^53 the digits.
CBOR = [
    ("05", 5.0), ("f94500", 5.0), ("fa40a00000", 5.0), ("fb4014000000000000", 5.0),
    ("1b0020000000000000", 2.0**53), ("1b0020000000000001", "9007199254740993"),
    ("3b001fffffffffffff", -2.0**53), ("3b0020000000000000", "-9007199254740993"),
    ("1b7fffffffffffffff", "9223372036854775807"), ("1b8000000000000000", "9223372036854775808"),
    ("3b7fffffffffffffff", "-9223372036854775808"), ("3b8000000000000000", "-9223372036854775809"),
    ("1bffffffffffffffff", "18446744073709551615"), ("3bffffffffffffffff", "-18446744073709551616"),
    # As a float 2^53 + 2 and 2^64 are doubles like any other.
    ("fb4340000000000001", 2.0**53 + 2), ("fb43f0000000000000", 2.0**64),
    # Tags 2 and 3; 4 and 5 are their content.
    ("c24105", "BQ"), ("c240", ""), ("c249010000000000000000", "AQAAAAAAAAAA"),
    ("c349010000000000000000", "~AQAAAAAAAAAA"), ("c25f41014100ff", "AQA"),
    ("c48221196ab3", [-2.0, 27315.0]), ("c5822003", [-1.0, 3.0]),
    # Tags 0 and 1 as values; 21 to 23 say how bytes within are written, the innermost counts.
    ("c06161", "a"), ("c120", -1.0), ("c1fb3ff8000000000000", 1.5),
    ("41ff", "/w=="), ("d541ff", "_w"), ("d641ff", "/w=="), ("d741ff", "FF"),
    ("d58241ff41fb", ["_w", "-w"]), ("d5d741ff", "FF"), ("d58241ffd741fb", ["_w", "FB"]),
    ("d81841f6", "9g=="), ("d8206161", "a"), ("d8236161", "a"),
    ("d9d9f705", 5.0), ("d9d9f7d9d9f7f5", True), ("dbffffffffffffffff6161", "a"),
    # Half precision: subnormal, largest, negative zero; what no JSON number is.
    ("f90001", 2.0**-24), ("f983ff", -1023 * 2.0**-24), ("f97bff", 65504.0), ("f98000", -0.0),
    ("fa00000001", 2.0**-149), ("fb0000000000000001", 5e-324),
    ("f97e00", None), ("f97c00", None), ("f9fc00", None), ("fa7fc00000", None),
    ("fb7ff0000000000000", None), ("fbfff8000000000001", None),
    ("f6", None), ("f7", None), ("e0", None), ("f820", None), ("f8ff", None),
    ("a10502", {"5": 2.0}), ("a1f402", {"false": 2.0}),
    ("a141ff01", {"/w__": 1.0}),  # a column's name has no "="
]
MSGPACK = [
    ("05", 5.0), ("cb4014000000000000", 5.0), ("ca40a00000", 5.0), ("ff", -1.0), ("d080", -128.0),
    ("cf0020000000000000", 2.0**53), ("cf0020000000000001", "9007199254740993"),
    ("d3ffe0000000000000", -2.0**53), ("d3ffdfffffffffffff", "-9007199254740993"),
    ("d37fffffffffffffff", "9223372036854775807"), ("cf8000000000000000", "9223372036854775808"),
    ("d38000000000000000", "-9223372036854775808"), ("cfffffffffffffffff", "18446744073709551615"),
    ("cb7ff8000000000000", NAN), ("cb7ff0000000000000", INFINITY), ("caff800000", -INFINITY),
    ("ca00000001", 2.0**-149), ("cb8000000000000000", -0.0),
    ("c401ff", "/w=="), ("a1ff", "/w=="), ("c0", None), ("c2", False),
    ("d4050a", {"type": 5.0, "data": "Cg=="}), ("c70080", {"type": -128.0, "data": ""}),
    ("c7030501020a", {"type": 5.0, "data": "AQIK"}),
    # Timestamps of 32, 64 and 96 bits; -1 of another size, or with 10^9 ns, is none.
    ("d6ff514b67b0", "2013-03-21T20:04:00+00:00"),
    ("d7ff3b9ac9fc514b67b0", "2013-03-21T20:04:00.249999+00:00"),
    ("c70cff0ee6b280ffffffffffffffff", "1969-12-31T23:59:59.250000+00:00"),
    ("d7ffee6b2800514b67b0", {"type": -1.0, "data": "7msoAFFLZ7A="}),
    ("d4ff00", {"type": -1.0, "data": "AA=="}),
    ("81050a", {"5": 10.0}), ("81c301", {"true": 1.0}),
]
JSON = [
    (b"5", 5.0), (b"5.0", 5.0), (b"5e0", 5.0), (b"-0", -0.0), (b"9007199254740992", 2.0**53),
    (b"9007199254740993", "9007199254740993"), (b"-9007199254740993", "-9007199254740993"),
    (b"9007199254740993.0", 2.0**53), (b"18446744073709551616", "18446744073709551616"),
    (b"NaN", NAN), (b"-Infinity", -INFINITY), (b"5e-324", 5e-324),
]


def encoded(kind, fields):
    """An object of that format; fields is [(name, encoded value)]."""
    if kind == "json":
        return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields)
    text = 0x60 if kind == "cbor" else 0xa0
    head = b"\xb9" if kind == "cbor" else b"\xde"
    return head + len(fields).to_bytes(2, "big") + b"".join(
        bytes([text | len(name)]) + name.encode() + value for name, value in fields)


KINDS = {"cbor": [(bytes.fromhex(item), want) for item, want in CBOR],
         "msgpack": [(bytes.fromhex(item), want) for item, want in MSGPACK], "json": JSON}
FIVE = {"cbor": ("05", "fb4014000000000000", "1b0020000000000001"),
        "msgpack": ("05", "cb4014000000000000", "cf0020000000000001")}


def is_there(want, got):
    if isinstance(want, float) and math.isnan(want):
        return isinstance(got, float) and math.isnan(got)
    return same(want, got)


def test_each_at_its_edges(make_service):
    """Each in a column of its own; then 5, 5.0 and 2^53 + 1 in columns whose types are fixed."""
    service = make_service(free_port(), environment={"FLUSH_INTERVAL_SECONDS": "3600"}, sources=[
        {"name": kind, "type_name": "http_push",
         "config": {"columns": {"text": "STRING", "number": "DOUBLE"}}} for kind in KINDS])
    ids = source_ids(service, len(KINDS))
    for kind, cases in KINDS.items():
        content_type = f"application/{kind}"
        fields = [(f"c{i:03}", item) for i, (item, _) in enumerate(cases)]
        push(service, ids[kind], encoded(kind, fields), content_type, 202)
        for text in FIVE.get(kind, ("5", "5.0", "9007199254740993")):
            value = text.encode() if kind == "json" else bytes.fromhex(text)
            push(service, ids[kind], encoded(kind, [("text", value), ("number", value)]),
                 content_type, 202)
    service.stop()
    rows = service.rows()
    assert not service.files(dead_letters=True)
    for kind, cases in KINDS.items():
        first, *fives = [r for r in rows if r["ingestion_id"] == ids[kind]]
        assert first.get("_rescued_data") is None, (kind, first["_rescued_data"])
        for i, (item, want) in enumerate(cases):
            got = first.get(f"c{i:03}")
            assert is_there(want, got), (kind, item.hex(), want, got)
        assert [(r["text"], r["number"]) for r in fives] == [
            ("5", 5.0), ("5.0", 5.0), ("9007199254740993", None)], kind
        rescued = [r["_rescued_data"] and json.loads(r["_rescued_data"]) for r in fives]
        assert rescued == [None, None, {"number": 9007199254740993}], kind


TIMES = [  # as the field that is a record's own time
    ("cbor", "c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00+00:00"),
    ("cbor", "c11a514b67b0", "2013-03-21T20:04:00+00:00"),
    ("cbor", "c1fb41d452d9ec200000", "2013-03-21T20:04:00.500000+00:00"),
    ("cbor", "1b0000013d8e8d0780", "2013-03-21T20:04:00+00:00"),
    ("msgpack", "d6ff514b67b0", "2013-03-21T20:04:00+00:00"),
    ("msgpack", "d7ff3b9ac9fc514b67b0", "2013-03-21T20:04:00.249999+00:00"),
]


def test_times_are_the_records_own(make_service):
    service = make_service(free_port(), environment={"FLUSH_INTERVAL_SECONDS": "3600"}, sources=[
        {"name": "any", "type_name": "http_push", "config": {}}])
    ident = source_ids(service, 1)["any"]
    for i, (kind, item, _) in enumerate(TIMES):
        push(service, ident, encoded(kind, [("i", bytes([i])), ("timestamp", bytes.fromhex(item))]),
             f"application/{kind}", 202)
    service.stop()
    rows = {int(r["i"]): r for r in service.rows()}
    for i, (_, item, want) in enumerate(TIMES):
        assert rows[i]["timestamp"] == want, (item, rows[i]["timestamp"])
        event = rows[i]["_event_time"]
        assert event.isoformat() == want, (item, event)

"""Hostile payloads, and what the data contract makes of them: a model written from
contract/data.md, not from the service's code. Python's json module is the parser."""

import base64
import json
import random
import string
import sys

sys.setrecursionlimit(20000)

EXACT_INTEGER_MAX = 2 ** 53
OURS = {"ingestion_id", "timestamp", "source_type", "ingestion_timestamp", "topic", "qos", "retain",
        "broker", "original_source_id", "user_properties", "_event_time",
        "_ingested_at", "_rescued_data"}


class Number(str):
    """A number as it was sent."""

    @property
    def is_integer(self):
        return self.lstrip("-").isdigit()

    @property
    def overflows(self):
        return float(self) in (float("inf"), float("-inf"))

    @property
    def is_big(self):
        return self.is_integer and abs(int(self)) > EXACT_INTEGER_MAX


class Message:
    def __init__(self, topic, payload, *, content_type=None, time=None, retain=False):
        self.topic = topic
        self.payload = payload if isinstance(payload, bytes) else payload.encode()
        self.content_type = content_type
        self.time = time  # the "timestamp" that the record must have; None: its arrival
        self.retain = retain
        self.number = None  # its place among all


def mend(text):
    """A lone surrogate becomes U+FFFD."""
    return "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def mend_value(value):
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        return [mend_value(element) for element in value]
    return value


def depth_of(text):
    """Of containers, brackets in strings not counted."""
    depth = deepest = 0
    inside = escaped = False
    for c in text:
        if inside:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                inside = False
        elif c == '"':
            inside = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def last_wins(pairs):
    out = {}
    for key, value in pairs:
        out.pop(mend(key), None)  # and stands where it stood
        out[mend(key)] = mend_value(value)
    return out


def parse(text):
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=last_wins)


def records_of(message):
    """The records of a payload: "Payload to records"."""
    try:
        text = message.payload.decode("utf-8")
    except UnicodeDecodeError:
        return [{"content": base64.b64encode(message.payload).decode(), "encoding": "base64",
                 "raw": True}]
    try:
        if depth_of(text) > 1000:
            raise ValueError("too deep")
        value = mend_value(parse(text))
    except ValueError:
        return [{"content": text, "raw": True}]
    values = value if isinstance(value, list) else [value]
    return [v if isinstance(v, dict) else {"value": v} for v in values]


def pointer(*keys):
    return "".join("/" + key.replace("~", "~0").replace("/", "~1").replace("\0", "~2")
                   for key in keys)


def sanitised(key):
    out = "".join("_" if c in " ,;{}()\n\t=" or ord(c) < 32 or ord(c) == 127 else c for c in key)
    return out or "_"


def kind_of(value):
    """What a value would pin; None: nothing."""
    if value is None or value == {} or value == []:
        return None
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, Number):
        return "STRING" if value.is_big else "DOUBLE"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, str):
        return "STRING"
    return "LIST" if isinstance(value, list) else "STRUCT"


def dataset_of(source_id, topic):
    return f"{source_id}_{topic.replace('/', '_').replace('#', 'wildcard').replace('+', 'plus')}"


# --- what is sent ----------------------------------------------------------------------------

SCALARS = ["0", "-0", "-0.0", "1", "1.5", "1e5", "1E+5", "1e-400", "5e-324", "1.7976931348623157e308",
           "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9007199254740992",
           "9007199254740993", "-9007199254740993", "18446744073709551616", "1" * 400, "0." + "1" * 400,
           "true", "false", "null", '""', '"text"', '"N/A"', '"\\u0000"', '"\\ud800"', '"\\udc00x"',
           '"\\ud83d\\ude00"', '"\\ud83d"', '"\U0001f600"', '"\u0080"', '"\\/\\b\\f\\n\\r\\t\\"\\\\"',
           '"1e400"', '"true"', '"null"', "[]", "{}", "[[]]", "[{}]", "{\"a\":{}}", "[null]",
           "[1,2,3]", '["a","b"]', "[true,false]", "[1,\"a\",true,null]", "[[1],[2,3],[]]",
           '[{"a":1},{"b":"x"}]', '{"a":1,"b":"x"}', '{"a":{"b":{"c":[1,2,{"d":"e"}]}}}',
           '{"":1}', '{"\\u0000":1}', '{"a.b":1,"a":{"b":"c"}}']

NOT_JSON = ["", " ", "\n", "hello", "23.5 C", "{", "}", "[", "{]", "[1,]", '{"a":1,}', "{a:1}",
            "{'a':1}", '{"a" 1}', '{"a":1}x', "01", "+1", ".5", "1.", "0x10", "1e", "--1", "nul",
            "nan", "inf", "True", '"unterminated', '"\n"', '"\\x41"', '"\\u12"', "\ufeff{}", "\0",
            "temperature=21.5;humidity=40", "<xml/>", "a,b\n1,2", '{"a":1}\n{"a":2}', "1 2",
            "[1 2]", '{"a":1,"b"}', "\u0007", "\U0001f321 21", "/* c */ 1", "-", "-NaN", "Infinit",
            "tru", '{"a":tru}', '{"a":.5}', '{"a":1}}', "[[[", "]" * 10, '"a""b"']

NOT_UTF8 = [b"\xff", b"\xfe\xff\x00{", b'{"a":"\xe9"}', b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80",
            b"\x80", b"\xe2\x82", bytes(range(256)), b"\x89PNG\r\n\x1a\n\x00", b'{"a":1}\xff',
            '{"a":1}'.encode("utf-16"), b"\xf4\x90\x80\x80", b"\xa1\x61\x61\x01"]

# What the device sends as "timestamp", and what the record must have; None: its moment of arrival.
TODAY = {"d": "2026-11-24"}
TIMES = [
    ('"2026-01-02T03:04:05Z"', "2026-01-02T03:04:05+00:00"),
    ('"2026-01-02T03:04:05z"', "2026-01-02T03:04:05+00:00"),
    ('"2026-01-02t03:04:05Z"', "2026-01-02T03:04:05+00:00"),
    ('"2026-01-02 03:04:05"', "2026-01-02T03:04:05+00:00"),
    ('"2026-01-02T03:04:05"', "2026-01-02T03:04:05+00:00"),
    ('"2026-01-02T03:04:05+02:00"', "2026-01-02T01:04:05+00:00"),
    ('"2026-01-02T03:04:05-0530"', "2026-01-02T08:34:05+00:00"),
    ('"2026-01-02T03:04:05+02"', "2026-01-02T01:04:05+00:00"),
    ('"2026-01-02T03:04:05+14:00"', "2026-01-01T13:04:05+00:00"),
    ('"2026-01-02T03:04"', "2026-01-02T03:04:00+00:00"),
    ('"2026-01-02T03:04Z"', "2026-01-02T03:04:00+00:00"),
    ('"2026-01-02"', "2026-01-02T00:00:00+00:00"),
    ('"20260102"', "2026-01-02T00:00:00+00:00"),
    ('"20260102T030405Z"', "2026-01-02T03:04:05+00:00"),
    ('"20260102T0304"', "2026-01-02T03:04:00+00:00"),
    ('"2026-W01-5"', "2026-01-02T00:00:00+00:00"),
    ('"2026W015T030405Z"', "2026-01-02T03:04:05+00:00"),
    ('"2026-W53-7T23:59:59Z"', "2027-01-03T23:59:59+00:00"),
    ('"2026-01-02T03:04:05.5Z"', "2026-01-02T03:04:05.500000+00:00"),
    ('"2026-01-02T03:04:05,5Z"', "2026-01-02T03:04:05.500000+00:00"),
    ('"2026-01-02T03:04:05.Z"', "2026-01-02T03:04:05+00:00"),
    ('"2026-01-02T03:04:05.123456789Z"', "2026-01-02T03:04:05.123456+00:00"),
    ('"2026-01-02T03:04:05.000000Z"', "2026-01-02T03:04:05+00:00"),
    ('"2024-02-29T00:00:00Z"', "2024-02-29T00:00:00+00:00"),
    ('"1969-12-31T23:59:59.999999Z"', "1969-12-31T23:59:59.999999+00:00"),
    ('"0001-01-01T00:00:00Z"', "0001-01-01T00:00:00+00:00"),
    ('"9999-12-31T23:59:59Z"', "9999-12-31T23:59:59+00:00"),
    ("1767323045", "2026-01-02T03:04:05+00:00"),
    ("1767323045.25", "2026-01-02T03:04:05.250000+00:00"),
    ("1767323045000", "2026-01-02T03:04:05+00:00"),
    ("1767323045123", "2026-01-02T03:04:05.123000+00:00"),
    ("1767323045123456", "2026-01-02T03:04:05.123456+00:00"),
    ("1767323045123456789", "2026-01-02T03:04:05.123456+00:00"),
    ('"1767323045"', "2026-01-02T03:04:05+00:00"),
    ('"1767323045123"', "2026-01-02T03:04:05.123000+00:00"),
    ('"1767323045123456789"', "2026-01-02T03:04:05.123456+00:00"),
    ('"\\u0032026-01-02T03:04:05Z"', "2026-01-02T03:04:05+00:00"),
    ("null", None), ('""', None), ('"yesterday"', None), ('"2026-02-29T00:00:00Z"', None),
    ('"2026-13-01"', None), ('"2026-01-32"', None), ('"2026-01-02T25:00:00Z"', None),
    ('"2026-01-02T03:60:00Z"', None), ('"2026-W54-1"', None), ('"2025-W53-1"', None),
    ("true", None), ("{}", None), ("[]", None), ("[1767323045]", None), ("NaN", None),
    ("Infinity", None), ("1e400", None), ("1e300", None), ('"2026-01-02T03:04:05+25:00"', None),
    ('"12026-01-02"', None), ('"2026-01-02T03:04:05 PM"', None), ('"' + "9" * 60 + '"', None),
    ('"0000-00-00T00:00:00Z"', None), ('"2026-01-02T03:04:05Z trailing"', None),
]


def nested(levels, leaf="1", kind="object"):
    left, right = {"object": ('{"n":', "}"), "array": ("[", "]"), "mixed": ('{"n":[', "]}")}[kind]
    return left * levels + leaf + right * levels


def scalars():
    for i, text in enumerate(SCALARS):
        yield Message("h/scalar", text)
        yield Message(f"h/field/{i}", '{"v":%s}' % text)
        yield Message("h/element", "[%s,%s]" % (text, text))
    for text in NOT_JSON:
        yield Message("h/text", text)
    for data in NOT_UTF8:
        yield Message("h/bytes", data)


def structures():
    for levels in (1, 2, 14, 15, 16, 17, 18, 40, 200, 999, 1000, 1001, 5000):
        for kind in ("object", "array", "mixed"):
            yield Message(f"h/deep/{kind}/{levels}", nested(levels, kind=kind))
        yield Message(f"h/deep/below/{levels}", '{"a":%s}' % nested(levels))
    yield Message("h/wide", json.dumps({f"f{i}": i for i in range(1500)}))
    yield Message("h/wide/deep", json.dumps({"a": {f"f{i}": {"x": i, "y": str(i)} for i in range(750)}}))
    for part in range(4):
        yield Message("h/many_columns", json.dumps({f"p{part}_{i}": i for i in range(900)}))
    yield Message("h/array/long", json.dumps([{"i": i} for i in range(5000)]))
    yield Message("h/array/values", json.dumps(list(range(5000))))
    yield Message("h/array/mixed", '[{"a":1},2,"x",null,true,[],{},[1,{"b":2}],{"a":"no"},NaN]')
    yield Message("h/huge/string", json.dumps({"s": "x" * 700000, "n": 1}))
    yield Message("h/huge/text", "y" * 700000)
    yield Message("h/huge/key", json.dumps({"k" * 70000: 1, "n": 1}))
    yield Message("h/huge/list", json.dumps({"l": list(range(100000))}))
    yield Message("h/huge/escapes", json.dumps({"s": "\u00e9\"\\" * 50000}))
    yield Message("h/huge/spaces", '{"a":' + " " * 500000 + "1}")


def names():
    for name in sorted(OURS | {"content_type"}):
        for form in {name, name.upper(), name.capitalize(), name.title(), name + " ", " " + name}:
            yield Message("h/collide", json.dumps({form: "device's", "n": 1}))
            yield Message("h/collide/types", json.dumps({form: {"x": [1, "y"]}, "n": 1}))
    for name in ("date", "hour", "Date", "HOUR", "date_", "hour_", "DATE_"):
        yield Message("h/path", json.dumps({name: "device's"}))
    yield Message("h/path/all", json.dumps({"date": 1, "date_": 2, "Date": 3, "hour": 4, "Hour": 5,
                                            "hour_": 6, "date__2": 7, "date_2": 8}))
    same = ["a b", "a,b", "a;b", "a{b", "a}b", "a(b", "a)b", "a\nb", "a\tb", "a=b", "a_b", "A_B",
            "a\u0001b", "a\u007fb", "a_b_2", "a_b_3"]
    yield Message("h/sanitise", json.dumps({name: i for i, name in enumerate(same)}))
    for name in same:
        yield Message("h/sanitise/alone", json.dumps({name: name}))
        yield Message("h/sanitise/inner", json.dumps({"s": {name: name, "z": 1}}))
    odd = ["", " ", ".", "..", "a.b", "a/b", "a~b", "~0", "~1", "/", "\u00fc", "\U0001f321", "\ufeff",
           "-", "element", "list", "key_value", "0", "__proto__", "constructor", "select", '"', "\\",
           "'", "%", "$ref", "@type", "#topic", "a\u0000b", "\u0000", "K" * 300, "\u212a", "\u0130",
           "\u00dc", "\u0436", "\u0416", "\u03a3", "\u03c2"]
    yield Message("h/odd_names", json.dumps({name: i for i, name in enumerate(odd)}))
    for name in odd:
        yield Message("h/odd_names/alone", json.dumps({name: name}))
        yield Message("h/odd_names/inner", json.dumps({"s": {name: [name]}}))
    yield Message("h/dot", '{"a.b":1,"a":{"b":2},"n":1}')
    yield Message("h/dot", '{"a.b":"x","a":{"b":"y"},"n":1}')
    for text in ('{"a":1,"a":2}', '{"a":1,"a":"x"}', '{"a":{"b":1},"a":{"c":2}}', '{"a":1,"a":null}',
                 '{"a":1,"b":2,"a":{"b":3}}', '{"\\u0061":1,"a":2}', '{"a":1,"\\u0061":2}',
                 '{"s":{"x":1,"x":2}}', '{"l":[{"x":1,"x":2},{"x":3}]}',
                 '{"\\ud800":1,"\\ud801":2}', '{"timestamp":1,"timestamp":2,"a":3}',
                 '{"topic":1,"topic":2,"a":3}', '{"1e400":1e400,"1e400":1e400,"a":1}'):
        yield Message("h/duplicate", text)


def times():
    for i, (text, expected) in enumerate(TIMES):
        yield Message("h/time", '{"timestamp":%s,"i":%d}' % (text, i), time=expected)
    yield Message("h/time", '{"i":-1}')


def topics():
    level = ["", "..", ".", "...", "\u00fc", "\U0001f321", "a b", "a=b", "a%2Fb", "%", "a\\b", "a:b", "a?b",
             "a*b", "a'b", 'a"b', "a&b", "date=2020-01-01", "ingestion_id=x", "CON", "~", "a|b", "<a>",
             "-", "_", "a;b", "a,b", "{a}", "[a]", "a@b", "$a", "\u200b", "\ufffd", "e\u0301", "\u202e"]
    for name in level:
        yield Message(f"h/t/{name}", '{"n":1}')
        yield Message(f"h/t/{name}/{name}/x", '{"n":2}')
    yield Message("h/../../../../etc/passwd", '{"n":1}')
    yield Message("h//", '{"n":1}')
    yield Message("h///", '{"n":1}')
    yield Message("h", '{"n":1}')
    for size in (150, 190, 200, 201, 230, 1000, 30000):
        yield Message("h/long/" + "x" * size, '{"n":1}')
        yield Message("h/long/" + "x" * size + "y", '{"n":1}')
        yield Message("h/long/" + "\u00fc" * (size // 2), '{"n":1}')
    yield Message("h/retained", '{"n":1}', retain=True)
    for kind in ("application/json", "text/plain", "application/octet-stream", "application/xml", "",
                 "application/json; charset=utf-8", "\u00fc", "x" * 1000):
        yield Message("h/content_type", '{"n":1}', content_type=kind)
        yield Message("h/content_type/text", "not JSON", content_type=kind)


def majorities():
    """One batch each: the majority's type wins, the others are rescued."""
    good = {"number": "%d.5", "text": '"t%d"', "flag": "true", "object": '{"x":%d}', "list": "[%d]"}
    for name, form in good.items():
        for i in range(20):
            text = form % i if "%d" in form else form
            yield Message(f"h/majority/{name}", '{"v":%s}' % ('"N/A"' if i == 0 else text))
        for other in ("1", '"x"', "true", "null", '{"x":"wrong"}', '{"y":1}', '["w"]', "[]", "{}",
                      "1e400", "NaN", "[[1]]", '[{"x":1}]', "9007199254740993"):
            yield Message(f"h/majority/{name}", '{"v":%s,"also":1}' % other)


def random_value(chance, depth):
    kinds = ["number", "text", "flag", "null"] + (["object", "list"] if depth < 6 else [])
    kind = chance.choice(kinds)
    if kind == "number":
        return chance.choice([str(chance.randint(-10 ** 6, 10 ** 6)), repr(chance.uniform(-1e9, 1e9)),
                              "1e400", "NaN", str(chance.randint(2 ** 53, 2 ** 70))])
    if kind == "text":
        return json.dumps("".join(chance.choice(string.printable + "\u00e9\u4e2d\U0001f600")
                                  for _ in range(chance.randint(0, 20))))
    if kind == "flag":
        return chance.choice(["true", "false"])
    if kind == "null":
        return "null"
    count = chance.randint(0, 4)
    if kind == "list":
        return "[" + ",".join(random_value(chance, depth + 1) for _ in range(count)) + "]"
    return "{" + ",".join(f'"{chance.choice("abcdeABC")}":{random_value(chance, depth + 1)}'
                          for _ in range(count)) + "}"


def anything(seed, count):
    chance = random.Random(seed)
    for _ in range(count):
        yield Message(f"h/random/{chance.randint(0, 9)}", random_value(chance, 0))


def all_messages():
    out = [*scalars(), *structures(), *names(), *times(), *topics(), *majorities(),
           *anything(1, 400)]
    for number, message in enumerate(out):
        message.number = number
    return out

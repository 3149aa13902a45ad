"""A day as gateways send it, seeded, and what contract/data.md says the lake must hold of it.

day(start, count) gives for each dataset its waves of records (Python values, each wave one JSON array and
so one batch). Lake is the model: columns pinned by the majority of the wave in which a field is first
seen, values that do not fit rescued, names mended, rows placed by their hour.
"""

import base64
import json
import math
import random
from datetime import datetime, timedelta, timezone

UTC = timezone.utc
WAVES = 3
ARRIVAL = "at its arrival"
OURS = ("ingestion_id", "source_type", "ingestion_timestamp", "remote", "content_type",
        "_event_time", "_ingested_at", "_rescued_data")


def iso(when):
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def stamps(draw, when):
    """An instant in one of the ways devices write it, and the instant that it then says."""
    whole = when.replace(microsecond=0)
    millis = when.replace(microsecond=when.microsecond // 1000 * 1000)
    offset = timezone(timedelta(hours=draw.choice([-7, 2, 5]), minutes=draw.choice([0, 30])))
    return draw.choice([
        (iso(when), when), (iso(whole), whole), (when.astimezone(offset).isoformat(), when),
        (whole.strftime("%Y-%m-%d %H:%M:%S"), whole), (whole.strftime("%Y%m%dT%H%M%SZ"), whole),
        (int(whole.timestamp()), whole), (round(millis.timestamp() * 1000), millis),
        (str(int(whole.timestamp())), whole)])


def zigbee2mqtt(draw, i, _wave):
    record = {"battery": draw.choice([100, 97.5, None]), "humidity": round(draw.gauss(50, 9), 2),
              "temperature": round(draw.gauss(21, 4), 2), "linkquality": draw.randrange(256),
              "voltage": draw.choice([2900, 3015]), "action": draw.choice([None, "single", "hold", ""]),
              "update": {"installed_version": 16777241, "latest_version": draw.choice([16777241, None]),
                         "state": draw.choice(["idle", "available"])}}
    if i % 3 == 0:
        record["occupancy"] = draw.random() < 0.5
    return record


def tasmota(draw, i, wave):
    record = {"Time": f"2026-11-30T0{i % 10}:00:00", "TempUnit": "C",
              "AM2301": {"Temperature": round(draw.gauss(21, 4), 1), "Humidity": draw.choice([40, 41.5, None]),
                         "DewPoint": draw.choice([9.5, 10, None])},
              "ENERGY": {"TotalStartTime": "2025-01-01T00:00:00", "Total": round(i * 0.013, 3),
                         "Power": draw.choice([[12, 0, 3.5], [0, None], [], None]), "Factor": 0.97}}
    if wave > 0:
        record["ENERGY"]["ReactivePower"] = i % 7
        record["Wifi"] = {"AP": 1, "SSId": "café ☕", "RSSI": draw.randrange(100), "Signal": -60}
    return record


def shelly(draw, i, wave):
    switch = {"id": 0, "output": draw.random() < 0.5, "apower": round(draw.random() * 900, 1), "errors": [],
              "aenergy": {"total": i * 1.5, "by_minute": [draw.randrange(90) / 8 for _ in range(3)],
                          "minute_ts": 1760000000 + i},
              "temperature": {"tC": 41.5, "tF": draw.choice([106.7, None])}}
    if wave == 2:
        switch["errors"] = draw.choice([["overtemp"], [], ["overtemp", "overpower"], None])
    return {"src": "shellyplus1pm-a8032ab1", "dst": "shelly/events", "method": "NotifyStatus",
            "params": {"ts": 1760000000.25 + i, "switch:0": switch, "sys": draw.choice([{}, {"uptime": i}])}}


def opcua(draw, i, _wave):
    value = draw.choice([21.5, 22, 23.25, 24, 25, 26, "Bad", True, None, [1, 2]])
    return {"NodeId": f"ns=2;s=Line{i % 3}.Temp", "Value": value, "DataType": type(value).__name__,
            "StatusCode": draw.choice([{"Code": 0, "Symbol": "Good"}, {"Code": 2147483648, "Symbol": "Bad"},
                                       {"Symbol": "Good"}, None, {}]),
            "Alarm": draw.choice([False, False, True, "n/a", 0])}


def lorawan(draw, i, wave):
    def gateway(k):
        found = {"gateway_ids": {"gateway_id": f"gw-{k}", "eui": f"{k:016X}"}, "rssi": -draw.randrange(120),
                 "snr": draw.choice([9.5, -3, None]), "uplink_token": base64.b64encode(bytes([k, i % 256])).decode()}
        if k % 2:
            found["location"] = draw.choice([{"latitude": 52.1 + k, "longitude": 4.9, "altitude": 12}, {}, None])
        if wave > 0:
            found["channel_index"] = k
        return found
    decoded = draw.choice([{"temperature": 20.5, "door": draw.choice([True, False])},
                           {"temperature": -3.25, "counters": [i, i + 1]}, {"temperature": "open"}, {}, None])
    return {"end_device_ids": {"device_id": f"eui-{i % 4}", "application_ids": {"application_id": "farm-ü"}},
            "correlation_ids": [f"gs:uplink:{draw.randrange(1 << 30):08x}" for _ in range(i % 3)],
            "uplink_message": {"f_port": 2, "f_cnt": i, "frm_payload": base64.b64encode(draw.randbytes(6)).decode(),
                               "decoded_payload": decoded, "rx_metadata": [gateway(k) for k in range(i % 4)],
                               "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7 + i % 6}},
                                            "frequency": "868100000"}, "confirmed": draw.choice([True, None])}}


def home_assistant(draw, i, wave):
    attributes = draw.choice([{"unit_of_measurement": "°C", "friendly_name": "Küche 温度"},
                              {"friendly_name": "Öffner", "device_class": "door"},
                              {"options": ["auto", "kühlen"], "friendly_name": "🌡"}, {}])
    if wave > 0 and i % 4 == 0:
        attributes = {**attributes, "rgb_color": [255, i % 256, 0], "Friendly_Name": "twice"}
    return {"entity_id": f"sensor.room_{i % 5}", "state": draw.choice(["21.5", "unavailable", "on", 4, None]),
            "attributes": attributes, "context": {"id": f"01H{i:023d}", "parent_id": None, "user_id": None}}


def senml(draw, i, _wave):
    """Packs: a record with a list of entries; now and then a bare array or scalar."""
    entries = [{"bn": f"urn:dev:mac:{i % 3:012x}:", "n": "temp", "u": "Cel", "v": round(draw.gauss(20, 2), 2)},
               {"n": "label", "vs": draw.choice(["ok", "größer", ""])}, {"n": "open", "vb": draw.random() < 0.5},
               {"n": "blob", "vd": "AQID"}, {}, None]
    if i % 9 == 4:
        return draw.choice([[1, 2, None], [], [0.5]])  # no object: {"value": …}
    return {"pack": draw.sample(entries, draw.randrange(len(entries) + 1)), "unit": draw.choice(["Cel", None])}


def sparkplug(draw, i, wave):
    def metric(k):
        value = [20.25 + k, 7, 1 << 20, -0.0][(i + k) % 4]
        if wave == 1 and i % 11 == 0:
            value = draw.choice([True, "stale"])  # flips in a list: all of the list is rescued
        return {"name": f"Node Control/m{k}", "alias": k, "timestamp": 1760000000000 + i, "dataType": "Double",
                "value": value, "properties": draw.choice([None, {"quality": {"type": "Int32", "value": 192}}])}
    return {"seq": i % 256, "metrics": [metric(k) for k in range(i % 5)], "uuid": draw.choice(["NBIRTH", None]),
            "body": None}


def gps(draw, i, _wave):
    track = [[round(4.9 + draw.random(), 6), round(52 + draw.random(), 6)] for _ in range(i % 4)]
    return {"lat": round(52 + draw.random(), 7), "lon": -0.0 if i == 0 else round(4.9 + draw.random(), 7),
            "alt": draw.choice([None, 12, -3.5, "no fix"]), "fix": draw.choice([True, True, False, None]),
            "sats": [{"prn": k, "snr": draw.choice([None, 31.5])} for k in range(i % 3)],
            "geo": {"type": "LineString", "coordinates": draw.choice([track, [[]], [None, [1.5]], None])},
            "imei": 350000000000000 + i}


def meter(draw, i, _wave):
    return {"meter": f"1EMH00{i % 6:08d}", "registers": {"1.8.0": i * 0.25, "2.8.0": draw.choice([0, None, "error"])},
            "profile": [draw.choice([None, round(draw.random() * 4, 3)]) for _ in range(i % 8)],
            "phases": [{"u": 230.1, "i": draw.randrange(16), "cos phi": 0.98} for _ in range(3)],
            "events": draw.choice([[], [{}], [{"code": 7, "at": {"slot": i}}], [None, {"code": None}]]),
            "a.b": draw.choice([1, 2, 3, "x"])}


def odd(draw, i, wave):
    deep = draw.choice([1, {"more": 2}])
    for level in range(draw.choice([7, 12])):  # the longer is past 16 levels of columns
        deep = {f"l{level}": deep} if level % 3 else {f"l{level}": [deep]}
    record = {"ünïcode ключ": draw.choice(["значение", "価値", "🙂", None]), "Temp": i, "temp": -i, "a b": 1, "a_b": 2,
              "big": draw.choice([9007199254740993, 5, -(1 << 63)]), "huge": draw.choice([1e300, -1e-300, 5e-324, 1]),
              "nan": draw.choice([math.nan, math.inf, -math.inf, 0.5]), "date": "2026-01-01", "hour": i % 24,
              "empty": draw.choice([{}, [], None]), "lists": draw.choice([[[]], [[1], []], [[None]], []]),
              "deep": deep, "source_type": "mine", "x": {"y": {}, "z": []}, "nothing": None}
    if wave > 0:
        record["empty"] = draw.choice([{}, {"now": 1}, None])
        record["x"]["y"] = draw.choice([{"w": [{"v": "ß"}]}, {}])
        record["texts"] = draw.choice(["a\x00b", "\x7f\n\t\"\\", "\u2028", "\U0010ffff", "x" * 5000])
    return record


def scalars(draw, i, _wave):
    return draw.choice([i, i + 0.5, round(draw.gauss(0, 1), 3), "N/A", True, None])


SHAPES = {shape.__name__: shape for shape in (zigbee2mqtt, tasmota, shelly, opcua, lorawan, home_assistant, senml,
                                              sparkplug, gps, meter, odd, scalars)}


def day(start, count, seed=1):
    """{dataset: [[(record, its instant or ARRIVAL)] for each wave]}, count records each, over 24 hours."""
    found = {}
    for name, shape in SHAPES.items():
        draw = random.Random(f"{seed} {name}")
        waves = [[] for _ in range(WAVES)]
        for i in range(count):
            wave = i * WAVES // count
            record = shape(draw, i, wave)
            when = ARRIVAL
            if isinstance(record, dict):
                instant = start + timedelta(days=1) * (i / count) + timedelta(microseconds=draw.randrange(10 ** 6))
                stamp, when = stamps(draw, instant)
                if i % 17 == 5:
                    stamp, when = draw.choice([("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
                                               (None, ARRIVAL), ("soon", ARRIVAL), (4e9, datetime.fromtimestamp(4e9, UTC))])
                record = {**record, "timestamp": stamp, "n": i}
            waves[wave].append((record, when))
        found[name] = waves
    return found


# --- the model ---------------------------------------------------------------------------------

KINDS = ("DOUBLE", "BOOLEAN", "STRUCT", "LIST", "STRING")  # a tie goes to the first of them
DEPTH_MAX = 16


def kind_of(value):
    if isinstance(value, bool):
        return "BOOLEAN"
    return {dict: "STRUCT", list: "LIST", str: "STRING"}.get(type(value), "DOUBLE")


def has_leaf(value, depth):
    if isinstance(value, (dict, list)):
        return depth > 0 and any(has_leaf(v, depth - 1) for v in (value.values() if isinstance(value, dict) else value))
    return value is not None


def is_big(value):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1 << 53


def json_text(value):
    named = {"NaN": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

    def texts(v):
        if isinstance(v, float) and not math.isfinite(v):
            return named.get(str(v), "NaN")
        if isinstance(v, dict):
            return {k: texts(w) for k, w in v.items()}
        return [texts(w) for w in v] if isinstance(v, list) else v
    return json.dumps(texts(value), ensure_ascii=False, separators=(",", ":"))


class Column:
    def __init__(self, key="", parent=None, name=""):
        self.key, self.name = key, name
        self.depth = parent.depth + 1 if parent else 0
        self.kind = None
        self.counts, self.big = dict.fromkeys(KINDS, 0), False
        self.fields, self.element = {}, None  # of a struct, of a list


class Lake:
    """One dataset."""

    def __init__(self):
        self.root = Column()
        self.root.kind = "STRUCT"
        self.is_new = True

    # what a wave pins

    def learn(self, column, value):
        if value is None:
            return
        kind = kind_of(value)
        if column.kind is None:
            if kind in ("STRUCT", "LIST") and not has_leaf(value, DEPTH_MAX - column.depth):
                return
            column.counts[kind] += 1
            column.big |= is_big(value)
        elif column.kind != kind:
            return
        if kind == "STRUCT":
            for key, inner in value.items():
                if column.depth == 0 and key in OURS + ("timestamp",):
                    continue
                if column.depth < DEPTH_MAX:
                    self.learn(column.fields.setdefault(key, Column(key, column)), inner)
        elif kind == "LIST":
            for inner in value:
                if column.depth < DEPTH_MAX:
                    column.element = column.element or Column("element", column)
                    self.learn(column.element, inner)

    def decide(self, column):
        """Pins what was counted; what came to nothing is forgotten."""
        if column.kind is None:
            best = max(KINDS, key=lambda kind: (column.counts[kind], -KINDS.index(kind)))
            if column.counts[best] == 0:
                return False
            column.kind = "STRING" if column.big and best in ("DOUBLE", "BOOLEAN") else best
        if column.kind == "STRUCT":
            taken = {c.name.lower() for c in column.fields.values() if c.name}
            for key, child in list(column.fields.items()):
                if not self.decide(child):
                    del column.fields[key]
                elif not child.name:
                    child.name = self.name(column, key, taken)
                    taken.add(child.name.lower())
        else:
            column.fields = {}
        if column.kind == "LIST":
            if column.element and not self.decide(column.element):
                column.element = None
        else:
            column.element = None
        if column.depth > 0 and column.kind == "STRUCT" and not column.fields or column.kind == "LIST" and not column.element:
            column.kind, column.counts = None, dict.fromkeys(KINDS, 0)
            return False
        return True

    @staticmethod
    def name(parent, key, taken):
        name = "".join("_" if c in " ,;{}()=" or c < " " or c == "\x7f" else c for c in key) or "_"
        if parent.depth == 0 and key.lower() in ("date", "hour"):
            name += "_"
        number = 1
        while f"{name}_{number}".lower() in taken if number > 1 else name.lower() in taken:
            number += 1
        return f"{name}_{number}" if number > 1 else name

    # what a row becomes

    def value(self, column, value, path, rescued, lists):
        """path: the keys down to it; lists: [whether something in the outermost list did not fit]."""
        if value is None:
            return None
        kind = kind_of(value)
        if column.kind == "STRING":
            return value if isinstance(value, str) else json_text(value)
        if column.kind != kind or kind == "DOUBLE" and is_big(value):
            return self.misfit(value, path, rescued, lists)
        if kind == "STRUCT":
            return self.struct(column, value, path, rescued, lists)
        if kind == "LIST":
            inner = lists if lists else [False]
            found = [self.value(column.element, v, path, rescued, inner) for v in value]
            if not lists and inner[0]:
                self.rescue(value, path, rescued)
            return found
        return float(value) if kind == "DOUBLE" else value

    def struct(self, column, value, path, rescued, lists):
        row = {child.name: None for child in column.fields.values()}
        for key, inner in value.items():
            child = column.fields.get(key)
            if child:
                row[child.name] = self.value(child, inner, path + [key], rescued, lists)
            elif inner is not None:
                self.misfit(inner, path + [key], rescued, lists)
        return row

    def misfit(self, value, path, rescued, lists):
        if lists:
            lists[0] = True
        else:
            self.rescue(value, path, rescued)
        return None

    @staticmethod
    def rescue(value, path, rescued):
        pointer = path[0].startswith("/") or any("." in key for key in path)
        name = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path) if pointer else ".".join(path)
        rescued[name] = json.loads(json_text(value))

    def waits(self, column, value):
        """Whether a value has a new field worth a column: then its record waits until the wave is over."""
        if isinstance(value, dict) and column.kind == "STRUCT":
            return any(self.waits(column.fields[key], inner) if key in column.fields else
                       column.depth < DEPTH_MAX and has_leaf(inner, DEPTH_MAX - column.depth - 1)
                       for key, inner in value.items() if column.depth > 0 or key not in OURS + ("timestamp",))
        return isinstance(value, list) and column.kind == "LIST" and any(self.waits(column.element, v) for v in value)

    def row(self, record, when):
        rescued = {}
        own = {k: v for k, v in record.items() if k not in OURS + ("timestamp",)}
        row = self.struct(self.root, own, [], rescued, None)
        for key, value in record.items():
            if key in OURS or key == "timestamp" and when is ARRIVAL and value is not None:
                rescued[key] = value
        return {**row, "timestamp": when, "_event_time": when, "_rescued_data": rescued or None}

    def wave(self, records):
        """The rows that a wave adds, with the columns of this time."""
        records = [(r if isinstance(r, dict) else {"value": r}, when) for r, when in records]
        waiting = [pair for pair in records if self.is_new or self.waits(self.root, pair[0])]
        self.is_new = False
        rows = [self.row(*pair) for pair in records if pair not in waiting]
        for record, _ in waiting:
            self.learn(self.root, record)
        self.decide(self.root)
        return [self.fill(row) for row in rows] + [self.row(*pair) for pair in waiting]

    def fill(self, row):
        return {**self.filled(self.root, row), **{k: row[k] for k in ("timestamp", "_event_time", "_rescued_data")}}

    def filled(self, column, value):
        if value is None or column.kind not in ("STRUCT", "LIST"):
            return value
        if column.kind == "LIST":
            return [self.filled(column.element, v) for v in value]
        return {c.name: self.filled(c, value.get(c.name)) for c in column.fields.values()}

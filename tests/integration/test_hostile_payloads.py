"""Hundreds of hostile payloads through Mosquitto: every message is accounted for, every value is in
its column or in _rescued_data, and what lies in the lake is what the contract's model says
(hostile.py), read by pyarrow, DuckDB and Polars."""

import collections
import json
import math
import re
import sqlite3
import urllib.parse
from datetime import datetime, timedelta, timezone

import pytest
from conftest import PATIENCE_S, wait_until
from hostile import (OURS, Number, all_messages, dataset_of, kind_of, parse, pointer, records_of,
                     sanitised)

SOURCE = {"name": "hostile", "type_name": "mqtt"}
OVERSIZE = 1 << 20
PARQUET_KINDS = {"double": "DOUBLE", "string": "STRING", "bool": "BOOLEAN"}
MISSING = object()


def publish(port, messages):
    client_module = pytest.importorskip("paho.mqtt.client")
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    client = client_module.Client(client_module.CallbackAPIVersion.VERSION2, protocol=5)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", port)
    client.loop_start()
    infos = []
    for message in messages:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("n", str(message.number))
        if message.content_type is not None:
            properties.ContentType = message.content_type
        infos.append(client.publish(message.topic, message.payload, qos=1, retain=message.retain,
                                    properties=properties))
    for info in infos:
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published()
    client.disconnect()
    client.loop_stop()


def accounts(service):
    accounting = json.loads(service.get("/api/health"))["metrics"]["accounting"]
    for account in accounting.values():
        assert account["received"] == (account["stored"] + account["rejected"] +
                                       account["repeated"] + account["pending"])
    return accounting


def received(service):
    return sum(account["received"] for account in accounts(service).values())


class Lake:
    """What a round left: rows, files and the pinned columns, by dataset."""

    def __init__(self, service):
        pq = pytest.importorskip("pyarrow.parquet")
        self.rows = collections.defaultdict(list)
        self.schemas = collections.defaultdict(list)
        for path in service.files():
            part = next(p for p in path.parts if p.startswith("ingestion_id="))
            dataset = part.split("=", 1)[1]
            file = pq.ParquetFile(path)
            self.schemas[dataset].append((path, file.schema_arrow))
            place = (path.parts[-3].split("=")[1], path.parts[-2].split("=")[1])
            for row in file.read().to_pylist():
                self.rows[dataset].append({**row, "#place": place})
        self.columns = collections.defaultdict(dict)
        with sqlite3.connect(service.folder / "ingestor.db") as database:
            database.text_factory = lambda data: data.decode("utf-8")
            for dataset, path, name, kind in database.execute(
                    "select ingestion_id, field_path, column_name, column_type from dataset_columns"):
                self.columns[dataset][path] = (name, kind)


def number_of(row):
    return int(json.loads(row["user_properties"])["n"])


def same_json(sent, got):
    """Whether a rescued or textual value is what was sent; numbers by their digits or value."""
    if isinstance(sent, Number):
        if isinstance(got, Number):
            return got == sent or (float(got) == float(sent) and not sent.overflows and not sent.is_big)
        return False
    if isinstance(sent, float):  # NaN and Infinity have no JSON: as text
        names = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
        got = names.get(got, got) if isinstance(got, str) else got
        return isinstance(got, float) and (got == sent or (math.isnan(got) and math.isnan(sent)))
    if isinstance(sent, bool) or sent is None or isinstance(sent, str):
        return type(sent) is type(got) and sent == got
    if isinstance(sent, list):
        return isinstance(got, list) and len(got) == len(sent) and all(map(same_json, sent, got))
    return (isinstance(got, dict) and list(got) == list(sent) and
            all(same_json(sent[k], got[k]) for k in sent))


class RecordCheck:
    """One record against its row."""

    def __init__(self, row, columns, what):
        self.row = row
        self.columns = columns
        self.what = what
        self.rescued = collections.defaultdict(list)
        if row.get("_rescued_data") is not None:
            json.loads(row["_rescued_data"])

            pairs = json.loads(row["_rescued_data"], object_pairs_hook=lambda found: found)
            names = [name for name, _ in pairs]
            assert names and len(names) == len(set(names)), f"{what}: {names} repeats a name"
            self.rescued = parse(row["_rescued_data"])
        self.used = set()

    def fail(self, path, sent, got):
        raise AssertionError(f"{self.what} {path}: sent {str(sent)[:200]!r}, column "
                             f"{str(got)[:200]!r}, rescued {str(dict(self.rescued))[:300]}")

    def is_rescued(self, keys, sent):
        name = ".".join(keys)
        if name.startswith("/") or any("." in key for key in keys):
            name = pointer(*keys)
        if name in self.rescued and same_json(sent, self.rescued[name]):
            self.used.add(name)
            return True
        return False

    def record(self, record):
        self.leaves = 0
        for key, value in record.items():
            if key in OURS:
                if key == "timestamp" and key not in self.rescued:
                    continue
                if value is not None and not self.is_rescued([key], value):
                    self.fail(key, value, self.row.get(key))
                continue
            self.field([key], key, pointer(key), value, self.row)
        extra = set(self.rescued) - self.used
        if extra:
            self.fail(extra, "nothing", self.row)

    def field(self, keys, key, path, value, holder):
        """A field of a record or of a struct (not inside a list)."""
        found = self.columns.get(path)
        if found is None:
            if kind_of(value) is not None and not self.is_rescued(keys, value):
                self.fail(path, value, "has no column")
            self.is_rescued(keys, value)
            return
        kind = found[1]
        got = holder[self.own_name(path)] if holder is not None else None
        if kind == "STRUCT" and isinstance(value, dict):
            if got is None:
                if not self.is_rescued(keys, value) and value:
                    self.fail(path, value, got)
                return
            for inner, inner_value in value.items():
                self.field([*keys, inner], inner, path + pointer(inner), inner_value, got)
            return
        if self.fits(kind, path, value, got):
            return
        if value is not None and self.is_rescued(keys, value):
            if kind != "LIST" and got is not None:
                self.fail(path, value, got)
            return
        self.fail(path, value, got)

    def own_name(self, path):
        parent = path.rpartition("/")[0]
        return self.columns[path][0][len(self.columns[parent][0]) + 1 if parent else 0:]

    def fits(self, kind, path, value, got):
        """Whether the column holds the value, whole."""
        if value is None:
            return got is None
        if kind == "DOUBLE":
            if isinstance(value, float):
                return isinstance(got, float) and (got == value or math.isnan(got) and
                                                   math.isnan(value))
            if not isinstance(value, Number) or value.overflows or got is None:
                return False
            if value.is_big and int(value) != int(float(value)):
                return False
            return math.copysign(1, got) == math.copysign(1, float(value)) and got == float(value)
        if kind == "STRING":
            if isinstance(value, str) and not isinstance(value, Number):
                return got == value
            if got is None:
                return False
            if isinstance(value, Number):
                return got == str(value)
            return same_json(value, parse_text(got))
        if kind == "BOOLEAN":
            return isinstance(value, bool) and got is value
        if kind == "LIST":
            inner = self.columns.get(path + "/-")
            if not isinstance(value, list) or got is None or len(got) != len(value):
                return False
            return inner is not None and all(
                self.fits(inner[1], path + "/-", v, g) for v, g in zip(value, got)) or not value
        if kind == "STRUCT":
            if not isinstance(value, dict) or got is None:
                return False
            for key, inner_value in value.items():
                inner = self.columns.get(path + pointer(key))
                if inner is None:
                    if kind_of(inner_value) is not None:
                        return False
                    continue
                if not self.fits(inner[1], path + pointer(key), inner_value,
                                 got[self.own_name(path + pointer(key))]):
                    return False
            return True
        raise AssertionError(f"unknown column type {kind}")


def parse_text(text):
    return json.loads(text, parse_int=Number, parse_float=Number)


def check_own_columns(row, message, source_id, what):
    assert row["topic"] == message.topic, what
    assert row["source_type"] == "mqtt" and row["original_source_id"] == source_id, what
    assert row["qos"] == 1.0 and isinstance(row["qos"], float) and row["retain"] is message.retain, what
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00"
    for text, instant in (("timestamp", "_event_time"), ("ingestion_timestamp", "_ingested_at")):
        assert re.fullmatch(form, row[text]), what
        assert datetime.fromisoformat(row[text]) == row[instant], what
    if message.time is None and "h/time" in message.topic:
        assert row["timestamp"] == row["ingestion_timestamp"], what
    elif message.time is not None:
        assert row["timestamp"] == message.time, what
    if message.content_type:
        assert row["content_type"] == message.content_type, what
    event, arrival = row["_event_time"], row["_ingested_at"]
    near = event if abs(event - arrival) <= timedelta(hours=24) else arrival
    assert row["#place"] == (near.strftime("%Y-%m-%d"), near.strftime("%H")), what


def check_id(wanted, dataset):
    """An id is the rule's; one over 200 bytes is cut and ended by a hash."""
    if len(wanted.encode()) <= 200:
        assert dataset == wanted
    else:
        assert len(dataset.encode()) <= 200 and "\ufffd" not in dataset
        assert wanted.startswith(re.sub("[-_][0-9a-f]{16}$", "", dataset))
        assert re.search("[-_][0-9a-f]{16}$", dataset)


def encoded(identifier):
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
    return "".join(chr(b) if chr(b) in plain else f"%{b:02X}" for b in identifier.encode())


def check_place_in_lake(dataset, lake_name):
    wanted = encoded(dataset)
    if lake_name != wanted:
        assert len(wanted) > 200 and len("ingestion_id=" + lake_name) <= 255  # a file system's longest name
        assert wanted.startswith(re.sub("[-_][0-9a-f]{16}$", "", lake_name))


def votes(messages_by_dataset):
    """For each dataset and path the count of values by the type they would pin."""
    out = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))

    def count(into, path, value):
        kind = kind_of(value)
        if kind is None:
            return
        into[path][kind] += 1
        if isinstance(value, dict):
            for key, inner in value.items():
                count(into, path + pointer(key), inner)
        elif isinstance(value, list):
            for inner in value:
                count(into, path + "/-", inner)

    for dataset, messages in messages_by_dataset.items():
        for message in messages:
            for record in records_of(message):
                for key, value in record.items():
                    if key not in OURS:
                        count(out[dataset], pointer(key), value)
    return out


def check_names(columns, dataset):
    """Column names follow the fields', and no two of one struct are equal but for case."""
    by_parent = collections.defaultdict(list)
    for path, (name, _) in columns.items():
        if path.startswith("#"):
            continue
        parent, _, last = path.rpartition("/")
        key = last.replace("~2", "\0").replace("~1", "/").replace("~0", "~")
        if last == "-" and columns.get(parent, ("", ""))[1] == "LIST":
            continue
        base = sanitised(key) + ("_" if not parent and key.lower() in ("date", "hour") else "")
        prefix = columns[parent][0] + "." if parent else ""
        own = name[len(prefix):]
        assert name.startswith(prefix) and re.fullmatch(re.escape(base) + r"(_\d+)?", own), (
            dataset, path, name)
        by_parent[parent].append(own)
    for parent, names in by_parent.items():
        taken = list(OURS | {"date", "hour"}) if not parent else []
        folded = [n.casefold() for n in names + taken]
        doubled = [n for n, c in collections.Counter(folded).items() if c > 1]
        assert not doubled, (dataset, parent, doubled)


def check_types(lake, wanted_votes, source_to_lake):
    for dataset, by_path in wanted_votes.items():
        columns = lake.columns[dataset]
        for path, counter in by_path.items():
            if path not in columns:
                continue
            best = max(counter.values())
            good = {kind for kind, n in counter.items() if n == best}
            if counter["STRING"]:
                good.add("STRING")  # integers beyond 2^53 pin it whatever the others are
            scalars = counter["DOUBLE"] + counter["STRING"]
            if scalars >= best:
                good |= {"DOUBLE"} if counter["DOUBLE"] else set()
            assert columns[path][1].upper() in good, (dataset, path, columns[path], counter)
    for lake_name in source_to_lake.values():
        kinds = {}
        for path, schema in lake.schemas.get(lake_name, []):
            assert not {"ingestion_id", "date", "hour"} & {n.lower() for n in schema.names}
            for field in schema:
                known = kinds.setdefault(field.name, field.type)
                assert merge_fits(known, field.type), (path, field.name, known, field.type)
                if str(known) != str(field.type):
                    kinds[field.name] = field.type


def merge_fits(one, two):
    """Equal, or structs (lists of them) that differ only by fields that one has more."""
    import pyarrow as pa
    if one == two:
        return True
    if pa.types.is_struct(one) and pa.types.is_struct(two):
        names = {f.name: f.type for f in one}
        return all(merge_fits(names[f.name], f.type) for f in two if f.name in names)
    if pa.types.is_list(one) and pa.types.is_list(two):
        return merge_fits(one.value_type, two.value_type)
    return False


def check_lake(service, messages, source_id, ids, rounds):
    lake = Lake(service)
    by_dataset = collections.defaultdict(list)
    for message in messages:
        by_dataset[ids.get(message.topic)].append(message)
    known = {}
    for name, rows in lake.rows.items():
        for row in rows:
            dataset = ids[row["topic"]]
            assert known.setdefault(dataset, name) == name
            check_place_in_lake(dataset, name)
    problems = []
    for dataset, group in by_dataset.items():
        by_number = collections.defaultdict(list)
        for row in lake.rows.get(known.get(dataset), []):
            by_number[number_of(row)].append(row)
        columns = {path: (name, kind.upper()) for path, (name, kind) in lake.columns[dataset].items()}
        check_names(columns, dataset)
        for message in group:
            what = f"message {message.number} {message.topic[:60]} {message.payload[:80]!r}"
            try:
                check_message(message, by_number[message.number], columns, source_id, rounds, what)
            except AssertionError as problem:
                problems.append(str(problem).split("\nassert")[0])
            except Exception as problem:  # of the check itself
                problems.append(f"{what}: {type(problem).__name__} {problem}")
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:40])
    return lake, by_dataset, known


def check_message(message, rows, columns, source_id, rounds, what):
    records = records_of(message)
    assert len(rows) == len(records) * rounds, f"{what}: {len(rows)} rows of {len(records)}"
    left = records * rounds
    for row in rows:
        check_own_columns(row, message, source_id, what)
        problem = None
        for i, record in enumerate(left):  # those whose columns were pinned by others come later
            try:
                RecordCheck(row, columns, what).record(record)
                del left[i]
                break
            except AssertionError as mismatch:
                problem = problem or mismatch
        else:
            raise problem


def read_with_duckdb(lake, known):
    """Each file, and each dataset as a whole: as many rows, the same messages, the same values."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        for dataset, name in known.items():
            files = [str(path) for path, _ in lake.schemas[name]]
            for file in files:
                database.execute("select * from read_parquet(?, hive_partitioning=true)", [file])
                database.fetchall()
            table = "read_parquet(?, union_by_name=true, hive_partitioning=true)"
            rows = database.execute(f"select topic, user_properties, _rescued_data, \"timestamp\" "
                                    f"from {table}", [files]).fetchall()
            wanted = [(row["topic"], row["user_properties"], row["_rescued_data"], row["timestamp"])
                      for row in lake.rows[name]]
            assert sorted(map(str, rows)) == sorted(map(str, wanted)), dataset
            whole = database.execute(f"select * exclude (ingestion_id, date, hour) from {table}",
                                     [files])
            columns = [column[0] for column in whole.description]
            values = whole.fetchall()
            for i, column in enumerate(columns):
                sent = [row.get(column) for row in lake.rows[name]]
                if all(isinstance(v, (str, bool, float, type(None))) for v in sent):
                    assert sorted(map(repr, sent)) == sorted(repr(v[i]) for v in values), (
                        dataset, column)


def read_with_polars(lake, known):
    polars = pytest.importorskip("polars")
    for dataset, name in known.items():
        files = [path for path, _ in lake.schemas[name]]
        frames = [polars.read_parquet(f, hive_partitioning=False, glob=False) for f in files]
        if not any_struct_differs(frames):
            frames = [polars.concat(frames, how="diagonal")]
        assert sum(frame.height for frame in frames) == len(lake.rows[name]), dataset
        for column in {c for frame in frames for c in frame.columns}:
            sent = [row.get(column) for row in lake.rows[name]]
            if all(isinstance(v, (str, bool, float, type(None))) for v in sent):
                got = [v for frame in frames for v in (
                    frame[column].to_list() if column in frame.columns else [None] * frame.height)]
                assert sorted(map(repr, sent)) == sorted(map(repr, got)), (dataset, column)


def any_struct_differs(frames):
    kinds = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            if kinds.setdefault(name, kind) != kind:
                return True
    return False


def check_api(service, messages, source_id):
    """/api/data shows each record as its device sent it, with our fields. Returns the dataset of
    each topic."""
    ids = {message.topic: dataset_of(source_id, message.topic) for message in messages
           if records_of(message)}
    wait_until(lambda: json.loads(service.get("/api/partitions"))["total"] >= len(set(ids.values())),
               "all partitions to be shown")
    partitions = json.loads(service.get("/api/partitions"))["data"]
    assert partitions == sorted(partitions)
    problems = []
    for dataset in partitions:
        answer = parse_text(service.get("/api/data/" + urllib.parse.quote(dataset, safe="")))
        assert answer["status"] == "success", dataset
        by_number = collections.defaultdict(list)
        for row in answer["data"]:
            assert row["ingestion_id"] == dataset
            check_id(dataset_of(source_id, row["topic"]), dataset)
            ids[row["topic"]] = dataset
            by_number[number_of(row)].append(row)
        for message in messages:
            if ids.get(message.topic) != dataset:
                continue
            records = records_of(message)
            shown = by_number[message.number]
            if len(shown) != len(records):
                problems.append(f"{message.topic[:60]} {message.payload[:60]}: {len(shown)} rows shown "
                                f"of {len(records)}")
                continue
            for record, row in zip(records, shown):
                problems += check_api_row(record, row, message)
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:30])
    return ids


def check_api_row(record, row, message):
    what = f"{message.topic[:60]} {message.payload[:60]!r}"
    for key, value in record.items():
        if key in OURS:
            continue
        got = row.get(key, MISSING)
        if not shows(value, got):
            yield f"{what}: {key[:40]!r} was sent as {str(value)[:60]!r}, shown as {str(got)[:60]!r}"
    if message.time is not None and row["timestamp"] != message.time:
        yield f"{what}: timestamp shown as {row['timestamp']}"
    kept = [key for key in record if key in row]
    if [key for key in row if key in record] != kept:
        yield f"{what}: order {list(row)[:20]}"


def shows(sent, got):
    """As sent; NaN and what is no double as null or text."""
    if isinstance(sent, float):
        return got is None or same_json(sent, got)
    if isinstance(sent, list):
        return isinstance(got, list) and len(got) == len(sent) and all(map(shows, sent, got))
    if isinstance(sent, dict):
        return isinstance(got, dict) and list(got) == list(sent) and all(
            shows(sent[k], got[k]) for k in sent)
    return same_json(sent, got)


def start(make_service, port, **environment):
    source = {**SOURCE, "config": {"broker": "127.0.0.1", "port": port, "topics": ["h/#"],
                                   "max_message_bytes": OVERSIZE}}
    service = make_service(port, sources=[source], environment={
        "FLUSH_INTERVAL_SECONDS": "3600", "BUFFER_MAX_ROWS": "100000", **environment})
    service.wait_log("connected")
    return service


def test_every_value_is_accounted_for(mosquitto, make_service):
    messages = all_messages()
    assert len(messages) >= 500
    service = start(make_service, mosquitto.port)
    publish(mosquitto.port, messages)
    wait_until(lambda: received(service) == len(messages), "all to arrive")
    account = accounts(service)
    source_id = next(iter(account))
    assert account[source_id]["rejected"] == 0 and account[source_id]["repeated"] == 0
    ids = check_api(service, messages, source_id)
    service.stop()
    lake, by_dataset, known = check_lake(service, messages, source_id, ids, rounds=1)
    check_types(lake, votes(by_dataset), known)

    # The same again in small files: types stay as they were pinned, nothing is lost or doubled.
    first_columns = {d: dict(c) for d, c in lake.columns.items()}
    service.environment["FLUSH_INTERVAL_SECONDS"] = "1"
    service.start()
    service.wait_log("connected")
    publish(mosquitto.port, messages[::-1])
    wait_until(lambda: received(service) == len(messages), "all to arrive again")
    wait_until(lambda: all(a["pending"] == 0 for a in accounts(service).values()),
               "all to be stored")
    totals = accounts(service)[source_id]
    assert totals["stored"] == len(messages)
    assert service.metric("ingestor_messages_processed_total") == len(messages)
    service.stop()
    lake, by_dataset, known = check_lake(service, messages, source_id, ids, rounds=2)
    check_types(lake, {}, known)
    for dataset, columns in first_columns.items():
        assert {p: lake.columns[dataset].get(p) for p in columns} == columns
    read_with_duckdb(lake, known)
    read_with_polars(lake, known)


def test_oversize_goes_to_the_dead_letters(mosquitto, make_service):
    service = start(make_service, mosquitto.port, FLUSH_INTERVAL_SECONDS="1")
    from hostile import Message
    sizes = [OVERSIZE - 10, OVERSIZE, OVERSIZE + 1, OVERSIZE + 100000, 5 * OVERSIZE]
    messages = [Message("h/size", b"z" * size) for size in sizes] + [Message("h/size", '{"n":1}')]
    for i, message in enumerate(messages):
        message.number = i
    publish(mosquitto.port, messages)
    wait_until(lambda: received(service) == len(messages), "all to arrive")
    wait_until(lambda: all(a["pending"] == 0 for a in accounts(service).values()),
               "all to be stored")
    assert service.metric("ingestor_messages_failed_total") == 3
    account = next(iter(accounts(service).values()))
    assert account["stored"] == 3 and account["rejected"] == 3
    service.stop()
    letters = service.rows(dead_letters=True)
    assert len(service.rows()) == 3 and len(letters) == 3
    for letter in letters:
        assert letter["topic"] == "h/size" and letter["source_type"] == "mqtt"
        assert letter["payload"] == b"z" * 65536 and letter["reason"] and letter["detail"]
        json.loads(letter["metadata"])


@pytest.mark.parametrize("user", [[(f"n{i}", "v") for i in range(300)], [("k", "v" * 60000)] * 17])
def test_user_properties_are_whole(mosquitto, make_service, user):
    client_module = pytest.importorskip("paho.mqtt.client")
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    config = {"broker": "127.0.0.1", "port": mosquitto.port, "topics": ["h/#"]}
    service = make_service(mosquitto.port, sources=[{**SOURCE, "config": config}])
    service.wait_log("connected")
    client = client_module.Client(client_module.CallbackAPIVersion.VERSION2, protocol=5)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    for pairs in (user, user * 4):  # 1200 fit, 68 * 60,000 bytes do not
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = pairs
        client.publish("h/user", '{"n":1}', qos=1, properties=properties).wait_for_publish(PATIENCE_S)
    wait_until(lambda: received(service) == 2, "both to arrive")
    client.disconnect()
    client.loop_stop()
    service.stop()
    rows = service.rows()
    letters = service.rows(dead_letters=True)
    assert len(rows) + len(letters) == 2
    for row, pairs in zip(sorted(rows, key=lambda row: len(row["user_properties"])),
                          (user, user * 4)):
        got = json.loads(row["user_properties"])
        flat = [(name, value) for name, values in got.items()
                for value in (values if isinstance(values, list) else [values])]
        assert sorted(flat) == sorted(pairs)
    if letters:
        assert letters[0]["reason"] == "oversize" and "68 user properties" in letters[0]["detail"]
        assert letters[0]["payload"] == b'{"n":1}'
        assert json.loads(json.loads(letters[0]["metadata"])["user_properties"]) == {"k": "v" * 60000}


@pytest.mark.parametrize("environment,near_hours", [({"PARTITION_BY": "arrival"}, 0),
                                                    ({"PARTITION_WINDOW_HOURS": "72"}, 72),
                                                    ({}, 24)])
def test_partition_rule(mosquitto, make_service, environment, near_hours):
    from hostile import Message
    now = datetime.now(timezone.utc)
    hours = [-100, -71, -60, -25, -23, -1, 0, 1, 23, 25, 60, 71, 100]
    messages = [Message("h/rule", json.dumps({"timestamp": str(now + timedelta(hours=h)), "h": h}))
                for h in hours]
    for number, message in enumerate(messages):
        message.number = number
    service = start(make_service, mosquitto.port, **environment)
    publish(mosquitto.port, messages)
    wait_until(lambda: received(service) == len(messages), "all to arrive")
    service.stop()
    (rows,) = Lake(service).rows.values()
    assert len(rows) == len(messages)
    for row in rows:
        by = row["_event_time"] if abs(row["h"]) < near_hours else row["_ingested_at"]
        assert row["#place"] == (by.strftime("%Y-%m-%d"), by.strftime("%H")), row["h"]

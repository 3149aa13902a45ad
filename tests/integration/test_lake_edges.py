"""The lake at its edges, from HTTP push to three readers: fields that appear and vanish, a thousand
columns, unusual names, names that differ by case or are ours, huge strings, odd sensor ids."""

import json
import urllib.request

import pytest
from conftest import PATIENCE_S, wait_until

SOURCE = {"name": "edges", "type_name": "http_push", "config": {}}
READERS = ("pyarrow", "duckdb", "polars")


class Edge:
    def __init__(self, make_service):
        self.service = make_service(1, sources=[SOURCE])
        self.sent = 0
        wait_until(self.source_id, "the source to be registered")

    def source_id(self):
        sources = json.loads(self.service.get("/api/data-sources"))["data"]
        return sources and sources[0]["status"] == "active" and sources[0]["ingestion_id"]

    def push(self, *records):
        """Each push is landed on its own before this returns: so every one has a file."""
        body = "[" + ",".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records) + "]"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.service.port}/api/ingest/{self.source_id()}",
            data=body.encode(), headers={"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status == 202
        self.sent += len(records)
        wait_until(self.all_stored, "all to be stored")

    def all_stored(self):
        accounts = json.loads(self.service.get("/api/health"))["metrics"]["accounting"].values()
        return sum(a["stored"] for a in accounts) == self.sent and all(
            a["rejected"] == 0 for a in accounts)

    def rows(self):
        """By each reader, all files together, columns merged by name; in the order of _seq."""
        files = [str(file) for file in self.service.files()]
        tables = {reader: READ[reader](files) for reader in READERS}
        for reader, rows in tables.items():
            assert len(rows) == self.sent, reader
            rows.sort(key=lambda row: row["_seq"])
            for row, first in zip(rows, tables["pyarrow"]):
                assert row.keys() == first.keys(), reader
                assert {k: v for k, v in row.items() if not k.startswith("_event")
                        and not k.startswith("_inges")} == {
                            k: v for k, v in first.items() if not k.startswith("_event")
                            and not k.startswith("_inges")}, reader
        return tables["pyarrow"]


def read_pyarrow(files):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    tables = [parquet.ParquetFile(file).read() for file in files]
    return arrow.concat_tables(tables, promote_options="default").to_pylist()


def read_duckdb(files):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        result = database.execute("select * from read_parquet(?, union_by_name=true, "
                                  "hive_partitioning=false)", [files])
        names = [column[0] for column in result.description]
        return [dict(zip(names, row)) for row in result.fetchall()]


def read_polars(files):
    polars = pytest.importorskip("polars")
    return polars.concat([polars.read_parquet(file, hive_partitioning=False, glob=False)
                          for file in files], how="diagonal").to_dicts()


READ = {"pyarrow": read_pyarrow, "duckdb": read_duckdb, "polars": read_polars}


@pytest.fixture
def edge(make_service):
    return Edge(make_service)


def test_fields_appear_and_vanish(edge):
    edge.push({"_seq": 0, "a": 1, "b": "x"}, {"_seq": 1, "a": 2})
    edge.push({"_seq": 2, "c": True, "d": {"e": 1}})
    edge.push({"_seq": 3, "b": "y", "d": {"f": [1, 2]}})
    edge.push({"_seq": 4})
    files = edge.service.files()
    parquet = pytest.importorskip("pyarrow.parquet")
    known = set()
    for file in sorted(files, key=lambda f: f.name):
        names = set(parquet.ParquetFile(file).schema_arrow.names)
        assert known <= names, f"{file.name} lacks {known - names}"
        known = names
    assert {"a", "b", "c", "d"} <= known
    last = parquet.ParquetFile(max(files, key=lambda f: f.name)).read().to_pylist()[0]
    assert [last[name] for name in "abcd"] == [None] * 4


def test_names(edge):
    """By case, with what engines refuse, ours, empty, long, not ASCII."""
    names = ["Temp", "temp", "TEMP", "tEmp_2", "temp_2", "a b", "a_b", "a,b", "a;b", "a{b}", "x=y",
             "x\ty", "x\ny", "", " ", ".", "a.b", "a/b", "`q`", "\"q\"", "'q'", "select", "ä", "Ä",
             "日本", "🙂", "\u0000n", "\u007f", "__proto__", "n" * 255, "n" * 3000, "N" * 255]
    ours = {"ingestion_id": "mine", "source_type": "mine", "ingestion_timestamp": "mine",
            "_rescued_data": "mine", "_event_time": "mine", "_ingested_at": 5, "date": "d",
            "hour": 7, "Date": "D", "Timestamp": "T", "timestamp": "2026-01-01T00:00:00Z",
            "SOURCE_TYPE": "S", "replayed_from": "r"}
    edge.push({"_seq": 0, **{name: i for i, name in enumerate(names)}, **ours})
    edge.push({"_seq": 1, **{name: i for i, name in enumerate(reversed(names))}, **ours})
    rows = edge.rows()
    folded = [name.lower() for name in rows[0]]
    assert len(folded) == len(set(folded)), "two columns are equal but for case"
    for name in rows[0]:
        assert not any(c in name for c in " ,;{}()\n\t="), name
        assert name.lower() not in ("ingestion_id", "date", "hour"), name
    for order, row in ((names, rows[0]), (names[::-1], rows[1])):
        values = [v for k, v in row.items() if isinstance(v, float) and k != "_seq"]
        rescued = json.loads(row["_rescued_data"]) if row["_rescued_data"] else {}
        values += [v for v in rescued.values() if isinstance(v, (int, float))]
        assert set(range(len(order))) <= set(map(int, values)), rescued
        assert row["source_type"] == "http_push" and row["timestamp"] == "2026-01-01T00:00:00+00:00"
        everything = json.dumps({k: v for k, v in row.items() if not k.startswith("_e")
                                 and k != "_ingested_at"})
        for text in ("mine", '"d"', '"D"', '"T"', '"S"'):
            assert text in everything or text.replace('"', '\\"') in everything, text


def test_a_thousand_columns_and_more(edge):
    wide = {f"c{i:04}": i for i in range(999)}
    edge.push({"_seq": 0, **wide})
    edge.push({"_seq": 1, **{f"d{i:04}": i for i in range(999)}})
    edge.push({"_seq": 2, **{f"e{i:04}": i for i in range(1500)}})
    rows = edge.rows()
    assert all(rows[0][name] == value for name, value in wide.items())
    for row, letter, count in ((rows[1], "d", 999), (rows[2], "e", 1500)):
        rescued = json.loads(row["_rescued_data"]) if row["_rescued_data"] else {}
        for i in range(count):
            name = f"{letter}{i:04}"
            assert row.get(name, None) == i or rescued.get(name) == i, name
    assert len(rows[2]) <= 2020


def test_huge_strings(edge):
    big = "ü" * (3 << 20)
    edge.push({"_seq": 0, "s": big, "l": ["x" * (1 << 20)] * 3})
    edge.push({"_seq": 1, "s": "small"}, {"_seq": 2, "s": "\U0010ffff" * 100000})
    rows = edge.rows()
    assert rows[0]["s"] == big and rows[0]["l"] == ["x" * (1 << 20)] * 3
    assert rows[1]["s"] == "small" and rows[2]["s"] == "\U0010ffff" * 100000


def test_sensor_ids(edge):
    ids = [{"room": 1, "n": [1, 2]}, [1, 2], None, True, 12.5, "", "s" * (1 << 20), "plain",
           "t" * (1 << 20)]
    edge.push(*({"_seq": i, "sensor_id": value} for i, value in enumerate(ids)))
    rows = edge.rows()
    for value, row in zip(ids, rows):
        got = row["sensor_id"]
        if isinstance(value, str) or value is None:
            assert got == value
        else:
            assert json.loads(got) == value

    def shown():
        answer = json.loads(edge.service.get(f"/api/metadata/datasets/{edge.source_id()}"))
        return answer.get("data") and answer["data"]["dataset"]["record_count"] == edge.sent and answer
    dataset = wait_until(shown, "the metadata")["data"]["dataset"]
    assert "plain" in dataset["unique_sensor_ids"]
    assert len(json.dumps(dataset)) < 4 << 20
    assert json.loads(edge.service.get("/api/diagnostics/topic-analysis"))["status"] == "success"

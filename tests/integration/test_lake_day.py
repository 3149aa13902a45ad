"""A day of real sensor shapes through the service, read by every engine with the line that docs/lake.md
gives (Spark: test_lake_spark.py), each file by itself and each dataset together, and compared value by
value with what was sent (sensor_day.py); and the size of the files against pyarrow's. LAKE_DAY_RECORDS is
how many a dataset sends (past some 600 columns are pinned within a wave, which the model does not follow:
sizes only); LAKE_DAY_SEED draws another day."""

import io
import json
import math
import os
import urllib.request
from datetime import date, datetime, timedelta, timezone

import pytest
import sensor_day
from conftest import PATIENCE_S, Service, wait_until
from lake_lines import line, run_python

RECORDS = int(os.environ.get("LAKE_DAY_RECORDS", "120"))
SEED = int(os.environ.get("LAKE_DAY_SEED", "1"))
UTC = timezone.utc
OWN = {"source_type": "http_push", "content_type": "application/json"}


class Day:
    """What was sent, and where it landed."""

    def __init__(self, service, sent):
        self.service, self.sent = service, sent
        self.ids = {}

    def register(self):
        sources = json.loads(self.service.get("/api/data-sources"))["data"]
        self.ids = {s["name"]: s["ingestion_id"] for s in sources or [] if s["status"] == "active"}
        return len(self.ids) == len(self.sent)

    def push(self, name, records):
        body = json.dumps([record for record, _ in records], ensure_ascii=False).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.service.port}/api/ingest/{self.ids[name]}", data=body,
            headers={"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status == 202
        return len(records)

    def stored(self, count):
        accounts = json.loads(self.service.get("/api/health"))["metrics"]["accounting"].values()
        return sum(a["stored"] for a in accounts) == count

    def send(self):
        total = 0
        for wave in range(sensor_day.WAVES):
            for name, waves in self.sent.items():
                total += self.push(name, waves[wave])
            wait_until(lambda: self.stored(total), f"wave {wave} to be in the lake", PATIENCE_S)

    def folder(self, name):
        return self.service.lake / f"bronze/ingestion_id={self.ids[name]}"

    def files(self, name):
        """In the order they were written: the key ends in the position."""
        return sorted(self.folder(name).glob("*/*/*.parquet"), key=lambda f: f.name[-33:])

    def cuts(self, name):
        """The files that each wave wrote."""
        parquet = pytest.importorskip("pyarrow.parquet")
        found = {}
        for file in self.files(name):
            found.setdefault(parquet.read_metadata(file).metadata[b"ingestor.first"], []).append(file)
        return [files for _, files in sorted(found.items())]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day")
    sent = sensor_day.day(datetime.now(UTC) - timedelta(hours=23), RECORDS, SEED)
    service = Service(folder, 1, sources=[{"name": name, "type_name": "http_push", "config": {}} for name in sent],
                      environment={"FLUSH_FILES_PER_SECOND_MAX": "1000", "FLUSH_INTERVAL_SECONDS": "1"})
    found = Day(service.start(), sent)
    try:
        wait_until(found.register, "the sources to be active")
        found.send()
        service.stop()
        yield found
    finally:
        print(service.log()[-3000:])
        if service.alive():
            service.kill()


# --- rows, comparable --------------------------------------------------------------------------

def plain(value):
    """A value of any engine; instants in UTC, NaN equal to itself, -0.0 not to 0.0."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, float):
        return str(value) if not math.isfinite(value) or str(value) == "-0.0" else value
    assert value is None or isinstance(value, (str, bool, date)), type(value)
    return value


def instant_text(instant):
    return instant.isoformat()


def split(row):
    """(what the payload made, what the service added, the partition) of an engine's row."""
    row = dict(row)
    place = row.pop("date", None), row.pop("hour", None)
    row.pop("ingestion_id", None)  # some take it from the path
    rescued = row.pop("_rescued_data")
    row = plain(row)
    own = {k: row.pop(k) for k in (*OWN, "remote", "timestamp", "ingestion_timestamp", "_event_time", "_ingested_at")}
    return {**row, "_rescued_data": json.loads(rescued) if rescued is not None else None}, own, place


def key(row):
    return row.get("n") or 0, json.dumps(row, sort_keys=True)


def hour_of(own):
    event, arrival = own["_event_time"], own["_ingested_at"]
    instant = event if abs(event - arrival) <= timedelta(hours=24) else arrival
    return instant.strftime("%Y-%m-%d"), instant.strftime("%H")


def check_own(own, when):
    arrival = own["_ingested_at"]
    when = arrival if when is sensor_day.ARRIVAL else when
    assert own == {**OWN, "remote": own["remote"], "timestamp": instant_text(when), "_event_time": when,
                   "ingestion_timestamp": instant_text(arrival), "_ingested_at": arrival}
    assert own["remote"].startswith("127.0.0.1")
    assert abs(datetime.now(UTC) - arrival) < timedelta(hours=1)


def wanted_row(row):
    values = {k: v for k, v in row.items() if k not in ("timestamp", "_event_time", "_rescued_data")}
    return {**plain(values), "_rescued_data": row["_rescued_data"]}


def check_rows(rows, wanted):
    """wanted: rows of the model; in any order."""
    got = sorted((split(row) for row in rows), key=lambda parts: key(parts[0]))
    wanted = sorted(((wanted_row(row), row["_event_time"]) for row in wanted), key=lambda pair: key(pair[0]))
    assert len(got) == len(wanted)
    for (row, own, place), (want, when) in zip(got, wanted):
        assert row == want
        check_own(own, when)
        assert (str(place[0])[:10], f"{int(place[1]):02}") == hour_of(own)


def check_files(found, wanted):
    """found: each row with the file that it is from, whose path is to say its hour."""
    rows = []
    for file, row in found:
        folders = file.parent.parent.name.removeprefix("date="), file.parent.name.removeprefix("hour=")
        rows.append({**row, "date": folders[0], "hour": folders[1]})  # some take them from the path
    check_rows(rows, wanted)


def model(day, name):
    """The rows of each wave as they were then, and all of them with all columns."""
    lake = sensor_day.Lake()
    waves = [lake.wave(records) for records in day.sent[name]]
    return waves, [lake.fill(row) for wave in waves for row in wave]


# --- the engines -------------------------------------------------------------------------------

class DuckDB:
    name = "DuckDB"

    def __init__(self):
        self.duckdb = pytest.importorskip("duckdb")

    def rows(self, what, *place):
        result = self.duckdb.sql(line(what, *place))
        return [dict(zip(result.columns, row)) for row in result.fetchall()]


class InPython:
    """An engine whose line is Python, and leaves a table."""

    def __init__(self, name, module, rows_of):
        self.name, self.rows_of = name, rows_of
        pytest.importorskip(module)

    def rows(self, what, *place):
        return self.rows_of(run_python(what, *place)["table"])


ENGINES = {
    "DuckDB": DuckDB,
    "Polars": lambda: InPython("Polars", "polars", lambda table: table.to_dicts()),
    "pyarrow": lambda: InPython("pyarrow", "pyarrow", lambda table: table.to_pylist()),
    "DataFusion": lambda: InPython("DataFusion", "datafusion", lambda table: table.to_pylist()),
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return ENGINES[request.param]()


@pytest.mark.parametrize("name", sensor_day.SHAPES)
def test_each_dataset_together(day, engine, name):
    _, wanted = model(day, name)
    assert len(day.files(name)) >= 3
    check_rows(engine.rows(engine.name, day.service.lake, day.ids[name]), wanted)


@pytest.mark.parametrize("name", sensor_day.SHAPES)
def test_each_file_by_itself(day, engine, name):
    waves, _ = model(day, name)
    cuts = day.cuts(name)
    assert len(cuts) == len(waves)
    for files, wave in zip(cuts, waves):
        place = f"{engine.name}, one file", day.service.lake, day.ids[name]
        check_files([(file, row) for file in files for row in engine.rows(*place, file)], wave)


def pyarrow_size(table):
    """Of pyarrow's file of the same rows, without what ours has in its footer besides."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    bare = pa.table(table.columns, names=table.column_names)
    parquet.write_table(bare, out, compression="zstd", compression_level=3)
    return out.tell()


@pytest.mark.parametrize("name", sensor_day.SHAPES)
def test_size_against_pyarrow(day, name):
    """Not larger than pyarrow's files of the same rows with the same codec; printed for bench/RESULTS.md."""
    parquet = pytest.importorskip("pyarrow.parquet")
    ours = theirs = larger = 0
    for file in day.files(name):
        theirs_here = pyarrow_size(parquet.ParquetFile(file).read())
        larger += file.stat().st_size > theirs_here
        ours, theirs = ours + file.stat().st_size, theirs + theirs_here
    print(f"size | {name} | {len(day.files(name))} | {ours} | {theirs} | {ours / theirs:.3f} | {larger} larger")
    assert ours <= theirs and larger == 0

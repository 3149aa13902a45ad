"""`ingestor lake` against what pyarrow sees in the same lake, in a folder and on an S3 server, with
damaged files, and after the service was killed; and the lines of docs/lake.md, each run by its engine
on a lake whose columns grow."""

import base64
import datetime
import json
import math
import os
import re
import shutil
import subprocess

import pytest
from conftest import PATIENCE_S, ROOT, Mosquitto, Service, find_program, wait_until
from test_exactly_once import RcloneS3
from test_inherited_columns import wait_active

DATASET = "plant_site_a"
EARLY = [{"seq": i, "temp": i / 3, "on": i % 2 == 0, "at": {"lat": i * 0.5}, "tags": ["a", None, "é"][:i % 4]}
         for i in range(300)]
LATE = [{"seq": 300 + i, "temp": "warm" if i == 7 else -0.0, "at": {"lat": 1, "lon": None if i % 2 else i},
         "humidity": 40 + i, "events": [{"code": i, "tags": [["x"], []]}, {}, None][:i % 4]}
        for i in range(300)]
AN_HOUR_AGO = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)).isoformat()
for late in LATE[:3] + LATE[-3:]:
    late["timestamp"] = AN_HOUR_AGO  # so that a cut has two files


def publish(port, payloads):
    client = pytest.importorskip("paho.mqtt.publish")
    client.multiple([("site/a", json.dumps(payload), 1, False) for payload in payloads],
                    hostname="127.0.0.1", port=port)


def stored(service):
    accounts = json.loads(service.get("/api/health"))["metrics"]["accounting"].values()
    return sum(a["stored"] for a in accounts)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """The folder of a lake whose service was killed between two generations of its devices."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "mosquitto").mkdir()
    broker = Mosquitto(folder / "mosquitto").start()
    source = {"name": "plant", "type_name": "mqtt",
              "config": {"broker": "127.0.0.1", "port": broker.port, "topics": ["site/#"],
                         "shared_group": None, "dataset": DATASET}}
    service = Service(folder, broker.port, sources=[source])
    try:
        service.start()
        wait_active(service)
        publish(broker.port, EARLY[:200])
        wait_until(service.files, "the first file")
        publish(broker.port, [[]])  # a message without a record: its cut has no file, and nobody misses one
        wait_until(lambda: stored(service) == 201, "the cut without a file")
        publish(broker.port, EARLY[200:250])
        wait_until(lambda: len(service.seqs()) == 250, "the third cut")
        publish(broker.port, EARLY[250:])
        service.kill()
        service.start()
        wait_until(lambda: len(service.seqs()) == len(EARLY), "what was sent before the kill")
        wait_active(service)
        publish(broker.port, LATE)
        wait_until(lambda: len(service.seqs()) == len(EARLY + LATE), "all rows")
        service.stop()
        yield service.lake
    finally:
        print(service.log()[-3000:])
        if service.process and service.alive():
            service.kill()
        broker.stop()


@pytest.fixture
def copy(lake, tmp_path):
    """A lake that may be damaged."""
    return shutil.copytree(lake, tmp_path / "lake")


def run(*words, expect=0, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MINIO_", "OBJECT_"))}
    done = subprocess.run([find_program("ingestor"), "lake", *map(str, words)], text=True,
                          capture_output=True, timeout=PATIENCE_S, env={**clean, **environment})
    assert done.returncode == expect, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def in_folder(folder):
    return {"OBJECT_STORE_URL": f"file://{folder}"}


def ask(folder, *words, **more):
    return json.loads(run(*words, "--json", **in_folder(folder), **more).stdout)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def files_of(folder):
    return sorted(folder.glob(f"bronze/ingestion_id={DATASET}/**/*.parquet"))


def plain(value):
    """A value of pyarrow's as the command writes it."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value


def rows_of(files):
    parquet = pytest.importorskip("pyarrow.parquet")
    return [plain(row) for file in files for row in parquet.ParquetFile(file).read().to_pylist()]


def test_cat_gives_what_pyarrow_reads(lake):
    files = files_of(lake)
    assert len(files) >= 2
    rows = lines(run("cat", DATASET, "--json", **in_folder(lake)).stdout)
    assert rows == rows_of(files)
    assert sorted(row["seq"] for row in rows) == list(range(600))
    (sent,) = [row for row in rows if row["seq"] == 303]
    assert sent["events"] == [{"code": 3, "tags": [["x"], []]}, {"code": None, "tags": None}, None]
    (warm,) = [row for row in rows if row["seq"] == 307]
    assert warm["temp"] is None and "warm" in warm["_rescued_data"]


def test_files_and_limits(lake):
    file = files_of(lake)[-1]
    key = str(file.relative_to(lake))
    rows = rows_of([file])
    assert lines(run("cat", key, "--json", **in_folder(lake)).stdout) == rows
    assert lines(run("cat", file, "--json", OBJECT_STORE_URL="file:///nowhere").stdout) == rows
    assert lines(run("head", file, "--limit", "3", "--json").stdout) == rows[:3]
    assert len(lines(run("head", DATASET, "--json", **in_folder(lake)).stdout)) == 10
    other = lake.parent / "called otherwise"
    shutil.copy(file, other)
    assert lines(run("cat", other, "--json").stdout) == rows
    assert run("schema", other, "--json").stdout == run("schema", file, "--json").stdout
    table = run("head", DATASET, "--table", **in_folder(lake)).stdout.splitlines()
    assert len(table) == 11 and "seq" in table[0]


def check_ls(folder, environment):
    parquet = pytest.importorskip("pyarrow.parquet")
    files = files_of(folder)
    (dataset,) = json.loads(run("ls", "--json", **environment).stdout)
    times = [row["_event_time"] for row in rows_of(files)]
    assert dataset == {"dataset": DATASET, "files": len(files), "unreadable": 0, "rows": 600,
                       "bytes": sum(f.stat().st_size for f in files),
                       "first": min(times)[:19], "last": max(times)[:19]}
    listed = json.loads(run("ls", DATASET, "--json", **environment).stdout)
    assert {entry["key"]: entry["rows"] for entry in listed} == {
        str(f.relative_to(folder)): parquet.read_metadata(f).num_rows for f in files}
    head, line = run("ls", **environment).stdout.splitlines()
    assert line.split("\t") == [str(dataset[k]) for k in head.split("\t")]
    keys = [line.split("\t")[0] for line in run("ls", DATASET, **environment).stdout.splitlines()[1:]]
    assert sorted(keys) == sorted(entry["key"] for entry in listed)
    table = run("ls", "--table", **environment).stdout.splitlines()
    assert table[1].split() == [DATASET, str(len(files)), "600", str(dataset["bytes"]), dataset["first"].split()[0],
                                *dataset["last"].split()]


def test_ls(lake):
    check_ls(lake, in_folder(lake))


def arrow_type(column):
    pa = pytest.importorskip("pyarrow")
    if column["type"] == "LIST":
        return pa.list_(pa.field("element", arrow_type(column["element"])))
    if column["type"] == "STRUCT":
        return pa.struct([pa.field(c["name"], arrow_type(c)) for c in column["fields"]])
    return {"DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "STRING": pa.string(),
            "BINARY": pa.binary(), "TIMESTAMP": pa.timestamp("us", tz="UTC")}[column["type"]]


def test_schema_is_that_of_all_files(lake):
    columns = {c["name"]: c for c in ask(lake, "schema", DATASET)}
    parquet = pytest.importorskip("pyarrow.parquet")
    newest = [f for f in files_of(lake) if "humidity" in parquet.read_schema(f).names][0]
    found = parquet.read_schema(newest)
    assert set(columns) == set(found.names)
    for field in found:
        assert arrow_type(columns[field.name]) == field.type, field.name
        assert int(field.metadata[b"PARQUET:field_id"]) == columns[field.name]["field_id"]
    assert "humidity" in run("schema", DATASET, **in_folder(lake)).stdout


def test_ddl(lake):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.sql(run("ddl", DATASET, "--engine", "duckdb", **in_folder(lake)).stdout)
    assert connection.sql(f'SELECT count(*), sum(seq), count(humidity) FROM "{DATASET}"').fetchall() == \
        [(600, 600 * 599 / 2, 300)]
    spark = run("ddl", DATASET, "--engine", "spark", **in_folder(lake)).stdout
    assert "`events` ARRAY<STRUCT<`code`: DOUBLE, `tags`: ARRAY<ARRAY<STRING>>>>" in spark
    assert "PARTITIONED BY (`date`, `hour`)" in spark and "`_event_time` TIMESTAMP" in spark
    trino = run("ddl", DATASET, "--engine", "trino", **in_folder(lake)).stdout
    assert '"at" ROW("lat" DOUBLE, "lon" DOUBLE)' in trino
    assert "partitioned_by = ARRAY['date', 'hour']" in trino


def test_verify_finds_nothing_after_a_kill(lake):
    found = ask(lake, "verify")
    assert found["files"] == len(files_of(lake)) and found["rows"] == 600
    assert found["faults"] == 0 and found["without_range"] == 0
    assert "0 faults" in run("verify", DATASET, **in_folder(lake)).stdout


def test_s3(lake, tmp_path):
    shutil.copytree(lake, tmp_path / "lake")
    server = RcloneS3(tmp_path)
    server.start()
    environment = {"OBJECT_STORE_URL": "", "MINIO_ENDPOINT": f"127.0.0.1:{server.port}",
                   "MINIO_ACCESS_KEY": server.access_key, "MINIO_SECRET_KEY": server.secret_key}
    try:
        wait_until(lambda: subprocess.run(
            [find_program("ingestor"), "lake", "ls"], capture_output=True, check=False,
            env={**os.environ, **environment}).returncode == 0, "rclone to answer")
        check_ls(lake, environment)
        rows = lines(run("cat", DATASET, "--json", **environment).stdout)
        assert rows == rows_of(files_of(lake))
        assert json.loads(run("verify", "--json", **environment).stdout)["faults"] == 0
        assert "'s3://lake/bronze/ingestion_id=" in \
            run("ddl", DATASET, "--engine", "duckdb", **environment).stdout
        run("cat", "nobody", expect=1, **environment)
    finally:
        server.stop()


def test_long_and_odd_ids(lake, tmp_path):
    """What `ls` prints can be asked for: percent-encoded, and longer than any column."""
    folder = tmp_path / "lake/bronze"
    names = ["ingestion_id=" + "x" * 190, "ingestion_id=caf%C3%A9%20%3D1"]
    for name in names:
        shutil.copytree(files_of(lake)[0].parents[2], folder / name)
    for words in ((), ("--table",)):
        shown = [line.split()[0] for line in run("ls", *words, **in_folder(tmp_path / "lake")).stdout.splitlines()[1:]]
        assert sorted(shown) == sorted(name.split("=", 1)[1] for name in names)
    for dataset in (*shown, "café =1"):
        assert len(lines(run("cat", dataset, "--json", **in_folder(tmp_path / "lake")).stdout)) == 600


def test_files_of_the_python_service(tmp_path):
    """SNAPPY, ingestion_id inside, integers below the top, INT32 where a field was always null."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / f"bronze/ingestion_id={DATASET}/date=2026-01-01/hour=00"
    folder.mkdir(parents=True)
    wide = [-(1 << 63), (1 << 63) - 1, None, 0, 7]
    table = pa.table({
        "temp": [21.5, None, float("nan"), -0.0, 1e300], "ingestion_id": [DATASET] * 5,
        "at": pa.array([{"n": v, "list": [v, None, 1]} for v in wide]), "empty": pa.nulls(5),
        "null32": pa.array([None] * 5, pa.int32()), "int32": pa.array([-(1 << 31), 1, None, 2, 3], pa.int32()),
        "uint32": pa.array([(1 << 32) - 1, 0, None, 1, 2], pa.uint32()), "int8": pa.array([-128, 127, 0, 1, None], pa.int8()),
        "real": pa.array([0.1, float("inf"), None, -0.0, 1.5], pa.float32()), "on": [True, None, False, True, True],
        "text": ["é", "", None, "x", "x"], "blob": [b"\xff", b"", None, b"a", b"b"]})
    for codec, dictionary in (("snappy", True), ("snappy", False), ("none", True), ("zstd", False)):
        file = folder / f"part-{codec}-{dictionary}.parquet"
        parquet.write_table(table, file, compression=codec, use_dictionary=dictionary, row_group_size=3)
        rows = lines(run("cat", file, "--json").stdout)
        assert rows == plain(table.to_pylist()), file.name
        assert rows[0]["at"]["n"] == -(1 << 63) and rows[1]["at"]["list"][0] == (1 << 63) - 1  # no double has them
    parquet.write_table(table.slice(0, 0), folder / "part-empty.parquet")
    assert lines(run("cat", folder / "part-empty.parquet", "--json").stdout) == []
    ours = pa.table({"temp": [1.0], "int32": [1.5], "null32": pa.array([{"now": "a struct"}]), "at": pa.array([{"n": 1.0}])})
    parquet.write_table(ours, folder / "part-z.parquet")
    kinds = {c["name"]: c for c in ask(tmp_path, "schema", DATASET)}
    assert {name: kinds[name]["type"] for name in ("temp", "int32", "uint32", "real", "null32", "on", "blob")} == {
        "temp": "DOUBLE", "int32": "DOUBLE", "uint32": "INT64", "real": "FLOAT", "null32": "STRUCT",
        "on": "BOOLEAN", "blob": "BINARY"}
    assert [(f["name"], f["type"]) for f in kinds["at"]["fields"]] == [("n", "DOUBLE"), ("list", "LIST")]
    spark = run("ddl", DATASET, "--engine", "spark", **in_folder(tmp_path)).stdout
    assert "`uint32` BIGINT," in spark and "`real` FLOAT" in spark and "`at` STRUCT<`n`: DOUBLE, `list`: ARRAY<BIGINT>>" in spark
    trino = run("ddl", DATASET, "--engine", "trino", **in_folder(tmp_path)).stdout
    assert '"uint32" BIGINT' in trino and '"real" REAL' in trino
    found = ask(tmp_path, "verify")
    assert found["faults"] == 0 and found["without_range"] == 6
    parquet.write_table(pa.table({"t": pa.array([1], pa.timestamp("ns"))}), folder / "part-zz.parquet")
    done = run("cat", DATASET, "--json", expect=4, **in_folder(tmp_path))
    assert re.search(r"part-zz.parquet: the type of the column 2 at byte \d+ is not supported", done.stderr)
    assert len(lines(done.stdout)) == 21, "what cannot be read must not hide the rest"


# --- damage ------------------------------------------------------------------------------------

def test_damaged_files_are_told_and_the_others_read(copy):
    first, *others = files_of(copy)
    content = first.read_bytes()
    first.write_bytes(content[:-20] + bytes(20))
    for verb in ("ls", "cat", "schema", "verify"):
        done = run(verb, *([] if verb in ("ls", "verify") else [DATASET]), "--json", expect=4,
                   **in_folder(copy))
        assert first.name in done.stdout + done.stderr and "damaged at byte" in done.stdout + done.stderr
        if verb == "cat":
            assert lines(done.stdout) == rows_of(others)
    first.write_bytes(content[:100])
    assert "damaged at byte" in run("cat", first, expect=4).stderr
    first.write_bytes(b"")
    run("verify", expect=4, **in_folder(copy))


def test_doubled_rows_are_found(copy):
    file = files_of(copy)[0]
    # the same rows once more in their partition, under the name of a later position
    name = re.sub(r"-[0-9a-f]{8}\.parquet$", "-0000ffff.parquet", file.name)
    shutil.copy(file, file.parent / name)
    found = ask(copy, "verify", expect=4)
    assert found["faults"] == 1 and "doubled" in found["found"][0]["what"]
    assert name in found["found"][0]["file"]
    (file.parent / name).unlink()
    other = copy / "bronze/ingestion_id=other" / file.parent.parent.name / file.parent.name
    other.mkdir(parents=True)
    shutil.copy(file, other)
    found = ask(copy, "verify", expect=4)
    assert "belongs to another dataset" in found["found"][0]["what"]


def test_a_missing_newest_cut_is_found_by_the_journal(lake, copy):
    """Which is read without its lock, and not touched; without it nothing is said."""
    parquet = pytest.importorskip("pyarrow.parquet")
    journal = lake.parent / "journal"
    before = {file: file.read_bytes() for file in sorted(journal.rglob("*")) if file.is_file()}
    here = {"JOURNAL_DIR": str(journal)}
    found = ask(copy, "verify", **here)
    assert (found["faults"], found["newest_checked"], found["gone"]) == (0, 1, 0)
    cuts = {}
    for file in files_of(copy):
        cuts.setdefault(parquet.read_metadata(file).metadata[b"ingestor.first"], []).append(file)
    for file in cuts[max(cuts)]:
        file.unlink()
    (fault,) = ask(copy, "verify", expect=4, **here)["found"]
    assert fault["file"] == f"bronze/ingestion_id={DATASET}/"
    assert re.fullmatch(r"missing: its newest cut; it landed through block \d+ of the journal, and the "
                        r"lake ends at \d+", fault["what"])
    assert "its newest cut" in run("verify", expect=4, **in_folder(copy), **here).stdout
    found = ask(copy, "verify", JOURNAL_DIR=str(copy / "none"))
    assert (found["faults"], found["newest_checked"], found["gone"]) == (0, None, None)
    for file in files_of(copy):
        file.unlink()  # all of them are meant to be gone, for all that can be known
    found = ask(copy, "verify", **here)
    assert (found["faults"], found["newest_checked"], found["gone"]) == (0, 1, 1)
    assert before == {file: file.read_bytes() for file in sorted(journal.rglob("*")) if file.is_file()}


def test_rows_of_another_hour_are_found(copy):
    file = files_of(copy)[0]
    hours = (file.parents[1] / f"hour={hour:02}" for hour in range(24))
    other = next(hour for hour in hours if not hour.exists())  # its cut may have files in others
    other.mkdir()
    file.rename(other / file.name)
    found = ask(copy, "verify", expect=4)
    assert [(f["file"], f["what"]) for f in found["found"]] == [
        (str((other / file.name).relative_to(copy)), "row 0 is of another hour than its folder")]


def test_missing_files_are_found(copy):
    parquet = pytest.importorskip("pyarrow.parquet")
    several = [f for f in files_of(copy) if int(parquet.read_metadata(f).metadata[b"ingestor.files"]) > 1]
    assert len(several) >= 2
    several[0].unlink()
    found = ask(copy, "verify", expect=4)
    assert found["faults"] == 1
    assert "missing: of the 2 files of its cut only 1 are there" in found["found"][0]["what"]


def test_missing_cuts_are_found(copy):
    """Of each cut but the first and the last, all files are taken away, as if it had never been."""
    parquet = pytest.importorskip("pyarrow.parquet")
    cuts = {}
    for file in files_of(copy):
        pairs = parquet.read_metadata(file).metadata
        cuts.setdefault(pairs[b"ingestor.first"], []).append(file)
    assert len(cuts) >= 4
    for gone in sorted(cuts)[1:-1]:
        kept = {file: file.read_bytes() for file in cuts[gone]}
        for file in kept:
            file.unlink()
        found = ask(copy, "verify", expect=4)
        assert found["faults"] == 1 and "missing: the cut before it" in found["found"][0]["what"], gone
        assert run("verify", DATASET, **in_folder(copy)).returncode == 0  # one dataset is not the whole lake
        for file, content in kept.items():
            file.write_bytes(content)
    for file in cuts[min(cuts)]:
        file.unlink()  # the oldest: nothing tells that from files that were meant to go
    assert ask(copy, "verify")["faults"] == 0


def test_wrong_words(lake):
    assert "ls, head, cat" in run("list", expect=2).stderr
    assert "--engine" in run("ddl", DATASET, "--engine", "oracle", expect=2).stderr
    assert "--limit" in run("head", DATASET, "--limit", "many", expect=2).stderr
    assert "of which dataset" in run("cat", expect=2).stderr
    assert "holds no file" in run("cat", "nobody", expect=1, **in_folder(lake)).stderr
    assert run("ls", expect=1, OBJECT_STORE_URL="file:///nowhere/at/all").stderr
    assert run("--help").stdout.startswith("Usage: ingestor lake ls")

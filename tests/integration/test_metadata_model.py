"""The metadata of many datasets with evolving schemas, through kill -9, against a model that counts
what was sent (metadata_model.py): counts, first and last seen, sensors, fields, evolution and data
quality; the same again after a restart; and what lies in the lake, read by DuckDB and pyarrow.

INGESTOR_METADATA_MODEL=5000000x200x30 says how many records, datasets and kills, -_FLUSH how long a
batch is open."""

import collections
import json
import multiprocessing
import os
import random
import subprocess
import time
from datetime import datetime, timezone

import pytest
from conftest import PATIENCE_S, find_program, free_port, wait_until
from metadata_model import run_sender
from test_data_sources_api import Api
from test_metadata import OWN, data

RECORDS, DATASETS, KILLS = map(int, os.environ.get("INGESTOR_METADATA_MODEL",
                                                   "60000x20x4").split("x"))
FLUSH_S = os.environ.get("INGESTOR_METADATA_MODEL_FLUSH", "1")
SENDERS = 2
BATCH = max(1, min(500, RECORDS // DATASETS // 30))
COMPARED_MAX = 4096  # records of a cut that are looked at for duplicates
NULL_AT_FIRST = {"null_first", "never"}  # cells that no column shows
NOT_PAYLOAD = {"_event_time", "_ingested_at", "_rescued_data", *OWN}


class Run:
    """The service, and the processes that send to it."""

    def __init__(self, make_service, records=RECORDS, datasets=DATASETS, batch=BATCH):
        self.records, self.datasets = records, datasets
        self.service = make_service(
            free_port(), sources=[{"name": f"model {n}", "type_name": "http_push", "config": {}}
                                  for n in range(datasets)],
            environment={"FLUSH_INTERVAL_SECONDS": FLUSH_S, "METADATA_QUALITY_SECONDS": "86400"})
        self.api = Api(self.service)
        self.api.wait_ready()
        self.idents = wait_until(self.find_idents, "the sources")
        context = multiprocessing.get_context("fork")
        self.sent, self.go, self.results = context.Value("q"), context.Event(), context.Queue()
        self.senders = []
        for sender in range(SENDERS):
            paths = {n: f"/api/ingest/{self.idents[n]}" for n in range(sender, datasets, SENDERS)}
            self.senders.append(context.Process(daemon=True, target=run_sender, args=(
                self.service.port, paths, records // datasets, batch, self.sent, self.go,
                self.results)))
            self.senders[-1].start()

    def find_idents(self):
        found = {s["name"]: s["ingestion_id"]
                 for s in self.api.json("GET", "/api/data-sources")["data"]}
        return len(found) == self.datasets and [found[f"model {n}"] for n in range(self.datasets)]

    def wait_sent(self, count):
        def enough():
            if any(sender.exitcode for sender in self.senders):
                raise AssertionError("a sender failed") from self.results.get()
            return self.sent.value >= count

        wait_until(enough, lambda: f"{count} to be sent, {self.sent.value} are", 3600)

    def models(self):
        models, repeats = {}, 0
        for _ in self.senders:
            some, count = self.results.get(timeout=PATIENCE_S)
            models.update({self.idents[n]: model for n, model in some.items()})
            repeats += count
        return models, repeats

    def start_again(self, how, **environment):
        how()
        self.service.environment.update(environment)
        self.service.start()
        self.api.wait_ready()
        wait_until(lambda: self.api.call("GET", "/api/metadata/datasets")[0] == 200, "the metadata")

    def metadata(self):
        """All that is told of each dataset but for the data quality."""
        found = {d["ingestion_id"]: d for d in data(self.api, "datasets")["datasets"]}
        for ident, dataset in found.items():
            dataset["evolution"] = data(self.api, f"datasets/{ident}/evolution")["evolution"]
        return found

    def quality(self, ident):
        """For each metric what was measured, the first first."""
        found = collections.defaultdict(list)
        for metric in reversed(data(self.api, f"datasets/{ident}/quality")["metrics"]):
            found[metric["metric_name"]].append(metric)
        return found

    def end(self):
        for sender in self.senders:
            sender.kill()
            sender.join()


@pytest.fixture
def run(make_service):
    made = Run(make_service)
    yield made
    made.end()


class Cut:
    """The files of one."""

    def __init__(self):
        self.rows = self.cells = self.filled = self.rescued = 0
        self.seqs = []

    def add(self, table):
        self.rows += table.num_rows
        for name in set(table.column_names) - NOT_PAYLOAD:
            self.cells += table.num_rows
            self.filled += table.num_rows - table[name].null_count
        self.cells += table.num_rows * len(NULL_AT_FIRST - set(table.column_names))
        self.rescued += table.num_rows - table["_rescued_data"].null_count
        self.seqs += table["seq"].to_pylist()

    def repeats(self):
        compared = sorted(self.seqs)[:COMPARED_MAX]
        return len(compared) - len(set(compared)), len(compared)


def read_cuts(service):
    """For each dataset its cuts in order, by pyarrow."""
    parquet = pytest.importorskip("pyarrow.parquet")
    found = collections.defaultdict(lambda: collections.defaultdict(Cut))
    for path in service.files():
        file = parquet.ParquetFile(path)
        pairs = file.metadata.metadata
        found[pairs[b"ingestion_id"].decode()][int(pairs[b"ingestor.block_last"], 16)].add(file.read())
    return {ident: [cuts[last] for last in sorted(cuts)] for ident, cuts in found.items()}


def read_counts(service):
    """For each dataset rows, sum of the numbers, different numbers, first and last arrival, by
    DuckDB."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'; set threads = 2")
        rows = database.execute(
            "select ingestion_id, count(*), sum(seq), count(distinct seq), "
            "epoch_us(min(_ingested_at)), epoch_us(max(_ingested_at)) "
            "from read_parquet(?, union_by_name = true, hive_partitioning = true) group by 1",
            [[str(file) for file in service.files()]]).fetchall()
    return {row[0]: row[1:] for row in rows}


def micros(text):
    moment = datetime.fromisoformat(text)
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // (moment.resolution)


def check_sensors(found, model):
    listed, count = set(found["unique_sensor_ids"]), len(model.sensors)
    assert len(listed) == len(found["unique_sensor_ids"]) == min(count, 1000)
    assert listed <= model.sensors
    assert abs(found["unique_sensor_count"] - count) <= (0 if count <= 4000 else count * 0.02)


def check_field(found, field, records, what):
    """Samples of objects and arrays are told by their first character."""
    assert found["type"] == field.types[-1], what
    assert found["nullable"] == (field.filled < records), what
    samples = found["sample_values"]
    assert (field.filled > 0) <= len(samples) <= 5 and len(set(samples)) == len(samples), (what, samples)
    for sample in samples:
        assert len(sample.encode()) <= 256, what
        if sample[:1] in "[{" and field.seen & {"array", "object"}:
            continue
        assert any(value.startswith(sample) if len(sample) == 256 else value == sample
                   for value in field.values) or len(field.values) >= 300, (what, sample)


def check_dataset(found, model, lake):
    what = model.name
    rows, seqs, different, first_us, last_us = lake
    assert (rows, seqs, different) == (model.records, model.seqs, model.records - model.repeats), what
    assert found["record_count"] == model.records, what
    assert found["data_size_bytes"] == model.size, what
    assert (micros(found["first_seen"]), micros(found["last_seen"])) == (first_us, last_us), what
    assert model.begin - 1 <= first_us / 1e6 <= last_us / 1e6 <= model.end + 1, what
    assert found["topic"] == "unknown"
    check_sensors(found, model)
    fields = {field["name"]: field for field in found["schema_fields"]}
    assert len(fields) == len(found["schema_fields"])
    assert set(fields) - OWN == set(model.fields), what
    assert set(fields) >= OWN
    evolution = collections.defaultdict(list)
    for row in found["evolution"]:
        evolution[row["field_name"]].append(row["field_type"])
        assert found["first_seen"][:19] <= row["first_seen"].replace(" ", "T") <= found["last_seen"]
    assert set(evolution) == set(fields), what
    for name, field in model.fields.items():
        types = evolution[name]
        if field.filled and field.types[0] == "null" != types[0]:
            types = ["null", *types]  # the first cut had a value too, and of that the column tells
        assert (name, types) == (name, field.types), what
        check_field(fields[name], field, model.records, f"{what}: {name}")


def check_quality(found, model, cuts):
    """What was measured second is all but the first record, which was measured at once."""
    assert cuts[0].rows == 1
    rest = cuts[1:]
    records = model.records - 1
    cells, filled, rescued, repeats, compared = (
        sum(values) for values in zip(*((c.cells, c.filled, c.rescued, *c.repeats()) for c in rest)))
    expected = {"completeness": filled / cells, "rescued_ratio": rescued / records,
                "late_ratio": (model.late - model.first[0]) / records,
                "missing_timestamp_ratio": (model.untimed - model.first[1]) / records,
                "duplicate_ratio": repeats / compared}
    for name, value in expected.items():
        assert len(found[name]) == 2, (model.name, name, found[name])
        assert found[name][1]["metric_value"] == pytest.approx(value), (model.name, name)


def check_freshness(found, last_seen):
    for metric in found["freshness_seconds"][1:]:
        at = metric["measurement_time"].replace(" ", "T") + "+00:00"
        assert abs((micros(at) - micros(last_seen)) / 1e6 - metric["metric_value"]) <= 1


def verify(service):
    done = subprocess.run([find_program("ingestor"), "lake", "verify"], cwd=service.folder,
                          env=service.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def send_through_kills(run):
    chance = random.Random(KILLS)
    wait_until(lambda: all("schema_changes" in run.quality(ident) for ident in run.idents),
               "the first record of each to be measured")
    run.go.set()
    for kill in range(KILLS):
        run.wait_sent(RECORDS * (kill + chance.uniform(0.5, 1.2)) / (KILLS + 1))
        time.sleep(chance.random())
        run.start_again(run.service.kill)
    run.wait_sent(RECORDS)


def test_the_metadata_is_the_models(run):
    begin = time.monotonic()
    send_through_kills(run)
    models, repeats = run.models()
    sent_s = time.monotonic() - begin
    wait_until(lambda: all(d["record_count"] >= models[d["ingestion_id"]].records
                           for d in data(run.api, "datasets")["datasets"]), "the counts")
    found = run.metadata()
    run.start_again(run.service.stop, METADATA_QUALITY_SECONDS="1")
    assert run.metadata() == found
    lake, cuts = read_counts(run.service), read_cuts(run.service)
    assert set(found) == set(models) == set(lake)
    for ident, model in models.items():
        check_dataset(found[ident], model, lake[ident])
    for ident, model in models.items():
        wait_until(lambda: len(run.quality(ident)["completeness"]) == 2, "the second measurement")
        quality = run.quality(ident)
        check_quality(quality, model, cuts[ident])
        check_freshness(quality, found[ident]["last_seen"])
        changes = sum(metric["metric_value"] for metric in quality["schema_changes"])
        assert changes == len(found[ident]["evolution"])
    run.start_again(run.service.kill)
    assert run.metadata() == found
    run.service.stop()
    print(verify(run.service)[-300:])
    print(f"{RECORDS} records sent in {sent_s:.1f} s through {KILLS} kills, {repeats} posts repeated, "
          f"{sum(map(len, cuts.values()))} cuts, {len(run.service.files())} files")

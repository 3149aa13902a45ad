"""The first file of a dataset, which tells all of its metadata: its size against pyarrow's, with as many
sensors as records and a random UUID for each; and that a database which is lost says the same again,
counted from these files (metadata/recount.h), though they leave the sensors to their column."""

import io
import json
import random
import uuid

import pytest
from conftest import Service, free_port, wait_until
from test_data_sources_api import Api
from test_metadata import data, dataset, metadata_health
from test_metadata_recount import deleted

COUNTS = [1, 3, 4, 10, 14, 20, 100, 1000, 3000, 6000]
EXACT_MAX = 4096  # sensors; more are estimated


def reading(rng, i, name, hours=1):
    return {name: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "temperature": round(rng.uniform(15, 30), 2),
            "timestamp": f"2026-11-29T{i % hours:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z"}


def sent():
    """By source: its configuration and its records."""
    rng = random.Random(31)
    made = {f"{n}": ({}, [reading(rng, i, "sensor_id") for i in range(n)]) for n in COUNTS}
    made["named"] = ({"sensor_id_field": "device"}, [reading(rng, i, "device") for i in range(300)])
    made["other name"] = ({}, [reading(rng, i, "sensorId") for i in range(300)])
    made["hours"] = ({}, [reading(rng, i, "sensor_id", hours=3) for i in range(300)])
    mixed = [reading(rng, i, "sensor_id") for i in range(300)]
    for i in range(0, 300, 3):
        mixed[i]["sensor_id"] = [7.5, None, {"a": 1}, f"{i}.0"][i // 3 % 4]
    made["mixed"] = ({}, mixed)
    repeated = [reading(rng, i, "sensor_id") for i in range(300)]
    made["repeated"] = ({"dedupe_key": {"field": "timestamp", "window_seconds": 3600}},
                        repeated + [{**r, "sensor_id": str(uuid.UUID(int=rng.getrandbits(128)))}
                                    for r in repeated[:100]])
    return made


class First:
    def __init__(self, make_service):
        self.sent = sent()
        sources = [{"name": name, "type_name": "http_push", "config": config}
                   for name, (config, _) in self.sent.items()]
        self.service = make_service(free_port(), sources=sources,
                                    environment={"FLUSH_FILES_PER_SECOND_MAX": "1000"})
        self.api = Api(self.service)
        self.api.wait_ready()
        wait_until(self.register, "the sources to be active")
        for name, (_, records) in self.sent.items():
            self.api.json("POST", f"/api/ingest/{self.ids[name]}", records, 202)
        self.wait_told()

    def register(self):
        found = json.loads(self.service.get("/api/data-sources"))["data"] or []
        self.ids = {s["name"]: s["ingestion_id"] for s in found if s["status"] == "active"}
        return len(self.ids) == len(self.sent)

    def records(self, name):
        return 300 if name == "repeated" else len(self.sent[name][1])

    def told(self, name):
        return dataset(self.api, self.ids[name]) or {}

    def wait_told(self):
        wait_until(lambda: metadata_health(self.api) == "healthy" and all(
            self.told(name).get("record_count") == self.records(name) for name in self.sent),
            lambda: {name: self.told(name).get("record_count") for name in self.sent})

    def metadata(self):
        found = {}
        for name, ident in self.ids.items():
            told = self.told(name)
            told.pop("created_at"), told.pop("updated_at", None)
            found[name] = told, data(self.api, f"datasets/{ident}/schema")
        return found

    def file(self, name):
        files = list((self.service.lake / f"bronze/ingestion_id={self.ids[name]}").glob("*/*/*.parquet"))
        assert len(files) == 1
        return files[0]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    services = []

    def make(port, **options):
        services.append(Service(folder, port, **options).start())
        return services[0]

    try:
        yield First(make)
        services[0].stop()
    finally:
        for service in services:
            print(service.log()[-3000:])
            if service.alive():
                service.kill()


@pytest.mark.parametrize("count", COUNTS)
def test_size_against_pyarrow(first, count):
    """Not larger than pyarrow's file of the same rows with the same codec; printed for bench/RESULTS.md."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = first.file(f"{count}")
    table = parquet.ParquetFile(file).read()
    bare = pa.table(table.columns, names=table.column_names)  # without what our footer has besides
    sizes = []
    for with_schema in True, False:
        out = io.BytesIO()
        parquet.write_table(bare, out, compression="zstd", compression_level=3, store_schema=with_schema)
        sizes.append(out.tell())
    ours = file.stat().st_size
    print(f"size | {count} | {ours} | {sizes[0]} | {sizes[1]}")
    assert ours <= sizes[0]


def test_a_lost_database_says_the_same(first):
    before = first.metadata()
    for name, (config, records) in first.sent.items():
        told = before[name][0]
        field = config.get("sensor_id_field", "sensorId" if name == "other name" else "sensor_id")
        sensors = {r[field] for r in records[:first.records(name)] if isinstance(r[field], str)}
        sensors |= {"7.5"} if name == "mixed" else set()
        listed = told["unique_sensor_ids"]
        if name != "mixed":  # there a text like 6.0 may be the sensor 6
            assert len(listed) == min(len(sensors), 1000) and set(listed) <= sensors
            assert abs(told["unique_sensor_count"] - len(sensors)) <= len(sensors) * (
                0 if len(sensors) <= EXACT_MAX else 0.02)
    first.service.stop()
    deleted(first.service)
    first.service.start()
    first.api.wait_ready()
    wait_until(first.register, "the sources to be active")
    first.wait_told()
    after = first.metadata()
    for name, (_, records) in first.sent.items():
        if len(records) > EXACT_MAX:  # as near, and perhaps nearer
            for told, _ in before[name], after[name]:
                assert abs(told.pop("unique_sensor_count") - len(records)) <= len(records) * 0.02
        assert after[name] == before[name], name

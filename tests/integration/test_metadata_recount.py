"""A metadata database that is lost, again and again and in every way, while datasets with evolving
schemas are sent and the service is killed, also while it recounts: what it says in the end is what
the model counted (metadata_model.py), as if nothing had been lost.

INGESTOR_METADATA_RECOUNT=1000000x100x40 says how many records, datasets and losses."""

import os
import random
import sqlite3
import time

import pytest
import test_metadata_broken
from conftest import wait_until
from test_metadata import Model, check, data, metadata_health, wait_counted
from test_metadata_model import Run, check_dataset, read_counts, verify

RECORDS, DATASETS, LOSSES = map(int, os.environ.get("INGESTOR_METADATA_RECOUNT",
                                                    "12000x12x8").split("x"))


def files(service):
    return [service.folder / f"metadata.db{end}" for end in ("", "-wal", "-shm")]


def deleted(service):
    for file in files(service):
        file.unlink(missing_ok=True)


def garbage(service):
    deleted(service)
    files(service)[0].write_bytes(os.urandom(50000))


def cut_short(service):
    """What lies behind its first pages is gone."""
    with sqlite3.connect(files(service)[0], isolation_level=None) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    os.truncate(files(service)[0], max(4096, files(service)[0].stat().st_size // 3 // 4096 * 4096))


def rows_lost(service):
    """Of some datasets, with their progress: as salvage leaves it, and no note that all is there."""
    with sqlite3.connect(files(service)[0], isolation_level=None) as database:
        database.execute("DELETE FROM metadata_recounts")
        for table in ("schema_evolution", "dataset_sensors", "dataset_quality",
                      "metadata_progress", "dataset_metadata"):
            database.execute(f"DELETE FROM {table} WHERE ingestion_id IN (SELECT ingestion_id "
                             "FROM dataset_metadata ORDER BY ingestion_id LIMIT 5)")
    database.close()


LOST = [cut_short, rows_lost, deleted, garbage]


@pytest.fixture
def run(make_service):
    made = Run(make_service, RECORDS, DATASETS, 40)
    yield made
    made.end()


def recounted(api):
    return "recount" not in metadata_health(api)


def lose(run, how, chance):
    """Killed, also in the middle of the recount, or deleted while it runs."""
    if how is None:
        deleted(run.service)
        return
    run.service.kill()
    how(run.service)
    for _ in range(chance.randrange(3)):
        run.service.start()
        time.sleep(chance.random() * 0.7)
        run.service.kill()
    run.start_again(lambda: None)


def check_all(run, models):
    wait_until(lambda: recounted(run.api) and len(data(run.api, "datasets")["datasets"]) == DATASETS
               and all(d["record_count"] >= models[d["ingestion_id"]].records
                       for d in data(run.api, "datasets")["datasets"]), "the counts")
    found, lake = run.metadata(), read_counts(run.service)
    assert set(found) == set(models) == set(lake)
    for ident, model in models.items():
        check_dataset(found[ident], model, lake[ident])


def test_a_lost_database_is_the_models(run):
    chance = random.Random(LOSSES)
    wait_until(lambda: len(data(run.api, "datasets")["datasets"]) == DATASETS, "a cut of each first record")
    run.go.set()
    for loss in range(LOSSES):
        run.wait_sent(RECORDS * (loss + chance.uniform(0, 0.7)) / LOSSES)
        lose(run, [*LOST, None][loss % 5], chance)
    run.wait_sent(RECORDS)
    models, _ = run.models()
    check_all(run, models)  # what was sent while it recounted, too
    deleted(run.service)
    run.start_again(run.service.stop)
    check_all(run, models)
    run.service.stop()
    verify(run.service)


class Fed(test_metadata_broken.Fed):
    def check(self):  # whatever health still tells
        wait_counted(self.api, self.ident, self.model)
        check(self.api, self.ident, self.model)


def test_the_lake_is_away(make_service, tmp_path):
    """Then health says what it waits for, ingestion goes on, and what came since waits too. What the
    lost database had, and the lake has not yet, counts when it is there."""
    lake = tmp_path / "lake"
    fed = Fed(make_service, OBJECT_STORE_URL=f"file://{lake}")
    for _ in range(3):
        fed.feed(50)
        fed.check()
    lake.rename(tmp_path / "away")
    lake.write_text("no folder")
    fed.feed(50)
    fed.check()
    fed.service.kill()
    deleted(fed.service)
    fed.start()
    wait_until(lambda: "recounting from the lake" in metadata_health(fed.api),
               lambda: metadata_health(fed.api))
    fed.feed(50)
    time.sleep(2)
    assert fed.api.call("GET", f"/api/metadata/datasets/{fed.ident}")[0] == 404
    fed.service.kill()
    lake.unlink()
    (tmp_path / "away").rename(lake)
    fed.start()
    fed.feed(50)
    fed.check()
    wait_until(lambda: metadata_health(fed.api) == "healthy", lambda: metadata_health(fed.api))


def test_what_the_database_never_had(make_service):
    """Changes that wait in the journal, of cuts whose files lie in the lake, count once."""
    fed = Fed(make_service)
    for _ in range(3):
        fed.feed(50)
        fed.check()
    with sqlite3.connect(files(fed.service)[0], isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            fed.feed(50)
            wait_until(lambda: len(fed.service.rows()) == fed.model.records, "the lake to have it")
        fed.service.kill()
    other.close()
    deleted(fed.service)
    fed.start()
    fed.feed(50)
    fed.check()
    assert len(fed.service.rows()) == fed.model.records


def test_a_new_database_of_a_new_journal(make_service):
    """Has nothing to look for in a lake that holds others' files, and those of the Python service."""
    fed = Fed(make_service)
    fed.feed(20)
    fed.check()
    fed.service.stop()
    deleted(fed.service)
    (fed.service.folder / "journal").rename(fed.service.folder / "another's")
    fed.model = Model()
    fed.start()
    assert recounted(fed.api)
    fed.feed(20)
    fed.check()
    fed.service.kill()
    deleted(fed.service)
    fed.start()
    fed.feed(20)
    fed.check()


def alarms(service):
    """How often the database was found to be an older copy."""
    with sqlite3.connect(files(service)[0], isolation_level=None) as database:
        count = database.execute("SELECT count(*) FROM alarms").fetchone()[0]
    database.close()
    return count


def test_an_older_copy_is_put_back(make_service):
    """While the service is stopped, and while it runs: what it lacks is counted from the lake. A
    database that lacks nothing is never taken for one, whenever the service was killed."""
    fed = Fed(make_service)
    fed.feed(30)
    fed.check()
    fed.service.stop()
    with sqlite3.connect(files(fed.service)[0], isolation_level=None) as database:
        database.execute("CREATE TABLE alarms (at)")
        database.execute("CREATE TRIGGER alarm AFTER DELETE ON metadata_recounts "
                         "BEGIN INSERT INTO alarms VALUES (1); END")
    database.close()
    copy = files(fed.service)[0].read_bytes()
    for part in range(4):
        fed.start()
        fed.feed(20)
        if part % 2:
            fed.check()
        fed.service.kill()
    assert alarms(fed.service) == 0
    for is_running in (False, True):
        deleted(fed.service)
        files(fed.service)[0].write_bytes(copy)
        if not is_running:
            fed.start()
        fed.feed(20)
        fed.check()
        wait_until(lambda: metadata_health(fed.api) == "healthy", lambda: metadata_health(fed.api))
        assert alarms(fed.service) == 1
    fed.service.kill()
    fed.start()
    fed.feed(20)
    fed.check()
    assert alarms(fed.service) == 1

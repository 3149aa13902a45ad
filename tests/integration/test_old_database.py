"""A database that the Python service wrote is taken over in place, and the Python service can go
back to it (contract/data.md, Databases). python_models.py has its tables."""

import datetime
import json
import sqlite3

import pytest

import python_models
from conftest import wait_until
from test_registry import good, mqtt, sources, up

MQTT_CLASS = "src.connectors.mqtt_connector.MQTTConnector"
TABLES = ("data_source_types", "data_sources", "data_source_metrics")


def definitions(path):
    """What the three tables and the old indexes are made by."""
    with sqlite3.connect(path) as database:
        return dict(database.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name IN (?, ?, ?)", TABLES))


def old_database(path, broker_port):
    config = {"broker": "127.0.0.1", "port": broker_port, "topics": ["old/#"], "note": "Übung ☃"}
    with sqlite3.connect(path) as database:
        database.executescript(python_models.DDL)
        database.executemany(
            "INSERT INTO data_source_types VALUES (?, ?, ?, ?, ?, ?, 1, '2025-03-01 10:00:00')", [
                (1, "mqtt", "MQTT Broker", "old words", MQTT_CLASS, '{"type": "object"}'),
                (2, "pigeon", "Carrier Pigeon", None, "src.connectors.pigeon.Pigeon", "{}")])
        database.executemany(
            "INSERT INTO data_sources VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, 'api', ?, ?)", [
                (4, "Plant", 1, json.dumps(config), "0c1f7d0e_plant_mqtt", 1, "active",
                 "2025-03-01 10:00:01.123456", "2025-03-01 10:00:00",
                 "2025-03-01 10:00:01.654321"),
                (5, "Roof", 2, "{}", "roof", 1, "active", None, "2025-03-01 10:00:00", None),
                (6, "Broken", 1, '{"broker": ', "broken", 1, "error", None, "2025-03-01 10:00:00",
                 None),
                (7, "Off", 1, json.dumps({**config, "topics": ["off/#"]}), "off", 0, "stopped",
                 None, "2025-03-01 10:00:00", "2025-03-01 10:00:00.000000")])
        database.execute("INSERT INTO data_source_metrics VALUES "
                         "(1, 4, 10, 9, '2025-03-01 10:00:00.000001', 1.5, 1, '2025-03-01 10:00:00')")
    return path


def url(path):
    return {"INGESTOR_DATABASE_URL": f"sqlite:///{path}", "AUTO_REGISTER": "false"}


def row_of(path, source_id):
    with sqlite3.connect(path) as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM data_sources WHERE id = ?", (source_id,)).fetchone()


def test_taken_over_in_place(mosquitto, make_service, tmp_path):
    path = old_database(tmp_path / "old.db", mosquitto.port)
    before = definitions(path)
    service = up(make_service(mosquitto.port, environment=url(path)))
    wait_until(lambda: len(sources(service)) == 2, "the sources that can be used")
    plant, off = sources(service)
    assert (plant["id"], plant["name"], plant["ingestion_id"]) == (4, "Plant", "0c1f7d0e_plant_mqtt")
    assert plant["config"]["note"] == "Übung ☃" and plant["created_by"] == "api"
    assert (off["id"], off["enabled"], off["status"]) == (7, False, "stopped")
    wait_until(lambda: good(service, "GET", "/api/data-sources/4")["status"] == "active",
               "the old source to run, although its config has a property of its own")
    good(service, "PUT", "/api/data-sources/4", {"name": "Works"})
    service.wait_log("data source 5", timeout_s=30)
    service.wait_log("data source 6", timeout_s=30)
    service.stop()
    # Nothing of the old tables has changed but the rows; what could not be used is still there.
    after = definitions(path)
    assert {name: after[name] for name in before} == before
    assert row_of(path, 5)["name"] == "Roof" and row_of(path, 6)["config"] == '{"broker": '
    row = row_of(path, 4)
    assert row["name"] == "Works" and row["ingestion_id"] == "0c1f7d0e_plant_mqtt"
    assert row["config"] == json.dumps(json.loads(row["config"])) and "\\u00dc" in row["config"]
    datetime.datetime.strptime(row["updated_at"], "%Y-%m-%d %H:%M:%S.%f")
    datetime.datetime.strptime(row["last_connection"], "%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(path) as database:
        kept = database.execute("SELECT id, connector_class, config_schema FROM data_source_types "
                                "WHERE name = 'mqtt'").fetchone()
    assert kept[:2] == (1, MQTT_CLASS) and "properties" in json.loads(kept[2])


def test_runs_as_well_as_it_can(mosquitto, make_service, tmp_path):
    """What the Python service took and our schema would not."""
    path = old_database(tmp_path / "old.db", mosquitto.port)
    port = mosquitto.port
    mqtt_configs = [
        {"port": str(port), "topics": "a"}, {"port": port, "topics": ["b/#", "b/c", "b/#"]},
        {"port": port, "topics": "c", "username": "", "password": "", "shared_group": ""},
        {"port": float(port), "topics": "d", "use_shared_subscription": "false", "qos": "1"},
        {"port": port, "topics": ["+/e", "e/+"], "keep_alive_seconds": 30.5}]
    rest_configs = [
        {"poll_interval": "30"}, {"poll_interval": 30.7, "auth_type": "none", "auth_token": ""},
        {"method": "get", "body": "", "data_path": "", "api_key_header": ""},
        {"method": None, "headers": None, "params": None, "body": {}, "auth_token": None}]
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM data_sources")
        database.execute("INSERT INTO data_source_types VALUES (3, 'rest_api', 'REST API', NULL, "
                         "'src.connectors.rest_api_connector.RestApiConnector', '{}', 1, NULL)")
        rows = [(1, {"broker": "127.0.0.1", **config}) for config in mqtt_configs]
        rows += [(3, {"url": "http://127.0.0.1:1/", **config}) for config in rest_configs]
        database.executemany(
            "INSERT INTO data_sources VALUES (?, ?, ?, ?, ?, 1, 'active', NULL, NULL, 'api', "
            "'2025-03-01 10:00:00', NULL)",
            [(i, f"s{i}", type_id, json.dumps(config), f"id{i}")
             for i, (type_id, config) in enumerate(rows, 1)])
    service = up(make_service(mosquitto.port, environment=url(path)))
    wait_until(lambda: all(source["status"] == "active" for source in sources(service)),
               lambda: [(source["config"], source["last_error"]) for source in sources(service)
                        if source["status"] != "active"])
    assert len(sources(service)) == len(rows)
    service.stop()
    for i, (_, config) in enumerate(rows, 1):  # stored as it was
        assert json.loads(row_of(path, i)["config"]) == config


def test_deleted_with_its_metrics(mosquitto, make_service, tmp_path):
    """The old table has no cascade."""
    path = old_database(tmp_path / "old.db", mosquitto.port)
    service = up(make_service(mosquitto.port, environment=url(path)))
    wait_until(lambda: len(sources(service)) == 2, "the sources that can be used")
    assert good(service, "GET", "/api/data-sources/4/metrics")[-1]["messages_received"] == 10
    good(service, "DELETE", "/api/data-sources/4")
    service.stop()
    assert row_of(path, 4) is None
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM data_source_metrics "
                                "WHERE data_source_id = 4").fetchone() == (0,)


@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_there_and_back(mosquitto, make_service, tmp_path, whose):
    """SQLAlchemy reads what we wrote, in its tables and in ours, and writes on."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session
    base, Type, Source, Metric = python_models.models(sqlalchemy)
    path = tmp_path / "shared.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    if whose == "theirs":
        base.metadata.create_all(engine)
    service = up(make_service(mosquitto.port, environment=url(path)))
    made = good(service, "POST", "/api/data-sources",
                mqtt(mosquitto.port, name="Übung", topics=("ü/#",), client_id="ü"))
    wait_until(lambda: good(service, "GET", f"/api/data-sources/{made['id']}")["status"] == "active",
               "it to run")
    service.stop()
    with Session(engine) as session:
        row = session.get(Source, made["id"])
        assert row.name == "Übung" and row.ingestion_id == made["ingestion_id"]
        assert row.config == made["config"] and row.enabled is True
        assert row.type.connector_class == MQTT_CLASS and row.type.config_schema["properties"]
        assert isinstance(row.updated_at, datetime.datetime) and row.created_at <= row.updated_at
        assert isinstance(row.last_connection, datetime.datetime)
        row.config = {**row.config, "topics": ["theirs/#"]}
        row.enabled = False
        session.add(Source(name="Their own", type=row.type, config=row.config, ingestion_id="own",
                           last_connection=datetime.datetime(2025, 3, 1, 10, 0, 0, 5)))
        row.metrics.append(Metric(messages_received=3, recorded_at=datetime.datetime(2025, 3, 1)))
        session.commit()
    service.start()
    up(service)
    found = {source["name"]: source for source in sources(service)}
    assert found["Übung"]["config"]["topics"] == ["theirs/#"] and not found["Übung"]["enabled"]
    assert found["Their own"]["ingestion_id"] == "own" and found["Their own"]["enabled"]
    metrics = good(service, "GET", f"/api/data-sources/{made['id']}/metrics")
    assert metrics[-1]["messages_received"] == 3
    service.stop()
    with Session(engine) as session:
        session.delete(session.get(Source, made["id"]))  # and its metrics
        session.commit()
        assert session.query(Source).count() == 1
        assert session.query(Metric).filter_by(data_source_id=made["id"]).count() == 0
    engine.dispose()

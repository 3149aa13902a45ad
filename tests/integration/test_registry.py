"""The registry of data sources over the life of the service: restarts, kills, other replicas, a
configuration that changes, a database that is away (contract/http-api.md, contract/config.md)."""

import json
import random
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request

from conftest import wait_until

DEFAULT_ID = "5ec7bb57_local_simulators_mqtt_mqtt"


def call(service, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", data, method=method,
                                     headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def good(service, method, path, body=None):
    status, answer = call(service, method, path, body)
    assert status == 200, (method, path, status, answer)
    return answer.get("data", answer)


def sources(service):
    return good(service, "GET", "/api/data-sources?enabled_only=false")


def up(service):
    """The service, as soon as its registry answers."""
    wait_until(lambda: call(service, "GET", "/api/data-sources?enabled_only=false")[0] == 200,
               "the registry to answer")
    return service


def registered(service):
    """The list, as soon as the database was read."""
    return wait_until(lambda: call(service, "GET", "/api/data-sources?enabled_only=false")[0] == 200
                      and sources(service), "sources to be registered")


def mqtt(port, name="lab", topics=("lab/#",), **config):
    return {"name": name, "type_name": "mqtt",
            "config": {"broker": "127.0.0.1", "port": port, "topics": list(topics), **config}}


def rows(service):
    with sqlite3.connect(service.folder / "ingestor.db") as database:
        return database.execute("SELECT name, enabled, status, created_by FROM data_sources "
                                "ORDER BY id").fetchall()


def test_default_source_is_registered_once(mosquitto, make_service):
    service = make_service(mosquitto.port)
    source = registered(service)[0]
    assert source["ingestion_id"] == DEFAULT_ID and source["created_by"] == "system_auto_register"
    wait_until(lambda: good(service, "GET", f"/api/data-sources/{source['id']}")["status"] == "active",
               "the default source to connect")
    good(service, "DELETE", f"/api/data-sources/{source['id']}")
    assert sources(service) == []
    service.stop()
    service.start()
    up(service)
    time.sleep(1)
    assert sources(service) == [], "who deletes the default source is not asked again"


def test_a_stop_and_a_start_survive_a_restart(mosquitto, make_service):
    service = up(make_service(mosquitto.port, environment={"AUTO_REGISTER": "false"}))
    source = good(service, "POST", "/api/data-sources", mqtt(mosquitto.port))
    path = f"/api/data-sources/{source['id']}"
    good(service, "POST", f"{path}/start")
    assert good(service, "GET", f"{path}/health")["healthy"] is True
    good(service, "POST", f"{path}/stop")
    assert good(service, "GET", path)["status"] == "stopped"
    service.kill()
    service.start()
    wait_until(lambda: registered(service), "the registry")
    time.sleep(1.5)
    assert good(service, "GET", path)["status"] == "stopped"
    good(service, "POST", f"{path}/start")
    service.stop()
    service.start()
    wait_until(lambda: registered(service)[0]["status"] == "active", "the source to run again")


def test_a_failed_start_tells_why(make_service, broker):
    service = up(make_service(broker.port, environment={"AUTO_REGISTER": "false"}))
    source = good(service, "POST", "/api/data-sources", mqtt(1))
    status, answer = call(service, "POST", f"/api/data-sources/{source['id']}/start")
    assert status == 500 and "refused" in answer["error"].lower(), answer
    source = good(service, "GET", f"/api/data-sources/{source['id']}")
    assert source["status"] == "error" and "refused" in source["last_error"].lower()
    health = good(service, "GET", f"/api/data-sources/{source['id']}/health")
    assert health["healthy"] is False and health["last_error"]


def test_a_change_restarts_and_the_id_stays(mosquitto, make_service, simulate):
    service = up(make_service(mosquitto.port, environment={"AUTO_REGISTER": "false"}))
    source = good(service, "POST", "/api/data-sources",
                  mqtt(mosquitto.port, topics=["elsewhere/#"], password="hush", username="me"))
    path = f"/api/data-sources/{source['id']}"
    assert source["config"]["password"] == "********"
    changed = {**source["config"], "topics": ["smartcity/sensors/#"]}
    answer = good(service, "PUT", path, {"name": "renamed", "config": changed})
    assert answer["ingestion_id"] == source["ingestion_id"] and answer["name"] == "renamed"
    with sqlite3.connect(service.folder / "ingestor.db") as database:
        stored = json.loads(database.execute("SELECT config FROM data_sources").fetchone()[0])
    assert stored["password"] == "hush", "the mask that was sent back keeps the secret"
    wait_until(lambda: good(service, "GET", path)["status"] == "active", "the source to run")
    simulate(mosquitto.port, "--count", "200", "--rate", "1000")
    wait_until(lambda: service.metric("ingestor_messages_received_total") == 200, "200 messages")
    good(service, "PUT", path, {"enabled": False})
    wait_until(lambda: good(service, "GET", path)["status"] == "stopped", "the source to stop")


def test_declared_sources_are_reconciled(mosquitto, make_service):
    service = make_service(mosquitto.port, sources=[mqtt(mosquitto.port, "one"),
                                                    mqtt(mosquitto.port, "two", ["two/#"])])
    wait_until(lambda: len(registered(service)) == 2, "both to be registered")
    good(service, "POST", "/api/data-sources", mqtt(mosquitto.port, "by hand", ["hand/#"]))
    config = service.folder / "ingestor.yaml"
    config.write_text(json.dumps({"sources": [mqtt(mosquitto.port, "two", ["two/+/x"]),
                                              mqtt(mosquitto.port, "three", ["three/#"])]}))
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sorted(s["name"] for s in sources(service)) == ["by hand", "three", "two"],
               "the declared sources to be read again")
    two = next(s for s in sources(service) if s["name"] == "two")
    assert two["config"]["topics"] == ["two/+/x"]
    config.write_text(json.dumps({"sources": [{"name": "bad", "type_name": "mqtt", "config": {}}]}))
    service.process.send_signal(signal.SIGHUP)
    service.wait_log("everything stays as it was")
    assert len(sources(service)) == 3
    service.stop()
    config.write_text(json.dumps({"sources": []}))
    service.start()
    wait_until(lambda: [s["name"] for s in registered(service)] == ["by hand"], "the rest to go")


def test_killed_while_the_registry_changes(mosquitto, make_service):
    """Whatever the moment: the registry is whole, no half-made source, and it starts again."""
    service = up(make_service(mosquitto.port, environment={"AUTO_REGISTER": "false"}))
    chance = random.Random(7)
    known = set()  # ids whose creation was answered and whose deletion was not begun
    unsure = set()
    for turn in range(6):
        up(service)
        stop = threading.Event()

        def change(turn=turn, stop=stop):
            number = 0
            try:
                while not stop.is_set():
                    number += 1
                    name = f"s{turn}-{number}"
                    unsure.add(name)
                    status, answer = call(service, "POST", "/api/data-sources",
                                          mqtt(mosquitto.port, name, [f"{name}/#"]))
                    assert status == 200, answer
                    unsure.discard(name)
                    known.add(name)
                    path = f"/api/data-sources/{answer['data']['id']}"
                    call(service, "PUT", path, {"config": mqtt(mosquitto.port, name, [
                        f"{name}/+"])["config"]})
                    if number % 2 == 0:
                        known.discard(name)
                        unsure.add(name)
                        call(service, "DELETE", path)
                        unsure.discard(name)
            except OSError:
                pass

        worker = threading.Thread(target=change)
        worker.start()
        time.sleep(chance.uniform(0.3, 1.5))
        service.kill()
        stop.set()
        worker.join()
        service.start()
    found = {s["name"]: s for s in registered(service)}
    assert known <= set(found), known - set(found)
    assert set(found) <= known | unsure, set(found) - known - unsure
    for source in found.values():
        assert source["config"]["topics"][0] in (f"{source['name']}/#", f"{source['name']}/+")
    wait_until(lambda: all(s["status"] == "active" for s in sources(service)),
               lambda: [(s["name"], s["status"], s["last_error"]) for s in sources(service)
                        if s["status"] != "active"])


def test_database_away_and_back(mosquitto, make_service, simulate):
    """Locked by another: what runs goes on, the API says 503 and why, and it mends itself."""
    service = make_service(mosquitto.port)
    source = registered(service)[0]
    wait_until(lambda: sources(service)[0]["status"] == "active", "the default source to run")
    lock = sqlite3.connect(service.folder / "ingestor.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    status, answer = call(service, "POST", "/api/data-sources", mqtt(mosquitto.port))
    assert status == 503 and answer["error"], answer
    simulate(mosquitto.port, "--count", "100", "--rate", "1000")
    wait_until(lambda: service.metric("ingestor_messages_received_total") == 100,
               "messages although the database is locked")
    wait_until(lambda: "healthy" != json.loads(service.get("/api/health"))["components"]["database"],
               "health to say so")
    lock.execute("ROLLBACK")
    lock.close()
    good(service, "POST", "/api/data-sources", mqtt(mosquitto.port))
    wait_until(lambda: json.loads(service.get("/api/health"))["components"]["database"] == "healthy",
               "health to mend")
    assert good(service, "GET", f"/api/data-sources/{source['id']}")["status"] == "active"


def test_a_push_before_the_registry_was_read(make_service):
    """Never 404, which a client would take for the end of it: nobody knows yet."""
    service = make_service(1, environment={"AUTO_REGISTER": "false"})
    wait_until(lambda: call(service, "GET", "/api/data-sources")[0] == 200, "the registry")
    path = good(service, "POST", "/api/data-sources", {"name": "hook", "type_name": "http_push",
                                                       "config": {}})["ingestion_id"]
    wait_until(lambda: call(service, "POST", f"/api/ingest/{path}", {"n": 1})[0] == 202, "a push")
    service.stop()
    lock = sqlite3.connect(service.folder / "ingestor.db", isolation_level=None)
    lock.execute("PRAGMA journal_mode = DELETE")
    lock.execute("BEGIN EXCLUSIVE")
    service.start()
    wait_until(lambda: service.log().count("listening on") == 2, "the service")
    for _ in range(3):
        status, answer = call(service, "POST", f"/api/ingest/{path}", {"n": 2})
        assert status == 503 and "not been read" in json.dumps(answer), (status, answer)
    lock.execute("ROLLBACK")
    lock.close()
    wait_until(lambda: call(service, "POST", f"/api/ingest/{path}", {"n": 2})[0] == 202, "the push")
    assert call(service, "POST", "/api/ingest/nobody", {"n": 3})[0] == 404


def test_database_removed(mosquitto, make_service, simulate):
    """Nothing is promised that a restart would not know of, and messages still arrive."""
    service = make_service(mosquitto.port)
    registered(service)
    wait_until(lambda: sources(service)[0]["status"] == "active", "the default source to run")
    for path in service.folder.glob("ingestor.db*"):
        path.rename(path.with_name("away-" + path.name))
    status, answer = call(service, "POST", "/api/data-sources", mqtt(mosquitto.port))
    assert status == 503 and "gone" in json.dumps(answer), answer
    status, answer = call(service, "PUT", f"/api/data-sources/{sources(service)[0]['id']}",
                          {"enabled": False})
    assert status == 503, answer
    simulate(mosquitto.port, "--count", "100", "--rate", "1000")
    wait_until(lambda: service.metric("ingestor_messages_received_total") == 100,
               "messages although the database is gone")
    for path in service.folder.glob("away-*"):
        path.rename(path.with_name(path.name.removeprefix("away-")))
    wait_until(lambda: call(service, "POST", "/api/data-sources", mqtt(mosquitto.port))[0] == 200,
               "what was put back to be taken")


def test_database_away_at_the_start(mosquitto, make_service, simulate, tmp_path):
    """Declared sources run without a database, and are registered when it is there."""
    folder = tmp_path / "database"
    folder.write_text("a file where a folder should be")
    service = make_service(mosquitto.port, sources=[mqtt(mosquitto.port, "lab",
                                                         ["smartcity/sensors/#"])],
                           environment={"INGESTOR_DATABASE_URL": f"sqlite:///{folder}/ingestor.db"})
    wait_until(lambda: good(service, "GET", "/api/data-sources/status/overview")
               ["active_connectors"] == 1, "the declared source to run")
    assert call(service, "GET", "/api/data-sources")[0] == 503
    simulate(mosquitto.port, "--count", "50", "--rate", "1000")
    wait_until(lambda: service.metric("ingestor_messages_received_total") == 50, "messages")
    folder.unlink()
    wait_until(lambda: [s["status"] for s in registered(service)] == ["active"], "registration")


def test_two_replicas_share_one_registry(mosquitto, make_service):
    """A change made on one is seen by the other within seconds."""
    one = up(make_service(mosquitto.port, environment={"AUTO_REGISTER": "false"}))
    registry = {"INGESTOR_DATABASE_URL": f"sqlite:///{one.folder}/ingestor.db"}
    two = make_service(mosquitto.port, environment={"AUTO_REGISTER": "false", **registry})
    up(two)
    source = good(one, "POST", "/api/data-sources", mqtt(mosquitto.port))
    path = f"/api/data-sources/{source['id']}"
    wait_until(lambda: [s["status"] for s in sources(two)] == ["active"], "the other to run it", 30)
    good(two, "PUT", path, {"config": mqtt(mosquitto.port, topics=["other/#"])["config"]})
    wait_until(lambda: good(one, "GET", path)["config"]["topics"] == ["other/#"], "the change", 30)
    good(two, "POST", f"{path}/stop")
    wait_until(lambda: good(one, "GET", path)["status"] == "stopped", "the stop", 30)
    good(one, "POST", f"{path}/start")
    wait_until(lambda: good(two, "GET", path)["status"] == "active", "the start", 30)
    good(two, "DELETE", path)
    wait_until(lambda: sources(one) == [], "the deletion", 30)


def test_metrics_are_kept(mosquitto, make_service, simulate):
    """A row a minute for each active source, and none when the source has gone."""
    service = make_service(mosquitto.port)
    source = registered(service)[0]
    wait_until(lambda: sources(service)[0]["status"] == "active", "the default source to run")
    simulate(mosquitto.port, "--count", "300", "--rate", "1000")
    path = f"/api/data-sources/{source['id']}/metrics"
    wait_until(lambda: sum(row["messages_received"] for row in good(service, "GET", path)) == 300,
               "rows that sum up to 300 messages")
    good(service, "DELETE", f"/api/data-sources/{source['id']}")
    with sqlite3.connect(service.folder / "ingestor.db") as database:
        assert database.execute("SELECT count(*) FROM data_source_metrics").fetchone() == (0,)

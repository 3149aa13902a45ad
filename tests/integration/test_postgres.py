"""Several replicas on one PostgreSQL: one registry, one poller for each polling source, and a server
that goes away and comes back (contract/data.md, Databases)."""

import concurrent.futures
import time

import pytest

import python_models
from conftest import wait_until
from postgres_server import postgres  # noqa: F401 (a fixture)
from test_registry import call, good, mqtt, sources, up
from test_rest import serve  # noqa: F401 (a fixture)
from test_rest import source as rest


def environment(postgres):
    return {"INGESTOR_DATABASE_URL": postgres.url, "AUTO_REGISTER": "false"}


def replica(make_service, mosquitto, postgres):
    return up(make_service(mosquitto.port, environment=environment(postgres)))


def test_one_registry(mosquitto, make_service, postgres):
    """Both make the tables at the same time; what one changes the other sees within seconds."""
    both = [make_service(mosquitto.port, environment=environment(postgres)) for _ in range(2)]
    one, two = (up(service) for service in both)
    made = good(one, "POST", "/api/data-sources", mqtt(mosquitto.port, name="Übung"))
    path = f"/api/data-sources/{made['id']}"
    start = time.monotonic()
    wait_until(lambda: [s["name"] for s in sources(two)] == ["Übung"], "the source on the other", 30)
    assert time.monotonic() - start < 5
    assert call(two, "POST", "/api/data-sources", mqtt(mosquitto.port, name="Übung",
                                                       topics=("x/#",)))[0] == 409
    good(two, "PUT", path, {"config": mqtt(mosquitto.port, topics=("other/#",))["config"]})
    wait_until(lambda: good(one, "GET", path)["config"]["topics"] == ["other/#"], "the change", 30)
    good(two, "DELETE", path)
    wait_until(lambda: sources(one) == [], "the deletion", 30)
    for service in both:
        assert "geheim" not in service.log()


def test_a_shared_subscription_splits_the_load(mosquitto, make_service, simulate, postgres):
    both = [replica(make_service, mosquitto, postgres) for _ in range(2)]
    good(both[0], "POST", "/api/data-sources", mqtt(mosquitto.port, topics=["smartcity/#"]))
    for service in both:
        wait_until(lambda s=service: [x["status"] for x in sources(s)] == ["active"], "it to run")
    simulate(mosquitto.port, "--count", "2000", "--rate", "2000", "--qos", "1", "--faults", "0")

    def counts():
        return [service.metric("ingestor_messages_received_total") for service in both]

    wait_until(lambda: sum(counts()) >= 2000, "all to arrive", 30)
    assert sum(counts()) == 2000 and min(counts()) > 200
    for service in both:
        service.stop()
    assert sum(len(service.rows()) for service in both) == 2000


def at_once(postgres, both, bodies):
    """Both have looked for the source, and wait to insert it, before either may."""
    held = postgres.hold("SELECT pg_advisory_xact_lock(1768843109, 0)")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(call, service, "POST", "/api/data-sources", body)
                   for service, body in zip(both, bodies)]
        try:
            wait_until(lambda: postgres.ask("SELECT count(*) FROM pg_locks WHERE NOT granted AND "
                                            "locktype = 'advisory'") == "2", "both to insert")
        finally:
            held.end()
        return [answer.result() for answer in answers]


def test_the_same_source_created_twice_at_once(mosquitto, make_service, postgres):
    """Both get the one that was made; with another config the second is told which and what to do."""
    both = [replica(make_service, mosquitto, postgres) for _ in range(2)]
    body = {**mqtt(mosquitto.port, name="race"), "enabled": False}
    answers = at_once(postgres, both, [body, body])
    assert [status for status, _ in answers] == [200, 200], answers
    assert answers[0][1]["data"] == answers[1][1]["data"]
    assert sorted("nothing was created" in answer["message"] for _, answer in answers) == [
        False, True]
    other = [{**mqtt(mosquitto.port, name="other", topics=(topic,)), "enabled": False}
             for topic in ("a", "b")]
    (_, made), (status, refused) = sorted(at_once(postgres, both, other), key=lambda each: each[0])
    made = made["data"]
    assert status == 409 and "'other' of type mqtt" in refused["error"]
    assert f"PUT /api/data-sources/{made['id']}" in refused["error"]
    assert postgres.ask("SELECT count(*), count(DISTINCT ingestion_id) FROM data_sources") == "2|2"
    assert [len(sources(service)) for service in both] == [2, 2]


def test_server_gone_and_back(mosquitto, make_service, postgres):
    service = replica(make_service, mosquitto, postgres)
    made = good(service, "POST", "/api/data-sources", mqtt(mosquitto.port))
    path = f"/api/data-sources/{made['id']}"
    wait_until(lambda: good(service, "GET", path)["status"] == "active", "it to run")
    postgres.crash()
    status, answer = call(service, "POST", "/api/data-sources", mqtt(mosquitto.port, name="no"))
    assert status == 503 and "PostgreSQL" in str(answer) and "geheim" not in str(answer)
    postgres.start()
    wait_until(lambda: call(service, "PUT", path, {"name": "renamed"})[0] == 200, "it to be back", 60)
    assert postgres.ask("SELECT name FROM data_sources") == "renamed"
    assert "geheim" not in service.log()


def test_one_poller(mosquitto, make_service, postgres, serve):
    """A polling source runs on one replica at a time, and moves when that one is killed."""
    seen = []

    def answer(request):
        seen.append(time.monotonic())
        return 200, {}, b'[{"v": 1}]'

    server = serve(answer)
    both = [replica(make_service, mosquitto, postgres) for _ in range(2)]
    body = rest(server.url)
    made = good(both[0], "POST", "/api/data-sources", body)
    wait_until(lambda: len(seen) > 3, "some polls", 60)
    time.sleep(6)
    count = len(seen)
    time.sleep(10)
    assert 5 <= len(seen) - count <= 13, "about one poll a second, not two"
    holder = postgres.ask("SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' "
                          f"AND objid = {made['id']}")
    assert holder == "1"
    running = [service for service in both
               if good(service, "GET", f"/api/data-sources/{made['id']}/health").get("running")]
    assert len(running) == 1
    running[0].kill()
    killed = time.monotonic()
    wait_until(lambda: seen[-1] > killed, "the other to take over", 60)
    assert seen[-1] - killed < 15


def test_python_service_on_postgres(mosquitto, make_service, postgres):
    """Real dates, booleans and JSON: theirs is taken over, and they read what we wrote."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg2")
    from sqlalchemy.orm import Session
    base, Type, Source, Metric = python_models.models(sqlalchemy)
    engine = sqlalchemy.create_engine(postgres.url.replace("://", "+psycopg2://", 1))
    base.metadata.create_all(engine)
    with Session(engine) as session:
        kind = Type(name="mqtt", display_name="old", config_schema={"type": "object"},
                    connector_class="src.connectors.mqtt_connector.MQTTConnector")
        session.add(Source(name="Plant", type=kind, ingestion_id="plant", created_by="api",
                           config=mqtt(mosquitto.port, topics=("ü/#",))["config"]))
        session.commit()
    service = replica(make_service, mosquitto, postgres)
    [source] = wait_until(lambda: sources(service), "the old source")
    path = f"/api/data-sources/{source['id']}"
    assert source["name"] == "Plant" and source["config"]["topics"] == ["ü/#"]
    wait_until(lambda: good(service, "GET", path)["status"] == "active", "it to run")
    made = good(service, "POST", "/api/data-sources", mqtt(mosquitto.port, name="new"))
    service.stop()
    with Session(engine) as session:
        row = session.get(Source, made["id"])
        assert row.name == "new" and row.config == made["config"] and row.enabled is True
        plant = session.get(Source, source["id"])
        assert plant.last_connection is not None and plant.type.config_schema["properties"]
        session.delete(plant)
        session.commit()
    engine.dispose()

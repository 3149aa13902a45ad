"""Who asks as soon as the service listens, and who posts as soon as a data source is made, is not
turned away: scripts do not wait, and do not know for what."""

import json
import socket

import pytest
from conftest import free_port, wait_until
from test_data_sources_api import QUIET, Api

DEFAULT = {"name": "Local Simulators MQTT", "type_name": "mqtt"}


@pytest.fixture
def fresh(make_service):
    """One that listens, and no more is known of it."""
    def start(**environment):
        service = make_service(free_port(), environment={**QUIET, **environment})
        wait_until(lambda: socket.create_connection(("127.0.0.1", service.port)), "it to listen")
        return Api(service)
    return start


def test_the_first_request(fresh):
    sources = fresh(AUTO_REGISTER="true").json("GET", "/api/data-sources")
    assert [source["name"] for source in sources["data"]] == [DEFAULT["name"]]


def test_the_first_request_about_metadata(fresh):
    assert fresh().json("GET", "/api/metadata/datasets")["data"] == {"datasets": [], "total": 0}


def test_it_is_healthy_from_the_start(fresh):
    health = fresh().json("GET", "/api/health")
    assert health["status"] == "healthy" and set(health["components"].values()) == {"healthy"}


def test_a_source_is_made_and_posted_to(fresh):
    api = fresh()
    source = api.create("p", "http_push", {})["data"]
    path = f"/api/ingest/{source['ingestion_id']}"
    assert api.json("POST", path, {"seq": 1}, 202)["data"]["count"] == 1
    # … changed, for which it starts again, and posted to
    for seq in range(2, 12):
        api.json("PUT", f"/api/data-sources/{source['id']}",
                 {"config": {"max_body_bytes": 1000 + seq}})
        api.json("POST", path, {"seq": seq}, 202)
    # … disabled, which the answer says has happened
    off = api.json("PUT", f"/api/data-sources/{source['id']}", {"enabled": False})["data"]
    assert (off["enabled"], off["status"]) == (False, "stopped")
    assert "not running" in api.json("POST", path, {"seq": 99}, 503)["error"]
    api.json("PUT", f"/api/data-sources/{source['id']}", {"enabled": True})
    api.json("POST", path, {"seq": 12}, 202)
    # … and posted to right after a restart
    api.service.stop()
    api.service.start()
    wait_until(lambda: api.call("GET", "/api/ready")[0] == 200, "it to be ready")
    api.json("POST", path, {"seq": 13}, 202)
    api.service.stop()
    assert api.service.seqs() == list(range(1, 14))


def test_where_a_body_is_no_json(fresh):
    api = fresh()
    path = f"/api/ingest/{api.create('p', 'http_push', {})['data']['ingestion_id']}"
    for body in ('{"a":', '[{"ü": 1}, {"b" 2}]', '{"a": 1} x', "[1, 2"):
        with pytest.raises(json.JSONDecodeError) as error:
            json.loads(body)
        detail = api.json("POST", path, body.encode(), 422)["detail"]
        assert [(d["type"], d["loc"]) for d in detail] == [
            ("json_invalid", ["body", error.value.pos])], body
    assert api.json("POST", path, "7", 422)["detail"][0]["type"] == "dict_type"
    assert api.json("POST", path, "", 422)["detail"][0]["type"] == "missing"

"""The example of docs/connectors.md: one file more, and a connector is there everywhere.

ingestor_with_examples is the program with examples/ among the connectors. That nothing but the file
itself is needed shows in a copy of the tree; INGESTOR_TEST_DROP_IN=1 builds the program there and runs
all of this with it (minutes).
"""

import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
from conftest import PATIENCE_S, ROOT, find_program, free_port, wait_until

EXAMPLE = "udp_connector.c"


def configure_copy(folder):
    """The tree with the example in src/connectors, configured; returns its build folder."""
    for name in ("CMakeLists.txt", "CMakePresets.json"):
        shutil.copy(ROOT / name, folder)
    for name in ("cmake", "src"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "examples" / EXAMPLE, folder / "src/connectors")
    subprocess.run(["cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja",
                    "-DCMAKE_BUILD_TYPE=Debug", "-DINGESTOR_TESTS=OFF"], check=True,
                   stdout=subprocess.DEVNULL)
    return folder / "build"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if os.environ.get("INGESTOR_TEST_DROP_IN") != "1":
        return find_program("ingestor_with_examples")
    build = configure_copy(tmp_path_factory.mktemp("tree"))
    subprocess.run(["cmake", "--build", build, "--target", "ingestor"], check=True,
                   stdout=subprocess.DEVNULL)
    return str(build / "ingestor")


@pytest.fixture
def service(program, make_service, monkeypatch):
    monkeypatch.setattr("conftest.find_program", lambda name: program)
    service = make_service(free_port(), environment={"AUTO_REGISTER": "false"})
    wait_until(lambda: "data" in service.get("/api/data-sources"), "the API")
    return service


def call(service, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}{path}", body and json.dumps(body).encode(),
        {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_is_short():
    assert len((ROOT / "examples" / EXAMPLE).read_text().splitlines()) < 100


def test_the_build_finds_it_in_src_connectors(tmp_path):
    build = configure_copy(tmp_path)
    assert "CONNECTOR(udp_connector)" in (build / "generated/connector_list.h").read_text()
    assert f"src/connectors/{EXAMPLE}" in (build / "build.ninja").read_text()


def test_the_program_without_it_has_it_not():
    listed = subprocess.run(["grep", "-c", "UDP port %d", find_program("ingestor")],
                            capture_output=True, text=True, check=False)
    assert listed.stdout.strip() == "0"


def test_it_is_offered_and_validated(service):
    types = {each["name"]: each for each in call(service, "/api/data-sources/types")["data"]}
    udp = types["udp"]
    assert udp["display_name"] == "UDP" and udp["icon"] == "📨" and udp["real_time"] is True
    assert udp["supported_formats"] == ["JSON", "Plain Text"]
    assert {"port", "columns", "dedupe_key", "dataset"} <= set(udp["config_schema"]["properties"])

    def errors(config):
        wish = {"name": "u", "type_name": "udp", "config": config}
        return call(service, "/api/data-sources/validate", wish)["data"]["errors"]

    assert errors({"port": 5514}) == []
    assert [each["path"] for each in errors({})] == ["/config/port"]
    assert [each["path"] for each in errors({"port": 0})] == ["/config/port"]
    assert "port" in errors({"port": 1, "prot": 2})[0]["message"]


def test_its_records_land(service):
    port = free_udp_port()
    made = call(service, "/api/data-sources",
                {"name": "u", "type_name": "udp",
                 "config": {"port": port, "columns": {"serial": "STRING"}, "max_message_bytes": 1000}})
    source_id, number = made["data"]["ingestion_id"], made["data"]["id"]
    wait_until(lambda: call(service, f"/api/data-sources/{number}")["data"]["status"] == "active",
               "the source to listen")
    datagrams = [b'{"sensor_id": "a", "serial": 7}', b'[{"serial": "08"}, {"serial": 9}]',
                 b"no JSON", b"x" * 2000]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        for datagram in datagrams:
            device.sendto(datagram, ("127.0.0.1", port))

    def received():
        return service.metric("ingestor_source_messages_received_total",
                              source_id=source_id) == len(datagrams)

    wait_until(received, "the datagrams in the metrics")
    busy = call(service, "/api/data-sources",
                {"name": "other", "type_name": "udp", "config": {"port": port}})["data"]["id"]
    wait_until(lambda: "address already in use" in
               (call(service, f"/api/data-sources/{busy}")["data"]["last_error"] or ""),
               "the reason why another cannot have the port")
    service.stop()
    rows = service.rows()
    assert {row["ingestion_id"] for row in rows} == {source_id}
    assert {row["source_type"] for row in rows} == {"udp"}
    assert sorted(row["serial"] or row["content"] for row in rows) == ["08", "7", "9", "no JSON"]
    letters = service.rows(dead_letters=True)
    assert [letter["reason"] for letter in letters] == ["oversize"]


def test_it_passes_the_conformance_suite():
    done = subprocess.run([find_program("examples_conformance_test")], capture_output=True,
                          text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

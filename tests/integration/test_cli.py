"""The command line of the whole program: help, errors, exit codes, configuration."""

import json
import os
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import find_program, free_port, wait_until


@pytest.fixture
def run(tmp_path):
    def call(*arguments, env=None, expect=0, yaml=None):
        if yaml is not None:
            (tmp_path / "ingestor.yaml").write_text(yaml)
        clean = {"PATH": os.environ["PATH"], **(env or {})}
        result = subprocess.run([find_program("ingestor"), *arguments], cwd=tmp_path, env=clean,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=60)
        assert result.returncode == expect, result
        return result
    return call


def commands(run):
    lines = run("help").stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ")]


def test_without_a_command_it_helps(run):
    assert "Usage: ingestor COMMAND" in run().stdout
    assert run().stdout == run("--help").stdout == run("-h").stdout


def test_every_command_has_help_with_an_example(run):
    found = commands(run)
    assert {"check", "config", "version", "simulate"} <= set(found)
    for command in found:
        text = run(command, "--help").stdout
        assert "Usage: ingestor " + command in text
        assert "ingestor " + command in text.split("xample", 1)[1], text
        assert run("help", command).stdout == text


def test_nearest_command_and_option(run):
    result = run("chekc", expect=2)
    assert 'unknown command "chekc"; did you mean "check"?' in result.stderr
    assert "did you mean" not in run("zzzzzzzz", expect=2).stderr
    assert "did you mean --mqtt-port?" in run("check", "--mqtt-prot", "1", expect=2).stderr
    assert "needs a value" in run("check", "--mqtt-port", expect=2).stderr
    assert "takes no value" in run("version", "--json=1", expect=2).stderr
    assert "unexpected argument" in run("config", "extra", expect=2).stderr
    assert "unknown option" in run("config", "-x", expect=2).stderr


def test_version(run):
    text = run("version").stdout
    answer = json.loads(run("version", "--json").stdout)
    assert answer["version"] in text and answer["build"] in text
    assert run("--version").stdout == text


def test_config_says_where_each_value_came_from(run):
    yaml = "mqtt_port: 1\nport: 2\nbuffer_max_rows: 3\n"
    env = {"MQTT_PORT": "11", "PORT": "12"}
    result = run("config", "--json", "--mqtt-port", "21", env=env, yaml=yaml)
    values = json.loads(result.stdout)["values"]
    assert values["MQTT_PORT"] == {"value": 21, "from": "command line"}
    assert values["PORT"] == {"value": 12, "from": "environment"}
    assert values["BUFFER_MAX_ROWS"] == {"value": 3, "from": "file", "line": 3}
    assert values["HOST"] == {"value": "127.0.0.1", "from": "default"}
    assert values["OBJECT_STORE_URL"] == {"value": "file://./data/lake", "from": "default"}
    result = run("config", "--json", env={"MINIO_ENDPOINT": "http://minio:9000"},
                 yaml="MQTT_PORT: 3\nMINIO_BUCKET: bronze\n")
    values = json.loads(result.stdout)["values"]
    assert values["OBJECT_STORE_URL"]["value"] == "s3://bronze"
    assert values["MQTT_PORT"] == {"value": 3, "from": "file", "line": 1}


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_config_masks_secrets(run, form):
    yaml = ("sources:\n- name: a\n  type_name: mqtt\n"
            "  config: {broker: b, topics: t, password: geheim}\n")
    env = {"MINIO_SECRET_KEY": "geheim", "MINIO_ENDPOINT": "h:1"}
    text = run("config", *form, env=env, yaml=yaml).stdout
    assert "geheim" not in text
    assert text.count("********") == 2


def test_check(run):
    assert "valid" in run("check").stdout
    assert json.loads(run("check", "--json").stdout) == {"valid": True, "errors": []}
    yaml = "port: abc\nmqtt_brocker: x\n"
    result = run("check", yaml=yaml, env={"LOG_LEVEL": "LOUD"}, expect=2)
    assert 'port: "abc" (./ingestor.yaml line 1) is not a whole number from 0 to 65535' in result.stderr
    assert 'unknown key "mqtt_brocker"; did you mean "mqtt_broker"?' in result.stderr
    assert 'LOG_LEVEL: "LOUD" (the environment) is not one of DEBUG' in result.stderr
    result = run("check", "--json", env={"LOG_LEVEL": "LOUD"}, expect=2)
    answer = json.loads(result.stdout)
    assert answer["valid"] is False and len(answer["errors"]) == 3
    assert answer["errors"] == [line[len("ingestor: "):] for line in result.stderr.splitlines()]


def test_check_refuses_types_that_are_not_there_yet(run):
    yaml = "sources:\n- {name: a, type_name: opcua, config: {host: h, resources: r}}\n"
    assert 'type_name "opcua" is no type of source' in run("check", yaml=yaml, expect=2).stderr


def test_config_file_named_and_missing(run, tmp_path):
    (tmp_path / "other.yaml").write_text("port: 5\n")
    values = json.loads(run("config", "--json", "--config", "other.yaml").stdout)
    assert values["values"]["PORT"]["value"] == 5
    assert "none.yaml" in run("check", "--config", "none.yaml", expect=2).stderr
    (tmp_path / "folder").mkdir()
    run("check", "--config", "folder", expect=2)


@pytest.mark.parametrize("text", ["a: [", "\x00", "a: &x [*x]", "- 1", "a: 1\na: 2", "\xff\xfe",
                                  "? [a]\n: b", "[" * 1000, "a: !!binary x"])
def test_hostile_files(run, text):
    assert run("check", yaml=text, expect=2).stderr.startswith("ingestor: ./ingestor.yaml")


def test_serve_does_not_start_on_a_bad_configuration(run):
    if "serve" not in commands(run):
        pytest.skip("this build has no serve")
    result = run("serve", "--port", "70000", expect=2)
    assert 'port: "70000"' in result.stderr or 'PORT: "70000"' in result.stderr


def test_output_that_cannot_be_written(run, tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run([find_program("ingestor"), "config"], cwd=tmp_path, stdout=full,
                                stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "could not be written" in result.stderr


def test_journal_inspect(run, tmp_path):
    assert "inspect" in run("journal", expect=2).stderr
    assert "inspect" in run("journal", "inpsect", expect=2).stderr
    assert "none" in run("journal", "inspect", str(tmp_path / "none"), expect=1).stderr
    assert run("journal", "inspect", expect=1).stderr  # JOURNAL_DIR, not made yet
    assert "did you mean --payloads?" in run("journal", "inspect", "--payload", expect=2).stderr


# --- status and try: against a service, a server and a broker -----------------------------------


def test_status(run, make_service, mosquitto, simulate):
    service = make_service(mosquitto.port)
    service.wait_log("connected")
    simulate(mosquitto.port, "--count", "50", "--rate", "0", "--qos", "1", "--faults", "0")
    wait_until(lambda: service.metric("ingestor_source_messages_stored_total") >= 50, "50 to be stored")
    address = f"http://127.0.0.1:{service.port}"
    report = json.loads(run("status", address + "/", "--json", "--seconds", "0.2").stdout)
    assert report["status"] == "healthy" and report["url"] == address
    assert report["messages"]["received"] == report["messages"]["stored"] == 50
    assert report["components"]["journal"] == "healthy"
    assert report["journal"]["max_bytes"] == 10 << 30 and report["uptime_seconds"] >= 0
    (source,) = report["sources"]
    assert (source["name"], source["status"], source["received"]) == ("Local Simulators MQTT", "active",
                                                                       50)
    screen = run("status", "--seconds", "0.2", env={"PORT": str(service.port)}).stdout
    assert f"ingestor {report['version']} at {address}: healthy" in screen
    assert "components  all healthy" in screen and "received 50" in screen
    assert "Local Simulators MQTT" in screen


def test_status_of_a_source_that_fails(run, make_service):
    """Degraded is said, with the reason, and is no failure of the command."""
    nowhere = free_port()
    service = make_service(nowhere)
    service.wait_log("next try")
    screen = run("status", f"127.0.0.1:{service.port}", "--seconds", "0.1").stdout
    assert "degraded" in screen and f"127.0.0.1:{nowhere}" in screen


def test_status_without_a_service(run, http_server):
    assert "Failed to connect" in run("status", f"http://127.0.0.1:{free_port()}", expect=1).stderr
    assert "is no ingestor" in run("status", http_server, "--seconds", "0.1", expect=1).stderr
    assert "--seconds" in run("status", "--seconds", "0", expect=2).stderr
    assert "--seconds" in run("status", "--seconds", "1x", expect=2).stderr
    assert "unexpected argument" in run("status", "a", "b", expect=2).stderr
    assert "too long" in run("status", "http://" + "a" * 2000, expect=2).stderr


READINGS = [{"sensor_id": f"s{i}", "value": i, "text": "\x1b[2Jgrün"} for i in range(30)]


@pytest.fixture
def http_server():
    """/readings, /empty and 404; /asked tells how often it was asked for readings."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            asked.append(path)
            answers = {"/readings": {"data": {"items": READINGS}}, "/empty": {"data": {"items": []}},
                       "/asked": asked.count("/readings")}
            self.send_response(200 if path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(path)).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_try_http(run, http_server, tmp_path):
    address = http_server + "/readings?from=1"
    (dataset,) = json.loads(run("try", address, "--data-path", "data.items", "--json").stdout)
    assert dataset["messages"] == 30
    assert [row["value"] for row in dataset["rows"]] == list(range(20))  # --messages' default
    types = {column["name"]: column["type"] for column in dataset["columns"]}
    assert types["value"] == "DOUBLE" and types["sensor_id"] == "STRING"
    assert dataset["paths"][0].startswith("bronze/ingestion_id=")
    assert urllib.request.urlopen(http_server + "/asked").read() == b"1"
    assert not list(tmp_path.iterdir())  # nothing is stored
    screen = run("try", address, "--data-path", "data.items", "--messages", "2").stdout
    assert "?[2Jgrün" in screen and "\x1b" not in screen
    assert screen.count("s0 ") == 1 and "s2 " not in screen


def test_try_http_that_brings_nothing(run, http_server):
    assert "404" in run("try", http_server + "/none", expect=1).stderr
    result = run("try", http_server + "/empty", "--data-path", "data.items", expect=1)
    assert "no record" in result.stderr
    assert "Failed to connect" in run("try", f"http://127.0.0.1:{free_port()}/", expect=1).stderr
    result = run("try", http_server + "/readings", "--data-path", "elsewhere")
    assert "elsewhere" in result.stderr and "dataset" in result.stdout
    assert "ftp://h/x" in run("try", "ftp://h/x", expect=2).stderr


def test_try_mqtt(run, mosquitto, simulate):
    publishing = threading.Thread(target=lambda: simulate(
        mosquitto.port, "--count", "60", "--rate", "30", "--faults", "0", "--sensors", "1"))
    publishing.start()
    datasets = json.loads(run("try", f"mqtt://127.0.0.1:{mosquitto.port}/smartcity/#", "--messages", "3",
                              "--json").stdout)
    publishing.join()
    assert sum(dataset["messages"] for dataset in datasets) >= 3

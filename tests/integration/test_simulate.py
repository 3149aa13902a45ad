"""`ingestor simulate` against the scripted broker and Mosquitto, and as a CoAP server."""

import asyncio
import json
import re
import signal
import socket
import subprocess

import pytest
from coap_peers import coap_source, wait_well
from conftest import PATIENCE_S, find_program, wait_until


@pytest.fixture
def start(broker):
    """start("--count", "10", …) runs simulate against the broker and returns the process."""
    started = []

    def run(*options):
        started.append(subprocess.Popen(
            [find_program("ingestor"), "simulate", "--broker", "127.0.0.1", "--port",
             str(broker.port), "--json", "--faults", "0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()


def totals(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, json.loads(out) if out else None, err


def acknowledge(broker, first, count):
    for i in range(first, first + count):
        broker.do("ack", type="PUBACK", packet_identifier=i)


def test_counts_what_was_acknowledged(broker, start):
    process = start("--count", "50", "--rate", "0", "--first-seq", "1000")
    broker.wait("PUBLISH", count=50)
    acknowledge(broker, 1, 50)
    code, result, _ = totals(process)
    assert code == 0
    assert (result["published"], result["acknowledged"]) == (50, 50)
    sent = [json.loads(p["payload"]) for p in broker.packets("PUBLISH")]
    assert [reading["seq"] for reading in sent] == list(range(1000, 1050))
    assert all("sensor_id" in reading and "location" in reading for reading in sent)
    assert len({p["topic"] for p in broker.packets("PUBLISH")}) == 50
    broker.wait("DISCONNECT")


def test_respects_receive_maximum(broker, start):
    broker.do("auto", connack_properties={"receive_maximum": 7})
    process = start("--count", "20", "--rate", "0")
    broker.wait("PUBLISH", count=7)
    broker.do("sleep", ms=200)
    broker.settle()
    assert len(broker.packets("PUBLISH")) == 7
    acknowledge(broker, 1, 7)
    broker.wait("PUBLISH", count=7)
    acknowledge(broker, 8, 7)
    broker.wait("PUBLISH", count=6)
    acknowledge(broker, 15, 6)
    assert totals(process)[0] == 0


@pytest.mark.parametrize("kept", [True, False])
def test_sends_again_after_a_break(broker, start, kept):
    process = start("--count", "10", "--rate", "0")
    broker.wait("PUBLISH", count=10)
    acknowledge(broker, 1, 4)
    if not kept:
        broker.do("forget")
    broker.do("drop")
    broker.wait("close")
    broker.wait("PUBLISH", count=6)
    again = broker.packets("PUBLISH", connection=2)
    assert [p["packet_identifier"] for p in again] == list(range(5, 11))
    assert all(p["dup"] == kept for p in again)
    acknowledge(broker, 5, 6)
    code, result, _ = totals(process)
    assert code == 0 and result["acknowledged"] == 10 and result["sent_again"] == 6
    assert result["reconnects"] == 1


def test_says_why_it_was_refused(broker, start):
    broker.do("auto", connack_reason=0x87)
    code, _, err = totals(start("--count", "10"))
    assert code == 1 and "not authorized" in err


def test_not_acknowledged_is_a_failure(broker, start):
    process = start("--count", "5", "--rate", "0")
    broker.wait("PUBLISH", count=5)
    acknowledge(broker, 1, 2)
    broker.settle()
    process.send_signal(signal.SIGINT)  # one to end, one not to wait
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    code, result, _ = totals(process)
    assert code == 1 and result["published"] == 5 and result["acknowledged"] <= 2


def test_interrupt_ends_cleanly(broker, start):
    process = start("--qos", "0", "--rate", "100")
    broker.wait("PUBLISH", count=10)
    process.send_signal(signal.SIGINT)
    broker.wait("DISCONNECT")
    code, result, _ = totals(process)
    assert code == 0 and result["published"] >= 10


@pytest.mark.parametrize("bytes_sent", ["30 05 00 01 61", "20 80 80 80 80 80", "00", "40 02 00 00"])
def test_survives_a_bad_broker(broker, start, bytes_sent):
    process = start("--count", "3", "--rate", "0")
    broker.wait("PUBLISH", count=3)
    broker.do("raw", hex=bytes_sent, connection=1)
    broker.do("drop", connection=1)
    broker.wait("PUBLISH", count=3)
    acknowledge(broker, 1, 3)
    assert totals(process)[0] == 0


@pytest.mark.parametrize("options", [["--qos", "2"], ["--port", "0"], ["--rate", "-1"], ["--rate", "x"],
                                     ["--count", "1x"], ["--protocol", "4"], ["extra"],
                                     ["--sensors", "0"], ["--faults", "1.5"],
                                     ["--coap-port", "65536"], ["--coap-port", "0", "--rate", "0"],
                                     ["--coap-port", "0", "--coap-address", "nowhere"],
                                     ["--coap-port", "0", "--topic-prefix", "not a path"],
                                     ["--coap-port", "0", "--topic-prefix", "/city"]])
def test_wrong_options(options):
    done = subprocess.run([find_program("ingestor"), "simulate", *options], capture_output=True,
                          text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2 and options[-1] in done.stderr


def test_help_has_an_example():
    done = subprocess.run([find_program("ingestor"), "simulate", "--help"], capture_output=True,
                          text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0 and "Example" in done.stdout


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_through_mosquitto(mosquitto, simulate, protocol):
    result = simulate(mosquitto.port, "--count", "20000", "--rate", "0", "--protocol", protocol)
    assert result["acknowledged"] == result["published"] == 20000


# --- CoAP ------------------------------------------------------------------------------------------


@pytest.fixture
def serve():
    """serve("--sensors", "4", …) runs simulate as a CoAP server and returns process and port."""
    started = []

    def run(*options):
        process = subprocess.Popen(
            [find_program("ingestor"), "simulate", "--coap-port", "0", "--json", "--quiet",
             "--faults", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        line = process.stderr.readline()
        return process, int(re.search(r"coap://127\.0\.0\.1:(\d+)/", line).group(1))

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def seqs_told(service):
    """Of JSON and CBOR a column, of SenML a record."""
    rows = service.rows()
    return [int(row["seq"]) for row in rows if row.get("seq") is not None] + \
        [int(row["v"]) for row in rows if (row.get("n") or "").endswith("/seq")]


def test_coap_each_reading_told_is_stored_once(serve, make_service):
    process, port = serve("--sensors", "16", "--rate", "100", "--count", "150")
    service = make_service(1, sources=[coap_source(port, "/smartcity/*", discover=True)])
    code, result, _ = totals(process)
    assert code == 0 and result["not_acknowledged"] == 0
    assert result["notifications"] >= 150 and result["answers"] >= 16
    # All is confirmable: each was acknowledged when it was durable.
    told = result["notifications"] + result["answers"]
    wait_until(lambda: len(seqs_told(service)) >= told, lambda: f"{told}, not {len(seqs_told(service))}")
    assert len(seqs_told(service)) == len(set(seqs_told(service))) == told
    rows = service.rows()
    assert {row["content_format"] for row in rows} == {50, 60, 110}
    assert {row["type"] for row in rows if row.get("type")} == {
        "temperature", "air_quality", "traffic", "smart_bin"}
    assert service.rows(dead_letters=True) == []


def test_coap_non_confirmable_with_faults(serve, make_service):
    process, port = serve("--sensors", "16", "--rate", "200", "--qos", "0", "--faults", "0.5")
    service = make_service(1, sources=[coap_source(port, "/smartcity/*", discover=True)])
    wait_until(lambda: len(service.rows(dead_letters=True)) > 20, "dead letters")
    wait_until(lambda: len(service.rows()) > 200, "rows")
    wait_well(service)
    process.send_signal(signal.SIGINT)
    code, result, _ = totals(process)
    assert code == 0 and result["faults"] > 0 and result["readings"] > result["notifications"] > 0


def test_coap_can_be_tried(serve):
    _, port = serve("--sensors", "4", "--rate", "20")
    done = subprocess.run([find_program("ingestor"), "try", f"coap://127.0.0.1:{port}/", "--messages",
                           "8"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "smartcity_sensors_traffic_traffic-0002" in done.stdout and "vehicle_count" in done.stdout


def test_coap_asked_by_aiocoap(serve):
    aiocoap = pytest.importorskip("aiocoap")
    _, port = serve("--sensors", "300", "--rate", "1", "--topic-prefix", "plant", "--first-seq", "70")

    async def ask():
        context = await aiocoap.Context.create_client_context()
        try:
            answers = []
            for path in (".well-known/core", "plant/temperature/temp-0000", "plant/traffic/x"):
                request = aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{port}/{path}")
                answers.append(await asyncio.wait_for(context.request(request).response, PATIENCE_S))
            return answers
        finally:
            await context.shutdown()

    links, reading, none = asyncio.run(ask())
    assert links.payload.decode().count("</plant/") == 300  # in blocks
    assert '</plant/smart_bin/bin-0011>;' in links.payload.decode()
    assert json.loads(reading.payload)["sensor_id"] == "temp-0000"
    assert json.loads(reading.payload)["seq"] >= 70
    assert int(reading.opt.content_format) == 50 and reading.opt.max_age == 600
    assert str(none.code).startswith("4.04")


def test_coap_port_that_is_taken():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
        done = subprocess.run([find_program("ingestor"), "simulate", "--coap-port", port],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1 and port in done.stderr

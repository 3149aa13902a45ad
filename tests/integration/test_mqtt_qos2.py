"""QoS 2 from publisher to lake through a real Mosquitto, with the service killed in between.

Counts are small enough for CI; INGESTOR_TEST_QOS2_MESSAGES=200000 INGESTOR_TEST_QOS2_KILLS=10 runs
the full ones.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, wait_until
from test_exactly_once import count_with_duckdb, source, wait_for_quiet

MESSAGES = int(os.environ.get("INGESTOR_TEST_QOS2_MESSAGES", "10000"))
KILLS = int(os.environ.get("INGESTOR_TEST_QOS2_KILLS", "4"))


def publisher(port, count, seconds):
    """A process of its own that publishes count readings with QoS 2 and ends when all are done."""
    pytest.importorskip("paho.mqtt")
    return subprocess.Popen([sys.executable, Path(__file__).with_name("publish_qos2.py"), str(port),
                             str(count), str(seconds)])


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_killed_at_random(mosquitto, make_service, version):
    service = make_service(mosquitto.port, sources=source(mosquitto.port, qos=2,
                                                          protocol_version=version))
    service.wait_log("connected")
    publishing = publisher(mosquitto.port, MESSAGES, KILLS)
    chance = random.Random(11)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.3, 1.5))
        service.kill()
        time.sleep(chance.uniform(0, 0.2))
        service.start()
    assert publishing.wait(max(PATIENCE_S, MESSAGES / 200)) == 0
    wait_until(lambda: service.files() and count_with_duckdb(service)[1] == MESSAGES,
               lambda: f"all to be in the lake; there are {count_with_duckdb(service)}",
               timeout_s=max(PATIENCE_S, MESSAGES / 500))
    wait_for_quiet(service)
    service.stop()
    rows, distinct = count_with_duckdb(service)
    assert (rows, distinct) == (MESSAGES, MESSAGES)
    assert {row["qos"] for row in service.rows()} == {2}

"""Somebody sets the system's clock while messages come: forward over hours, then back to before the
first, with a kill between. Nothing is lost or doubled, one sentence in the log each, and flushes go
on in time."""

import json
import time
from datetime import datetime

from conftest import find_program, wait_until
from test_bad_environment import publish, start_again, wait_healthy

HOUR = 3600


def instant(value):
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).timestamp()


def arrivals(service, first, last):
    return [instant(row["ingestion_timestamp"]) for row in service.rows()
            if first <= int(row["seq"]) < last]


def test_clock_jumps(mosquitto, make_service, tmp_path):
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    service = make_service(mosquitto.port, environment={
        "LD_PRELOAD": find_program("clock_shim.so"), "CLOCK_SHIM_FILE": str(ahead)})
    service.wait_log("connected")
    done = 0
    for hours, killed in (0, False), (3, False), (-30, True), (-31, False), (2, True):
        if killed:
            service.kill()
        ahead.write_text(str(hours * HOUR))
        if killed:
            start_again(service)
        elif done:
            service.wait_log("the system clock jumped")
        publish(mosquitto.port, done, 500)
        wait_until(lambda end=done + 500: service.seqs() == list(range(end)),
                   f"{done + 500} messages to land, {hours} h ahead")
        apart = [at - hours * HOUR - time.time() for at in arrivals(service, done, done + 500)]
        assert max(map(abs, apart)) < HOUR / 2
        done += 500
    wait_healthy(service)
    text = json.loads(service.get("/api/data?limit=5"))
    assert text
    service.stop()
    assert service.seqs() == list(range(done))

#!/usr/bin/env python3
"""Many REST sources against one local server: what they cost, and how late their polls are.

    bench/rest_bench.py [--sources 10000] [--interval 60] [--seconds 120] [--program build/ingestor]

The server is in this process and notes when each source's polls arrive; the service's CPU time is
read from /proc over the measured time, which begins when every source has polled once. Every poll
brings one record with a number of its own; afterwards the lake is counted by DuckDB, so that a poll
that was lost or stored twice shows. What the service has in its journal when it stops at its
deadline is landed by further starts of it, without sources.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from measure import cpu_seconds, resident_mib

ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s")


class Server(asyncio.Protocol):
    arrivals = {}  # path -> monotonic times
    answered = 0

    def connection_made(self, transport):
        self.transport = transport
        self.pending = b""

    def data_received(self, data):
        self.pending += data
        while b"\r\n\r\n" in self.pending:
            head, self.pending = self.pending.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1]
            Server.arrivals.setdefault(path, []).append(time.monotonic())
            body = b'[{"seq":%d,"temperature":21.5,"sensor_id":"s%s"}]' % (Server.answered, path[1:])
            Server.answered += 1
            self.transport.write(ANSWER % (len(body), body))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_service(arguments, folder, port, count):
    sources = [{"name": f"s{i}", "type_name": "rest_api",
                "config": {"url": f"http://127.0.0.1:{port}/{i}",
                           **({} if arguments.interval == 60
                              else {"poll_interval": arguments.interval})}}
               for i in range(count)]
    config = folder / "c.yaml"
    config.write_text(json.dumps({"sources": sources}, separators=(",", ":")))
    environment = {
        **os.environ, "HOST": "127.0.0.1", "PORT": str(free_port()), "AUTO_REGISTER": "false",
        "JOURNAL_DIR": str(folder / "journal"), "OBJECT_STORE_URL": f"file://{folder}/lake",
        "INGESTOR_DATABASE_URL": f"sqlite:///{folder}/i.db",
        "METADATA_DB_PATH": str(folder / "m.db"), "FLUSH_INTERVAL_SECONDS": str(arguments.flush)}
    log = open(folder / "log", "ab")
    return subprocess.Popen([arguments.program, "serve", "--config", str(config)], stderr=log,
                            stdout=log, cwd=folder, env=environment)


def late_seconds(interval, since):
    """How far each distance between two polls of a source is from the interval, worst first."""
    off = [abs(b - a - interval) for times in Server.arrivals.values()
           for a, b in zip(times, times[1:]) if b >= since]
    return sorted(off, reverse=True)


async def measure(arguments, folder):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    service = start_service(arguments, folder, port, arguments.sources)
    began = time.monotonic()
    while len(Server.arrivals) < arguments.sources:
        await asyncio.sleep(0.2)
        if service.poll() is not None:
            raise SystemExit((folder / "log").read_text()[-3000:])
        if time.monotonic() - began > 3 * arguments.interval + 60:
            raise SystemExit(f"only {len(Server.arrivals)} sources have polled")
    first_round = time.monotonic() - began
    since, cpu, answered = time.monotonic(), cpu_seconds(service.pid), Server.answered
    await asyncio.sleep(arguments.seconds)
    passed = time.monotonic() - since
    used = cpu_seconds(service.pid) - cpu
    polls = Server.answered - answered
    memory = resident_mib(service.pid)
    off = late_seconds(arguments.interval, since)
    service.send_signal(signal.SIGTERM)
    while service.poll() is None:
        await asyncio.sleep(0.1)
    return {"sources": arguments.sources, "interval_s": arguments.interval,
            "first_round_s": round(first_round, 1), "measured_s": round(passed, 1), "polls": polls,
            "polls_per_s": round(polls / passed, 1),
            "cpu_percent_of_a_core": round(100 * used / passed, 2),
            "cpu_us_per_poll": round(1e6 * used / polls, 1), "resident_mib": round(memory, 1),
            "late_max_ms": round(1000 * off[0], 1) if off else None,
            "late_p99_ms": round(1000 * off[len(off) // 100], 1) if off else None,
            "late_p50_ms": round(1000 * off[len(off) // 2], 1) if off else None,
            "exit": service.returncode}


def count(folder):
    import duckdb
    if not any(folder.glob("lake/**/*.parquet")):
        return 0, 0
    return duckdb.sql(f"select count(*), count(distinct seq) from read_parquet("
                      f"'{folder}/lake/**/*.parquet', union_by_name=true)").fetchall()[0]


def count_all(arguments, folder):
    """Rows and distinct ones, when all that was answered is there or no more of it comes."""
    rows, distinct = count(folder)
    before = -1
    while distinct < Server.answered and rows > before:
        before = rows
        service = start_service(arguments, folder, 1, 0)
        time.sleep(arguments.landing)
        service.send_signal(signal.SIGTERM)
        service.wait()
        rows, distinct = count(folder)
    return rows, distinct


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=int, default=10000)
    parser.add_argument("--interval", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--flush", type=int, default=3600, help="FLUSH_INTERVAL_SECONDS")
    parser.add_argument("--landing", type=int, default=20, help="seconds of each later start")
    parser.add_argument("--program", default=str(Path(__file__).parents[1] / "build/ingestor"))
    parser.add_argument("--folder", help="kept; else a temporary one")
    parser.add_argument("--no-count", action="store_true")
    arguments = parser.parse_args()
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="rest-bench-"))
    folder.mkdir(exist_ok=True)
    result = asyncio.run(measure(arguments, folder))
    if not arguments.no_count:
        result["rows"], result["distinct"] = count_all(arguments, folder)
        result["answered"] = Server.answered
    print(json.dumps(result, indent=1))
    if not arguments.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

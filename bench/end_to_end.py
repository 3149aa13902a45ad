#!/usr/bin/env python3
"""End to end: a broker that sends as fast as the service reads, the service, and a count of what is
in the lake by an independent reader. A rate with a lost or doubled record is not a rate.

    bench/end_to_end.py --build build --messages 2000000 --qos 0 1

Prints a table for bench/RESULTS.md: rates, the service's CPU seconds per million messages (all
threads, socket to Parquet, the final flush included), its peak memory, and the disk's sync latency
in the same run. Needs duckdb for the count (scripts/install-test-tools.sh).
"""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from measure import cpu_seconds, drain, first_port, metric, peak_mib, scrape, sync_latency_ms


def run(options, qos, folder):
    broker = subprocess.Popen(
        [options.build / "scripted_broker", "--flood", "--qos", str(qos), "--messages",
         str(options.messages), "--topics", str(options.topics), "--payload",
         str(options.payload), "--window", "65535", "--port", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    broker_lines = []  # it ends with its standard input
    service = None
    try:
        port = first_port(broker.stdout, r"port (\d+)")
        threading.Thread(target=drain, args=(broker.stdout, broker_lines), daemon=True).start()
        config = folder / "ingestor.yaml"
        config.write_text(
            "sources:\n"
            "  - name: flood\n    type_name: mqtt\n    config:\n"
            f"      broker: 127.0.0.1\n      port: {port}\n      qos: {qos}\n"
            "      topics: ['smartcity/sensors/#']\n")
        environment = dict(
            os.environ, PORT="0", AUTO_REGISTER="false", JOURNAL_DIR=str(folder / "journal"),
            OBJECT_STORE_URL=f"file://{folder}/lake", METADATA_DB_PATH=str(folder / "metadata.db"),
            INGESTOR_DATABASE_URL=f"sqlite:///{folder}/ingestor.db", LOG_FORMAT="text", HOST="127.0.0.1",
            JOURNAL_SYNC=options.sync)
        begin = time.perf_counter()
        service = subprocess.Popen([options.build / "ingestor", "serve", "--config", str(config)],
                                   env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        service_lines = []
        api = first_port(service.stdout, r"listening on http://[^:]+:(\d+)")
        threading.Thread(target=drain, args=(service.stdout, service_lines), daemon=True).start()
        received = 0
        first = None
        last_change = time.perf_counter()
        while received < options.messages:
            time.sleep(0.1)
            now = time.perf_counter()
            count = metric(scrape(api), "ingestor_messages_received_total")
            if count > 0 and first is None:
                first = now
            if count != received:
                last_change = now
            received = count
            if now - last_change > 60:
                print("".join(service_lines[-20:]))
                raise SystemExit(f"stuck at {received} of {options.messages}")
        end = time.perf_counter()
        peak = peak_mib(service.pid)
        before_stop = cpu_seconds(service.pid)
        usage = {}
        service.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(service.pid, 0)
        service.returncode = status
        cpu = usage.ru_utime + usage.ru_stime
        if status != 0:
            print("".join(service_lines[-20:]))
            raise SystemExit(f"the service ended with status {status}")
        wall = end - (first or begin)
        return wall, cpu, before_stop, peak, "".join(broker_lines)
    finally:
        for process in (broker, service):
            if process and process.returncode is None and process.poll() is None:
                process.kill()
                process.wait()


def count_back(folder):
    import duckdb
    query = (f"select count(*), count(distinct seq) from read_parquet("
             f"'{folder}/lake/bronze/ingestion_id=*/**/*.parquet', union_by_name=true)")
    rows, distinct = duckdb.sql(query).fetchall()[0]
    size = sum(p.stat().st_size for p in (folder / "lake").rglob("*.parquet"))
    files = sum(1 for _ in (folder / "lake").rglob("*.parquet"))
    return rows, distinct, size, files


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--topics", type=int, default=100)
    parser.add_argument("--payload", type=int, default=200)
    parser.add_argument("--qos", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--sync", default="always")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    options.build = options.build.resolve()
    print("| QoS | messages | msg/s | CPU-s per million | peak MiB | files | bytes/row | fdatasync ms |"
          " lost | doubled |\n|---|---|---|---|---|---|---|---|---|---|")
    bad = False
    for qos in options.qos:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ingestor-bench-", dir=options.folder))
        try:
            latency = sync_latency_ms(folder)
            wall, cpu, _, peak, _ = run(options, qos, folder)
            rows, distinct, size, files = count_back(folder)
            lost, doubled = options.messages - distinct, rows - distinct
            bad = bad or lost != 0 or doubled != 0
            print(f"| {qos} | {options.messages} | {options.messages / wall:,.0f} | "
                  f"{cpu / options.messages * 1e6:.2f} | {peak:.0f} | {files} | {size / max(rows, 1):.1f} | "
                  f"{latency:.2f} | {lost} | {doubled} |", flush=True)
        finally:
            shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

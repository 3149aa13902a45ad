"""Every message once, through a real broker, whatever happens to the service.

Counts are small enough for CI; INGESTOR_TEST_MESSAGES=1000000 runs the full ones.
"""

import json
import os
import random
import shutil
import subprocess
import time

import pytest

from conftest import PATIENCE_S, end_process, find_program, find_tool, free_port, wait_until

MESSAGES = int(os.environ.get("INGESTOR_TEST_MESSAGES", "60000"))
KILLS = int(os.environ.get("INGESTOR_TEST_KILLS", "20"))
SENSORS = 100


class RcloneS3:
    """`rclone serve s3` over a folder: the S3 server that is there in seconds."""

    access_key = "ingestor"
    secret_key = "a-secret"

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [find_tool("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key",
             f"{self.access_key},{self.secret_key}", str(self.folder)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        end_process(self.process)

    def delete_bucket(self):
        shutil.rmtree(self.folder / "lake")

    def count_seqs(self):
        """Distinct sequence numbers; a doubled one fails."""
        parquet = pytest.importorskip("pyarrow.parquet")
        seqs = []
        for file in self.folder.glob("lake/bronze/ingestion_id=*/**/*.parquet"):
            seqs += parquet.ParquetFile(file).read(columns=["seq"])["seq"].to_pylist()
        assert len(seqs) == len(set(seqs)), "doubled"
        return len(seqs)


@pytest.fixture
def s3_server(tmp_path):
    folder = tmp_path / "s3"
    folder.mkdir()
    server = RcloneS3(folder)
    server.start()
    yield server
    server.stop()


def source(port, **config):
    return [{"name": "city", "type_name": "mqtt",
             "config": {"broker": "127.0.0.1", "port": port, "topics": ["smartcity/sensors/#"],
                        **config}}]


def count_with_duckdb(service):
    duckdb = pytest.importorskip("duckdb")
    files = f"{service.lake}/bronze/ingestion_id=*/**/*.parquet"
    return duckdb.sql(f"select count(seq), count(distinct seq) from read_parquet('{files}', "
                      "union_by_name=true)").fetchall()[0]


def count_texts(service):
    """Messages that were no JSON become rows with a content."""
    duckdb = pytest.importorskip("duckdb")
    files = f"{service.lake}/bronze/ingestion_id=*/**/*.parquet"
    columns = duckdb.sql(f"select * from read_parquet('{files}', union_by_name=true) limit 0").columns
    if "content" not in columns:
        return 0
    return duckdb.sql(f"select count(*) from read_parquet('{files}', union_by_name=true) "
                      "where seq is null and content is not null").fetchall()[0][0]


def assert_exactly_once(service, expected):
    service.stop()
    rows, distinct = count_with_duckdb(service)
    assert rows == distinct, f"{rows - distinct} doubled"
    assert distinct + count_texts(service) == expected, (
        f"{expected - distinct} lost; {service.log()[-2000:]}")


@pytest.mark.parametrize("qos,version", [(1, "5"), (0, "5"), (1, "3.1.1")])
def test_through_mosquitto(mosquitto, make_service, simulate, qos, version):
    service = make_service(mosquitto.port,
                           sources=source(mosquitto.port, qos=qos, protocol_version=version))
    service.wait_log("connected")
    totals = simulate(mosquitto.port, "--count", str(MESSAGES), "--sensors", str(SENSORS), "--rate",
                      "0" if qos else "20000", "--qos", str(qos), "--faults", "0")
    assert totals["published"] == MESSAGES
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= MESSAGES,
               "all to arrive", timeout_s=max(PATIENCE_S, MESSAGES / 2000))
    assert_exactly_once(service, MESSAGES)
    assert sum(1 for row in service.rows() if row["seq"] is not None) == MESSAGES


def test_killed_at_random(mosquitto, make_service, tmp_path):
    service = make_service(mosquitto.port, sources=source(mosquitto.port))
    service.wait_log("connected")
    publisher = subprocess.Popen(
        [find_program("ingestor"), "simulate", "--broker", "127.0.0.1", "--port",
         str(mosquitto.port), "--count", str(MESSAGES), "--sensors", str(SENSORS), "--rate",
         str(MESSAGES // 20), "--qos", "1", "--faults", "0", "--json", "--quiet"],
        stdout=subprocess.PIPE, text=True)
    chance = random.Random(7)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.2, 1.5))
        service.kill()
        time.sleep(chance.uniform(0, 0.2))
        service.start()
    totals = json.loads(publisher.communicate()[0])
    assert totals["acknowledged"] == MESSAGES
    wait_until(lambda: service.files() and count_with_duckdb(service)[1] == MESSAGES,
               lambda: f"all to be in the lake; there are {count_with_duckdb(service)}",
               timeout_s=max(PATIENCE_S, MESSAGES / 2000))
    wait_for_quiet(service)
    assert_exactly_once(service, MESSAGES)


def wait_for_quiet(service, quiet_s=3):
    """Nothing has arrived for a while."""
    last, since = -1, time.monotonic()
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() - since < quiet_s:
        assert time.monotonic() < end, "messages keep coming"
        time.sleep(0.2)
        try:
            now = service.metric("ingestor_messages_received_total")
        except OSError:
            now = -1
        if now != last or now < 0:
            last, since = now, time.monotonic()


def test_second_process_refuses(mosquitto, make_service):
    service = make_service(mosquitto.port)
    service.wait_log("listening")
    second = subprocess.run([find_program("ingestor"), "serve"], env=service.environment,
                            cwd=service.folder, capture_output=True, text=True, timeout=PATIENCE_S,
                            check=False)
    assert second.returncode == 3
    assert "another" in second.stderr and "journal" in second.stderr
    service.stop()


def test_accounting(mosquitto, make_service, simulate):
    service = make_service(mosquitto.port)
    service.wait_log("connected")
    simulate(mosquitto.port, "--count", "5000", "--rate", "0", "--qos", "1")

    def settled():
        metrics = json.loads(service.get("/api/health"))["metrics"]
        accounts = list(metrics["accounting"].values())
        for account in accounts:
            assert account["received"] == (account["stored"] + account["rejected"] +
                                           account["repeated"] + account["pending"])
        return accounts and accounts[0]["received"] == 5000 and accounts[0]["pending"] == 0

    wait_until(settled, "all messages to be stored")
    service.stop()


def test_store_down_and_back(mosquitto, make_service, simulate, s3_server):
    """The store goes away in the middle, its bucket is deleted, and the secret was wrong at first."""
    s3 = s3_server
    environment = {"OBJECT_STORE_URL": "s3://lake", "MINIO_ENDPOINT": f"127.0.0.1:{s3.port}",
                   "MINIO_ACCESS_KEY": s3.access_key, "MINIO_SECRET_KEY": "wrong"}
    service = make_service(mosquitto.port, environment=environment)
    service.wait_log("connected")
    simulate(mosquitto.port, "--count", "2000", "--rate", "0", "--qos", "1", "--faults", "0")
    wait_until(lambda: "unhealthy" in json.loads(service.get("/api/health"))["components"]["minio"],
               "health to say that the secret is refused")
    health = json.loads(service.get("/api/health"))
    assert health["status"] == "degraded"
    assert "wrong" not in json.dumps(health)
    service.stop()

    service.environment["MINIO_SECRET_KEY"] = s3.secret_key
    service.start()
    wait_until(lambda: s3.count_seqs() == 2000, "the backlog to be uploaded")
    s3.stop()
    simulate(mosquitto.port, "--count", "2000", "--rate", "0", "--qos", "1", "--faults", "0",
             "--first-seq", "2001")
    wait_until(lambda: "unhealthy" in json.loads(service.get("/api/health"))["components"]["minio"],
               "health to say that the store is away")
    s3.start()
    wait_until(lambda: s3.count_seqs() == 4000, "what waited to be uploaded")
    s3.delete_bucket()
    simulate(mosquitto.port, "--count", "500", "--rate", "0", "--qos", "1", "--faults", "0",
             "--first-seq", "4001")
    wait_until(lambda: s3.count_seqs() == 500, "the bucket to be made again")
    service.stop()
    assert s3.count_seqs() == 500

"""Fixtures for tests of the whole program: the service, the scripted broker, Mosquitto.

Programs are found in $INGESTOR_BUILD_DIR or the usual build folders; what is not there skips the
test and says so. Every process is started by its test, on a free port, in a folder of its own, and
ended with it.
"""

import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("INGESTOR_TOOLS", Path.home() / ".cache/ingestor-tools"))
PATIENCE_S = float(os.environ.get("INGESTOR_TEST_PATIENCE", "180"))  # until a wait is a failure


def find_program(name):
    folders = [os.environ.get("INGESTOR_BUILD_DIR"), ROOT / "build", ROOT / "build-debug"]
    for folder in folders:
        if folder and (Path(folder) / name).exists():
            return str(Path(folder) / name)
    pytest.skip(f"{name} is not built")


def find_tool(name):
    """What scripts/install-*.sh put into INGESTOR_TOOLS (pip's programs beside its Python), or PATH."""
    folders = [TOOLS / "bin", TOOLS / "venv/bin", Path(sys.executable).parent, os.environ["PATH"],
               "/usr/sbin", "/usr/local/sbin"]
    return shutil.which(name, path=":".join(map(str, folders))) or pytest.skip(
        f"{name} cannot be had here (scripts/install-test-tools.sh, -s3-servers.sh, -hivemq.sh)")


def free_port():
    """Below what the kernel hands out by itself, and no other pytest-xdist worker's: nobody takes it
    before it is used."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = 10000 + random.randrange(22000 // workers) * workers + worker
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_until(condition, what, timeout_s=None):
    """Polls until condition() is true and returns its value. A service that does not answer yet is
    no answer; what may be a function that says how things stand."""
    end = time.monotonic() + (timeout_s or PATIENCE_S)
    while True:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what() if callable(what) else what}")
        time.sleep(0.05)


def end_process(process, patience_s=PATIENCE_S):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


class ScriptedBroker:
    """tests/tools/scripted_broker.c: do(step) adds steps, events are read as they come."""

    def __init__(self):
        self.process = subprocess.Popen(
            [find_program("scripted_broker"), "--wait-max-ms", str(int(PATIENCE_S * 1000))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.events = []
        self._new = queue.Queue()
        self._marks = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._new.put(json.loads(line))
        self._new.put(None)

    def do(self, what, **fields):
        self.process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self.process.stdin.flush()

    def next_event(self, timeout_s=None):
        try:
            event = self._new.get(timeout=timeout_s or PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"no event came; the last were {self.events[-5:]}") from None
        if event is None:
            raise AssertionError(f"the broker has ended; the last events were {self.events[-5:]}")
        assert event["event"] not in ("bad_step", "timeout"), event
        self.events.append(event)
        return event

    def wait(self, wanted, count=1, **fields):
        """Adds a wait for packets (or open, close) and returns when it and all before it are done."""
        self.do("wait", **{"for": wanted, "count": count, **fields})
        self.settle()

    def settle(self):
        """Returns when all steps so far are done."""
        self._marks += 1
        name = f"settled {self._marks}"
        self.do("mark", name=name)
        while self.next_event().get("name") != name:
            pass

    def watch(self, condition, what):
        """Reads events until condition() holds."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            self.next_event()

    def packets(self, kind, connection=None):
        return [e for e in self.events if e.get("type") == kind
                and connection in (None, e["connection"])]

    def identifiers(self, kind="PUBACK", connection=None):
        return [e["packet_identifier"] for e in self.packets(kind, connection)]

    def stop(self):
        self.process.stdin.close()
        end_process(self.process)


class Service:
    """`ingestor serve` with its journal, databases and lake in one folder."""

    def __init__(self, folder, broker_port, environment=None, sources=None):
        self.folder = Path(folder)
        self.lake = self.folder / "lake"
        self.port = free_port()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MINIO_", "MQTT_"))},
            "HOST": "127.0.0.1", "PORT": str(self.port), "LOG_FORMAT": "json",
            "MQTT_BROKER": "127.0.0.1", "MQTT_PORT": str(broker_port),
            "JOURNAL_DIR": str(self.folder / "journal"), "OBJECT_STORE_URL": f"file://{self.lake}",
            "INGESTOR_DATABASE_URL": f"sqlite:///{self.folder}/ingestor.db",
            "METADATA_DB_PATH": str(self.folder / "metadata.db"), "FLUSH_INTERVAL_SECONDS": "1",
            **(environment or {})}
        self.arguments = ["serve"]
        if sources is not None:
            self.environment["AUTO_REGISTER"] = "false"
            config = self.folder / "ingestor.yaml"
            config.write_text(json.dumps({"sources": sources}))  # JSON is YAML
            self.arguments += ["--config", str(config)]
        self.log_path = self.folder / "service.log"
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([find_program("ingestor"), *self.arguments], stderr=log,
                                            stdout=log, cwd=self.folder, env=self.environment)
        return self

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """As a power cut would, but for the page cache."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """A clean stop flushes all; any other exit code fails the test."""
        if self.process and self.alive():
            code = end_process(self.process)
            assert code == 0, f"serve ended with {code}:\n{self.log()[-3000:]}"

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_log(self, *texts, timeout_s=None):
        """Waits until one of the texts stands in the log, in any case."""
        wait_until(lambda: any(text.lower() in self.log().lower() for text in texts),
                   f"the log to say one of {texts}", timeout_s)

    def get(self, path):
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def metric(self, name, **labels):
        """The sum of a metric's series that have the labels."""
        total = 0.0
        for line in self.get("/api/metrics").splitlines():
            if line.split("{")[0].split(" ")[0] == name and all(
                    f'{label}="{value}"' in line for label, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def files(self, dead_letters=False):
        found = sorted(self.lake.glob("**/bronze/**/*.parquet"))
        return [f for f in found if ("_dead_letters" in str(f)) == dead_letters]

    def rows(self, dead_letters=False):
        """All rows of the lake, read by pyarrow; each with its dataset as "ingestion_id"."""
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = []
        for file in self.files(dead_letters):
            dataset = next((part.split("=", 1)[1] for part in file.parts
                            if part.startswith("ingestion_id=")), None)
            for row in parquet.ParquetFile(file).read().to_pylist():
                rows.append({"ingestion_id": dataset, **row})
        return rows

    def seqs(self):
        """The sequence numbers in the lake, sorted, doubles included."""
        return sorted(int(row["seq"]) for row in self.rows() if row.get("seq") is not None)


@pytest.fixture
def broker():
    """A scripted broker that answers what a script does not forbid."""
    scripted = ScriptedBroker()
    yield scripted
    scripted.stop()


@pytest.fixture
def make_service(tmp_path):
    """make_service(broker_port, environment={…}, sources=[…]) starts a service."""
    started = []

    def make(broker_port, **options):
        folder = tmp_path / f"service-{len(started)}"
        folder.mkdir()
        started.append(Service(folder, broker_port, **options).start())
        return started[-1]

    yield make
    for service in started:
        print(service.log()[-4000:])  # pytest shows it when the test has failed
        if service.alive():
            service.kill()


class Mosquitto:
    """A real broker with its limits lifted and persistence, on a free port."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.config = self.folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n"
            f"max_queued_messages 0\npersistence true\npersistence_location {self.folder}/\n"
            "autosave_interval 1\nuser root\n")
        self.process = None

    def start(self):
        with open(self.folder / "mosquitto.log", "ab") as log:
            self.process = subprocess.Popen([find_tool("mosquitto"), "-c", str(self.config)],
                                            stdout=log, stderr=log)
        wait_until(self._answers, "Mosquitto to listen")
        return self

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        end_process(self.process)


@pytest.fixture
def mosquitto(tmp_path):
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    real = Mosquitto(folder).start()
    yield real
    real.stop()


@pytest.fixture
def simulate():
    """simulate(port, "--count", "1000", …) publishes and returns the totals."""

    def run(port, *options, timeout_s=600):
        done = subprocess.run([find_program("ingestor"), "simulate", "--broker", "127.0.0.1",
                               "--port", str(port), "--json", "--quiet", *options],
                              capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run

"""Folders, disks, databases, brokers and settings that are wrong: one clear sentence in the log and
in /api/health, nothing lost, nothing crashed, and the service mends itself where that can help
(issue 3, "Bad input"; exit codes: docs/operations.md)."""

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import time

import pytest
from conftest import PATIENCE_S, Mosquitto, find_program, find_tool, free_port, wait_until

TOPIC = "smartcity/sensors/%d"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def publish(port, first, count, pad=0, **login):
    """QoS 1; returns when the broker has all."""
    module = pytest.importorskip("paho.mqtt.client")
    client = module.Client(module.CallbackAPIVersion.VERSION2, protocol=5)
    if login:
        client.username_pw_set(**login)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    infos = [client.publish(TOPIC % (seq % 5), json.dumps({"seq": seq, "pad": "x" * pad}), qos=1)
             for seq in range(first, first + count)]
    for info in infos:
        info.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def health(service):
    """Waits for the API: it is there soon after the start."""
    def answer():
        assert service.alive(), service.log()[-2000:]
        try:
            return service.get("/api/health")
        except OSError:
            return None

    return json.loads(wait_until(answer, "the API to answer"))


def component(service, name):
    return health(service)["components"][name]


def wait_component(service, name, *words):
    """Waits until a component's sentence has one of the words and returns it."""
    return wait_until(lambda: next((component(service, name) for word in words
                                    if word.lower() in component(service, name).lower()), None),
                      lambda: f"health to say {words} of {name}; it says "
                              f"{health(service)['components']}")


def wait_healthy(service):
    wait_until(lambda: health(service)["status"] == "healthy",
               lambda: "the service to be healthy again; it says "
                       f"{health(service)['components']}")


def wait_stored(service, count):
    def stored():
        accounts = health(service)["metrics"]["accounting"].values()
        for a in accounts:
            assert a["received"] == a["stored"] + a["rejected"] + a["repeated"] + a["pending"]
        return sum(a["stored"] for a in accounts) >= count
    wait_until(stored, f"{count} messages to be stored")


def start_again(service):
    """Returns when the service is up."""
    service.log_path.rename(service.log_path.with_suffix(f".{time.monotonic_ns()}"))
    service.start()
    service.wait_log("connected")


def run_to_end(service):
    """A start that is to fail: its exit code and what it said."""
    service.process.wait(PATIENCE_S)
    return service.process.returncode, service.log()


def errors(log):
    return [line for line in log.splitlines() if '"error"' in line.lower() or "ERROR" in line]


@pytest.fixture
def small_disk(tmp_path):
    """small_disk("100m") mounts a file system of that size; needs root."""
    mounted = []

    def make(size, name="disk"):
        if os.geteuid() != 0:
            pytest.skip("a file system of its own needs root")
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"nothing can be mounted here: {done.stderr}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def start_with(make_service, port, **environment):
    return make_service(port, environment=environment)


def fill(folder):
    """Takes all room there is."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
    return filler


# --- folders and disks ---------------------------------------------------------------------------

def test_journal_below_a_file(mosquitto, make_service, tmp_path):
    (tmp_path / "file").write_text("no folder")
    service = start_with(make_service, mosquitto.port, JOURNAL_DIR=str(tmp_path / "file/journal"))
    code, log = run_to_end(service)
    assert code == 1
    assert str(tmp_path / "file") in log and "JOURNAL_DIR" in log


def test_journal_on_a_read_only_file_system(mosquitto, make_service, small_disk):
    disk = small_disk("8m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    service = start_with(make_service, mosquitto.port, JOURNAL_DIR=str(disk / "journal"))
    code, log = run_to_end(service)
    assert code == 1
    assert "read-only" in log.lower() and "JOURNAL_DIR" in log


def test_journal_disk_full_at_start(mosquitto, make_service, small_disk):
    disk = small_disk("1m")
    fill(disk)
    service = start_with(make_service, mosquitto.port, JOURNAL_DIR=str(disk / "journal"))

    def says_so():
        return not service.alive() or "space" in service.get("/api/health").lower()

    wait_until(says_so, "the end, or health to tell of the full disk")
    if service.alive():  # it waits for room, and says so
        os.unlink(disk / "filler")
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        service.wait_log("connected")
        publish(mosquitto.port, 0, 100)
        wait_stored(service, 100)
        service.stop()
        assert service.seqs() == list(range(100))
    else:
        code, log = run_to_end(service)
        assert code == 1 and "space" in log.lower() and "JOURNAL_DIR" in log


def test_journal_disk_fills(mosquitto, make_service, small_disk):
    """While the disk is full nothing is acknowledged, health says so; then all goes on by itself."""
    disk = small_disk("400m")
    service = start_with(make_service, mosquitto.port, JOURNAL_DIR=str(disk / "journal"))
    service.wait_log("connected")
    publish(mosquitto.port, 0, 1000)
    wait_stored(service, 1000)
    filler = fill(disk)
    for part in range(1, 9):  # more than what is preallocated holds
        publish(mosquitto.port, part * 1000, 1000, pad=20000)

    def told_or_stored():
        now = health(service)
        if sum(a["stored"] for a in now["metrics"]["accounting"].values()) >= 9000:
            return "stored"
        texts = [text for text in now["components"].values()
                 if any(word in text.lower() for word in ("space", "room", "mib left"))]
        assert not texts or now["status"] != "healthy"
        return texts and "told"

    # The store is there: what has landed gives its segments back, which may be room enough.
    if wait_until(told_or_stored, "health to tell of the full disk, or the rest") == "told":
        service.wait_log("space", "room", "mib left")
    assert service.alive()
    filler.unlink()
    wait_stored(service, 9000)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(9000))


def test_journal_disk_full_and_killed(mosquitto, make_service, small_disk):
    disk = small_disk("400m")
    service = start_with(make_service, mosquitto.port, JOURNAL_DIR=str(disk / "journal"))
    service.wait_log("connected")
    filler = fill(disk)
    for part in range(8):
        publish(mosquitto.port, part * 1000, 1000, pad=20000)
    time.sleep(2)
    service.kill()
    filler.unlink()
    start_again(service)
    wait_until(lambda: len(set(service.seqs())) == 8000, "all to be in the lake")
    service.stop()
    assert service.seqs() == list(range(8000))


def test_lake_below_a_file(mosquitto, make_service, tmp_path):
    """The store's folder cannot be made: it is said, the journal keeps all, then it lands."""
    blocker = tmp_path / "lakes"
    blocker.write_text("no folder")
    service = start_with(make_service, mosquitto.port, OBJECT_STORE_URL=f"file://{blocker}/lake")
    service.lake = blocker / "lake"
    service.wait_log("connected")
    publish(mosquitto.port, 0, 500)
    sentence = wait_component(service, "minio", "unhealthy")
    assert str(blocker) in sentence
    assert health(service)["status"] == "degraded"
    service.wait_log(str(blocker))
    blocker.unlink()
    wait_stored(service, 500)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(500))


def test_lake_on_a_full_disk(mosquitto, make_service, small_disk):
    disk = small_disk("2m")
    filler = fill(disk)
    service = start_with(make_service, mosquitto.port, OBJECT_STORE_URL=f"file://{disk}/lake")
    service.lake = disk / "lake"
    service.wait_log("connected")
    publish(mosquitto.port, 0, 500)
    assert "space" in wait_component(service, "minio", "unhealthy").lower()
    filler.unlink()
    wait_stored(service, 500)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(500))


def test_lake_becomes_read_only(mosquitto, make_service, small_disk):
    disk = small_disk("50m")
    service = start_with(make_service, mosquitto.port, OBJECT_STORE_URL=f"file://{disk}/lake")
    service.lake = disk / "lake"
    service.wait_log("connected")
    publish(mosquitto.port, 0, 500)
    wait_stored(service, 500)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    publish(mosquitto.port, 500, 500)
    assert "read-only" in wait_component(service, "minio", "unhealthy").lower()
    assert health(service)["status"] == "degraded"
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    wait_stored(service, 1000)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(1000))


# --- the journal ---------------------------------------------------------------------------------

def stopped_with_backlog(make_service, mosquitto, tmp_path):
    """A service killed with 3,000 messages in its journal and none in the lake."""
    blocker = tmp_path / "lakes"
    blocker.write_text("no folder yet")
    service = start_with(make_service, mosquitto.port, OBJECT_STORE_URL=f"file://{blocker}/lake",
                         FLUSH_INTERVAL_SECONDS="3600")
    service.lake = blocker / "lake"
    service.wait_log("connected")
    for part in range(3):
        publish(mosquitto.port, part * 1000, 1000)
        wait_until(lambda: sum(a["received"] for a in health(service)["metrics"]["accounting"]
                               .values()) == (part + 1) * 1000, "all to be received")
        time.sleep(1.5)  # an empty block calls the last one durable
    service.kill()
    blocker.unlink()
    service.environment["FLUSH_INTERVAL_SECONDS"] = "1"
    return service


def wait_landed(service, seqs):
    """The broker has them when publish returns; the service has not."""
    wait_until(lambda: set(seqs) <= set(service.seqs()), "what was published to be in the lake")


def segments(service):
    return sorted((service.folder / "journal").glob("segment-*"))


def test_journal_of_a_newer_version(mosquitto, make_service, tmp_path):
    service = stopped_with_backlog(make_service, mosquitto, tmp_path)
    before = {}
    for path in segments(service):
        data = bytearray(path.read_bytes())
        before[path] = bytes(data)
        if not any(data[:64]):
            continue
        data[16:20] = struct.pack("<I", 99)
        data[8:12] = struct.pack("<I", crc32c(bytes(data[16:256])))
        path.write_bytes(data)
        changed = bytes(data)
    service.start()
    code, log = run_to_end(service)
    assert code == 3
    assert "newer version" in log and "99" in log and "JOURNAL_DIR" in log
    assert any(path.read_bytes() == changed for path in before)  # untouched
    for path, data in before.items():
        path.write_bytes(data)
    start_again(service)
    service.stop()
    assert service.seqs() == list(range(3000))


def test_journal_damaged_in_the_middle(mosquitto, make_service, tmp_path):
    """Damage is reported and skipped; what is around it lands, once."""
    service = stopped_with_backlog(make_service, mosquitto, tmp_path)
    for path in segments(service):
        data = path.read_bytes()
        at = data.find(b'"seq": 1500,')
        if at > 0:
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"\xff" * 8)
            break
    else:
        raise AssertionError("the message is in no segment")
    start_again(service)
    service.wait_log("damage")
    assert "damage" in component(service, "journal")
    assert health(service)["status"] == "degraded"
    assert path.name in service.log() and "offset" in service.log()
    publish(mosquitto.port, 3000, 100)
    wait_landed(service, range(3000, 3100))
    service.stop()
    seqs = service.seqs()
    assert len(seqs) == len(set(seqs))
    assert 1500 not in seqs
    assert set(range(1000)) <= set(seqs) and set(range(2000, 3100)) <= set(seqs)
    lost = set(range(3100)) - set(seqs)
    assert len(lost) < 1000


def test_journal_cut_short(mosquitto, make_service, tmp_path):
    """A file that ends too early (a copy that was broken off)."""
    service = stopped_with_backlog(make_service, mosquitto, tmp_path)
    for path in segments(service):
        data = path.read_bytes()
        at = data.find(b'"seq": 2990,')
        if at > 0:
            os.truncate(path, at)
    start_again(service)
    publish(mosquitto.port, 3000, 100)
    wait_landed(service, range(3000, 3100))
    service.stop()
    seqs = service.seqs()
    assert len(seqs) == len(set(seqs)) and set(range(1000)) <= set(seqs)
    assert set(range(3000, 3100)) <= set(seqs)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, os.urandom(100000), b"text"])
def test_strange_files_in_the_journal_folder(mosquitto, make_service, tmp_path, content):
    service = stopped_with_backlog(make_service, mosquitto, tmp_path)
    for name in ("segment-99", "segment-00000099", "notes.txt", "spool/x.parquet", "spool/y.tmp"):
        path = service.folder / "journal" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    start_again(service)
    service.stop()
    assert service.seqs() == list(range(3000))


# --- configuration -------------------------------------------------------------------------------

@pytest.mark.parametrize("name,value,words", [
    ("PORT", "99999", ["65535"]), ("PORT", "eight", ["whole number"]),
    ("FLUSH_INTERVAL_SECONDS", "-1", []), ("FLUSH_MAX_BYTES", "64 potatoes", []),
    ("PARTITION_BY", "moon", ["event", "arrival"]), ("PARQUET_COMPRESSION", "lz4", ["lz4_raw"]),
    ("JOURNAL_SYNC", "sometimes", ["always", "interval", "off"]), ("LOG_LEVEL", "LOUD", ["DEBUG"]),
    ("AUTO_REGISTER", "perhaps", ["true", "false"]), ("OBJECT_STORE_URL", "ftp://x", ["s3://", "file://"]),
    ("INGESTOR_DATABASE_URL", "mysql://x", ["sqlite:///"]), ("MQTT_PORT", "0", []),
    ("BUFFER_MAX_ROWS", "1e9999", []), ("MQTT_TOPIC", "a/#/b", ["a/#/b"]),
    ("PARTITION_WINDOW_HOURS", "-3", ["65535"]),
])
def test_ill_typed_setting(make_service, name, value, words):
    service = start_with(make_service, 1, **{name: value})
    code, log = run_to_end(service)
    assert code == 2, log
    for word in [name, *words]:
        assert word in log, log
    assert "journal" not in os.listdir(service.folder), "something was begun"
    check = subprocess.run([find_program("ingestor"), "check"], env=service.environment,
                           cwd=service.folder, capture_output=True, text=True, check=False)
    assert check.returncode == 2 and name in check.stderr + check.stdout


@pytest.mark.parametrize("text,words", [
    ("no_such_key: 1\n", ["no_such_key"]), ("port: [1]\n", ["port"]), ("port: yes\n", ["port"]),
    ("sources: {}\n", ["sources"]), ("sources: [1]\n", ["sources"]),
    ("sources: [{name: x}]\n", ["type_name"]), ("a: &a [*a]\n", []), ("{", []), ("\x00", []),
    ("- 1\n", []), ("port: 1\nport: 2\n", ["port"]), ("port: 8001\nport : [\n", []),
    ("sources: [{name: x, type_name: mqtt, config: {broker: b}}]\n", ["topics"]),
    ("sources: [{name: x, type_name: mqtt, config: {broker: b, topics: a, qos: 7}}]\n", ["qos"]),
    ("sources: [{name: x, type_name: carrier_pigeon, config: {}}]\n", ["carrier_pigeon"]),
    ("sources: [{name: x, type_name: mqtt, config: {broker: b, topics: a, protocol_version: 6}}]\n",
     ["protocol_version"]),
    ("a: " * 5000, []), ("x: " + "[" * 20000, []),
])
def test_bad_configuration_file(make_service, tmp_path, text, words):
    service = make_service(1, sources=[])
    service.kill()
    service.log_path.unlink()
    shutil.rmtree(service.folder / "journal", ignore_errors=True)
    (service.folder / "ingestor.yaml").write_bytes(text.encode("latin-1"))
    del service.environment["PORT"]
    service.start()
    code, log = run_to_end(service)
    assert code == 2, log
    assert "ingestor.yaml" in log and all(word in log for word in words), log
    assert len(log) < 20000


def test_port_in_use(mosquitto, make_service):
    service = make_service(mosquitto.port)
    service.wait_log("connected")
    other = make_service(mosquitto.port, environment={"PORT": str(service.port)})
    code, log = run_to_end(other)
    assert code == 1 and str(service.port) in log and "another process" in log
    service.stop()


@pytest.fixture
def own_broker(tmp_path):
    """A Mosquitto that its test starts."""
    broker = Mosquitto(tmp_path)
    yield broker
    if broker.process:
        broker.stop()


# --- brokers -------------------------------------------------------------------------------------

def test_broker_comes_later(make_service, own_broker):
    broker = own_broker
    service = make_service(broker.port)
    sentence = wait_component(service, "data_sources", "refused")
    assert str(broker.port) in sentence
    assert health(service)["status"] == "degraded"
    assert json.loads(service.get("/api/ready"))["ready"] is True
    broker.start()
    service.wait_log("connected")
    publish(broker.port, 0, 10)
    wait_stored(service, 10)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(10))


def test_broker_of_no_such_name(make_service):
    service = make_service(1883, environment={"MQTT_BROKER": "no-such-host.invalid"})
    sentence = wait_component(service, "data_sources", "no-such-host.invalid")
    assert health(service)["status"] == "degraded" and "Local Simulators" in sentence
    service.stop()


def test_one_bad_source_does_not_hinder_another(mosquitto, make_service):
    def source(name, port, **config):
        return {"name": name, "type_name": "mqtt",
                "config": {"broker": "127.0.0.1", "port": port, "topics": ["smartcity/#"], **config}}

    service = make_service(1, sources=[source("dead", free_port()), source("good", mosquitto.port),
                                       source("lost", 1883, broker="no-such-host.invalid")])
    service.wait_log("connected")
    publish(mosquitto.port, 0, 100)
    wait_stored(service, 100)
    told = component(service, "data_sources")
    assert "2 of 3" in told and "dead: " in told and "lost: " in told
    service.stop()
    assert service.seqs() == list(range(100))


def test_refused_credentials(make_service, own_broker, tmp_path):
    """Told, tried again, and it goes on when the broker learns the password; no secret is shown."""
    broker = own_broker
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    tool = find_tool("mosquitto_passwd")
    subprocess.run([tool, "-b", str(passwords), "gate", "another"], check=True)
    passwords.chmod(0o600)
    broker.config.write_text(broker.config.read_text().replace("allow_anonymous true",
                                                               "allow_anonymous false") +
                             f"password_file {passwords}\n")
    broker.start()
    source = {"name": "gate", "type_name": "mqtt",
              "config": {"broker": "127.0.0.1", "port": broker.port, "topics": ["smartcity/#"],
                         "username": "gate", "password": "pass-4711-word"}}
    service = make_service(broker.port, sources=[source])
    sentence = wait_component(service, "data_sources", "not authorized", "user name or password")
    assert "gate" in sentence
    subprocess.run([tool, "-b", str(passwords), "gate", "pass-4711-word"], check=True)
    broker.process.send_signal(1)
    service.wait_log("connected")
    publish(broker.port, 0, 10, username="gate", password="pass-4711-word")
    wait_stored(service, 10)
    wait_healthy(service)
    assert "pass-4711" not in service.log() and "pass-4711" not in service.get("/api/health")
    service.stop()
    assert service.seqs() == list(range(10))


# --- the database --------------------------------------------------------------------------------

def test_database_locked(mosquitto, make_service):
    service = make_service(mosquitto.port)
    service.wait_log("connected")
    publish(mosquitto.port, 0, 10)
    wait_stored(service, 10)
    lock = sqlite3.connect(service.folder / "ingestor.db", isolation_level=None)
    lock.execute("begin exclusive")
    module = pytest.importorskip("paho.mqtt.publish")
    module.single("smartcity/sensors/new", json.dumps({"seq": 10, "new": "field"}), qos=1,
                  port=mosquitto.port)
    wait_component(service, "database", "lock", "busy")
    assert health(service)["status"] == "degraded"
    lock.execute("rollback")
    lock.close()
    wait_stored(service, 11)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(11))


@pytest.mark.parametrize("content", [b"this is no database " * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_database_corrupt(mosquitto, make_service, tmp_path, content):
    path = tmp_path / "bad.db"
    path.write_bytes(content)
    service = make_service(mosquitto.port,
                           environment={"INGESTOR_DATABASE_URL": f"sqlite:///{path}"})
    service.wait_log("connected")
    publish(mosquitto.port, 0, 100)
    sentence = wait_component(service, "database", "degraded")
    assert str(path) in sentence or "database" in sentence
    assert health(service)["status"] == "degraded" and path.read_bytes() == content
    service.wait_log(str(path))
    path.unlink()
    wait_stored(service, 100)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(100))


def test_database_in_a_folder_that_is_none(mosquitto, make_service, tmp_path):
    blocker = tmp_path / "databases"
    blocker.write_text("no folder")
    service = make_service(mosquitto.port, environment={
        "INGESTOR_DATABASE_URL": f"sqlite:///{blocker}/deep/ingestor.db"})
    service.wait_log("connected")
    publish(mosquitto.port, 0, 100)
    assert str(blocker) in wait_component(service, "database", "degraded")
    service.kill()
    start_again(service)
    assert str(blocker) in wait_component(service, "database", "degraded")
    blocker.unlink()
    (blocker / "deep").mkdir(parents=True)
    wait_stored(service, 100)
    wait_healthy(service)
    service.stop()
    assert service.seqs() == list(range(100))


def test_ready_when_the_sources_are_known(make_service, tmp_path):
    """While none could be read yet nothing can be acknowledged: not ready, and alive."""
    blocker = tmp_path / "databases"
    blocker.write_text("no folder")
    service = make_service(1, environment={
        "INGESTOR_DATABASE_URL": f"sqlite:///{blocker}/ingestor.db", "AUTO_REGISTER": "false"})
    assert "is not a folder" in wait_component(service, "database", "degraded")
    assert json.loads(service.get("/api/ready"))["ready"] is False
    assert json.loads(service.get("/api/ready"))["checks"]["database"] is False
    assert json.loads(service.get("/api/live"))["live"] is True
    blocker.unlink()
    wait_until(lambda: json.loads(service.get("/api/ready"))["ready"], "the sources to be read")
    assert json.loads(service.get("/api/ready"))["checks"]["database"] is True
    service.stop()


def test_stop_with_the_database_away(mosquitto, make_service, tmp_path):
    """What cannot be decoded stays in the journal, the stop is clean, the next start goes on."""
    path = tmp_path / "bad.db"
    path.write_bytes(b"this is no database " * 500)
    service = make_service(mosquitto.port,
                           environment={"INGESTOR_DATABASE_URL": f"sqlite:///{path}"})
    service.wait_log("connected")
    publish(mosquitto.port, 0, 100)
    wait_component(service, "database", "degraded")
    begin = time.monotonic()
    service.stop()
    assert time.monotonic() - begin < 15
    path.unlink()
    start_again(service)
    wait_stored(service, 100)
    service.stop()
    assert service.seqs() == list(range(100))

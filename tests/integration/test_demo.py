"""make demo, from its start to Ctrl-C, in a copy of its own folders."""

import os
import re
import shutil
import signal
import socket
import subprocess

import pytest
from conftest import PATIENCE_S, ROOT, find_program, find_tool, wait_until


@pytest.fixture
def house(tmp_path):
    """What the demo needs of the tree: its script, and the program where make leaves it."""
    find_tool("mosquitto")
    program = find_program("ingestor")
    if "serve" not in subprocess.run([program, "help"], capture_output=True, text=True).stdout:
        pytest.skip("this build has no serve")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "build").mkdir()
    os.symlink(program, tmp_path / "build/ingestor")
    (tmp_path / "Makefile").write_text("all:\n\t@true\n")
    return tmp_path


def run_demo(house, **env):
    return subprocess.Popen(["scripts/demo.sh"], cwd=house, start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "DEMO_INSTALL": "0", **env})


def left_behind(house):
    """Processes that work in the demo's folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(house) and int(pid) != os.getpid():
                found.append(open(f"/proc/{pid}/cmdline").read().replace("\0", " "))
        except OSError:
            pass
    return found


def files(house):
    return list(house.glob("data/lake/bronze/*/*/*/*.parquet"))


def has_come(house, kind):
    """Files of datasets of sources of that type."""
    return any(f"_{kind}" in str(f.relative_to(house)) for f in files(house))


def asked(house, line):
    """The closing line's query, by duckdb: {source_type: rows}."""
    duckdb = pytest.importorskip("duckdb")
    query = re.fullmatch(r'duckdb -c "(.*)"', line).group(1)
    return {row[0]: row[2] for row in
            duckdb.sql(query.replace("data/lake", str(house / "data/lake"))).fetchall()}


def test_twice_by_ctrl_c_and_by_itself(house):
    demo = run_demo(house)
    try:
        wait_until(lambda: has_come(house, "mqtt") and has_come(house, "coap")
                   or demo.poll() is not None, "files of both in the lake")
        assert demo.poll() is None, demo.stdout.read()
        os.killpg(demo.pid, signal.SIGINT)
        output = demo.communicate(timeout=PATIENCE_S)[0]
    finally:
        if demo.poll() is None:
            demo.kill()
    assert demo.returncode == 0, output
    assert re.search(r"coap://127\.0\.0\.1:\d+/ .*16 to observe", output), output
    assert re.search(r"MQTT \d+ \(\d+/s\), CoAP \d+ \(\d+/s\)", output), output
    assert left_behind(house) == []
    before = len(files(house))
    port = (house / "data/demo/coap-port").read_text()

    demo = run_demo(house, DEMO_SECONDS="4")
    output = demo.communicate(timeout=PATIENCE_S)[0]
    assert demo.returncode == 0, output
    rows = asked(house, output.splitlines()[-1])
    assert rows["mqtt"] > rows["coap"] > 0
    assert len(files(house)) > before
    assert (house / "data/demo/coap-port").read_text() == port
    assert left_behind(house) == []


def test_coap_port_of_the_last_run_is_taken(house):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        (house / "data/demo").mkdir(parents=True)
        (house / "data/demo/coap-port").write_text(str(other.getsockname()[1]))
        demo = run_demo(house, DEMO_SECONDS="2")
        output = demo.communicate(timeout=PATIENCE_S)[0]
        assert demo.returncode == 0, output
        assert f":{other.getsockname()[1]}/" not in output and "coap://" in output
    assert left_behind(house) == []


def test_killed_leaves_nothing(house):
    demo = run_demo(house)
    wait_until(lambda: any("serve" in line for line in left_behind(house)), "the service")
    demo.kill()
    demo.wait()
    wait_until(lambda: left_behind(house) == [], "the end of the children")

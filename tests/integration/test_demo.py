"""make demo, from its start to Ctrl-C, in a copy of its own folders."""

import os
import shutil
import signal
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


def test_twice_and_ctrl_c(house):
    for _ in range(2):
        before = len(files(house))
        demo = run_demo(house)
        try:
            wait_until(lambda: len(files(house)) > before or demo.poll() is not None,
                       "files in the lake")
            assert demo.poll() is None, demo.stdout.read()
            os.killpg(demo.pid, signal.SIGINT)
            output = demo.communicate(timeout=PATIENCE_S)[0]
        finally:
            if demo.poll() is None:
                demo.kill()
        assert demo.returncode == 0, output
        assert "duckdb -c" in output or "received" in output
        assert left_behind(house) == []


def test_ends_by_itself_with_the_query(house):
    demo = run_demo(house, DEMO_SECONDS="4")
    output = demo.communicate(timeout=PATIENCE_S)[0]
    assert demo.returncode == 0, output
    assert "duckdb -c" in output.splitlines()[-1]
    assert left_behind(house) == []


def test_killed_leaves_nothing(house):
    demo = run_demo(house)
    wait_until(lambda: any("serve" in line for line in left_behind(house)), "the service")
    demo.kill()
    demo.wait()
    wait_until(lambda: left_behind(house) == [], "the end of the children")

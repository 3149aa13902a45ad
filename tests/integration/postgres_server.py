"""A PostgreSQL server of the test's own: on a free port of 127.0.0.1, in a folder of its own, as an
unprivileged user when the tests run as root."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import free_port, wait_until


class Held:
    def __init__(self, server, sql):
        self.psql = subprocess.Popen([server.programs / "psql", server.url, "-XAtq"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.psql.stdin.write(f"BEGIN;\n{sql};\n\\echo held\n")
        self.psql.stdin.flush()
        while (line := self.psql.stdout.readline()) != "held\n":
            assert line, "psql ended"

    def end(self):
        self.psql.communicate("COMMIT;\n")


class Postgres:
    def __init__(self):
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not folders:
            pytest.skip("there is no PostgreSQL in /usr/lib/postgresql")
        self.programs = Path(folders[-1])
        self.folder = Path(tempfile.mkdtemp(prefix="ingestor-postgres-"))
        self.user = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self.port = free_port()
        self.url = f"postgresql://ingestor:geheim%40@127.0.0.1:{self.port}/postgres"
        password = self.folder / "password"
        password.write_text("geheim@")
        password.chmod(0o644)
        self._run("initdb", "-D", self.folder / "data", "-U", "ingestor", "-A", "scram-sha-256",
                  "--pwfile", password, "-E", "UTF8", "--locale=C", "--no-sync")
        self.process = None

    def _run(self, program, *arguments):
        subprocess.run([self.programs / program, *arguments], check=True, cwd=self.folder,
                       stdout=subprocess.DEVNULL, **self.user)

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port),
                 "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}",
                 "-c", "fsync=off"], cwd=self.folder, stdout=log, stderr=log, **self.user)
        wait_until(self._answers, "PostgreSQL to answer")
        return self

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return subprocess.run([self.programs / "pg_isready", "-h", "127.0.0.1", "-p",
                               str(self.port)], stdout=subprocess.DEVNULL).returncode == 0

    def ask(self, sql):
        """psql's answer, without any ornament."""
        done = subprocess.run([self.programs / "psql", self.url, "-XAtqc", sql], check=True,
                              capture_output=True, text=True)
        return done.stdout.strip()

    def hold(self, sql):
        """A transaction that has done this, and stays open until end()."""
        return Held(self, sql)

    def crash(self):
        """All connections break at once, without a word."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def end(self):
        if self.process and self.process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def postgres():
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.end()

"""The lines that docs/lake.md gives for Spark: on a lake whose columns grow, and on a day of real sensor
shapes (test_lake_day.py), each dataset together and its files, compared value by value. One session for all
of them: two threads, half a gigabyte of heap. Spark is in an environment of its own, which .ci/run installs."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import sensor_day
from conftest import PATIENCE_S, ROOT, TOOLS
from lake_lines import line
from test_lake_cli import DATASET, lake  # noqa: F401 (a fixture)
from test_lake_day import check_files, check_rows, day, model  # noqa: F401 (a fixture)
from test_lake_lines import check

OPTIONS = ("--master local[2] --driver-memory 512m --conf spark.ui.enabled=false "
           "--conf spark.sql.shuffle.partitions=1 --driver-java-options "
           "'-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=256m' pyspark-shell")
HUNG_S = 4 * PATIENCE_S  # no answer takes so long, nor Spark's start from a cold disk


def find_spark():
    """The Python that has it."""
    if not (TOOLS / "spark/.pins-test-tools-spark").exists():
        pytest.skip("Spark (450 MB) is not installed: scripts/install-test-tools.sh spark")
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if not java:
        pytest.skip("Spark needs Java, which is not installed")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < 17:
        pytest.skip(f"Spark needs Java 17: {said.splitlines()[0]}")
    return TOOLS / "spark/bin/python"


class Spark:
    """tests/tools/spark_lines.py, and so Spark's session and Java, as long as this lives."""

    def __init__(self, python, folder):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_", "PYTHON"))}
        environment |= {"PYSPARK_SUBMIT_ARGS": OPTIONS, "SPARK_LOCAL_DIRS": str(folder), "SPARK_LOCAL_IP": "127.0.0.1",
                        "TZ": "Asia/Kolkata"}  # where a time of day is not taken for an instant
        self.log_path = folder / "spark.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [python, ROOT / "tests/tools/spark_lines.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, cwd=folder, env=environment, start_new_session=True)

    def rows(self, code):
        watchdog = threading.Timer(HUNG_S, self.kill)
        watchdog.start()
        try:
            self.process.stdin.write(json.dumps(code).encode() + b"\n")
            self.process.stdin.flush()
            found = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise AssertionError(f"Spark has ended:\n{self.log_path.read_text(errors='replace')[-3000:]}") from None
        finally:
            watchdog.cancel()
        assert isinstance(found, list), found
        return found

    def kill(self):
        """Java too, which ends by itself only some time after its Python."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    found = Spark(find_spark(), tmp_path_factory.mktemp("spark"))
    yield found
    found.kill()


def null_safe(code):
    """The line without its end, for in pandas null is NaN."""
    assert code.count(".toPandas()") == 1
    return code.replace(".toPandas()", "")


def test_the_line_as_it_stands(spark, lake):  # noqa: F811
    check(spark.rows(line("Spark", lake, DATASET)))


@pytest.mark.parametrize("name", sensor_day.SHAPES)
def test_each_dataset_together(spark, day, name):  # noqa: F811
    _, wanted = model(day, name)
    assert len(day.files(name)) >= 3
    check_rows(spark.rows(null_safe(line("Spark", day.service.lake, day.ids[name]))), wanted)


FROM_WHERE = """
from pyspark.sql.functions import input_file_name
table = table.withColumn("from_where", input_file_name())
"""


@pytest.mark.parametrize("name", sensor_day.SHAPES)
def test_the_files_of_each_wave(spark, day, name):  # noqa: F811
    """By the line for one file, with all files of a wave, which have the same columns, in its place."""
    waves, _ = model(day, name)
    cuts = day.cuts(name)
    assert len(cuts) == len(waves)
    for files, wave in zip(cuts, waves):
        code = null_safe(line("Spark, one file", day.service.lake, day.ids[name], '", "'.join(map(str, files))))
        rows = spark.rows(code + FROM_WHERE)
        found = [(Path(unquote(urlparse(row.pop("from_where")).path)), row) for row in rows]
        assert {file for file, _ in found} == set(files)
        check_files(found, wave)

"""The lines of docs/lake.md, each run by its engine on a lake whose columns grow; what they read is
compared value by value; Spark's by test_lake_spark.py."""

import re
import shutil

import pytest
from conftest import ROOT
from lake_lines import line, run_python
from test_lake_cli import DATASET, EARLY, LATE, lake  # noqa: F401 (a fixture)


def bare(value):
    """Without the fields that are null, which a younger column is in older rows."""
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [bare(v) for v in value]
    return value


def check(rows):
    sent = EARLY + LATE
    rows = sorted(rows, key=lambda row: row["seq"])
    assert [row["seq"] for row in rows] == list(range(len(sent)))
    for row, want in zip(rows, sent):
        want = {k: v for k, v in want.items() if not isinstance(v, str)}  # "warm" is rescued
        assert bare({k: row[k] for k in want}) == bare(want)
        assert row["date"] is not None and row["hour"] is not None
    assert sum(row["_rescued_data"] is not None for row in rows) == 1


def test_duckdb(lake):  # noqa: F811
    duckdb = pytest.importorskip("duckdb")
    result = duckdb.sql(line("DuckDB", lake, DATASET))
    check([dict(zip(result.columns, row)) for row in result.fetchall()])


def test_all_datasets_beside_dead_letters(lake, tmp_path):  # noqa: F811
    """The dead letters have no ingestion_id in their path, so they may not be among the files."""
    duckdb = pytest.importorskip("duckdb")
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    one = next(copy.glob("bronze/ingestion_id=*/*/*/*.parquet"))
    letters = copy / "bronze/_dead_letters" / one.parent.relative_to(one.parents[2])
    letters.mkdir(parents=True, exist_ok=True)
    shutil.copy(one, letters)
    (pattern,) = re.findall(r"`…/(bronze/\S+)` reads all datasets", (ROOT / "docs/lake.md").read_text())
    assert duckdb.sql(f"SELECT DISTINCT ingestion_id FROM read_parquet('{copy}/{pattern}', hive_partitioning = true, "
                      "union_by_name = true)").fetchall() == [(DATASET,)]


def test_polars(lake):  # noqa: F811
    pytest.importorskip("polars")
    check(run_python("Polars", lake, DATASET)["table"].to_dicts())


def test_pyarrow(lake):  # noqa: F811
    pytest.importorskip("pyarrow")
    check(run_python("pyarrow", lake, DATASET)["table"].to_pylist())


def test_datafusion(lake):  # noqa: F811
    pytest.importorskip("datafusion", reason="DataFusion (PyPI datafusion) is not installed")
    check(run_python("DataFusion", lake, DATASET)["table"].to_pylist())

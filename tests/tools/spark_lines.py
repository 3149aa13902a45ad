"""Runs lines of Python in one Spark session, for tests/integration/test_lake_spark.py, under the Python
that has pyspark and pandas (scripts/test-tools-spark.txt). Each line of stdin is code as a JSON text, which
leaves a `table`; each answer on stdout is a pickle, without any type of theirs: its rows, instants in UTC, or
what went wrong."""

import json
import os
import pickle
import sys
import traceback
from datetime import datetime, timezone

import pandas
from pyspark.sql import Row


def plain(value):
    if isinstance(value, Row):
        return plain(value.asDict())
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, pandas.Timestamp):
        value = value.to_pydatetime()
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def rows(table):
    if isinstance(table, pandas.DataFrame):  # its NaN stands for null too
        return [plain({k: None if v is pandas.NaT or v != v else v for k, v in row.items()})
                for row in table.to_dict("records")]
    return [plain(row) for row in table.collect()]


def answer(code):
    names = {}
    try:
        exec(code, names)  # pylint: disable=exec-used
        return rows(names["table"])
    except Exception:  # pylint: disable=broad-except
        return traceback.format_exc()


def main():
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Java prints is no answer
    for code in sys.stdin:
        pickle.dump(answer(json.loads(code)), answers)
        answers.flush()


main()

"""Parquet files written by the product's writer, read value by value by independent readers.

Driven by tests/tools/parquet_sample.c, which writes a file and the rows it should hold. The program
is found in $INGESTOR_BUILD_DIR or the usual build folders.
"""

import io
import json
import math
import os
import struct
import subprocess
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROOT = Path(__file__).resolve().parents[2]
CODECS = ["none", "snappy", "zstd", "lz4_raw"]
SCENARIOS = ["mixed", "edges", "nulls", "sorted"]
ROWS, GROUP_ROWS, PAGE_ROWS = 7000, 3000, 500


def program():
    folders = [os.environ.get("INGESTOR_BUILD_DIR"), ROOT / "build-debug", ROOT / "build",
               ROOT / "build-asan"]
    for folder in folders:
        if folder and (Path(folder) / "parquet_sample").exists():
            return Path(folder) / "parquet_sample"
    pytest.skip("parquet_sample is not built")


def make(folder, scenario, codec, rows=ROWS, group_rows=GROUP_ROWS, page_rows=PAGE_ROWS, seed=1):
    file, lines = folder / f"{scenario}.parquet", folder / f"{scenario}.ndjson"
    subprocess.run([program(), file, lines, scenario, codec, str(rows), str(group_rows),
                    str(page_rows), str(seed)], check=True, timeout=600)
    with open(lines, encoding="utf-8") as stream:
        return file, [json.loads(line) for line in stream]


def expected(value, kind):
    """The rows' JSON to what pyarrow gives: doubles come as %a text, binaries as hex."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {f.name: expected(value[f.name], f.type) for f in kind}
    if pa.types.is_list(kind):
        return [expected(v, kind.value_type) for v in value]
    if pa.types.is_floating(kind):
        return bits(float.fromhex(value))
    if pa.types.is_binary(kind):
        return bytes.fromhex(value)
    return value


def bits(number):
    """Doubles by their bits, so that -0.0 differs from 0.0; NaNs are all one."""
    return "nan" if math.isnan(number) else struct.pack("<d", number)


def found(value, kind):
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {f.name: found(value[f.name], f.type) for f in kind}
    if pa.types.is_list(kind):
        return [found(v, kind.value_type) for v in value]
    if pa.types.is_floating(kind):
        return bits(value)
    return value


def instants_as_numbers(table):
    """Timestamps as int64 microseconds, so that no reader's time zones matter."""
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = table.column(i).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
            table = table.set_column(i, field.name, column)
    return table


def plain_types(table):
    """large_string, string_view and so on, as DuckDB and Polars export them, to the plain types."""
    def plain(kind):
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(f.name, plain(f.type)) for f in kind])
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pa.list_(plain(kind.value_type))
        if pa.types.is_large_string(kind) or str(kind) == "string_view":
            return pa.string()
        if pa.types.is_large_binary(kind) or str(kind) == "binary_view":
            return pa.binary()
        return kind
    return table.cast(pa.schema([pa.field(f.name, plain(f.type)) for f in table.schema]))


def check_rows(table, rows):
    table = instants_as_numbers(plain_types(table))
    assert table.num_rows == len(rows)
    for field in table.schema:
        got = table.column(field.name).to_pylist()
        for i, row in enumerate(rows):
            want = expected(row[field.name], field.type)
            assert found(got[i], field.type) == want, f"row {i}, column {field.name}"
    assert set(table.schema.names) == set(rows[0])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("scenario", SCENARIOS + ["sensors"])
def test_pyarrow(tmp_path, scenario, codec):
    file, rows = make(tmp_path, scenario, codec)
    check_rows(pq.read_table(file, page_checksum_verification=True), rows)


def test_pyarrow_believes_our_checksums(tmp_path):
    file, _ = make(tmp_path, "sensors", "none", rows=100)
    content = bytearray(file.read_bytes())
    content[content.index(b"sensor-0007") + 8] ^= 1
    file.write_bytes(content)
    pq.read_table(file)
    with pytest.raises(OSError, match="(?i)crc|checksum"):
        pq.read_table(file, page_checksum_verification=True)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("scenario", SCENARIOS + ["sensors"])
def test_duckdb(tmp_path, scenario, codec):
    duckdb = pytest.importorskip("duckdb")
    file, rows = make(tmp_path, scenario, codec)
    with duckdb.connect() as connection:
        table = connection.sql(f"SELECT * FROM read_parquet('{file}')").to_arrow_table()
    check_rows(table, rows)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("scenario", SCENARIOS + ["sensors"])
def test_polars(tmp_path, scenario, codec):
    polars = pytest.importorskip("polars")
    file, rows = make(tmp_path, scenario, codec)
    check_rows(polars.read_parquet(file).to_arrow(), rows)


def test_default_pages_and_many_row_groups(tmp_path):
    file, rows = make(tmp_path, "mixed", "zstd", rows=45000, group_rows=41000, page_rows=20000)
    check_rows(pq.read_table(file), rows)
    file, rows = make(tmp_path, "mixed", "zstd", rows=300, group_rows=7, page_rows=2)
    check_rows(pq.read_table(file), rows)
    file, rows = make(tmp_path, "edges", "zstd", rows=1, group_rows=1, page_rows=1)
    check_rows(pq.read_table(file), rows)


def test_schema_and_footer(tmp_path):
    file, _ = make(tmp_path, "mixed", "zstd")
    meta = pq.ParquetFile(file).metadata
    assert meta.format_version == "1.0"
    assert meta.created_by == "ingestor version 0.1.0 (build test)"
    told = dict(meta.metadata)
    assert len(told.pop(b"ingestor.crc32c")) == 8
    assert told == {b"ingestor.journal": b"a-b-c", b"ingestor.range": b"1:0-9:5"}
    assert meta.num_rows == ROWS and meta.num_row_groups == 3
    columns = [meta.schema.column(i) for i in range(meta.num_columns)]
    by_path = {c.path: c for c in columns}
    assert by_path["text"].logical_type.type == "STRING"
    assert by_path["text"].converted_type == "UTF8"
    assert by_path["when"].converted_type == "TIMESTAMP_MICROS"
    assert json.loads(by_path["when"].logical_type.to_json())["isAdjustedToUTC"] is True
    assert by_path["blob"].logical_type.type == "NONE"
    assert by_path["events.list.element.tags.list.element"].max_repetition_level == 2
    assert by_path["events.list.element.tags.list.element"].max_definition_level == 6
    schema = pq.read_schema(file)
    assert schema.field("number").metadata == {b"PARQUET:field_id": b"1"}
    group = meta.row_group(0)
    for i in range(group.num_columns):
        chunk = group.column(i)
        assert chunk.compression == "ZSTD"
        assert "RLE" in chunk.encodings
        assert set(chunk.encodings) <= {"PLAIN", "RLE", "RLE_DICTIONARY"}
        assert chunk.has_offset_index


def leaf_values(values, kind):
    """A column's leaf values and count of nulls, as Dremel counts them (one path only)."""
    out, nulls = [], 0
    for value in values:
        if value is None or value == []:
            nulls += 1
        elif pa.types.is_list(kind):
            inner, n = leaf_values(value, kind.value_type)
            out += inner
            nulls += n
        else:
            out.append(value)
    return out, nulls


def is_bound(kind, low, high, values):
    numbers = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
    if not numbers:
        return low is None and high is None
    if low is None:  # nothing above the last code point or byte: no bound then
        return max(numbers).startswith("\U0010ffff" * 16 if kind else b"\xff" * 64)
    if kind == "STRING":
        low, high = [b.encode() if isinstance(b, str) else b for b in (low, high)]
        numbers = [v.encode() for v in numbers]
    assert low <= min(numbers) and high >= max(numbers)
    if isinstance(low, float):
        assert low == min(numbers) and high == max(numbers)
        assert low != 0 or math.copysign(1, low) < 0
        assert high != 0 or math.copysign(1, high) > 0
    return True


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_statistics(tmp_path, scenario):
    file, _ = make(tmp_path, scenario, "zstd")
    reader = pq.ParquetFile(file)
    names = ["number", "flag", "text", "when", "blob", "readings.list.element", "topic"]
    for g in range(reader.num_row_groups):
        table = reader.read_row_group(g)
        chunks = {}
        for i in range(reader.metadata.num_columns):
            chunk = reader.metadata.row_group(g).column(i)
            chunks[chunk.path_in_schema] = chunk
        for name in names:
            column = table.column(name.split(".")[0])
            values, nulls = leaf_values(column.to_pylist(), column.type)
            statistics = chunks[name].statistics
            assert statistics.null_count == nulls
            assert chunks[name].num_values == len(values) + nulls
            low = statistics.min if statistics.has_min_max else None
            high = statistics.max if statistics.has_min_max else None
            kind = "STRING" if pa.types.is_string(column.type) else ""
            assert is_bound(kind, low, high, values), name
            if kind:
                assert low is None or len(low.encode()) <= 64 and len(high.encode()) <= 64


def test_filters_use_the_bounds(tmp_path):
    """Readers that skip pages and row groups by the bounds still find every row."""
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    file, rows = make(tmp_path, "edges", "zstd")
    texts = [r["text"] for r in rows if r["text"] is not None]
    for text in sorted(set(texts), key=lambda t: (-len(t), t))[:20] + sorted(set(texts))[:5]:
        count = texts.count(text)
        with duckdb.connect() as connection:
            got = connection.execute(
                f"SELECT count(*) FROM read_parquet('{file}') WHERE text = ?", [text]).fetchall()
        assert got == [(count,)]
        assert polars.scan_parquet(file).filter(polars.col("text") == text).collect().height == count
        assert pq.read_table(file, filters=[("text", "=", text)]).num_rows == count
    for number in (0.0, -0.0, math.inf, -math.inf, 5e-324):
        count = sum(1 for r in rows if r["number"] and float.fromhex(r["number"]) == number)
        with duckdb.connect() as connection:
            got = connection.execute(
                f"SELECT count(*) FROM read_parquet('{file}') WHERE number = ?::DOUBLE",
                [number]).fetchall()
        assert got == [(count,)]


@pytest.mark.parametrize("rows", [50, 1000, 30000, 200000])
def test_size_against_pyarrow(tmp_path, rows):
    """Not larger than pyarrow's file of the same rows with the same codec."""
    file, _ = make(tmp_path, "sensors", "zstd", rows=rows, group_rows=1000000, page_rows=20000)
    theirs = io.BytesIO()
    pq.write_table(pq.read_table(file), theirs, compression="zstd", compression_level=3)
    ours = file.stat().st_size
    print(f"{rows} rows: ours {ours}, pyarrow {theirs.tell()}")
    assert ours <= theirs.tell()

"""Files with one byte changed, in every region: `ingestor lake` tells which file and where, or gives the
rows as they were; it never crashes (the ASan build is taken where there is one), and the other files are
read."""

import os
import random
import re
import shutil
import struct
import subprocess

import pytest
from conftest import PATIENCE_S, ROOT, find_program
from test_lake_cli import DATASET, files_of, in_folder, lake, lines, plain  # noqa: F401 (lake is a fixture)

EACH = int(os.environ.get("LAKE_DAMAGE_FLIPS", "6"))  # of a region


def program():
    checked = ROOT / "build-asan/ingestor"
    return str(checked) if checked.exists() else find_program("ingestor")


def run(folder, *words):
    done = subprocess.run([program(), "lake", *map(str, words)], text=True, capture_output=True,
                          timeout=PATIENCE_S, check=False, env={**os.environ, **in_folder(folder)})
    assert done.returncode in (0, 4) and "Sanitizer" not in done.stderr, (words, done.returncode, done.stderr[-3000:])
    return done


def regions(file):
    """{name: (begin, end)} of a file's bytes."""
    parquet = pytest.importorskip("pyarrow.parquet")
    size = file.stat().st_size
    (footer,) = struct.unpack("<I", file.read_bytes()[-8:-4])
    found = {"magic": (0, 4), "footer": (size - 8 - footer, size - 8), "length": (size - 8, size - 4),
             "last magic": (size - 4, size)}
    meta = parquet.read_metadata(file)
    end = 4
    for group in range(meta.num_row_groups):
        for i in range(meta.num_columns):
            chunk = meta.row_group(group).column(i)
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            end = begin + chunk.total_compressed_size
            found[f"header {group} {i}"] = (begin, begin + 16)
            found[f"data {group} {i}"] = (end - 4, end)  # at least four bytes of the last page
            found[f"chunk {group} {i}"] = (begin, end)
    if end < size - 8 - footer:
        found["index"] = (end, size - 8 - footer)
    return found


def flips(file, seed):
    """[(region, offset, the damaged bytes)], none of them twice."""
    draw = random.Random(seed)
    content = file.read_bytes()
    found = {}
    for name, (begin, end) in regions(file).items():
        count = EACH * 10 if name in ("footer", "index") else EACH if len(name) < 8 else 2
        for _ in range(count):
            offset = draw.randrange(begin, end)
            mask = draw.choice([1, 2, 0x10, 0x80, 0xff])
            damaged = content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1:]
            found[offset, mask] = (name, offset, damaged)
    return list(found.values())


@pytest.fixture(scope="module", params=["ours", "python service"])
def damaged(request, lake, tmp_path_factory):  # noqa: F811
    """(the lake, the sound file, {key: (region, offset)}); each damaged copy lies beside the others."""
    folder = tmp_path_factory.mktemp("damaged")
    sound = max(files_of(lake), key=lambda f: f.stat().st_size)
    place = folder / sound.parent.relative_to(lake)
    place.mkdir(parents=True)
    if request.param == "python service":
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.ParquetFile(sound).read().replace_schema_metadata(None)
        sound = folder / "sound.parquet"
        parquet.write_table(table, sound, compression="snappy")
    kept = {}
    stem, block = re.fullmatch(r"(part-.*-)([0-9a-f]{16})-[0-9a-f]{8}\.parquet",
                               max(files_of(lake), key=lambda f: f.stat().st_size).name).groups()
    for i, (region, offset, content) in enumerate(flips(sound, request.param)):
        file = place / f"{stem}{block}-{0xf0000000 + i:08x}.parquet"  # a position in the range, so the name fits
        file.write_bytes(content)
        kept[str(file.relative_to(folder))] = (region, offset)
    shutil.copy(sound, place / "z-sound.parquet")
    return request.param, folder, place / "z-sound.parquet", kept


def told(text):
    """{key: the last that was said of it}"""
    return dict(re.findall(r"^(?:ingestor lake: )?(bronze/\S+\.parquet): (.*)$", text, re.M))


def test_verify_tells_where(damaged):
    kind, folder, _, kept = damaged
    found = {}
    for key, what in re.findall(r"^(bronze/\S+\.parquet): (.*)$", run(folder, "verify").stdout, re.M):
        if not what.startswith(("doubled", "missing", "the name is not")):
            found[key] = what
    missed = set()
    for key, (region, offset) in kept.items():
        what = found.get(key)
        if what is None:
            missed.add((region, offset))
            continue
        assert re.search(r"at byte \d+|journal range|another (dataset|hour)|a row has no time", what), (region, offset, what)
    for region, offset in missed:
        assert region not in ("magic", "length", "last magic"), (region, offset)
        assert kind != "ours" or not region.startswith("data"), (region, offset)
    where = {region: [int(re.search(r"at byte (\d+)", found[key])[1]) for key, (r, _) in kept.items()
                      if r == region and key in found and kind == "ours"] for region in ("magic", "last magic")}
    assert set(where["magic"]) <= {0}


def test_what_is_not_told_reads_as_before(damaged):
    """cat: each damaged file is named with its place, or its rows are those of the sound one. A changed footer
    may make other rows of the Python service's files, which have no checksum."""
    kind, folder, sound, kept = damaged
    parquet = pytest.importorskip("pyarrow.parquet")
    want = plain(parquet.ParquetFile(sound).read().to_pylist())
    done = run(folder, "cat", DATASET, "--json")
    named = told(done.stderr)
    assert done.returncode == 4 and set(named) <= set(kept)
    for key, what in named.items():
        assert re.search(r"at byte \d+", what), (kept[key], what)
    assert lines(done.stdout)[-len(want):] == want, "the sound file, last by its name, is read"
    for key, (region, offset) in kept.items():
        if key in named or kind != "ours":
            continue
        rows = lines(run(folder, "cat", folder / key, "--json").stdout)
        assert rows == want, (region, offset)


def test_schema_head_and_ls_of_damaged_files(damaged):
    _, folder, _, kept = damaged
    for words in (("schema", DATASET, "--json"), ("ls", "--json"), ("head", DATASET, "--json", "--limit", "100000")):
        named = told(run(folder, *words).stderr)
        assert named and set(named) <= set(kept), words
        for key, what in named.items():
            assert re.search(r"at byte \d+", what), (words, kept[key], what)

"""The lines of docs/lake.md that read a lake, ready to run on another one."""

import re

from conftest import ROOT


def line(engine, lake, dataset, file=None):
    """The block of docs/lake.md whose first line names the engine, for this lake; file: for what it calls FILE."""
    text = (ROOT / "docs/lake.md").read_text()
    (block,) = re.findall(rf"```(?:sql|python)\n(?:--|#) {engine}(?::[^\n]*)?\n(.*?)```", text, re.S)
    assert "FILE" in block if file else "data/lake/" in block and "DATASET" in block
    return block.replace("data/lake/", f"{lake}/").replace("DATASET", dataset).replace("FILE", str(file))


def run_python(engine, *place):
    names = {}
    exec(line(engine, *place), names)  # pylint: disable=exec-used
    return names

#!/usr/bin/env python3
"""What a machine can check of the house style (CONTRIBUTING.md).

Layers, banned functions, headers that stand alone, dead files, lengths (with a ratchet: what is too
long today is in ratchet.json and may only get shorter), links in the documents. Prints one line for
each fault and ends with 1 if there was any. `--ratchet` writes ratchet.json anew.
"""
import functools
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RATCHET = Path(__file__).with_name("ratchet.json")
SOURCE_LINES_MAX, HEADER_LINES_MAX, FUNCTION_LINES_MAX, COLUMNS_MAX = 600, 200, 70, 100
BANNED = "sprintf vsprintf strcpy strcat atoi atol atoll atof strtok gets alloca rand srand"
RAW_ALLOCATION = "malloc calloc realloc strdup strndup"
WORDS_LEFT = ("TO" "DO", "FIX" "ME", "X" "XX")
NO_HEADER = re.compile(r"(_test|_connector|_routes|/main)\.c$")

faults = []
lonely = {}  # what the ratchet bears too


def fault(where, text):
    faults.append(f"{where}: {text}")


def files(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in out.splitlines() if (ROOT / line).is_file()]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def strip(text):
    """Comments and literals blanked, lines kept."""
    pattern = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)

    def blank(match):
        whole = match.group()
        if whole[0] == "/":
            return re.sub(r"[^\n]", " ", whole)
        return whole[0] + " " * (len(whole) - 2) + whole[-1]
    return pattern.sub(blank, text)


def layers():
    text = read("cmake/Layers.cmake")
    return re.search(r"set\(INGESTOR_LAYERS([^)]*)\)", text).group(1).split()


def includes(text):
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M)


def check_layers(sources):
    order = {name: i for i, name in enumerate(layers())}
    for path in sources:
        if path.parts[0] == "examples":
            for include in includes(read(path)):
                if not connector_may_see(include):
                    fault(path, f'an example may not include "{include}"')
        if path.parts[0] != "src":
            continue
        own = path.parts[1]
        if own not in order:
            fault(path, f"layer {own} is not in cmake/Layers.cmake")
            continue
        for include in includes(read(path)):
            other = include.split("/")[0]
            if include in ("version.h", "connector_list.h", "docs_html.h"):
                continue
            if path.name.endswith("_test.c") and other in ("support", "tools"):
                continue
            if not (ROOT / "src" / include).is_file():
                fault(path, f'includes "{include}", which is not a path below src/')
            elif order.get(other, 99) > order[own]:
                fault(path, f'layer {own} may not include "{include}"')
            elif own == "connectors" and not connector_may_see(include):
                fault(path, f'a connector may not include "{include}" '
                            "(base os codec net, pipeline/ingest.h)")


def connector_may_see(include):
    return include.split("/")[0] in ("base", "os", "codec", "net", "connectors") or \
        include in ("pipeline/ingest.h", "journal/block.h", "journal/position.h")


def check_words(path, text, code):
    for word in BANNED.split():
        for match in re.finditer(rf"(?<![\w.>]){word}\s*\(", code):
            fault(f"{path}:{code.count(chr(10), 0, match.start()) + 1}", f"{word} is banned")
    allowed = path.name == "alloc.c" or path.parts[0] != "src" or path.name.endswith("_test.c")
    for word in () if allowed else RAW_ALLOCATION.split():
        for match in re.finditer(rf"(?<![\w.>]){word}\s*\(", code):
            fault(f"{path}:{code.count(chr(10), 0, match.start()) + 1}",
                  f"{word}: allocate through base/alloc.h")
    for number, line in enumerate(text.splitlines(), 1):
        if "\t" in line:
            fault(f"{path}:{number}", "a tab")
        if any(re.search(rf"\b{word}\b", line) for word in WORDS_LEFT):
            fault(f"{path}:{number}", "unfinished work belongs into an issue, not into a comment")
        if line != line.rstrip():
            fault(f"{path}:{number}", "blanks at the end")


def functions(code):
    """(name, lines) of each function: a { in column 0 after a line that ends a parameter list."""
    start, name = None, None
    lines = code.splitlines()
    for i, line in enumerate(lines):
        if line == "{" and i > 0 and lines[i - 1].rstrip().endswith(")"):
            head = " ".join(lines[max(0, i - 6):i])
            names = re.findall(r"(\w+)\s*\(", head.rsplit(";", 1)[-1].rsplit("}", 1)[-1])
            start, name = i, names[0] if names else "?"
        elif line.startswith("}") and start is not None:
            yield name, i - start + 1
            start = None


def lengths(paths):
    found = {}
    for path in paths:
        text = read(path)
        count = text.count("\n")
        if count > (HEADER_LINES_MAX if path.suffix == ".h" else SOURCE_LINES_MAX):
            found[str(path)] = count
        wide = sum(len(line) > COLUMNS_MAX for line in text.splitlines())
        if wide:
            found[f"{path} wide lines"] = wide
        for name, size in functions(strip(text)):
            if size > FUNCTION_LINES_MAX:
                found[f"{path} {name}"] = size
    return found


def check_lengths(paths):
    allowed = json.loads(RATCHET.read_text()) if RATCHET.is_file() else {}
    found = {**lengths(paths), **lonely}
    if "--ratchet" in sys.argv:
        RATCHET.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        return
    for what, size in found.items():
        if size > allowed.get(what, 0):
            fault(what, f"{size}; was {allowed[what]}, and may only get less"
                  if what in allowed else f"{size} (see CONTRIBUTING.md, Lengths)")


def check_pairs(paths):
    known = set(map(str, paths))
    for path in paths:
        name = str(path)
        if path.parts[0] != "src":
            continue
        if path.suffix == ".c" and not NO_HEADER.search(name) and name[:-2] + ".h" not in known \
                and not part_of_module(name, known):
            lonely[f"{path} has no header of its name"] = 1
        if name.endswith("_test.c") and not re.search(r"_connector_test\.c$", name) and \
                not tested_module(name, known):
            fault(path, "stands beside no module of its name")
        if path.suffix == ".h" and not read(path).startswith("#pragma once\n"):
            fault(path, "does not begin with #pragma once")


def stems(name):
    """src/os/fs_posix -> src/os/fs_posix, src/os/fs"""
    folder, _, base = name.rpartition("/")
    parts = base.split("_")
    return [f"{folder}/{'_'.join(parts[:i])}" for i in range(len(parts), 0, -1)]


def part_of_module(name, known):
    """An implementation behind a shorter-named header: fs_posix.c behind fs.h."""
    return any(stem + ".h" in known for stem in stems(name[:-2]))


def tested_module(name, known):
    return any(stem + suffix in known for stem in stems(name[:-len("_test.c")])
               for suffix in (".h", ".c"))


def check_dead(paths):
    used = set()
    for path in paths:
        for include in includes(read(path)):
            used.add(include)
    for path in paths:
        if path.suffix != ".h":
            continue
        tails = {"/".join(path.parts[i:]) for i in range(1, len(path.parts))} | {path.name}
        if not tails & used:
            fault(path, "no file includes it")


@functools.cache
def library_flags():
    """libpq's headers lie in a folder of their own."""
    result = subprocess.run(["pkg-config", "--cflags", "libpq"], capture_output=True, text=True)
    return result.stdout.split()


def stands_alone(path):
    command = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", "-Isrc", "-Itests",
               *library_flags(), "-x", "c", "-include", str(path), "/dev/null"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        return path, result.stderr.splitlines()[0] if result.stderr else "does not compile"
    return None


def check_headers(paths):
    headers = [path for path in paths if path.suffix == ".h" and path.parts[0] == "src"]
    with ThreadPoolExecutor() as pool:
        for result in pool.map(stands_alone, headers):
            if result:
                fault(result[0], f"does not stand alone: {result[1]}")


def check_links():
    for path in files("*.md"):
        text = re.sub(r"```.*?```", "", read(path), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target) or target.startswith("#"):
                continue
            if not (ROOT / path.parent / target.split("#")[0]).exists():
                fault(path, f"link to {target}, which is not there")
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs/README.md"):
        if not (ROOT / name).is_file():
            fault(name, "is missing")


def main():
    sources = [path for path in files("*.c", "*.h") if path.parts[0] in ("src", "tests", "bench", "examples")]
    check_layers(sources)
    for path in sources:
        text = read(path)
        check_words(path, text, strip(text))
    check_pairs(sources)
    check_lengths(sources)
    check_dead(sources)
    check_headers(sources)
    check_links()
    for line in faults:
        print(line)
    print(f"tidy: {len(sources)} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

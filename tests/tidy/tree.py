#!/usr/bin/env python3
"""The tree test: checks the source tree against rules.py.

  tree.py ROOT

Prints one line for each violation (file:line: what is wrong, what would be right) and exits with 1 if there is any. It
reads the files that git tracks, or all but build folders where ROOT is no git checkout.
"""

import os
import re
import subprocess
import sys

import rules

SKIPPED_FOLDERS = re.compile(r"build.*|\..*|__pycache__|demo-output")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def list_files(root):
    if os.path.exists(os.path.join(root, ".git")):
        listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, check=True).stdout
        names = [name.decode("utf-8") for name in listed.split(b"\0") if name]
    else:
        names = []
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name == ".ci" or not SKIPPED_FOLDERS.fullmatch(name)]
            names += [os.path.relpath(os.path.join(folder, name), root) for name in files]
    return sorted(name for name in names if os.path.isfile(os.path.join(root, name)))


def within(path, folder):
    return folder == "" or path == folder or path.startswith(folder + "/")


def folder_of(path):
    return os.path.dirname(path)


def strip_line(line, in_block):
    """The line without comments and with string contents emptied; and whether a block comment goes on after it."""
    out, position = [], 0
    while position < len(line):
        if in_block:
            end = line.find("*/", position)
            if end < 0:
                return "".join(out), True
            position, in_block = end + 2, False
        elif line.startswith("//", position):
            break
        elif line.startswith("/*", position):
            position, in_block = position + 2, True
        elif line[position] in "\"'" and not (line[position] == "'" and position and line[position - 1].isalnum()):
            quote, start = line[position], position
            position += 1
            while position < len(line) and line[position] != quote:
                position += 2 if line[position] == "\\" else 1
            position += 1
            out.append(quote * 2 if position - start > 1 else quote)
        else:
            out.append(line[position])
            position += 1
    return "".join(out), in_block


class Tree:
    """The files of one root, their text, and what is wrong with them."""

    def __init__(self, root):
        self.root = root
        self.files = list_files(root)
        self.present = set(self.files)
        self.violations = []
        self.lines = {}
        self.includes = {}
        for path in self.files:
            try:
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    self.lines[path] = file.read().split("\n")
            except UnicodeDecodeError:
                continue  # data, not text
            if path.endswith((".cc", ".h")):
                found = [(number, INCLUDE.match(line)) for number, line in enumerate(self.lines[path], 1)]
                self.includes[path] = [(number, match[2]) for number, match in found if match]

    def report(self, path, number, what):
        self.violations.append((path, number, what))

    def code(self, path):
        """(number, line without comments and strings) of a C++ file."""
        in_block = False
        for number, line in enumerate(self.lines[path], 1):
            stripped, in_block = strip_line(line, in_block)
            yield number, stripped

    def is_code(self, path):
        if path not in self.lines:
            return False
        return path.endswith(rules.CODE_SUFFIXES) or self.lines[path][0].startswith("#!") or \
            os.path.basename(path) in ("CMakeLists.txt", "Dockerfile")

    def check_sizes(self):
        for path in self.files:
            size = os.path.getsize(os.path.join(self.root, path))
            if size > rules.FILE_BYTES and path not in rules.LARGE_FILES:
                self.report(path, 1, f"{size} bytes: a file of over {rules.FILE_BYTES} bytes needs its reason in rules.py")
            if not self.is_code(path):
                continue
            limit = rules.TEST_LINES if within(path, "tests") else rules.SOURCE_LINES
            count = len(self.lines[path]) - (self.lines[path][-1] == "")
            if count > limit:
                self.report(path, 1, f"{count} lines: split it, the limit is {limit}")

    def check_function_lengths(self):
        """clang-format puts a function's first line and its closing brace at column 0."""
        for path in self.includes:
            if within(path, "tests"):
                continue
            start = None
            for number, line in self.code(path):
                if line == "}" and start is not None and number - start + 1 > rules.FUNCTION_LINES:
                    self.report(path, start, f"a function of {number - start + 1} lines: the limit is {rules.FUNCTION_LINES}")
                if re.match(r"[A-Za-z_]", line) and not line.startswith(("namespace", "template", "public:", "private:")):
                    start = number

    def allowed_folders(self, folder):
        """What a folder may use besides proto, or None where anything goes."""
        if any(within(folder, free) for free in rules.FREE):
            return None
        if within(folder, "tests") and folder not in rules.USES:
            mirrored = os.path.relpath(folder, "tests")
            if mirrored in rules.BLOCKS:  # what the tests of all its parts share
                return rules.BLOCKS[mirrored] + [mirrored] + rules.TEST_HELPERS
            return (self.allowed_folders(mirrored) or []) + rules.TEST_HELPERS
        while folder and folder not in rules.USES:
            folder = os.path.dirname(folder)
        return rules.USES[folder] + [folder] if folder else []

    def check_layers(self):
        for path, includes in self.includes.items():
            allowed = self.allowed_folders(folder_of(path))
            if path.endswith("_main.cc"):
                for block in rules.BLOCKS:
                    if within(path, block):
                        allowed = rules.BLOCKS[block] + [block]
            for number, name in includes:
                if name.endswith(".pb.h") or name not in self.present:
                    if re.match(r"(common|server|worker|client|tests|bench)/", name) and not name.endswith(".pb.h"):
                        self.report(path, number, f"no such file: {name}")
                    continue
                target = folder_of(name)
                own = allowed is None or any(self.same_or_nested(target, folder) for folder in allowed)
                if not own:
                    self.report(path, number, f"{folder_of(path)} may not use {target} (see USES in tests/tidy/rules.py)")

    @staticmethod
    def same_or_nested(target, folder):
        """A folder stands for itself and what is nested in it that has no entry of its own."""
        while target != folder and target and target not in rules.USES:
            target = os.path.dirname(target)
        return target == folder or (folder in rules.TEST_HELPERS and within(target, folder))

    def check_torch(self):
        for path, includes in self.includes.items():
            for number, name in includes:
                if rules.TORCH_HEADER.match(name) and not any(within(path, folder) for folder in rules.TORCH_FOLDERS):
                    self.report(path, number, f"{name}: torch's headers stay inside worker/engine")
        for path in self.includes:
            if not path.endswith(".cc"):
                continue
            reached = self.reached(path)
            torch = sorted(name for name in reached if rules.TORCH_HEADER.match(name))
            other = sorted(name for name in reached if rules.NOT_WITH_TORCH.fullmatch(name))
            if torch and other:
                self.report(path, 1, f"sees both {torch[0]} and {other[0]}: the wheel ships other versions of those headers")

    def reached(self, path):
        """All names that a file includes, through the project's own headers too."""
        seen, waiting = set(), [path]
        while waiting:
            for _, name in self.includes.get(waiting.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return seen

    def check_tests_run(self):
        for path in self.files:
            if not within(path, "tests"):
                continue
            if path.endswith("_test.cc"):
                lists = os.path.join(os.path.relpath(folder_of(path), "tests"), "CMakeLists.txt")
                text = "\n".join(self.lines.get(lists, []))
                if "graft_library(" not in text:
                    self.report(path, 1, f"never built: {lists} has no graft_library")
            elif re.search(r"[Tt]est", os.path.basename(path)) and path.endswith(".cc"):
                self.report(path, 1, "no test program takes this file: name it *_test.cc")
            elif os.path.basename(path).startswith("test_") and path.endswith(".py"):
                if not within(path, "tests/integration") and not within(path, "tests/parity"):
                    self.report(path, 1, "pytest runs over tests/integration and tests/parity only")

    def check_clocks_in_tests(self):
        """Tests wait for events, and claim what work is done, not how fast."""
        rows = ((rules.SLEEP, "a sleep in a test: wait for the event"),
                (rules.SPEED, "a test of speed: count the work, time it in bench/"))
        for path in self.lines:
            if not within(path, "tests") or not path.endswith((".cc", ".h", ".py")) or within(path, "tests/tidy"):
                continue
            lines = self.lines[path]
            code = self.code(path) if path in self.includes else ((n, line.split("#")[0]) for n, line in enumerate(lines, 1))
            for number, line in code:
                near = lines[max(0, number - 2):number]
                for pattern, what in rows:
                    if pattern.search(line) and not any(rules.REASON.search(text) for text in near):
                        self.report(path, number, f"{what}, or say why in a comment 'tidy: <reason>'")

    def check_banned(self):
        for path in self.includes:
            if path in rules.BANNED_EXCEPT or within(path, "tests"):
                continue
            for number, line in self.code(path):
                for what, pattern, folders, instead in rules.BANNED:
                    if pattern.search(line) and any(within(path, folder) for folder in folders):
                        self.report(path, number, f"{what}: {instead}")

    def check_headers(self):
        for path in self.includes:
            if path.endswith(".h") and "#pragma once" not in self.lines[path]:
                self.report(path, 1, "a header without #pragma once")
            if path.endswith(".h"):
                for number, line in self.code(path):
                    if re.match(r"\s*using namespace\b", line):
                        self.report(path, number, "using namespace in a header")

    def check_texts(self):
        patterns = [(rules.MARKERS, "a left-over marker"), (rules.MACHINE_PATHS, "a path of one machine"),
                    (rules.REGISTRY_HOSTS, "a registry's host")]
        for path, lines in self.lines.items():
            if not (self.is_code(path) or path.endswith((".md", ".yml", ".yaml", ".json", ".txt", ".in"))):
                continue
            for number, line in enumerate(lines, 1):
                for pattern, what in patterns:
                    if pattern.search(line):
                        self.report(path, number, f"{what}: '{pattern.search(line)[0]}'")

    def check_telemetry_names(self):
        """What deploy/ asks Prometheus for is what some program really counts."""
        sources = "\n".join(line for path in self.includes if path.endswith(".cc") for line in self.lines[path])
        known = set(re.findall(r'"(graft_[a-z0-9_]+)"', sources))
        for path in self.lines:
            if not within(path, "deploy") or not path.endswith((".yml", ".yaml", ".json")):
                continue
            for number, line in enumerate(self.lines[path], 1):
                for name in re.findall(r"\bgraft_[a-z0-9_]+\b", line):
                    if name not in known and re.sub(r"_(bucket|sum|count)$", "", name) not in known:
                        self.report(path, number, f"no program has a metric {name}")

    def metrics(self):
        """The names of all families that some program registers."""
        return {name for path in self.includes if not within(path, "tests")
                for name in re.findall(r'Add(?:Counter|Gauge|Histogram)\(\s*"(\w+)"', "\n".join(self.lines[path]))}

    def check_telemetry_is_documented(self):
        """Every metric and alert stands in docs/OPERATIONS.md, and nothing else; every alert has its promtool test."""
        page = "docs/OPERATIONS.md"
        if page not in self.lines:
            return
        told = {name: number for number, line in enumerate(self.lines[page], 1) for name in re.findall(r"`((?:graft|process)_[a-z0-9_]+)`", line)}
        metrics, alerts, tested = self.metrics(), {}, set()
        for path, lines in self.lines.items():
            for number, line in enumerate(lines, 1):
                named = re.search(r"\balert(name)?: (Graft\w+)", line)
                if named and within(path, "deploy"):
                    alerts[named[2]] = (path, number)
                elif named and within(path, "tests/deploy"):
                    tested.add(named[2])
        for name in sorted(metrics - told.keys()):
            self.report(page, 1, f"the metric {name} is missing")
        for name in sorted(told.keys() - metrics):
            self.report(page, told[name], f"no program has a metric {name}")
        for name, (path, number) in sorted(alerts.items()):
            if not any(name in line for line in self.lines[page]):
                self.report(path, number, f"the alert {name} is not in {page}")
            if name not in tested:
                self.report(path, number, f"no test of tests/deploy makes {name} fire")

    def check_telemetry_is_shown(self):
        """Every metric is in a panel of deploy/grafana, or rules.py says why not."""
        boards = [path for path in self.lines if within(path, "deploy/grafana") and path.endswith(".json")]
        if not boards:
            return
        shown = set(re.findall(r"\b(?:graft|process)_[a-z0-9_]+", "\n".join(line for path in boards for line in self.lines[path])))
        for name in sorted(self.metrics() - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} - rules.NOT_ON_A_BOARD.keys()):
            self.report(boards[0], 1, f"no panel shows the metric {name}, and rules.py has no reason")

    def check(self):
        for name in sorted(dir(self)):
            if name.startswith("check_"):
                getattr(self, name)()
        return sorted(self.violations)


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    tree = Tree(arguments[0])
    violations = tree.check()
    for path, number, what in violations:
        print(f"{path}:{number}: {what}")
    print(f"{len(tree.files)} files, {len(violations)} violations")
    return 1 if violations or not tree.includes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

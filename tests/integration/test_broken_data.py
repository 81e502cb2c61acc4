"""Files of data that are broken in every way that we could think of: each is refused with its line, and nothing of it stays."""

import json
import re

from conftest import load

PROMISED = 60
GOOD = json.dumps({"document": "Some text.", "summary": "Text."}).encode()
# What stands in line 4, behind three good ones.
LINES = {
    "string without an end": b'{"document": "x',
    "name without an end": b'{"document',
    "no colon": b'{"document" "x"}',
    "two colons": b'{"document":: "x"}',
    "no comma": b'{"document": "x" "summary": "y"}',
    "comma at the end": b'{"document": "x",}',
    "comma at the beginning": b'{,"document": "x"}',
    "object without an end": b'{"document": "x"',
    "list without an end": b'{"document": ["x"}',
    "comma at a list's end": b'{"document": ["x",]}',
    "no comma in a list": b'{"document": ["x" "y"]}',
    "brackets crossed": b'{"document": ["x"}]',
    "no literal": b'{"document": tru}',
    "literal of another language": b'{"document": None}',
    "number with two signs": b'{"document": --1}',
    "number that is hexadecimal": b'{"document": 0x1F}',
    "single quotes": b"{'document': 'x'}",
    "no quotes": b'{document: "x"}',
    "name that is a number": b'{1: "x"}',
    "text behind the row": b'{"document": "x"} y',
    "two rows in a line": b'{"document": "x"} {"document": "y"}',
    "comment": b'// {"document": "x"}',
    "list for a row": b'["x", "y"]',
    "number for a row": b"17",
    "string for a row": b'"x"',
    "null for a row": b"null",
    "words": b"Some text. Text.",
    "markup": b"<row><document>x</document></row>",
    "tab in a string": b'{"document": "a\tb"}',
    "zero byte": b'{"document": "a\0b"}',
    "escape that is none": b'{"document": "\\x41"}',
    "escape without its digits": b'{"document": "\\u12"}',
    "escape with a wrong digit": b'{"document": "\\u12g4"}',
    "nested too deeply": b'{"document": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "Latin-1": b'{"document": "caf\xe9"}',
    "UTF-8 cut off": b'{"document": "caf\xc3"}',
    "UTF-8 without a beginning": b'{"document": "\x80"}',
    "UTF-8 that is too long": b'{"document": "\xc0\xaf"}',
    "UTF-8 of half a surrogate": b'{"document": "\xed\xa0\x80"}',
    "UTF-8 beyond Unicode": b'{"document": "\xf4\x90\x80\x80"}',
    "byte that UTF-8 has not": b'{"document": "\xff"}',
}
TABLE = b"document,summary\n1,x\n2,y\n"
TABLES = {
    "row too short": b"3\n",
    "row too long": b"3,x,y\n",
    "quote inside a field": b'a 5" disk,x\n',
    "quote without an end": b'"a,x\n5,x\n',
    "text behind a quote": b'"a"b,x\n',
    "Latin-1": b"caf\xe9,x\n",
    "UTF-8 cut off": b"caf\xc3,x\n",
}
# The message of a whole file that is none.
FILES = {
    "empty": (b"", "empty"),
    "blank lines": (b"\n\n\n", "empty"),
    "byte order mark alone": (b"\xef\xbb\xbf", "empty"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "UTF-16"),
    "JSON list": (b"[" + GOOD + b"]", "JSON list"),
}
# Rows of JSON that a data set may have, but no job can use: they are named when one is submitted.
FIELDS = {
    "missing": {"document": "x"},
    "null": {"document": "x", "summary": None},
    "number": {"document": "x", "summary": 17},
    "true": {"document": "x", "summary": True},
    "object": {"document": "x", "summary": {"text": "y"}},
    "empty list": {"document": "x", "summary": []},
    "list of numbers": {"document": "x", "summary": [1, 2]},
    "list of lists": {"document": "x", "summary": [["y"]]},
    "source that is a list": {"document": ["x"], "summary": "y"},
    "source that is a number": {"document": 17, "summary": "y"},
    "source that is null": {"document": None, "summary": "y"},
    "half a surrogate": {"document": "\ud800", "summary": "y"},
}
CASES = [*((f"JSON: {what}", "x.jsonl", b"\n".join([GOOD, GOOD, GOOD, line, GOOD]) + b"\n", "line 4:") for what, line in LINES.items()),
         *((f"CSV: {what}", "x.csv", TABLE + row + b"9,z\n", "line 4:") for what, row in TABLES.items()),
         *((f"file: {what}", "x.jsonl", content, message) for what, (content, message) in FILES.items())]


def test_every_broken_file_is_refused_with_its_line_and_leaves_nothing(graft):
    assert len(CASES) + len(FIELDS) >= PROMISED
    graft.start(workers=0)
    load(graft)
    before = graft.json("datasets", "list")
    wrong = []
    for what, name, content, message in CASES:
        path = graft.directory / name
        path.write_bytes(content)
        result = graft.cli("datasets", "upload", path, "--name", "broken", check=False)
        if result.returncode != 2 or message not in result.stderr:
            wrong.append((what, result.returncode, result.stdout, result.stderr))
    assert not wrong, json.dumps(wrong, indent=1)
    assert graft.json("datasets", "list") == before
    path = graft.directory / "fields.jsonl"
    path.write_bytes(b"\n".join([GOOD, *(json.dumps(row).encode() for row in FIELDS.values()), GOOD]) + b"\n")
    for data in (path, "fields"):  # Judged by the command line, then by the server.
        refused = graft.cli("submit", "--base-model", "tiny", "--method", "lora", "--train", data, check=False)
        named = [int(line) for line in re.findall(r"line (\d+): ", refused.stderr)]
        assert refused.returncode == 2 and named == list(range(2, len(FIELDS) + 2)), refused.stderr
        graft.cli("datasets", "upload", path, "--name", "fields")
    assert not graft.json("jobs")
    print(f"\n{len(CASES) + len(FIELDS)} broken files")

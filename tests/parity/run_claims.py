#!/usr/bin/env python3
"""Measures the claims of parity and prints a line for each; tools/parity starts it, with the reference libraries at hand."""

import argparse
import importlib.metadata
import platform
import re
import sys
import time

from claims import PARTS, Unavailable, claims_of, is_written
from programs import ROOT

TABLE = ROOT / "docs/PARITY.md"
LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "rouge_score", "nltk")


def number(value):
    """0, 3 and 6.5e-08 rather than 0.0000000650."""
    return str(int(value)) if value == int(value) and abs(value) < 1e6 else f"{value:.2g}"


def rows_of(part, claims, command):
    rows = [f"<!-- part {part} -->", f"### {part}. {PARTS[part][0]}", "", f"`{command}`", "",
            "| claim | largest difference | tolerance | cases | |", "| --- | --- | --- | --- | --- |"]
    for claim in claims:
        what = claim.what.replace("|", "\\|")
        rows.append(f"| {what} | {number(claim.largest)} | {number(claim.tolerance)} | {claim.cases:,} | "
                    f"{'holds' if claim.holds else '**does not hold**'} |")
    return "\n".join(rows + ["<!-- end of part -->"])


def write(part, claims, full):
    """Puts the part's table where docs/PARITY.md has it."""
    command = f"tools/parity {part}" + (" --full" if full else "")
    text, found = re.subn(rf"<!-- part {part} -->.*?<!-- end of part -->", lambda _: rows_of(part, claims, command), TABLE.read_text(),
                          count=1, flags=re.DOTALL)
    if not found:
        sys.exit(f"{TABLE}: has no place for part {part}")
    TABLE.write_text(text)


def run(part, arguments):
    """Prints and, if asked, writes down one part; whether all of it holds."""
    began = time.monotonic()
    print(f"part {part}, {PARTS[part][0]}:", flush=True)
    if not is_written(part):
        print("  has no claims: DOES NOT HOLD", flush=True)
        return False
    try:
        claims = claims_of(part, short=not arguments.full)
    except Unavailable as missing:
        print(f"  cannot be measured: {missing}: DOES NOT HOLD", flush=True)
        return False
    for claim in claims:
        print(f"  {claim}", flush=True)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    if arguments.write:
        write(part, claims, arguments.full)
    return bool(claims) and all(claim.holds for claim in claims)


def arguments_of(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", type=int, metavar="PART", help=f"of {min(PARTS)} to {max(PARTS)}; default: all")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(words)
    if not set(arguments.parts) <= PARTS.keys():  # argparse's choices would refuse to be given none.
        parser.error(f"parts are {min(PARTS)} to {max(PARTS)}")
    arguments.parts = arguments.parts or list(PARTS)
    return arguments


def main():
    arguments = arguments_of(sys.argv[1:])
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES), f"Python {platform.python_version()}", sep=", ")
    failed = [part for part in arguments.parts if not run(part, arguments)]
    if failed:
        print(f"does not hold: part {', '.join(map(str, failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

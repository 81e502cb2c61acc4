"""What was measured: rows of figures, as a table for people, and their place in RESULTS.md. No library."""

import dataclasses
import pathlib
import re
import statistics

FILE = pathlib.Path(__file__).with_name("RESULTS.md")


class Unavailable(Exception):
    """The part cannot be measured here; the text says why."""


@dataclasses.dataclass
class Row:
    """One figure of each program (medians), graft's first. `of_peak`: shares of the GEMM peak; `gb`: peak memory."""

    what: str
    figures: dict
    of_peak: dict = dataclasses.field(default_factory=dict)
    gb: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Header:
    """Where figures come from."""

    date: str
    commit: str
    machine: str
    command: str


def median(values):
    """None where nothing was measured."""
    values = list(values)
    return statistics.median(values) if values else None


def number(value):
    """Three digits, or all that stand before the point."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:f}".rstrip("0").rstrip(".") if "e" in text else text


def together(values, names, form):
    """Of each program, in order; empty where none has one."""
    return " · ".join(form(values[name]) if values.get(name) is not None else "–" for name in names) if values else ""


def table(rows):
    """Columns: what, each program, graft by each peer, shares of P and memory where there are any."""
    names = []
    for row in rows:
        names += [name for name in row.figures if name not in names]
    peers = names[1:]
    has_peak, has_memory = any(row.of_peak for row in rows), any(row.gb for row in rows)
    head = ["what", *names, *(f"{names[0]} / {peer}" for peer in peers), *(["of P"] if has_peak else []), *(["memory; GB"] if has_memory else [])]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        ours = row.figures.get(names[0])
        ratios = [f"{ours / row.figures[peer]:.2f}" if ours is not None and row.figures.get(peer) else "" for peer in peers]
        cells = [row.what, *(number(row.figures[name]) if name in row.figures else "" for name in names), *ratios]
        cells += [together(row.of_peak, names, lambda share: f"{share:.2f}")] if has_peak else []
        cells += [together(row.gb, names, lambda size: f"{size:.2f}")] if has_memory else []
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def block(header, notes, rows):
    """What RESULTS.md gains."""
    lines = [f"**{header.date}, {header.commit}**, {header.machine}. `{header.command}`", *(f"{note}" for note in notes)]
    return "\n".join(lines) + "\n\n" + table(rows) + "\n"


def append(part, text, file=FILE):
    """Puts a block at the end of the part's section."""
    whole = file.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(part)}\n.*?(?=^## |\Z)", whole, re.MULTILINE | re.DOTALL)
    if not found:
        raise Unavailable(f"{file} has no section '## {part}'")
    section = found[0].rstrip("\n") + "\n\n" + text
    after = whole[found.end():]
    file.write_text(whole[:found.start()] + section + ("\n" + after if after else ""), encoding="utf-8")

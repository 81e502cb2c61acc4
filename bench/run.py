#!/usr/bin/env python3
"""graft beside the libraries that people would use instead; tools/bench starts it."""

import argparse
import importlib
import importlib.util
import pathlib
import shlex
import sys
import tempfile
import time
import traceback

import machine
import results
from inputs import ROOT, Inputs
from parts import PARTS
from process import KEEPS_BLOCKS, Failed, Processes, environment
from results import Unavailable


class Bench:
    """What the parts share. `precisions`: those that the device multiplies natively."""

    def __init__(self, arguments, scratch):
        self.device, self.rounds, self.threads, self.only = arguments.device, arguments.rounds, arguments.threads, arguments.only
        self.bin, self.libraries, self.scratch = arguments.bin, arguments.libraries, scratch
        self.inputs = Inputs(scratch, arguments.tiny, arguments.packed, arguments.base)
        self.notes = []
        self._processes = Processes()
        self._gemm = None
        self._precisions = arguments.precision

    def close(self):
        self._processes.close()

    def say(self, text):
        print(f"  {text}", flush=True)

    def note(self, text):
        """Said, and written down with the rows."""
        self.notes.append(text)
        self.say(text)

    def show(self, rows):
        print(results.table(rows), flush=True)

    def has(self, module, otherwise):
        if importlib.util.find_spec(module):
            return True
        self.note(f"{otherwise}: {sys.executable} does not have {module}.")
        return False

    def need(self, *modules):
        for module in modules:
            if not importlib.util.find_spec(module):
                raise Unavailable(f"{sys.executable} has no {module} (tools/setup --bench)")

    def program(self, name):
        path = self.bin / name
        if not path.exists():
            raise Unavailable(f"{path} is not there")
        return path

    def environment(self, keeps_blocks=False):
        """Of a peer."""
        return environment(self.threads, **(KEEPS_BLOCKS if keeps_blocks else {}))

    def own_environment(self):
        return environment(self.threads, **({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {}))

    def start_engine(self, processes):
        return processes.start("graft", [self.program("bench_engine")], self.own_environment())

    @property
    def precisions(self):
        if not self._precisions:
            with Processes() as processes:
                native = self.start_engine(processes).ask("load", model=str(ROOT / "tools/demo_assets/model"), precision="fp32", device=self.device,
                                                          threads=1)["bf16_native"]
            self._precisions = ["fp32", "bf16"] if native else ["fp32"]
            if not native:
                self.note("bf16 is left out: this hardware does not multiply it natively.")
        return self._precisions

    def gemm(self, precision):
        """P, now: FLOP/s of the faster of torch.mm and oneDNN."""
        if self._gemm is None:
            self._gemm = self._processes.start_peer("gemm", "gemm", self.environment())
        value = self._gemm.ask("gemm", dtype=precision, device=self.device, threads=self.threads)["flops"]
        self.peaks.setdefault(precision, []).append(value)
        return value

    def run(self, part):
        """Rows and notes of a part."""
        self.notes, self.peaks = [], {}
        self.inputs.told.clear()
        rows = importlib.import_module(f"parts.{part}").run(self)
        self.notes = sorted(self.inputs.told) + self.notes
        for precision, values in self.peaks.items():
            self.note(f"P, {precision}: {results.median(values) / 1e9:,.0f} GFLOP/s (4096 × 768 × 3072; median, {min(values) / 1e9:,.0f} to "
                      f"{max(values) / 1e9:,.0f}).")
        return rows


def arguments_of(words):
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--precision", action="append", choices=("fp32", "bf16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="")
    parser.add_argument("--base", type=pathlib.Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="tools/bench says where the programs are")
    parser.add_argument("--libraries", help="of LibTorch, for programs that do not know")
    parser.add_argument("--command", help="what is said to have been called")
    parser.add_argument("--packed", type=pathlib.Path, help="what --make-pack made")
    parser.add_argument("--make-pack", type=pathlib.Path, metavar="FOLDER", help="of tools/bench --pack; nothing is measured")
    arguments = parser.parse_args(words)
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"no part '{part}'; there are {', '.join(PARTS)}")
    if arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    if arguments.write and arguments.tiny:
        parser.error("--tiny tries the script: its figures are not written")
    return arguments


def measure(bench, part, header, write):
    """None when it could be measured, else why not."""
    began = time.monotonic()
    print(f"\n{part}: {PARTS[part]}", flush=True)
    try:
        rows = bench.run(part)
    except Exception as missing:  # Whatever it is, the other parts are measured.
        if not isinstance(missing, (Unavailable, Failed)):
            traceback.print_exc()
        why = str(missing) or type(missing).__name__
        print(f"{part}: NOT MEASURED: {why}", flush=True)
        return why
    text = results.block(header, bench.notes, rows)
    print(f"\n{text}\n{part}: {time.monotonic() - began:.0f} s", flush=True)
    if write:
        results.append(part, text)
    return None


def main():
    arguments = arguments_of(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as scratch:
        if arguments.make_pack:
            return Inputs(pathlib.Path(scratch)).make_pack(arguments.make_pack)
        bench = Bench(arguments, pathlib.Path(scratch))
        parts = arguments.parts or list(PARTS)
        shown = [word for word in sys.argv[1:] if word != "--write"]
        header = machine.header(arguments.device, arguments.command or shlex.join(["tools/bench", *shown]))
        try:
            missing = {part: why for part in parts if (why := measure(bench, part, header, arguments.write)) is not None}
        finally:
            bench.close()
    for part, why in missing.items():
        print(f"not measured: {part}: {why.splitlines()[0]}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""tools/bench on the bundled tiny model: its smallest parts from end to end."""

import os
import re
import subprocess
import sys

from conftest import BUILD, ROOT


def test_the_smallest_parts_measure_what_they_say():
    done = subprocess.run([sys.executable, ROOT / "bench/run.py", "training", "rouge", "tokenise", "--tiny", "--rounds", "1", "--precision", "fp32", "--only", "LoRA r 8",
                           "--threads", "1", "--bin", BUILD / "bin", "--command", "a test"], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = done.stdout.split("**, ")[1:]
    assert len(blocks) == 3
    for block, what in zip(blocks, ("LoRA r 8, fp32, 4 × 96 tokens; tokens/s", r"50 pairs; pairs/s", r"one thread; MB/s")):
        row = re.search(rf"^\|.*{what} \|(.*)", block, re.MULTILINE)
        assert row, block
        assert all(float(figure.replace(",", "")) > 0 for figure in row[1].split("|")[:3] if figure.strip()), row[0]
    assert "| graft | A | B | graft / A | graft / B | of P | memory; GB |" in blocks[0]

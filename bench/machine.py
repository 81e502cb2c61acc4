"""What this is measured on."""

import datetime
import os
import pathlib
import subprocess

from results import Header

ROOT = pathlib.Path(__file__).resolve().parents[1]


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False).stdout.strip()


def commit():
    """With a plus where the tree has changes; a packed checkout need not have git."""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown commit") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def cores():
    return len(os.sched_getaffinity(0))


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split())
    return "unknown processor"


def machine(device):
    name = f"{cores()} cores, {processor()}"
    if device == "cpu":
        return name
    done = subprocess.run(["nvidia-smi", "-i", device.partition(":")[2] or "0", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                          capture_output=True, text=True, check=True)
    return ", driver ".join(done.stdout.strip().split(", ")) + f", {name}"


def header(device, command):
    return Header(str(datetime.date.today()), commit(), machine(device), command)

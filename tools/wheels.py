#!/usr/bin/env python3
"""Fetches pinned wheels and unpacks them, for tools/setup. Needs nothing but Python 3.9 and pip.

  wheels.py fetch  FOLDER REQUIREMENTS...             every wheel, one by one, checked against its SHA-256
  wheels.py unpack FOLDER TARGET FILTER REQUIREMENTS  into TARGET, whole or not at all; FILTER: cpu or all

The requirement lines are of one form only: name==version --hash=sha256:... . The wheels are fetched for a fixed Python tag
and platform, so that the machine's own Python decides nothing.
"""

import concurrent.futures
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

LINE = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$")
PLATFORMS = ["manylinux_2_28", "manylinux_2_27", "manylinux_2_25", "manylinux_2_18", "manylinux2014",
             "manylinux2010", "manylinux1"]
TAGS = ["--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp",
        "--abi", "cp311", "--abi", "none"]
TAGS += [word for platform in PLATFORMS for word in ("--platform", platform + "_x86_64")]
ATTEMPTS = 3

# What a program needs that links c10 and torch_cpu: headers, those two and what they load, and the licences.
CPU_FILES = re.compile(r"torch/include/.*|torch/lib/(libc10|libtorch_cpu)\.so|torch/lib/libgomp\.so\.1"
                       r"|nvidia/[^/]+/lib/.*\.so\.[0-9.]+|[^/]+\.dist-info/(METADATA|LICENSE.*|NOTICE.*|licenses/.*)")


def requirements(paths):
    """The (name, version, sha256) of every line of the files."""
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        for number, line in enumerate(lines, 1):
            if not line or line.startswith("#"):
                continue
            match = LINE.match(line)
            if not match:
                sys.exit(f"{path}:{number}: expected 'name==version --hash=sha256:…', found '{line}'")
            found.append(match.groups())
    return found


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_wheel(folder, name, version, digest):
    """The wheel's path, or None where it is missing; a damaged one is removed."""
    stem = re.sub(r"[-_.]+", "_", name)
    for path in glob.glob(os.path.join(glob.escape(folder), f"{stem}-{version}-*.whl")):
        if sha256(path) == digest:
            return path
        print(f"  {os.path.basename(path)} is damaged: fetching it again", flush=True)
        os.remove(path)
    return None


def fetch_one(folder, name, version, digest):
    if find_wheel(folder, name, version, digest):
        return
    began = time.monotonic()
    scratch = tempfile.mkdtemp(prefix=".fetch-", dir=folder)
    try:
        pinned = os.path.join(scratch, "requirement.txt")
        with open(pinned, "w", encoding="utf-8") as file:
            file.write(f"{name}=={version} --hash=sha256:{digest}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                   "--no-cache-dir", "--require-hashes", "-r", pinned, "-d", scratch] + TAGS
        for attempt in range(1, ATTEMPTS + 1):
            result = subprocess.run(command, capture_output=True, text=True)
            wheels = glob.glob(os.path.join(glob.escape(scratch), "*.whl"))
            if result.returncode == 0 and wheels:
                break
            print(f"  {name} {version}: attempt {attempt} of {ATTEMPTS} failed", flush=True)
        else:
            raise RuntimeError(f"pip could not fetch {name} {version}:\n{result.stderr.strip()}")
        size = os.path.getsize(wheels[0])
        os.replace(wheels[0], os.path.join(folder, os.path.basename(wheels[0])))
        print(f"  {name} {version}: {size / 1e6:.0f} MB in {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(folder, paths):
    os.makedirs(folder, exist_ok=True)
    for scratch in glob.glob(os.path.join(glob.escape(folder), ".fetch-*")):  # of a run that was killed
        shutil.rmtree(scratch, ignore_errors=True)
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        waiting = [pool.submit(fetch_one, folder, *pin) for pin in requirements(paths)]
        for future in waiting:
            try:
                future.result()
            except RuntimeError as error:
                pool.shutdown(cancel_futures=True)
                sys.exit(f"{error}")


def unpack_wheel(path, target, wanted):
    files = 0
    with zipfile.ZipFile(path) as wheel:
        for member in wheel.infolist():
            if member.is_dir() or (wanted and not wanted.fullmatch(member.filename)):
                continue
            wheel.extract(member, target)
            files += 1
    return files


def unpack(folder, target, choice, paths):
    target = target.rstrip("/")
    scratch, old = target + ".unpacking", target + ".old"
    for leftover in (scratch, old):
        shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(scratch)
    wanted = {"cpu": CPU_FILES, "all": None}[choice]
    files = 0
    for name, version, digest in requirements(paths):
        wheel = find_wheel(folder, name, version, digest)
        if not wheel:
            sys.exit(f"{name} {version} is not in {folder}")
        files += unpack_wheel(wheel, scratch, wanted)
    # The stamp comes last: it says which pins this folder holds, and that it holds all of them.
    with open(os.path.join(scratch, ".pins"), "w", encoding="utf-8") as stamp:
        stamp.write("".join(f"{digest} {choice}\n" for _, _, digest in requirements(paths)))
    if os.path.exists(target):
        os.rename(target, old)
    os.rename(scratch, target)
    shutil.rmtree(old, ignore_errors=True)
    print(f"  {files} files in {target}", flush=True)


def main(arguments):
    if len(arguments) >= 3 and arguments[0] == "fetch":
        fetch(arguments[1], arguments[2:])
    elif len(arguments) >= 5 and arguments[0] == "unpack" and arguments[3] in ("cpu", "all"):
        unpack(arguments[1], arguments[2], arguments[3], arguments[4:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

#!/usr/bin/env python3
"""Checks what a program is linked to.

  linkage.py PROGRAM LIBRARIES

LIBRARIES is a regular expression that no library of PROGRAM, direct or not, may match.
"""

import re
import subprocess
import sys


def main(arguments):
    if len(arguments) != 2:
        sys.exit(__doc__)
    program, forbidden = arguments
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [line.split()[0] for line in listed.splitlines() if line.split()]
    found = [name for name in libraries if re.search(forbidden, name)]
    missing = [line.strip() for line in listed.splitlines() if "not found" in line]
    for line in missing:
        print(f"{program}: {line}")
    for name in found:
        print(f"{program} is linked to {name}")
    print(f"{len(libraries)} libraries, {len(found)} of them matching '{forbidden}'")
    return 1 if found or missing or not libraries else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

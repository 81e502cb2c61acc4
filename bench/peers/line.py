"""A peer answers one JSON command a line on stdin with one JSON line on stdout."""

import json
import sys
import traceback


def answer_lines(operations):
    """`operations`: name → function of the command's other fields. What it raises is answered as an error."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = operations[command.pop("op")](**command) or {}
        except Exception as error:  # Whatever a library raises: tools/bench says it.
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)

"""Our own programs beside the reference libraries: where they are, and how those that answer line by line are asked."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("GRAFT_BUILD_DIR", ROOT / "build")) / "bin"


def shared_data():
    """The folder of the real data, which need not be there."""
    return pathlib.Path(os.environ.get("GRAFT_SHARED_DATA", ROOT.parent / "shared" / "data"))


def run_engine(*arguments, check=True):
    """graft-engine; what it printed and its exit code."""
    done = subprocess.run([str(BIN / "graft-engine"), *map(str, arguments)], capture_output=True, text=True)
    assert not check or done.returncode == 0, f"graft-engine {arguments[0]}: {done.returncode}\n{done.stderr}\n{done.stdout[-2000:]}"
    return done


def fine_tune(spec, out, *arguments):
    """Runs graft.v1.FineTune (JSON) into `out`; its events."""
    spec_file = out.with_suffix(".json")
    spec_file.write_text(json.dumps({"fine_tune": spec}))
    events = [json.loads(line) for line in run_engine("run", "--spec", spec_file, "--out", out, *arguments).stdout.splitlines()]
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["state_change"]["to"] == "JOB_STATE_SUCCEEDED"
    return events


def evaluate(spec, out, *arguments):
    """Runs graft.v1.Evaluate (JSON) into `out`."""
    spec_file = out.with_suffix(".json")
    spec_file.write_text(json.dumps({"evaluate": spec}))
    run_engine("evaluate", "--spec", spec_file, "--out", out, *arguments)


class LineTool:
    """A test program that answers one JSON command a line; ends with the `with` statement."""

    def __init__(self, name):
        self._name = name
        self._process = subprocess.Popen([BIN / name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._process.stdin.close()
        assert self._process.wait(timeout=60) == 0

    def try_ask(self, op, **arguments):
        """The answer, which is {"error": MESSAGE} and perhaps {"code": NAME} for what our code refuses."""
        self._process.stdin.write(json.dumps({"op": op, **arguments}, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self._name} ended at {op}"
        return json.loads(line)

    def ask(self, op, **arguments):
        answer = self.try_ask(op, **arguments)
        assert "error" not in answer, answer["error"]
        return answer


class TextTool(LineTool):
    """common/text (see text_tool_main.cc)."""

    def __init__(self):
        super().__init__("graft-text-tool")


class FormatsTool(LineTool):
    """common/formats (see formats_tool_main.cc)."""

    def __init__(self):
        super().__init__("graft-formats-tool")


class TrainTool(LineTool):
    """The engine's training loop, forward pass and generation (see train_tool_main.cc)."""

    def __init__(self):
        super().__init__("graft-train-tool")

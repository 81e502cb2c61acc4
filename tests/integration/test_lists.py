"""Lists for spreadsheets and for scripts, and waiting: what a script sees of a real server."""

import csv
import io
import os
import subprocess

import pytest

from conftest import wait_until

HOSTILE = "=1+1, \"or\"\r\n| \x1b[2J<b>*x*"


def printed(graft, *command):
    """To the byte: subprocess's text mode would make one of two kinds of line ends."""
    return subprocess.run([graft.build / "bin/graft", *command], env={**os.environ, "GRAFT_SERVER": graft.address, "LC_ALL": "C.UTF-8"}, stdout=subprocess.PIPE,
                          check=True).stdout.decode()


def rows_of(graft, *command):
    """The list as CSV has it."""
    return list(csv.DictReader(io.StringIO(printed(graft, *command, "--output", "csv"), newline="")))


@pytest.fixture
def listed(loaded):
    """A server with something in each of its lists; the job's name."""
    name = loaded.submit("--name", HOSTILE, "--output-name", "made")
    loaded.wait_for(name)
    loaded.submit("--max-steps", "100000")
    waiting = loaded.submit("--name", "waits")
    wait_until(lambda: loaded.state(waiting) == "QUEUED" and loaded.json("queue"), "a queue")
    return name


def test_csv_and_json_say_the_same(loaded, listed):
    lists = [["jobs", "--state", "succeeded"], ["workers"], ["queue"], ["models", "list"], ["datasets", "list"], ["adapters", "list"],
             ["checkpoints", listed], ["artifacts", "list", listed], ["rows", listed]]
    for command in lists:
        table, objects = rows_of(loaded, *command), loaded.json(*command)
        assert len(table) == len(objects) > 0, command
        for row, item in zip(table, objects):
            told = {key: value for key, value in row.items() if isinstance(item.get(key), (str, int, float)) and key not in
                    ("state", "seconds_since_heard", "expected_start_seconds", "display_name", "waits", "step", "connected", "pinned")}
            assert len(told) >= 2 and None not in row, command
            for key, value in told.items():
                # A text that a spreadsheet would compute has an apostrophe before it.
                assert value.removeprefix("'") == str(item[key]), (command, key)


def test_a_hostile_name_stays_a_name(loaded, listed):
    (row,) = [row for row in rows_of(loaded, "jobs") if row["name"] == listed]
    assert row["display_name"] == "'" + HOSTILE
    for command in (["jobs"], ["jobs", "--output", "markdown"], ["show", listed], ["top", "--once"]):
        output = printed(loaded, *command)
        assert "\x1b" not in output and "\r" not in output, command
    (line,) = [line for line in printed(loaded, "jobs", "--output", "markdown").splitlines() if listed in line]
    assert r"? \| ?\[2J&lt;b>" in line


def test_waiting_goes_on_over_a_restart_and_tells_of_each_end(loaded):
    good, other = loaded.submit("--max-steps", "30"), loaded.submit("--max-steps", "100000")
    late = loaded.cli("wait", other, "--timeout", "0.5", check=False)
    assert (late.returncode, late.stdout) == (6, "") and other in late.stderr
    second = loaded.submit("--max-steps", "1", "--priority", "1")
    waiting = loaded.popen("wait", good, second, other)
    told = [waiting.stdout.readline()]  # It is under way.
    loaded.kill_server()
    loaded.start()
    loaded.wait_for(second)
    loaded.cli("cancel", other)
    output, error = waiting.communicate()
    assert (waiting.returncode, error) == (5, "")
    told += output.splitlines(keepends=True)
    assert sorted(line.split(":")[0].strip() for line in told) == sorted([f"{good} succeeded", f"{second} succeeded", f"{other} cancelled"])
    assert loaded.cli("wait", good, "--timeout", "0").stdout == f"{good} succeeded\n"

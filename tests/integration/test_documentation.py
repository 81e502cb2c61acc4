"""What the documentation says works: every fenced command of it is run, in order, against a real server.

A fence says by its language what it holds: `sh` is run line by line, one shell for each document; `python` is run by the parity
tests' Python; any other is not run. What cannot be run stands in a fence of its own, under `<!-- not run: REASON -->`; a fence under
`<!-- file: NAME -->` is written to that file, for the commands after it.

The demo's model stands in for GPT-2, its data for the reader's. Of jobs/A, jobs/B and the like the text's first is the first evaluate
job that its commands made, and so on; any other jobs/ID is the first fine-tune job.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

from conftest import ASSETS, BUILD, ROOT, wait_until, write_rows

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("graft", "graft-server", "graft-worker", "graft-engine")
COMMAND_SECONDS = 240


class Fence:
    def __init__(self, line, language, note, lines):
        self.line, self.language, self.note, self.lines = line, language, note, lines

    @property
    def reason(self):
        return self.note.removeprefix("not run:").strip() if self.note.startswith("not run:") else ""

    def commands(self):
        """Its lines, those joined that end in a backslash; none for comments."""
        joined = "\n".join(self.lines).replace("\\\n", "\\\0").split("\n")
        return [command.replace("\0", "\n") for command in joined if command.strip() and not command.startswith("#")]


def fences_of(path):
    fences, note, lines = [], "", path.read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith("```"):
            end = next(i for i in range(place + 1, len(lines)) if lines[i].startswith("```"))
            fences.append(Fence(place + 1, line[3:].strip(), note, lines[place + 1:end]))
            place = end
        note = re.match(r"<!-- (.*) -->$", line).group(1) if re.match(r"<!-- .* -->$", line) else note if not line.strip() else ""
        place += 1
    return fences


ALL = {path: fences_of(path) for path in DOCUMENTS}
RUN = {path: [fence for fence in fences if fence.language in ("sh", "python") and not fence.reason] for path, fences in ALL.items()}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Reader:
    """Someone who types what a document says: a home, a folder, a shell."""

    def __init__(self, folder):
        self.home = pathlib.Path(folder)
        self.work = self.home / "work"
        self.jobs = {"fine-tune": [], "evaluate": []}
        self.address, self.http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.bin = self.home / "bin"
        for directory in (self.work, self.bin, self.home / "models"):
            directory.mkdir()
        # The parity tests' Python finds its model by the name that the text uses.
        for name in (self.home / "models/gpt2", self.work / "gpt2", self.work / "models/gpt2"):
            shutil.copytree(ASSETS / "model", name)
        for name, source, count in (("articles.jsonl", "train.jsonl", 24), ("valid.jsonl", "valid.jsonl", 8), ("train.jsonl", "train.jsonl", 24),
                                    ("test.jsonl", "test.jsonl", 6), ("references.jsonl", "test.jsonl", 6)):
            write_rows(self.work / name, source, count)
        rows = [json.loads(line) for line in (self.work / "test.jsonl").read_text(encoding="utf-8").splitlines()]
        (self.work / "predictions.txt").write_text("".join(row["document"].splitlines()[0] + "\n" for row in rows), encoding="utf-8")
        (self.work / "references.txt").write_text("".join(" ".join(row["summary"].splitlines()) + "\n" for row in rows), encoding="utf-8")
        (self.work / "article.txt").write_text(rows[0]["document"] + "\n", encoding="utf-8")
        self.write_programs()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "GRAFT_"))}
        environment |= {"HOME": str(self.home), "PATH": f"{self.bin}:{environment['PATH']}", "GRAFT_SERVER": self.address, "HF_HUB_OFFLINE": "1",
                        "TRANSFORMERS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.shell = subprocess.Popen(["bash"], cwd=self.work, env=environment, stdin=subprocess.PIPE, text=True)

    def write_programs(self):
        """The programs by their names; the server on ports of its own, and telling when it is ready."""
        for program in PROGRAMS:
            extra = ""
            if program == "graft-server":
                extra = (f'case "$1" in stop|--version|--help) ;; *) set -- "$@" --http {self.http} --ready-file "{self.home}/ready"\n'
                         f'case "$*" in *--listen*) ;; *) set -- "$@" --listen {self.address} ;; esac ;; esac\n')
            self.write_program(program, f'{extra}exec "{BUILD}/bin/{program}" "$@"')
        for name in ("python", "python3"):
            self.write_program(name, f'exec "{sys.executable}" "$@"')
        for name in ("tools", "proto", "deploy"):
            (self.work / name).symlink_to(ROOT / name)

    def write_program(self, name, body):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def meant(self, text):
        """The text with this reader's own names and addresses."""
        def job(match):
            letter = re.fullmatch(r"[A-Z]", match.group(1))
            known = self.jobs["evaluate"] if letter else self.jobs["fine-tune"]
            place = ord(match.group(1)) - ord("A") if letter else 0
            return known[place] if place < len(known) else match.group(0)
        text = re.sub(r"\bjobs/([A-Za-z0-9]+)\b", job, text)
        return text.replace("127.0.0.1:50051", self.address).replace("127.0.0.1:9464", self.http)

    def run(self, command):
        """Status and output of one command."""
        status, output = self.home / "status", self.home / "output"
        status.unlink(missing_ok=True)
        starts_server = re.match(r"graft-server (?!stop)", command)
        (self.home / "ready").unlink(missing_ok=True) if starts_server else None
        self.shell.stdin.write(f"{{ {self.meant(command)}\n}} >'{output}' 2>&1 </dev/null; echo $? >'{status}.made'; mv '{status}.made' '{status}'\n")
        self.shell.stdin.flush()
        wait_until(status.exists, f"the end of: {command}\n{output.read_text() if output.exists() else ''}", COMMAND_SECONDS)
        if starts_server:
            wait_until((self.home / "ready").exists, f"the server: {output.read_text()}")
        self.learn_jobs()
        return int(status.read_text()), output.read_text(encoding="utf-8", errors="replace")

    def learn_jobs(self):
        listed = subprocess.run([BUILD / "bin/graft", "--json", "--timeout", "2", "jobs", "--order-by", "create_time"], capture_output=True, text=True,
                                check=False, env={**os.environ, "GRAFT_SERVER": self.address})
        jobs = [json.loads(line) for line in listed.stdout.splitlines()] if listed.returncode == 0 else []
        for job in jobs:
            known = self.jobs["evaluate" if job["method"] == "evaluate" else "fine-tune"]
            if job["name"] not in known:
                known.append(job["name"])

    def run_python(self, fence):
        script = self.work / "snippet.py"
        script.write_text(self.meant("\n".join(fence.lines)) + "\n", encoding="utf-8")
        return self.run("python3 snippet.py")

    def graft(self, *arguments):
        return subprocess.run([BUILD / "bin/graft", *arguments], capture_output=True, text=True, check=True,
                              env={**os.environ, "GRAFT_SERVER": self.address}).stdout

    def close(self):
        for data in [self.home / ".local/share/graft", *self.home.glob("*/graft.db"), *self.work.glob("*/graft.db")]:
            data = data.parent if data.name == "graft.db" else data
            subprocess.run([BUILD / "bin/graft-server", "stop", "--all", "--data", data], capture_output=True, check=False)
        self.shell.stdin.close()
        self.shell.kill()
        self.shell.wait()


# ---- What a command is to have done, beside ending well --------------------------------------------------------------------

def last_job(reader, kind):
    return json.loads(reader.graft("show", "--json", reader.jobs[kind][-1]))


def succeeded(kind):
    def check(reader, command, output):
        if "--validate-only" in command:
            return '"resolved_spec"' in output or "valid" in output
        return "--watch" not in command or last_job(reader, kind)["state"] == "JOB_STATE_SUCCEEDED"
    return check


def says(*parts):
    return lambda reader, command, output: all(part in output for part in parts)


def leaves(*files):
    def check(reader, command, output):
        folder = reader.work / re.search(r"--(?:to|out) (\S+)", command).group(1)
        return all((folder / file).exists() for file in files)
    return check


CHECKS = {
    "graft models add": says("parameters"),
    "graft submit": succeeded("fine-tune"),
    "graft eval": succeeded("evaluate"),
    "graft compare": says("ROUGE-LSUM", "95 % interval"),
    "graft rouge": says("rouge1", "rougeLsum"),
    "graft logs": says("leased", "==> attempt 1, engine <=="),
    "graft verify": lambda reader, command, output: "differ" not in output.replace("0 differ", ""),
    "graft generate": lambda reader, command, output: output.strip(),
    "graft adapters download": leaves("adapter_config.json", "adapter_model.safetensors"),
    "graft adapters merge": leaves("config.json", "model.safetensors"),
    "graft-engine run": leaves("adapter/adapter_model.safetensors"),
}


def check_of(command):
    return next((name for name in CHECKS if command.startswith(name)), None)


@pytest.fixture
def reader():
    folder = tempfile.mkdtemp(prefix="graft-", dir="/tmp")
    someone = Reader(folder)
    yield someone
    someone.close()
    shutil.rmtree(folder, ignore_errors=True)


def prepare(reader, path):
    """A document that begins in the middle finds what README's first commands make."""
    if path.name == "README.md":
        return
    for command in ("graft-server --workers 1 &", "graft models add gpt2 ~/models/gpt2",
                    "graft submit --base-model gpt2 --method lora --train articles.jsonl --max-steps 2 --output-name news-lora --watch"):
        status, output = reader.run(command)
        assert status == 0, output


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if RUN[path]], ids=lambda path: path.name)
def test_every_command_does_what_the_text_says(reader, path):
    if any(fence.language == "sh" or "graft.v1" in "\n".join(fence.lines) for fence in RUN[path]):
        prepare(reader, path)
    for fence in ALL[path]:
        if fence.note.startswith("file:"):
            file = reader.work / fence.note.removeprefix("file:").strip()
            file.write_text(reader.meant("\n".join(fence.lines)) + "\n", encoding="utf-8")
        if fence not in RUN[path]:
            continue
        if fence.language == "python":
            status, output = reader.run_python(fence)
            assert status == 0, f"{path.name}:{fence.line}: the snippet ends with {status}\n{output}"
        for command in fence.commands() if fence.language == "sh" else []:
            status, output = reader.run(command)
            place = f"{path.name}:{fence.line}: {command}\n{output}"
            assert status == 0, f"ends with {status}: {place}"
            name = check_of(command)
            assert name is None or CHECKS[name](reader, command, output), f"does not do what it should: {place}"


def test_every_fence_says_what_it_holds():
    unnamed = [f"{path.name}:{fence.line}" for path, fences in ALL.items() for fence in fences if not fence.language]
    assert not unnamed, "a fence without a language (sh, python, text, ...)"
    for path, fences in ALL.items():
        for fence in fences:
            assert not fence.note.startswith("not run") or len(fence.reason) > 10, f"{path.name}:{fence.line}: why not?"


def test_every_check_has_a_command():
    commands = [command for fences in RUN.values() for fence in fences for command in fence.commands()]
    assert {check_of(command) for command in commands} >= CHECKS.keys()


def test_the_counts(capsys):
    """Printed, so that a reader of the log sees what is left out."""
    run = sum(len(fence.commands()) if fence.language == "sh" else 1 for fences in RUN.values() for fence in fences)
    marked = [(path, fence) for path, fences in ALL.items() for fence in fences if fence.language in ("sh", "python") and fence.reason]
    with capsys.disabled():
        print(f"\ndocumentation: {run} commands and snippets are run, {sum(len(fence.commands()) for _, fence in marked)} are marked:")
        for path, fence in marked:
            print(f"  {path.name}:{fence.line}: {fence.reason}")
    assert run > 20

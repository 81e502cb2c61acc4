"""What the documentation says works: every fenced command of it is run, in order, against a real server.

A fence says by its language what it holds: `sh` is run line by line, one shell for each document; `python` is run by the parity
tests' Python; any other is not run. What cannot be run stands in a fence of its own, under `<!-- not run: REASON -->`; a fence under
`<!-- file: NAME -->` is written to that file, for the commands after it. The examples of every --help are run, too.

The demo's model stands in for GPT-2, its data for the reader's, a folder below the reader's home for /srv. jobs/A, jobs/B and so on
are the evaluate jobs that the text's commands made, in their order; of other names (jobs/k3f9) the first is the first fine-tune job. Any
study that is named is the one that was made last.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from conftest import ASSETS, BUILD, ROOT, free_port, wait_until, write_rows

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("graft", "graft-server", "graft-worker", "graft-engine")
# What the documents' commands use of a checkout.
CHECKOUT = ("common", "proto", "worker", "tools", "deploy")
COMMAND_SECONDS = 120


# ---- What the documents hold ------------------------------------------------------------------------------------------------

class Fence:
    def __init__(self, place, language, note, text):
        self.place, self.language, self.note, self.text = place, language, note, text

    def noted(self, kind):
        """What the comment above says behind `kind:`; None if there is none."""
        return self.note.removeprefix(f"{kind}:").strip() if self.note.startswith(f"{kind}:") else None

    def steps(self):
        """Its lines, those joined that end in a backslash, without comments; of Python the whole."""
        if self.language == "python":
            return [self.text]
        lines = re.sub(r" *\\\n *", " ", self.text).splitlines() if self.language == "sh" else []
        return [command for command in (re.sub(r"(^|  +)# .*", "", line) for line in lines) if command]


def fences_of(path):
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"(?:^<!-- (.*) -->\n\n?)?^```(.*)\n((?:(?!```).*\n)*)```$", text, re.MULTILINE):
        note, language, inside = found.groups()
        yield Fence(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start(2)) + 1}", language.strip(), note or "", inside)


ALL = {path: list(fences_of(path)) for path in DOCUMENTS}
RUN = {path: [fence for fence in fences if fence.noted("not run") is None and fence.steps()] for path, fences in ALL.items()}


def commands_of(path):
    return [step for fence in RUN[path] if fence.language == "sh" for step in fence.steps()]


# ---- Who runs them ----------------------------------------------------------------------------------------------------------

class Reader:
    """Someone who types what a document says: a home, a checkout that is built, a shell in it."""

    def __init__(self, home):
        self.home, self.work = home, home / "graft"
        self.jobs = {"fine-tune": [], "evaluate": []}
        self.study = ""  # The last one.
        self.named = []  # The text's jobs/ID, but for those with a letter.
        self.said = home / "said"  # Of each command its output and, at its end, its status.
        shutil.rmtree(self.said, ignore_errors=True)
        self.said.mkdir()
        self.address, self.http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        if not self.work.exists():
            self.furnish()
        self.write_programs()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "GRAFT_"))}
        self.environment = environment | {"HOME": str(home), "PATH": f"{home}/bin:{environment['PATH']}", "GRAFT_SERVER": self.address,
                                          "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1",
                                          # Threads that wait do not spin: other work on these cores would make that very slow.
                                          "OMP_WAIT_POLICY": "passive",
                                          # Of a terminal that takes escape codes; what is printed goes to files.
                                          "TERM": "xterm-256color"}
        # A session of its own, so that what it started can be ended with it.
        self.shell = subprocess.Popen(["bash"], cwd=self.work, env=self.environment, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def furnish(self):
        """Lays out the files that the documents name."""
        for name in CHECKOUT:
            shutil.copytree(ROOT / name, self.work / name, ignore=shutil.ignore_patterns("__pycache__"))
        # transformers finds `gpt2` in the folder, since it may not ask the hub.
        for name in (self.home / "models/gpt2", self.work / "gpt2", self.work / "models/gpt2"):
            shutil.copytree(ASSETS / "model", name)
        for name, source, count in (("articles.jsonl", "train.jsonl", 24), ("train.jsonl", "train.jsonl", 24), ("valid.jsonl", "valid.jsonl", 8),
                                    ("test.jsonl", "test.jsonl", 6), ("references.jsonl", "test.jsonl", 6)):
            write_rows(self.work / name, source, count)
        rows = [json.loads(line) for line in (self.work / "test.jsonl").read_text(encoding="utf-8").splitlines()]
        (self.work / "predictions.txt").write_text("".join(row["document"].split(". ")[0] + "\n" for row in rows), encoding="utf-8")
        (self.work / "references.txt").write_text("".join(" ".join(row["summary"].split("\n")) + "\n" for row in rows), encoding="utf-8")
        (self.work / "article.txt").write_text(rows[0]["document"] + "\n", encoding="utf-8")

    def write_programs(self):
        """The programs where the build leaves them; the server on ports of its own, and telling when it is ready."""
        for folder in (self.work / "build/release/bin", self.home / "bin", self.home / "srv"):
            folder.mkdir(parents=True, exist_ok=True)
        for program in PROGRAMS:
            own = (f'case "$1" in stop|check|backup|restore|gc|--version|--help) ;; *) set -- "$@" --listen {self.address} --http {self.http} --ready-file "{self.home}/ready" ;; esac\n'
                   if program == "graft-server" else "")
            self.write_program(self.work / "build/release/bin" / program, f'{own}exec "{BUILD}/bin/{program}" "$@"')
        for name in ("python", "python3"):
            self.write_program(self.home / "bin" / name, f'exec "{sys.executable}" "$@"')

    @staticmethod
    def write_program(path, body):
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def meant(self, text):
        """The text with this reader's own names and addresses."""
        def job(match):
            if re.fullmatch(r"[A-Z]", match.group(1)):
                known, place = self.jobs["evaluate"], ord(match.group(1)) - ord("A")
            else:
                if match.group(1) not in self.named:
                    self.named.append(match.group(1))
                known, place = self.jobs["fine-tune"], self.named.index(match.group(1))
            return known[place] if place < len(known) else match.group(0)
        text = re.sub(r"\bjobs/([A-Z]|[a-z0-9]{4})\b", job, text)
        text = re.sub(r"\bstudies/([A-Z]|[a-z0-9]{4})\b", lambda match: self.study or match.group(0), text)
        return re.sub(r"(?<!\w)/srv/", f"{self.home}/srv/", text).replace("127.0.0.1:50051", self.address)

    def run(self, command):
        """Status and output of one command of the shell."""
        output = self.said / str(len(list(self.said.iterdir())))
        status = output.with_suffix(".status")
        starts_server = re.match(r"graft-server (?!stop|check|backup|restore|gc)", command)
        if starts_server:
            (self.home / "ready").unlink(missing_ok=True)
        self.shell.stdin.write(f"{{ {self.meant(command)}\n}} >'{output}' 2>&1 </dev/null; echo $? >'{status}.made'; mv '{status}.made' '{status}'\n")
        self.shell.stdin.flush()
        wait_until(lambda: status.exists() or self.shell.poll() is not None, f"the end of: {command}\n{output}", COMMAND_SECONDS)
        text = output.read_text(encoding="utf-8", errors="replace")
        assert status.exists(), f"the shell ended with: {command}\n{text}"
        if starts_server:
            wait_until((self.home / "ready").exists, f"the server: {text}")
        if starts_server or command.startswith(("graft submit", "graft eval")):
            self.learn_jobs()
        if command.startswith("graft study create") and "--validate-only" not in command:
            self.study = self.json("study", "list")[0]["name"]
        return int(status.read_text()), text

    def run_python(self, code):
        (self.work / "snippet.py").write_text(self.meant(code), encoding="utf-8")
        return self.run("python3 snippet.py")

    def follow(self, steps, place):
        """Runs each, and checks what it did."""
        for step in steps:
            if "\n" in step:
                status, output = self.run_python(step + check_of_snippet(step))
            else:
                status, output = self.run(step)
            check = CHECKS.get(words_of(step, CHECKS))
            fault = f"ends with {status}" if status else "has escape codes in a file" if "\x1b" in output else "does not do what it should" if check and not check(self, self.meant(step), output) else None
            if fault:
                pytest.fail(f"{place} {fault}: {step}\n{output}", pytrace=False)

    def learn_jobs(self):
        for job in self.json("jobs", "--order-by", "create_time"):
            known = self.jobs["evaluate" if job["method"] == "evaluate" else "fine-tune"]
            if job["name"] not in known:
                known.append(job["name"])

    def json(self, *arguments):
        output = subprocess.run([BUILD / "bin/graft", "--json", *arguments], env=self.environment, capture_output=True, text=True, check=True).stdout
        return [json.loads(output)] if output.startswith("{\n") else [json.loads(line) for line in output.splitlines()]

    def processes(self, program):
        """How many of it run for this reader."""
        def runs(entry):
            try:
                arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                return False
            return arguments[0] == str(BUILD / "bin" / program) and any(f"{self.home}/" in argument for argument in arguments)
        return sum(runs(entry) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit())

    def leave(self):
        """Ends all that was started."""
        for data in [self.home / ".local/share/graft", *(self.home / "srv").iterdir()]:
            subprocess.run([BUILD / "bin/graft-server", "stop", "--all", "--data", data], capture_output=True, check=False)
        os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.wait()
        for program in PROGRAMS:
            wait_until(lambda: self.processes(program) == 0, f"the end of {program}")


@contextlib.contextmanager
def a_reader(like=None):
    # Short: a Unix socket's path has at most 107 bytes.
    home = pathlib.Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))
    if like is not None:
        shutil.copytree(like, home, symlinks=True, dirs_exist_ok=True)
    reader = Reader(home)
    try:
        yield reader
    finally:
        reader.leave()
        shutil.rmtree(home, ignore_errors=True)


# ---- What a command is to have done, beside ending well --------------------------------------------------------------------

def says(*parts):
    return lambda reader, command, output: all(part in output for part in parts)


def leaves(*files, under="--(?:to|out)"):
    """The files, in the folder that the flag names."""
    def check(reader, command, output):
        folder = re.search(under + r" (\S+)", command)
        return all((reader.work / (folder.group(1) if folder else command.split()[-1]) / file).exists() for file in files)
    return check


def serves(reader, command, output):
    """It answers, and has its local worker."""
    return wait_until(lambda: any(worker.get("connected") for worker in reader.json("workers")), "a worker")


def stopped(reader, command, output):
    """The server is gone, and with --all its local worker, which else goes on."""
    left = reader.processes("graft-worker")
    return reader.processes("graft-server") == 0 and ("stopped 1 local worker" in output if "--all" in command else left == 1)


def works(reader, command, output):
    return wait_until(lambda: sum(worker.get("connected", False) for worker in reader.json("workers")) == 2, "a second worker")


def tuned(reader, command, output):
    """The last job has what the flags say, and its adapter is there."""
    job = reader.json("show", reader.jobs["fine-tune"][-1])[0]
    spec = job["resolved_spec"]["fine_tune"]
    rank, fraction = re.search(r"--rank (\d+)", command), re.search(r"--validation-fraction (\S+)", command)
    return (job["state"] == "JOB_STATE_SUCCEEDED" and job["result"]["adapter"] in [adapter["name"] for adapter in reader.json("adapters", "list")]
            and (rank is None or spec["method"]["lora"]["rank"] == int(rank.group(1)))
            and (fraction is None or spec["data"]["validation_fraction"] == float(fraction.group(1))))


def evaluated(reader, command, output):
    job = reader.json("show", reader.jobs["evaluate"][-1])[0]
    adapter = re.search(r"--adapter (\S+)", command)
    names = adapter.group(1).split(",") if adapter else []
    spec, result = job["resolved_spec"]["evaluate"], job["result"]
    results = result.get("adapters", [result])
    return (job["state"] == "JOB_STATE_SUCCEEDED" and spec.get("adapters", [spec[one] for one in ["adapter"] if one in spec]) == names
            and len(results) == max(1, len(names)) and all({"eval/loss", "eval/rougeLsum", "lead3/rougeLsum"} <= one["metrics"].keys() for one in results))


def compared(reader, command, output):
    """Evaluations with the paired difference."""
    evaluations = set(re.findall(r"jobs/\w+", command)) <= set(reader.jobs["evaluate"])
    return "ROUGE-LSUM" in output and ("95 % interval" in output) == evaluations


def code_hash(reader, command, output):
    view = reader.home / ".local/share/graft/artifacts/adapters/news-lora"
    return output.split()[0] == json.loads((view / "graft.json").read_text(encoding="utf-8"))["build"]["code_sha256"]


def made_again(reader, command, output):
    """The data of the demo: written anew, the same bytes."""
    made, kept = ([folder / f"{name}.jsonl" for name in ("train", "valid", "test")] for folder in (reader.work / "tools/demo_assets/data", ASSETS / "data"))
    return all(new.read_bytes() == old.read_bytes() and new.stat().st_mtime > old.stat().st_mtime for new, old in zip(made, kept))


def listed(kind, words=None):
    """The catalogue has the name that stands behind these words, else last."""
    def check(reader, command, output):
        name = re.search(words + r" (\S+)", command).group(1) if words else command.split()[-1]
        return name in [entry["name"] for entry in reader.json(kind, "list")]
    return check


def gone(kind):
    there = listed(kind)
    return lambda reader, command, output: not there(reader, command, output)


def reaches(state):
    """The job that the command names last comes into this state."""
    def check(reader, command, output):
        return wait_until(lambda: reader.json("show", command.split()[-1])[0]["state"] == state, f"the job to be {state}")
    return check


def study_ended(reader, command, output):
    """It is cancelled, and so are its jobs, in their own time."""
    trials = reader.json("study", "show", command.split()[-1])[0]["trials"]
    wait_until(lambda: all(reader.json("show", trial["job"])[0].get("done") for trial in trials), "the jobs' end")
    return "is cancelled" in output


def retried(reader, command, output):
    """There is a new job; what follows must not find it running."""
    name = output.split()[0]
    reader.run(f"graft cancel {name}")
    return reaches("JOB_STATE_CANCELLED")(reader, name, output)


PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
# By a command's first words. None: that it ends well says it all.
CHECKS = {
    "export": None,
    "FILES=": None,
    "graft-server stop": stopped,
    "graft-server backup": leaves("BACKUP", "SHA256SUMS", "graft.db"),
    "(cd /srv/backup": None,
    "graft-server restore": leaves("graft.db", "artifacts/STORE", under="--data"),
    "graft-server check": says("The artifacts are this store's.", "No problem was found"),
    "graft-server": serves,
    "graft-worker": works,
    "graft workers": says("DEVICE", "THREADS"),
    "graft plot": lambda reader, command, output: (reader.work / output.strip()).exists() if "--output" in command else says("train/loss", " steps")(reader, command, output),
    "graft rows": says("LOSS", "SOURCE"),
    "graft queue": lambda reader, command, output: "no job waits" in output or "STARTS IN" in output,
    "graft models add": listed("models", "add"),
    "graft models list": says("gpt2"),
    "graft models delete": gone("models"),
    "graft datasets upload": listed("datasets", "--name"),
    "graft datasets list": says("articles"),
    "graft datasets preview": says("prompt:", "ids:"),
    "graft datasets delete": gone("datasets"),
    "graft plan submit": says("trains ", "steps ", "limit "),
    "graft plan eval": says("it evaluates a model", "evaluates ", "limit "),
    "graft submit": tuned,
    "graft eval": evaluated,
    "graft jobs": lambda reader, command, output: ("name,display_name," if "--output csv" in command else "STATE") in output,
    "graft show": says("news-lora", "articles"),
    "graft watch": says("succeeded"),
    "graft top": says("WORKER", "running"),
    "graft wait": says("succeeded"),
    "graft doctor": lambda reader, command, output: "WRONG" not in output and re.search(r"^ok +worker ", output, re.MULTILINE),
    "graft context list": None,
    "graft context set": says("lab is"),
    "graft context use": says("asked from now on"),
    "graft context delete": says("deleted lab"),
    "graft --context lab jobs": says("STATE"),
    "graft man": leaves("graft.1", "graft-adapters-merge.1"),
    "graft completion": says("# The completion of graft for"),
    "graft pause": reaches("JOB_STATE_PAUSED"),
    "graft resume": reaches("JOB_STATE_RUNNING"),
    "graft checkpoint": says("saves its state"),
    # The first may be on its way.
    "graft checkpoints": lambda reader, command, output: "PINNED" in output and wait_until(lambda: reader.json(*command.split()[1:]), "a checkpoint"),
    "graft continue": says("goes on from step", "succeeded"),
    "graft edit": lambda reader, command, output: reader.json("show", command.split()[2])[0]["priority"] == 10,
    "graft cancel": reaches("JOB_STATE_CANCELLED"),
    "graft retry": retried,
    "graft delete --filter": says("would delete"),
    "graft delete": lambda reader, command, output: command.split()[-1] not in [job["name"] for job in reader.json("jobs")],
    "graft study create": lambda reader, command, output: ("valid; it would have 20 trials" if "--validate-only" in command else "succeeded: trial") in output,
    "graft study list": says("STUDY", "succeeded"),
    "graft study show": says("TRIAL", "best eval/loss"),
    "graft study watch": says("succeeded"),
    "graft study best": says("POINT", "graft adapters download"),
    "graft study plot": lambda reader, command, output: (reader.work / output.strip()).exists() if "--output" in command else says(" by ", "at the end")(reader, command, output),
    "graft study pause": says("is paused"),
    "graft study resume": says("is running"),
    "graft study cancel": study_ended,
    "graft study delete": says("deleted"),
    "graft compare": compared,
    "graft rouge": says("rouge1", "rougeLsum"),
    "graft logs": says("leased", "==> attempt 1, engine <=="),
    "graft artifacts list": None,
    "graft artifacts download": lambda reader, command, output: (reader.work / command.split()[-1]).stat().st_size > 0,
    "graft verify": lambda reader, command, output: output.count("ok ") > 6 and "DIFFERS" not in output,
    "graft generate": lambda reader, command, output: ("==> best-rank <==" in output if "best-rank" in command else output.strip()),
    "graft adapters list": says("news-lora"),
    "graft adapters download": leaves(*PEFT_FILES),
    "graft adapters show": says("adapter_model.safetensors"),
    "graft adapters import": listed("adapters", "--name"),
    "graft adapters delete": gone("adapters"),
    "graft adapters merge": leaves("config.json", "model.safetensors"),
    "graft-engine run": leaves(*(f"adapter/{name}" for name in PEFT_FILES)),
    "graft-engine generate": lambda reader, command, output: output.strip(),
    "graft-engine evaluate": leaves("artifacts/predictions.jsonl", "artifacts/results.json"),
    "python -m grpc_tools.protoc": lambda reader, command, output: (reader.work / "graft/v1/job_pb2_grpc.py").exists(),
    "python tools/demo_assets/make.py data": made_again,
    "find common proto worker/engine": code_hash,
    "(cd ~/models/gpt2": lambda reader, command, output: output.split()[0] == reader.json("models", "list")[0]["sha256"],
}
# By words of a snippet: what is run behind it, to see what it did.
SNIPPETS = {
    "PeftModel": """
from safetensors.torch import load_file
saved = load_file("my-adapter/adapter_model.safetensors")
loaded = {name.replace(".default", ""): tensor for name, tensor in model.state_dict().items()}
assert saved and all(loaded[name].equal(tensor) for name, tensor in saved.items())
""",
    "WatchJob": """
assert message.event.sequence == jobs.GetJob(job_pb2.GetJobRequest(name="jobs/k3f9")).last_sequence > 10
""",
    "def bootstrap": """
import json, subprocess
printed = subprocess.check_output(["graft", "--json", "rouge", "predictions.txt", "references.jsonl"], text=True)
*rows, means = map(json.loads, printed.splitlines())
for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
    told = means["aggregate"][kind]["f"]
    assert bootstrap([row[kind]["f"] for row in rows], 42) == (told["mean"], told["low"], told["high"])
""",
    "def held_out_order": """
import json, math, subprocess
events = map(json.loads, subprocess.check_output(["graft", "--json", "watch", "jobs/k3f9"], text=True).splitlines())
shown = {int(text["row"]) for event in events for text in event.get("samples", {}).get("texts", [])}
held_out = held_out_order(24, 42)[-math.ceil(0.1 * 24):]
assert shown and shown <= set(held_out), (shown, held_out)
""",
}


def check_of_snippet(code):
    return next((check for words, check in SNIPPETS.items() if words in code), None)


def words_of(command, known):
    """The longest of the known words that it begins with."""
    return max((words for words in known if command.startswith(words)), key=len, default=None)


# ---- The tests --------------------------------------------------------------------------------------------------------------

START, SERVE = commands_of(DOCUMENTS[0])[:2]


@pytest.fixture(scope="module")
def furnished():
    """The home of somebody who did what README says first, up to an adapter."""
    commands = commands_of(DOCUMENTS[0])
    with a_reader() as reader:
        reader.follow(commands[:next(i for i, command in enumerate(commands) if "graft submit" in command) + 1], "README.md")
        reader.follow(["graft-server stop --all"], "README.md")
        yield reader.home


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if RUN[path]], ids=lambda path: path.name)
def test_every_command_does_what_the_text_says(path, request):
    first = path == DOCUMENTS[0]
    with a_reader(like=None if first else request.getfixturevalue("furnished")) as reader:
        if not first:
            reader.follow([START], path)
            if any(command.startswith("graft-server") for command in commands_of(path)):
                # One that runs a server of its own finds what the reader has in that one's folder.
                (reader.home / ".local/share/graft").rename(reader.home / "srv/graft")
            else:
                reader.follow([SERVE], path)
        for fence in ALL[path]:
            if fence.noted("file"):
                (reader.work / fence.noted("file")).write_text(reader.meant(fence.text), encoding="utf-8")
            if fence in RUN[path]:
                reader.follow(fence.steps(), fence.place)


@functools.cache
def helped(program, *names):
    """The examples that its --help and that of each of its commands print, each once."""
    text = subprocess.run([BUILD / "bin" / program, *names, "--help"], capture_output=True, text=True, check=True).stdout
    examples = [re.sub(r" *\\\n *", " ", example) for example in re.findall(r"^(?:Examples?: *|  )(graft\S* (?:.*\\\n)*.*)", text, re.MULTILINE)]
    for name in re.findall(r"^  ([a-z]+)  +\S", text, re.MULTILINE):
        examples += helped(program, *names, name)
    return list(dict.fromkeys(examples))


def remove_results(reader):
    """graft-engine writes over no result."""
    shutil.rmtree(reader.work / "runs", ignore_errors=True)


def begin_a_job(reader):
    """jobs/k3f9 is now one that can be paused."""
    reader.run("graft submit --base-model gpt2 --method lora --train articles.jsonl --max-steps 100000")
    reader.jobs["fine-tune"].insert(0, reader.jobs["fine-tune"].pop())


def begin_a_study(reader):
    """One that can be paused."""
    reader.run("graft study create --base-model gpt2 --method lora --rank 2,4 --train articles.jsonl --max-steps 100000")


def remove_adapters(reader):
    """Nothing uses the model any more."""
    for adapter in reader.json("adapters", "list"):
        reader.follow([f"graft adapters delete {adapter['name']}"], "of the model")


BEFORE = {"graft-engine run": remove_results, "graft study pause": begin_a_study, "graft pause": begin_a_job, "graft models delete": remove_adapters}
# These come last, in this order.
ENDINGS = ("graft study list", "graft study show", "graft study watch", "graft study best", "graft study plot", "graft study pause", "graft study resume", "graft study cancel", "graft study delete", "graft pause", "graft resume", "graft checkpoint", "graft edit", "graft cancel", "graft retry", "graft delete", "graft adapters delete", "graft datasets delete", "graft models delete")


def test_every_example_of_a_help_text_works(furnished):
    (server,) = helped("graft-server")
    examples = {example: words_of(example, ENDINGS) for program in PROGRAMS if program != "graft-server" for example in helped(program)}
    assert set(examples.values()) == {None, *ENDINGS} and len(examples) > 30
    with a_reader(like=furnished) as reader:
        for fence in (fence for fences in ALL.values() for fence in fences if fence.noted("file")):
            (reader.work / fence.noted("file")).write_text(fence.text, encoding="utf-8")
        (reader.home / "srv/graft").symlink_to(reader.home / ".local/share/graft")
        reader.follow([START, f"{server} &", "graft adapters download news-lora --to my-lora"], "before the examples")
        for example in sorted(examples, key=lambda example: ENDINGS.index(examples[example]) if examples[example] else -1):
            BEFORE.get(words_of(example, BEFORE), lambda reader: None)(reader)
            # Only an evaluate job has predictions; a worker goes on.
            meant = example.replace("jobs/k3f9 predictions", "jobs/A predictions") + (" &" if example.startswith("graft-worker") else "")
            reader.follow([meant], "--help")


def test_every_fence_says_what_it_holds():
    unnamed = [fence.place for fences in ALL.values() for fence in fences if not fence.language]
    assert not unnamed, "a fence without a language (sh, python, text, ...)"
    fenced = {path: len(re.findall(r"^ *(?:```|~~~)", path.read_text(encoding="utf-8"), re.MULTILINE)) for path in DOCUMENTS}
    assert fenced == {path: 2 * len(fences) for path, fences in ALL.items()}, "a fence that this test does not see"
    for fences in ALL.values():
        for fence in fences:
            assert fence.noted("not run") is None or len(fence.noted("not run")) > 10, f"{fence.place}: why not?"


def test_every_command_has_a_check_and_every_check_a_command():
    commands = [command for path in DOCUMENTS for command in commands_of(path)] + [example for program in PROGRAMS for example in helped(program)]
    unchecked = [command for command in commands if words_of(command, CHECKS) is None]
    unchecked += [fence.place for fences in RUN.values() for fence in fences if fence.language == "python" and check_of_snippet(fence.text) is None]
    assert not unchecked, "what are these to have done?"
    assert {words_of(command, CHECKS) for command in commands} == CHECKS.keys()


def test_the_counts(capsys):
    """Printed, so that a reader of the log sees what is left out."""
    run = sum(len(fence.steps()) for fences in RUN.values() for fence in fences)
    marked = [fence for fences in ALL.values() for fence in fences if fence.noted("not run") is not None]
    with capsys.disabled():
        print(f"\ndocumentation: {run} commands and snippets are run, {sum(len(helped(program)) for program in PROGRAMS)} examples of help texts, and "
              f"{sum(len(fence.steps()) for fence in marked)} commands are not:")
        for fence in marked:
            print(f"  {fence.place}: {len(fence.steps())}, {fence.noted('not run')}")
    assert run > 40

"""Whatever is wrong is named, with the right exit code, and nothing is left half-done."""

import gzip
import json
import os
import shutil

import pytest

from conftest import ASSETS, Graft, load, write_rows

SPECS = {
    "unknown model": (["--base-model", "nowhere"], 3, "--base-model: there is no model \"nowhere\""),
    "unknown data set": (["--train", "nowhere"], 3, "--train: there is no data set \"nowhere\""),
    "unknown field": (["--source-field", "body"], 2, "--source-field"),
    "unknown target module": (["--target-modules", "q_proj"], 2, "--target-modules"),
    "rank zero": (["--rank", "0"], 2, "--rank: "),
    "rank beyond the layer": (["--rank", "4096"], 2, "--rank: "),
    "layer beyond the model": (["--lora-layers", "99"], 2, "--lora-layers"),
    "prompt longer than the model": (["--method", "soft_prompt", "--num-virtual-tokens", "300"], 2, "--num-virtual-tokens"),
    "text longer than the model": (["--max-source-tokens", "4000"], 2, "--max-source-tokens"),
    "learning rate": (["--learning-rate", "-1"], 2, "--learning-rate"),
    "template without a place": (["--prompt-template", "TL;DR:"], 2, "--prompt-template"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    import tempfile
    from conftest import load
    directory = tempfile.mkdtemp(prefix="graft-", dir="/tmp")
    graft = Graft(directory).start(workers=0)
    load(graft)
    yield graft
    graft.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("case", SPECS)
def test_a_spec_that_cannot_work_is_refused_with_its_field(service, case):
    flags, code, named = SPECS[case]
    jobs = len(service.json("jobs"))
    defaults = {"--base-model": "tiny", "--train": "train", "--validation": "valid", "--method": "lora"}
    for name, value in defaults.items():
        if name not in flags:
            flags = [*flags, name, value]
    result = service.cli("submit", *flags, check=False)
    assert result.returncode == code, result.stderr
    assert named in result.stderr
    assert len(service.json("jobs")) == jobs


def test_an_unknown_method_is_usage(service):
    result = service.cli("submit", "--base-model", "tiny", "--train", "train", "--method", "magic", check=False)
    assert result.returncode == 2 and "soft_prompt" in result.stderr


ROW = json.dumps({"document": "Some text.", "summary": "Text."})
DATA = {
    "empty": ("", "empty"),
    "broken line 17": ("\n".join([ROW] * 16 + ["{not json"] + [ROW]), "line 17"),
    "wrong encoding": ("\n".join([ROW] * 2).encode() + b'\n{"document": "\xff", "summary": "x"}\n', "line 3"),
}


@pytest.mark.parametrize("case", DATA)
def test_a_broken_data_set_is_refused_with_its_line(service, case):
    content, named = DATA[case]
    path = service.directory / "broken.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = service.cli("datasets", "upload", path, "--name", "broken", check=False)
    assert result.returncode == 2, result.stderr
    assert named in result.stderr
    assert service.cli("datasets", "preview", "broken", "--base-model", "tiny", check=False).returncode == 3


FILES = {
    "Parquet": (b"PAR1\x15\x04", "read_parquet"), "zstd": (b"\x28\xb5\x2f\xfd\x04", "zstd -d FILE"), "zip": (b"PK\x03\x04", "CSV UTF-8"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), "a JSON list": (b'[{"document": "a"}]', "jq -c '.[]'"),
    "objects over lines": (b'{\n "document": "a"\n}\n', "jq -c . FILE"), "UTF-16": ("document,summary\na,b\n".encode("utf-16"), "iconv"),
    "a packed file that was cut": (gzip.compress((ROW + "\n").encode() * 99)[:-9], "it was cut off, at its byte "),
}


@pytest.mark.parametrize("command", ["upload", "submit", "rouge"])
@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_something_else_is_named_with_what_to_do(service, case, command):
    content, named = FILES[case]
    path = service.directory / "else.jsonl"
    path.write_bytes(content)
    words = {"upload": ["datasets", "upload", path, "--name", "else"], "rouge": ["rouge", path, path],
             "submit": ["submit", "--base-model", "tiny", "--method", "lora", "--train", path]}[command]
    result = service.cli(*words, check=False)
    assert result.returncode == 2 and named in result.stderr, result.stderr


def test_data_as_people_have_it_is_read(service):
    rows = [("It rained; much, in \"May\".", "Rain.\u2028Much."), ("The sun shone.", "Sun.\u0085")]
    quoted = [['"' + value.replace('"', '""') + '"' for value in row] for row in rows]
    lines = "".join(json.dumps(dict(zip(("document", "summary"), row)), ensure_ascii=False) + "\n" for row in rows)
    table = {mark: "\r\n".join([mark.join(("document", "summary"))] + [mark.join(row) for row in quoted]) for mark in ",;\t"}
    files = {"a.jsonl.gz": gzip.compress(lines.encode()), "b.csv.gz": gzip.compress(table[","].encode()), "c.csv": table[";"], "d.tsv": table["\t"],
             "e.csv": "\ufeff" + table[";"], "f.csv": "sep=;\r\n" + table[";"], "g.json": lines, "h": gzip.compress(lines.encode()) + gzip.compress(b"\n")}
    for name, content in files.items():
        path = service.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        service.cli("datasets", "upload", path, "--name", name)
        shown = service.json("datasets", "preview", name, "--base-model", "tiny")[0]["examples"]
        assert [example["prompt"] for example in shown] == [source + "\nTL;DR:" for source, _ in rows], name
    # One row each, here too.
    packed, plain = service.directory / "a.jsonl.gz", service.directory / "g.json"
    scores = service.cli("rouge", packed, plain, "--reference-field", "summary").stdout
    assert "1.0000" in scores, scores


def test_rows_that_a_job_cannot_use_are_named_at_submission(service):
    """Rows of a data set may have several shapes, so that the upload takes it; a job that names a field of theirs is refused."""
    path = service.directory / "rows.jsonl"
    bad = [json.dumps({"document": "x"}), json.dumps({"document": "x", "summary": None}), '{"document": "x", "summary": "\\ud800"}']
    path.write_text("\n".join([ROW] * 4 + bad + [bad[0]] * 20))
    service.cli("datasets", "upload", path, "--name", "rows")
    jobs = len(service.json("jobs"))
    for data, validate in (("rows", []), ("rows", ["--validate-only"]), (path, [])):
        flags = ["--base-model", "tiny", "--method", "lora", "--train", data, *validate]
        lines = service.cli("submit", *flags, check=False).stderr.splitlines()
        assert all(line.lstrip().startswith("--train: ") for line in lines[1:]), lines
        assert sum("line 5: field \"summary\" is missing" in line for line in lines) == 1, lines
        assert "line 6: field \"summary\" is null" in "\n".join(lines) and "half a surrogate" in "\n".join(lines)
        assert "line 24: " in lines[-2] and lines[-1].endswith("… and 3 more"), lines
    shown = service.cli("datasets", "preview", "rows", "--base-model", "tiny", "--rows", "5", check=False)
    assert shown.returncode == 2 and "line 24: " in shown.stderr and "… and 3 more" in shown.stderr, shown.stderr
    evaluated = service.cli("eval", "--base-model", "tiny", "--data", "rows", check=False)
    assert evaluated.returncode == 2 and "--data: line 5: " in evaluated.stderr, evaluated.stderr
    assert len(service.json("jobs")) == jobs
    service.cli("submit", *flags[:-1], "rows", "--max-train-rows", "4")


def model_with(directory, change):
    shutil.copytree(ASSETS / "model", directory)
    change(directory)
    return directory


def truncate(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def drop_tensor(directory):
    path = directory / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    name = next(key for key in header if key.endswith("h.0.attn.c_attn.weight"))
    header[name.replace("c_attn", "c_other")] = header.pop(name)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length:])


def other_width(directory):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["n_embd"] *= 2
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("change, named", [(truncate, "model.safetensors"), (drop_tensor, "h.0.attn.c_attn.weight"), (other_width, "wte")])
def test_a_broken_model_is_refused_with_its_tensor(service, tmp_path, change, named):
    result = service.cli("models", "add", "broken", model_with(tmp_path / "model", change), check=False)
    assert result.returncode == 2, result.stderr
    assert named in result.stderr
    assert "broken" not in [model["name"] for model in service.json("models", "list")]


def test_a_server_that_is_not_there_is_named(service):
    result = service.cli("--server", "127.0.0.1:9", "jobs", check=False)
    assert result.returncode == 4
    assert "127.0.0.1:9" in result.stderr and "graft-server" in result.stderr
    lost = service.cli("--server", "127.0.0.1:9", "submit", "--base-model", "tiny", "--method", "lora", "--train", "train", check=False)
    # It was asked whether the job is valid, not yet to make it: the command can be repeated as it is.
    assert lost.returncode == 4 and "127.0.0.1:9" in lost.stderr and "--request-id" not in lost.stderr


def test_unknown_things_are_not_found(service):
    for command in (["show", "jobs/nothing"], ["watch", "nothing"], ["cancel", "nothing"], ["adapters", "show", "nothing"],
                    ["datasets", "delete", "nothing"], ["models", "delete", "nothing"]):
        assert service.cli(*command, check=False).returncode == 3, command


def test_usage_errors_say_what_would_be_right(service):
    assert service.cli("frobnicate", check=False).returncode == 2
    result = service.cli("submit", "--rank", "eight", "--base-model", "tiny", "--train", "train", check=False)
    assert result.returncode == 2 and "--rank" in result.stderr and "whole number" in result.stderr
    result = service.cli("generate", "--base-model", "tiny", os.fsdecode(b"caf\xe9"), check=False)
    assert result.returncode == 2 and "argument 4 is not UTF-8" in result.stderr
    prompt = service.directory / "prompt"
    prompt.write_bytes(b"caf\xe9")
    with open(prompt, "rb") as stdin:
        result = service.cli("generate", "--base-model", "tiny", "-", check=False, stdin=stdin)
    assert result.returncode == 2 and result.stderr == "graft: standard input is not UTF-8: invalid at byte 4\n"


def test_a_study_with_one_bad_job_leaves_none(service):
    before = [job["name"] for job in service.json("jobs")]
    data = len(service.json("datasets", "list"))
    file = write_rows(service.directory / "study.jsonl", "train.jsonl", 8)
    result = service.cli("submit", "--base-model", "tiny", "--train", file, "--rank", "2,4,0", check=False)
    assert result.returncode == 2 and "rank" in result.stderr
    # What only the server can see: the last value is beyond the layer's width.
    uploaded = service.cli("submit", "--base-model", "tiny", "--train", "train", "--rank", "2,4,900", check=False)
    assert uploaded.returncode == 2 and "rank" in uploaded.stderr
    named = service.cli("submit", "--base-model", "tiny", "--train", file, "--rank", "2,4", "--output-name", "../mine", check=False)
    assert named.returncode == 2 and "--output-name" in named.stderr
    assert [job["name"] for job in service.json("jobs")] == before
    assert len(service.json("datasets", "list")) == data


def test_a_text_without_a_worker_is_no_unreachable_server(graft):
    graft.start(workers=0)
    load(graft)
    result = graft.cli("generate", "--base-model", "tiny", "hello", check=False)
    assert result.returncode == 1 and "no worker is connected" in result.stderr and "no answer" not in result.stderr


def test_a_full_queue_is_refused(graft):
    from conftest import load
    graft.start(workers=0, max_queued_jobs=2)
    load(graft)
    for _ in range(2):
        graft.submit()
    result = graft.cli("submit", "--base-model", "tiny", "--train", "train", "--validation", "valid", "--method", "lora", check=False)
    assert result.returncode == 1 and "queue" in result.stderr
    assert len(graft.json("jobs")) == 2

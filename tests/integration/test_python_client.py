"""client/python: the package as it is built and installed, against real servers."""

import json
import math
import os
import shutil
import subprocess
import sys

import pytest

from conftest import ASSETS, ROOT, free_port, wait_until

TRAINING = {"base_model": "tiny", "train": "train", "batch_size": 2, "threads": 1, "precision": "fp32", "max_source_tokens": 64, "max_target_tokens": 16}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The wheel's modules, installed into a folder of their own beside what they need."""
    folder = tmp_path_factory.mktemp("python")
    for name in ("client/python", "proto"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", folder / "client/python", "-w", folder], check=True)
    [wheel] = folder.glob("graft_client-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    needed = subprocess.run(["bash", "-c", ". tools/lib.sh && parity_venv client"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    paths = [str(folder / "site"), f"{needed}/lib/python3.11/site-packages"]
    sys.path[:0] = paths
    import graft_client
    yield graft_client
    for path in paths:
        sys.path.remove(path)


@pytest.fixture
def client(package, loaded):
    with package.Client(loaded.address) as one:
        yield one


def rows(count):
    lines = (ASSETS / "data/train.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line) for line in lines]


def test_a_job_from_rows_to_an_adapter_and_its_texts(client, package, loaded, capfd):
    assert client.upload(rows(12), "twelve").num_rows == 12
    job = client.submit(**TRAINING | {"train": "twelve"}, validation="valid", method="lora+soft_prompt", rank=4, num_virtual_tokens=3, max_steps=6,
                        eval_every_steps=3, max_samples=2, max_new_tokens=4, name="from Python", labels={"team": "a"}, output_name="made", learning_rate=1e-3)
    assert "from Python" in repr(job)
    result = job.wait(progress=True)
    assert "6/6" in capfd.readouterr().err
    assert result.adapter == "made" and math.isfinite(result.metrics["eval/loss"]) and job.status == "SUCCEEDED"
    assert [event.sequence for event in job.watch()] == list(range(1, job.last_sequence + 1))
    assert [event.sequence for event in job.watch(after=5)][0] == 6
    spec = job.resolved_spec.fine_tune
    assert (spec.method.lora.rank, spec.method.soft_prompt.num_virtual_tokens, spec.training.learning_rate) == (4, 3, 1e-3)

    curves = job.metrics()
    assert list(curves.index) == [1, 2, 3, 4, 5, 6] and curves["train/loss"].notna().all() and curves["eval/loss"].count() == 2
    losses = job.rows(order="worst")
    assert len(losses) == 8 and losses["loss"].is_monotonic_decreasing and losses["untuned_loss"].isna().all()
    assert "train/loss" in job.download("metrics.jsonl", loaded.directory / "curve.jsonl").read_text(encoding="utf-8")
    assert any("graft-engine" in chunk.decode(errors="replace") for chunk in job.log())

    folder = client.download_adapter("made", loaded.directory / "adapter")
    assert {path.name for path in folder.iterdir()} >= {"lora", "soft_prompt"} or (folder / "adapter_config.json").exists()
    with pytest.raises(FileExistsError):
        client.download_adapter("made", folder)
    again = client.import_adapter(folder, "again", "tiny")
    assert again.trainable_parameters == client.adapter("made").trainable_parameters

    judged = client.evaluate("valid", adapter="made", max_new_tokens=4, threads=1, precision="fp32", lead3_baseline=False)
    judged.wait()
    assert len(judged.predictions()) == 8
    table = client.compare_table([job, judged])
    assert list(table["job"]) == [job.name, judged.name] and table["eval/loss"].notna().all()

    alone = {name: client.generate("The council met", adapter=name, max_new_tokens=5) for name in ("made", "again")}
    assert alone["made"] == alone["again"] and alone["made"]
    asked = [{"prompt": "The council met", "adapter": "made", "max_new_tokens": 5}, {"prompt": "The", "base_model": "tiny", "max_new_tokens": 2}]
    assert client.generate_batch(asked) == [alone["made"], client.generate("The", base_model="tiny", max_new_tokens=2)]
    assert "".join(client.stream("The", base_model="tiny", max_new_tokens=4, do_sample=True, seed=1))

    assert {one.name for one in client.adapters()} == {"made", "again"} and [one.slots for one in client.workers()] == [1]
    assert [one.name for one in client.jobs('labels.team = "a"')] == [job.name]
    client.delete_adapter("again")
    job.delete()
    with pytest.raises(package.GraftError) as gone:
        client.job(job.name)
    assert gone.value.code.name == "NOT_FOUND"


def test_data_of_every_kind_is_the_same_data_set(client, loaded):
    import pandas
    import pyarrow
    from pyarrow import parquet
    texts = [{"document": f"Über {i} Brücken\n🌉", "summary": ["a", f"b {i}"]} for i in range(2500)]
    table = pyarrow.Table.from_pylist(texts)
    parquet.write_table(table, loaded.directory / "bridges.parquet", row_group_size=700)
    kinds = {"rows": texts, "made": (row for row in texts), "frame": pandas.DataFrame(texts), "arrow": table, "bridges": loaded.directory / "bridges.parquet"}
    assert {client.upload(data, "" if name == "bridges" else name).sha256 for name, data in kinds.items()} == {client.dataset("rows").sha256}
    assert client.dataset("bridges").num_rows == 2500
    (loaded.directory / "few.csv").write_text("document,summary\nx,y\n", encoding="utf-8")
    assert list(client.upload(loaded.directory / "few.csv").fields) == ["document", "summary"]
    with pytest.raises(FileNotFoundError):
        client.upload(str(loaded.directory / "none.jsonl"))
    for bad, text in ((["text"], "row 1 is str"), (7, "is no data"), ([{"document": object()}], "object is no text")):
        with pytest.raises(TypeError, match=text):
            client.upload(bad, "bad")
    assert {one.name for one in client.datasets()} == {*kinds, "few", "train", "valid"}


def test_settings_go_where_the_api_has_them_and_mistakes_are_named(client, package):
    def spec(**settings):
        return client.submit(**TRAINING, max_steps=2, validate_only=True, **settings).resolved_spec.fine_tune

    one = spec(method="dora", rank=2, target_modules=("c_attn", "c_fc"), schedule="cosine", seed=7, generation__seed=8, validation="valid",
               early_stopping__metric="eval/rougeL", on_divergence="roll_back")
    assert one.method.lora.use_dora and list(one.method.lora.target_modules) == ["c_attn", "c_fc"]
    assert (one.training.seed, one.evaluation.generation.seed, one.training.early_stopping.metric) == (7, 8, "eval/rougeL")
    assert one.training.schedule == 2 and one.training.precision == 2 and one.training.on_divergence == 3
    assert spec(method={"last_layers": {"num_layers": 1}}).method.last_layers.num_layers == 1
    whole = client.submit(spec={"fine_tune": {"base_model": "tiny", "data": {"train": "train"}, "method": {"lora": {}}}}, max_steps=3, validate_only=True)
    assert whole.resolved_spec.fine_tune.training.max_steps == 3
    with pytest.raises(TypeError, match="did you mean learning_rate"):
        spec(learning_rat=1)
    with pytest.raises(TypeError, match="num_virtual_tokens"):
        spec(method="lora", num_virtual_tokens=3)
    with pytest.raises(ValueError, match="there are lora, soft_prompt"):
        spec(method="laura")
    with pytest.raises(ValueError, match="fp32, bf16"):
        client.submit(**TRAINING | {"precision": "fp8"})
    with pytest.raises(TypeError, match="rank"):
        spec(rank="many")
    with pytest.raises(package.GraftError) as refused:
        spec(rank=0, warmup_steps=-1)
    fields = [field for field, _ in refused.value.violations]
    assert refused.value.code.name == "INVALID_ARGUMENT" and any(field.endswith("lora.rank") for field in fields) and len(fields) == 2


def test_a_watch_goes_on_when_the_server_comes_back_and_verbs_do_what_they_say(package, loaded):
    with package.Client(loaded.address) as client:
        job = client.submit(**TRAINING, max_steps=1_000_000, checkpoint={"every_steps": 5}, output_name="long")
        seen = []
        for event in job.watch():
            seen.append(event.sequence)
            if len(seen) == 30:
                loaded.kill_server()
                loaded.start()
            if len(seen) == 90:
                break
        assert seen == list(range(1, 91))
        assert job.edit(priority=3, labels={"a": "b"}).priority == 3
        job.pause()
        wait_until(lambda: job.refresh().status == "PAUSED", "the pause")
        assert job.checkpoints()[0].step == job.step
        assert job.resume().status == "QUEUED"
        job.cancel()
        with pytest.raises(package.JobFailed, match="is CANCELLED"):
            job.wait(progress=False)
        again = job.retry()
        assert again.retry_of == job.name
        again.cancel()


def test_an_upload_that_breaks_goes_on_where_it_was(package, loaded, monkeypatch):
    from graft_client import transfers
    monkeypatch.setattr(transfers, "CHUNK_BYTES", 1 << 16)
    file = loaded.directory / "big.jsonl"
    file.write_text("".join(json.dumps({"document": f"{i} " * 400, "summary": "s"}) + "\n" for i in range(3000)), encoding="utf-8")
    sent, pieces = [], transfers.File.pieces

    def interrupted(self):
        sent.append(0)
        for piece in pieces(self):
            sent[-1] += len(piece)
            yield piece
            if len(sent) == 1 and sent[0] > self.size // 2:
                loaded.kill_server()
                loaded.start(workers=0)

    monkeypatch.setattr(transfers.File, "pieces", interrupted)
    with package.Client(loaded.address) as client:
        assert client.upload(file).num_rows == 3000
    assert len(sent) == 2 and sent[1] < file.stat().st_size, "it began again"


def test_a_study_and_an_absent_server(client, package):
    study = client.create_study({
        "spec_template": {"fine_tune": {"base_model": "tiny", "data": {"train": "train", "validation": "valid", "max_source_tokens": 64, "max_target_tokens": 16},
                                        "method": {"lora": {}}, "training": {"max_steps": 2, "batch_size": 2, "threads": 1}, "evaluation": {"max_samples": 0}}},
        "space": {"fine_tune.method.lora.rank": {"choices": {"values": [1, 2]}}}})
    assert study.wait().status == "SUCCEEDED" and study.adapter
    table = study.table()
    assert list(table["rank"]) == ["1", "2"] and set(table["state"]) == {"SUCCEEDED"}
    assert [one.name for one in client.studies()] == [study.name]
    study.delete()
    with pytest.raises(package.GraftError) as away:
        package.Client(f"127.0.0.1:{free_port()}", patience=0.2).job("jobs/x")
    assert away.value.code.name == "UNAVAILABLE"


def test_addresses_are_taken_as_people_write_them(package, monkeypatch):
    from graft_client.calls import address_of
    for text, address in (("http://127.0.0.1:1", "127.0.0.1:1"), ("localhost", "localhost:50051"), ("[::1]:7", "[::1]:7"), ("unix:/x", "unix:/x"),
                          ("graft.example/", "graft.example:50051")):
        assert address_of(text) == address
    monkeypatch.setitem(os.environ, "GRAFT_SERVER", "there:5")
    assert address_of(None) == "there:5"
    with pytest.raises(ValueError, match="is no address"):
        address_of("http://")


def test_what_the_readme_shows_runs(package, graft, monkeypatch):
    graft.start()
    (graft.directory / "gpt2").symlink_to(ASSETS / "model")
    (graft.directory / "articles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(20)), encoding="utf-8")
    monkeypatch.chdir(graft.directory)
    monkeypatch.setenv("GRAFT_SERVER", graft.address)
    text = (ROOT / "client/python/README.md").read_text(encoding="utf-8")
    [code] = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    exec(compile(code.replace("max_steps=200", "max_steps=2, max_samples=2, max_new_tokens=4"), "README.md", "exec"), {})
    assert (graft.directory / "news/adapter_config.json").exists()

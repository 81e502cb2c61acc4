"""A .txt is plain text: each line is a row of the one field text, from the upload to the losses of its rows."""

import gzip

LINES = [f"In May {i} people met, \"long; and late." for i in range(12)]
TEXT = "\ufeff" + "\r\n\r\n".join(LINES[:6]) + "\r\n" + "\n".join(LINES[6:])
JOB = ["--base-model", "micro", "--method", "lora", "--rank", "1", "--epochs", "1", "--batch-size", "2", "--threads", "1"]


def test_each_line_is_trained_on(micro):
    notes, packed = micro.directory / "notes.txt", micro.directory / "more.txt.gz"
    notes.write_bytes(TEXT.encode())
    packed.write_bytes(gzip.compress(("\n".join([LINES[3], "Nobody met.", "They ate."]) + "\n").encode()))
    for path, name, rows in ((notes, "notes", "12"), (packed, "more", "3")):
        micro.cli("datasets", "upload", path, "--name", name)
        found = next(each for each in micro.json("datasets", "list") if each["name"] == name)
        assert (found["format"], found["num_rows"], found["fields"]) == ("DATASET_FORMAT_TEXT", rows, ["text"])
    shown = micro.json("datasets", "preview", "notes", "--base-model", "micro", "--text-field", "text", "--rows", "20")[0]["examples"]
    assert [example["target"] for example in shown] == [line + "<|endoftext|>" for line in LINES]
    assert [int(example["line"]) for example in shown] == [*range(1, 13, 2), *range(12, 18)]
    plan = micro.json("plan", "submit", *JOB, "--train", "notes", "--validation", "more", "--text-field", "text", "--without-worker")[0]
    assert (plan["train"]["rows"], plan["validation"]["rows"]) == ("12", "3")
    assert "VALIDATION_IN_TRAINING" in [warning["code"] for warning in plan["warnings"]], plan
    # By its name, and as a file that is uploaded on the way.
    for train in ("notes", notes):
        job = micro.json("submit", *JOB, "--train", train, "--validation", "more", "--text-field", "text")[0]["name"]
        assert micro.wait_for(job)["state"] == "JOB_STATE_SUCCEEDED"
        assert micro.json("rows", job), job


def test_what_is_asked_of_it_that_it_has_not_is_told_before_anything_trains(micro):
    notes = micro.directory / "told.txt"
    notes.write_text("\n".join(LINES) + "\n")
    micro.cli("datasets", "upload", notes, "--name", "told")
    jobs = len(micro.json("jobs"))
    for train in ("told", notes):
        refused = micro.cli("submit", *JOB, "--train", train, check=False)
        assert refused.returncode == 2 and '"document" is' in refused.stderr and "text_field" in refused.stderr, refused.stderr
    notes.write_bytes(b"one\ntwo\n\xff\n")
    for words in (["datasets", "upload", notes, "--name", "broken"], ["submit", *JOB, "--train", notes, "--text-field", "text"]):
        refused = micro.cli(*words, check=False)
        assert refused.returncode == 2 and "line 3: invalid UTF-8" in refused.stderr, refused.stderr
    assert len(micro.json("jobs")) == jobs

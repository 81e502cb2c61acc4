"""What stands on a terminal while a job is watched: a real pseudo-terminal, its screen as it would be seen."""

import re
import subprocess

import pytest

from conftest import BUILD, write_rows
from fake_jobs import FakeJobs
from terminal import Terminal

GRAFT = BUILD / "bin/graft"
UTF8, ASCII = "C.UTF-8", "C"
BEGINNING = ["running (claimed by worker w)", "training 1,000 of 2,000 parameters on cpu in fp32, 150 steps"]
# Of the job that FakeJobs.train tells of, in so many columns; the time that is left runs down.
ETA = r"ETA 3m(30|[012]\d)s"
LINES = {
    (80, UTF8): rf"17/150 11%  {ETA}  loss 3\.119 ▄█▂▇▁  444 tok/s",
    (40, UTF8): rf"17/150 11%  {ETA}  loss 3\.119 ▄█▂▇▁",
    (80, ASCII): rf"17/150 11%  {ETA}  loss 3\.119  444 tok/s",
    (40, ASCII): rf"17/150 11%  {ETA}  loss 3\.119",
}


@pytest.fixture
def jobs(users):
    fake = FakeJobs(users)
    yield fake
    fake.stop()


@pytest.fixture
def watch(jobs):
    """Watches the fake's job on a terminal: watch(columns, ...)."""
    terminals = []

    def begin(*arguments, columns=80, **options):
        terminals.append(Terminal([GRAFT, "watch", "jobs/k3f9", *arguments], columns=columns, GRAFT_SERVER=jobs.address, **options))
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.kill()


@pytest.mark.parametrize("columns, locale", LINES)
def test_the_live_line_fits_its_terminal(jobs, watch, columns, locale):
    terminal = watch(columns=columns, LC_ALL=locale)
    jobs.train()
    assert terminal.wait_for_last(LINES[columns, locale]) == BEGINNING
    jobs.stage("EVALUATING", total_steps=150)
    jobs.heartbeat("EVALUATING", 12, 40, eta=100.9)
    evaluating = r"17/150 11%  ETA 1m(40|3\d)s" + ("  evaluating 12/40 30%" if columns == 80 else "")
    assert terminal.wait_for_last(evaluating) == BEGINNING
    if locale == ASCII:
        assert max(terminal.output) < 0x80


@pytest.mark.parametrize("columns, locale", LINES)
def test_messages_never_land_on_the_live_line(jobs, watch, columns, locale):
    terminal = watch(columns=columns, LC_ALL=locale)
    jobs.train()
    terminal.wait_for_last(LINES[columns, locale])
    text = "of 120 rows, 3 sources were cut to prompts of 24 tokens – as long as the model is – and no target was"
    jobs.event(warning={"code": "ROWS_TRUNCATED", "text": text})
    jobs.break_stream()  # Told on standard error.
    jobs.event(samples={"texts": [{"row": 4, "prediction": "训练 " * 40, "reference": "short"}]})
    lines = terminal.wait_for(lambda lines: "expected: short" in lines[-2] and re.fullmatch(LINES[columns, locale], lines[-1]), "the samples")
    assert lines[:2] == BEGINNING
    shown = (lambda text: text) if locale == UTF8 else (lambda text: re.sub(r"[^\x00-\x7f]", "?", text.replace("…", "...")))
    assert lines[2] == shown(f"warning: {text}")
    assert lines[3] == "graft: the stream broke (gone); connecting again"
    assert re.fullmatch(r"  row 4   predicted: (训练 )*训?…" if locale == UTF8 else r"  row 4   predicted: (\?\? )*\??\?? ?\.\.\.", lines[4])
    assert lines[5] == "           expected: short" and len(lines) == 7
    if locale == ASCII:
        assert max(terminal.output) < 0x80


def test_a_silent_worker_is_told_of_while_it_is_silent(jobs, watch):
    terminal = watch(columns=40)
    jobs.train()
    terminal.wait_for_last(LINES[40, UTF8])
    jobs.heartbeat("TRAINING", 17, 150, eta=210.9, silent=38.5)
    terminal.wait_for_last(r"17/150 11%  no news for 38 s")
    # Nothing is sent: it counts by itself.
    terminal.wait_for_last(r"17/150 11%  no news for 40 s")
    jobs.heartbeat("TRAINING", 17, 150, eta=210.9)
    assert terminal.wait_for_last(LINES[40, UTF8]) == BEGINNING


@pytest.mark.parametrize("reflow", [True, False], ids=["wrapping", "cutting"])
def test_the_line_is_right_after_the_window_was_resized(jobs, watch, reflow):
    terminal = watch(columns=80, reflow=reflow)
    jobs.state("RUNNING")
    jobs.stage("TRAINING", total_steps=150)
    for number in range(1, 18):
        jobs.step(number, 4 - number / 20)
    jobs.heartbeat("TRAINING", 17, 150, eta=210.9)
    wide, narrow = rf"17/150 11%  {ETA}  loss 3\.150 [▁-█]+  444 tok/s", rf"17/150 11%  {ETA}  loss 3\.150( [▁-█]+)?"
    assert terminal.wait_for_last(wide) == ["running"]
    for columns in (40, 30, 35, 80, 20, 79):
        terminal.resize(columns)
        expected = wide if columns >= 79 else narrow if columns >= 34 else rf"17/150 11%(  {ETA})?"
        lines = terminal.wait_for(lambda lines: len(lines[-1]) < columns and re.fullmatch(expected, lines[-1]), f"{columns} columns")
        assert lines[:-1] == ["running"], columns


@pytest.mark.parametrize("term", ["dumb", None, ""])
def test_a_terminal_without_escapes_gets_plain_lines(jobs, watch, term):
    terminal = watch(TERM=term)
    jobs.train()
    jobs.finish(result={"adapter": "news"}, spec={"fine_tune": {}}, resolved_spec={"fine_tune": {}})
    code, lines = terminal.finish()
    assert code == 0 and lines[:2] == BEGINNING
    assert lines[2].startswith("step 13/150  epoch 0.00  loss 3.3000  444 tok/s")
    assert b"\x1b" not in terminal.output and b"\r" not in terminal.output.replace(b"\r\n", b"")


def test_what_is_no_terminal_gets_plain_lines(jobs):
    jobs.train()
    jobs.finish(result={"adapter": "news"}, resolved_spec={"fine_tune": {}})
    result = subprocess.run([GRAFT, "--server", jobs.address, "watch", "jobs/k3f9"], capture_output=True, check=False, env={"TERM": "xterm", "LC_ALL": "C"})
    assert result.returncode == 0 and result.stderr == b""
    assert b"\x1b" not in result.stdout and b"\r" not in result.stdout and max(result.stdout) < 0x80
    # The commands go where this one went.
    assert f"  graft --server {jobs.address} adapters download news\n".encode() in result.stdout


@pytest.mark.parametrize("columns, locale", LINES)
def test_the_end_says_what_comes_next(jobs, watch, columns, locale):
    terminal = watch(columns=columns, LC_ALL=locale)
    jobs.train()
    terminal.wait_for_last(LINES[columns, locale])
    jobs.finish(result={"adapter": "news-lora"}, resolved_spec={"fine_tune": {}})
    code, lines = terminal.finish()
    assert code == 0
    assert lines == [*BEGINNING, "succeeded (done)", "next:", "  graft adapters download news-lora",
                     "  graft eval --adapter news-lora --data test.jsonl --watch"]


def test_after_a_failure_it_says_what_to_try(jobs, watch):
    terminal = watch()
    jobs.train()
    terminal.wait_for_last(LINES[80, UTF8])
    jobs.finish("FAILED", failure_class="FAILURE_CLASS_OUT_OF_MEMORY",
                resolved_spec={"fine_tune": {"training": {"batch_size": 8, "gradient_accumulation_steps": 1}}})
    code, lines = terminal.finish()
    assert code == 1
    assert lines[-2:] == ["  graft show --json jobs/k3f9 >job.json",
                          "  graft submit --file job.json --batch-size 4 --gradient-accumulation-steps 2 --watch"]


def test_ctrl_c_leaves_a_clean_screen(jobs, watch):
    terminal = watch()
    jobs.train()
    terminal.wait_for_last(LINES[80, UTF8])
    terminal.type("\x03")
    code, lines = terminal.finish()
    assert code == 1
    assert lines[:2] == BEGINNING
    assert lines[2:] == ["graft: stopped watching; jobs/k3f9 goes on. Again: graft watch jobs/k3f9"]


def test_the_list_of_commands_is_ascii_in_the_c_locale():
    terminal = Terminal([GRAFT], LC_ALL=ASCII)
    code, lines = terminal.finish()
    assert code == 2 and "  submit      Submit a fine-tune job" in lines and max(terminal.output) < 0x80


# The whole way, with a real job.
@pytest.mark.parametrize("columns, locale, term", [(80, UTF8, "xterm"), (40, ASCII, "xterm"), (80, UTF8, "dumb")])
def test_a_real_job_looks_as_it_should(loaded, columns, locale, term):
    data = write_rows(loaded.directory / "my articles.jsonl", "train.jsonl", 24)
    command = [GRAFT, "submit", "--base-model", "tiny", "--method", "lora", "--train", data, "--validation_fraction", "0.25", "--max_steps", "12",
               "--batch-size", "4", "--eval-every-steps", "4", "--max-new-tokens", "8", "--output-name", "news", "--watch"]
    terminal = Terminal(command, columns=columns, LC_ALL=locale, TERM=term, GRAFT_SERVER=loaded.address)
    code, lines = terminal.finish()
    assert code == 0, lines
    if term == "dumb":
        assert b"\x1b" not in terminal.output and b"\nstep 12/12" in terminal.output
        return
    # The server has the same rows under another name: nothing is sent.
    assert lines[0] == "graft: all 22 kB are there already" and lines[1].startswith("graft: uploaded "), lines
    assert re.fullmatch(r"jobs/\w+  lora", lines[2])
    known = [r"graft: trains [\d,]+ of [\d,]+ parameters \(lora\); steps: 12 in [\d.]+ epochs, 3 evaluations",
             r"graft: 18 rows of my-articles-\w+, median \d+ \+ \d+ tokens; cut: .* of the sources, .* of the targets", r"graft: warning: --(max-target-tokens|validation-fraction): .*",
             r"queued \(submitted\)", r"running \(claimed by worker .*\)", r"training [\d,]+ of [\d,]+ parameters on cpu in (fp32|bf16), 12 steps",
             r"  row \d+ +predicted: .*", r" +expected: .*", r"evaluation at step (4|8|12): loss [\d.]+ .*", r"succeeded \(done\)", r"warning: .*", r"next:",
             r"  graft adapters download news", r"  graft eval --adapter news --data test\.jsonl --watch"]
    for line in lines[3:]:
        assert any(re.fullmatch(pattern, line) for pattern in known), line
    assert sum(line.startswith("evaluation at step") for line in lines) == 3
    assert b"12/12 100%" in terminal.output and b"evaluating" in terminal.output
    if locale == ASCII:
        assert max(terminal.output) < 0x80


def test_a_study_is_watched_and_compared_at_its_end(loaded):
    command = [GRAFT, "submit", "--base-model", "tiny", "--method", "lora", "--rank", "2,4", "--train", "train", "--max-steps", "2", "--study", "ranks", "--watch"]
    code, lines = Terminal(command, GRAFT_SERVER=loaded.address).finish()
    assert code == 0, lines
    names = [line.split()[0] for line in lines[:2]]
    assert re.fullmatch("study: graft study watch studies/[a-z0-9]+", lines[2]) and lines[-1] == "next: graft compare --study ranks"
    # The table that was redrawn is gone; its last state stays.
    shown = "\n".join(lines[3:-1])
    assert "succeeded, 2 succeeded" in shown and "without validation data nothing ranks them" in shown
    assert all(name in shown for name in names)


def test_a_server_that_goes_and_comes_back_leaves_the_screen_clean(loaded):
    name = loaded.submit("--max-steps", "100000", "--eval-every-steps", "100000")
    terminal = Terminal([GRAFT, "watch", name], GRAFT_SERVER=loaded.address)
    live = r"\d+/100000 \d+%.*tok/s"
    before = terminal.wait_for_last(live)
    loaded.kill_server()
    broke = terminal.wait_for(lambda lines: "the stream broke" in lines[-2] and re.fullmatch(live, lines[-1]), "the message")
    loaded.start()
    step = int(broke[-1].split("/")[0])
    after = terminal.wait_for(lambda lines: re.fullmatch(live, lines[-1]) and int(lines[-1].split("/")[0]) > step + 1, "the job goes on")
    assert after[:len(before)] == before and re.fullmatch(r"graft: the stream broke \(.*\); connecting again", after[len(before)])
    assert not any(re.search(r"\d+/100000 \d+%", line) for line in [*broke[:len(before)], *after[:-1]])
    loaded.cli("cancel", name)
    code, lines = terminal.finish()
    assert code == 1 and any(line.startswith("cancelled") for line in lines[-3:]) and lines[-1] == f"  graft retry {name}"


@pytest.mark.parametrize("answer, deleted", [("\n", False), ("n\n", False), ("y\n", True)])
def test_many_jobs_are_deleted_when_that_was_confirmed(loaded, answer, deleted):
    names = [loaded.submit("--max-steps", "100000") for _ in range(2)]
    for name in names:
        loaded.cli("cancel", name)
        loaded.wait_for(name, "CANCELLED")
    terminal = Terminal([GRAFT, "delete", "--filter", "state = CANCELLED"], GRAFT_SERVER=loaded.address)
    asked = terminal.wait_for_last(r"go on\? \[y/N\]")
    assert asked == ["this deletes 2 jobs", *(f"  {name}" for name in reversed(names))]
    assert loaded.cli("show", names[0]).returncode == 0, "not before it was answered"
    terminal.type(answer)
    code, lines = terminal.finish()
    assert (code, lines[len(asked) + 1]) == ((0, "deleted 2 jobs") if deleted else (1, "nothing was deleted"))
    assert loaded.cli("show", names[0], check=False).returncode == (3 if deleted else 0)
    if not deleted:
        refused = loaded.cli("delete", "--filter", "state = CANCELLED", check=False, stdin=subprocess.DEVNULL)
        assert refused.returncode == 2 and "--yes deletes without asking" in refused.stderr
        assert loaded.cli("delete", "--filter", "state = CANCELLED", "--yes").stdout.startswith("deleted 2 jobs\n")

"""The page, in Chromium, against real servers."""

import json
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import pytest

from browser import Browser
from conftest import Graft, load, wait_until

HOSTILE = "<img src=x onerror=\"window.hacked=1\"></h1><script>window.hacked=1</script>'\"&amp;${1}"
VIEWS = ["jobs", "studies", "compare", "adapters", "datasets", "playground", "submit", "workers"]


@pytest.fixture(scope="module")
def chromium():
    browser = Browser()
    yield browser
    browser.quit()


@pytest.fixture
def page(chromium):
    """The same browser for all tests, as it was at its start."""
    yield chromium
    chromium.run("localStorage.clear()")
    chromium.devtools("Emulation.clearDeviceMetricsOverride")
    chromium.prefer("")
    assert chromium.errors() == []


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A server that has one of everything: the names are hostile wherever a name may be."""
    directory = tempfile.mkdtemp(prefix="graft-", dir="/tmp")
    graft = Graft(directory).start()
    load(graft)
    rows = [{"document": f"{HOSTILE} It rained on day {i}.", "summary": f"{HOSTILE} {i}"} for i in range(8)]
    (graft.directory / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    graft.cli("datasets", "upload", graft.directory / "hostile.jsonl", "--name", "hostile")
    flags = ["--train", "hostile", "--validation", "hostile", "--eval-samples", 2, "--max-new-tokens", 4, "--max-source-tokens", 60, "--max-target-tokens", 60]
    graft.names = [graft.submit(*flags, "--name", name, "--study", HOSTILE, "--label", f"team={HOSTILE}", "--output-name", output) for name, output in ((HOSTILE, "first"), ("calm", "second"))]
    graft.study = graft.json("study", "create", "--base-model", "tiny", "--method", "lora", "--rank", "2,4", "--train", "train", "--validation", "valid", "--max-steps", 4, "--batch-size", 2,
                             "--eval-every-steps", 2, "--eval-samples", 0, "--name", HOSTILE)[0]["name"]
    for name in graft.names:
        graft.wait_for(name)
    wait_until(lambda: graft.json("study", "show", graft.study)[0].get("done"), "the study's end")
    yield graft
    graft.stop()
    shutil.rmtree(directory, ignore_errors=True)


def id_of(name):
    return name.split("/")[1]


def all_views(service):
    job = f"jobs/{id_of(service.names[0])}"
    panes = [f"{job}/{pane}" for pane in ("curves", "samples", "attempts", "checkpoints", "events", "log", "spec", "files")]
    both = ",".join(map(id_of, service.names))
    return [*VIEWS, *panes, f"studies/{id_of(service.study)}", f"compare?jobs={both}", "adapters/first", "datasets/hostile", f"submit?from={id_of(service.names[0])}"]


def open_and_wait(page, view):
    page.open(view)
    page.one("h1")
    wait_until(lambda: "…" not in page.texts(".empty"), f"the contents of {view}")


def steps_drawn(page):
    """Points of the loss."""
    return int((page.run("return document.querySelector('.chart')?.dataset.points") or 0))


def sequences(page):
    page.run("for (const list of document.querySelectorAll('.list-scroller')) list.style.height = '20000px'")
    page.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return sorted(int(text) for text in page.texts(".list-body .sequence"))


def test_every_view_has_contents_and_no_error(page, service):
    page.address = service.http
    for view in all_views(service):
        open_and_wait(page, view)
        assert len(page.texts("main")[0]) > 40, view
        assert page.texts("main > .view > .empty") in ([], ["No jobs yet. Submit one here (7), or with: graft submit"]), view
        assert page.errors() == [], view


def test_what_people_wrote_stays_text(page, service):
    page.address = service.http
    for view in all_views(service):
        open_and_wait(page, view)
        assert page.run("return [window.hacked, document.querySelectorAll('main img, main script, main iframe, main [onerror]').length]") == [None, 0], view
    page.open(f"jobs/{id_of(service.names[0])}/samples")
    page.shows(HOSTILE, "h1")
    page.shows(HOSTILE, ".reference")
    page.open("datasets/hostile")
    page.shows(HOSTILE, ".text")
    page.open(f"compare?jobs={','.join(map(id_of, service.names))}")
    page.shows(HOSTILE, "td a")
    page.shows(HOSTILE, ".u-legend")
    page.open("jobs")
    page.shows(HOSTILE, ".name a")


def test_a_script_that_is_not_the_servers_does_not_run(page, service):
    with urllib.request.urlopen(f"http://{service.http}/") as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    page.open("jobs", service.http)
    page.one(".list-row .name a")
    page.run("const script = document.createElement('script'); script.textContent = 'window.hacked = 1'; document.body.append(script);"
             "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')")
    wait_until(lambda: len(blocked := page.errors()) and all("Content Security Policy" in one for one in blocked), "the browser's refusal")
    assert page.run("return window.hacked") is None


def test_curves_grow_while_the_job_runs(page, loaded):
    job = loaded.submit("--max-steps", 60, "--eval-every-steps", 20)
    page.open(f"jobs/{id_of(job)}", loaded.http)
    first = wait_until(lambda: steps_drawn(page), "the first points")
    wait_until(lambda: first < steps_drawn(page) and loaded.state(job) == "RUNNING", "more points while it runs")
    loaded.wait_for(job)
    wait_until(lambda: steps_drawn(page) == 60, "all steps")
    page.shows("succeeded", ".chip")
    assert page.texts(".u-title") == ["Loss", "Learning rate", "Gradient norm", "Tokens a second"]
    # A page that is opened afterwards shows the same.
    page.open(f"jobs/{id_of(job)}")
    wait_until(lambda: steps_drawn(page) == 60, "all steps")


def test_a_server_that_restarts_is_taken_up_where_it_was(page, graft):
    graft.start()
    load(graft)
    job = graft.submit("--max-steps", 80, "--eval-every-steps", 10)
    page.open(f"jobs/{id_of(job)}", graft.http)
    wait_until(lambda: steps_drawn(page) >= 5, "some points")
    page.open(f"jobs/{id_of(job)}/events")
    page.one(".list-body .list-row")
    graft.kill_server()
    wait_until(lambda: page.one("#connection").is_displayed(), "the page says that nobody answers")
    graft.start(http=graft.http)
    wait_until(lambda: not page.one("#connection").is_displayed(), "the page has the server again")
    graft.wait_for(job)
    page.shows("succeeded", ".chip")
    told = [event["sequence"] for event in graft.events(job) if "metrics" not in event]
    wait_until(lambda: len(sequences(page)) == len(told), "all events, each once")
    assert sequences(page) == sorted(map(int, told))
    page.driver.execute_script("location.hash = arguments[0]", f"#/jobs/{id_of(job)}")
    wait_until(lambda: steps_drawn(page) == 80, "each step once")


def test_the_keyboard_does_it_all(page, service):
    page.open("jobs", service.http)
    page.one(".list-body .list-row")
    page.press("/")
    page.press("calm")
    wait_until(lambda: page.texts(".list-body .name a") == ["calm"], "the filter")
    page.press(page.keys.ENTER, page.keys.ARROW_DOWN, "x")
    wait_until(lambda: page.run("return document.querySelector('.list-body input').checked"), "the mark")
    page.press(page.keys.ENTER)
    page.shows("calm", "h1")
    page.press("?")
    page.shows("Keys", "dialog")
    page.press(page.keys.ESCAPE)
    wait_until(lambda: not page.all("dialog"), "its end")
    for place, view in enumerate(VIEWS, start=1):
        page.press(str(place))
        wait_until(lambda view=view: page.run("return location.hash") == f"#/{view}", view)
    page.press("1")
    page.one(".list-body .list-row")
    page.press("c")
    page.shows("calm", "td a")


COLOURS = """
const names = ["--text", "--muted", "--accent", "--danger", "--running", "--queued", "--paused", "--succeeded", "--failed", "--cancelled"], grounds = ["--ground", "--panel", "--hover"];
const style = getComputedStyle(document.documentElement), part = (hex, at) => { const value = parseInt(hex.trim().slice(at, at + 2), 16) / 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
const light = (name) => { const hex = style.getPropertyValue(name); return 0.2126 * part(hex, 1) + 0.7152 * part(hex, 3) + 0.0722 * part(hex, 5); };
return names.flatMap((name) => grounds.map((ground) => { const [a, b] = [light(name), light(ground)].sort(); return [name, ground, (b + 0.05) / (a + 0.05)]; }));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page, service, scheme):
    page.prefer(scheme)
    page.open("jobs", service.http)
    assert [found for found in page.run(COLOURS) if found[2] < 4.5] == []
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    page.press("t")
    assert page.run("return getComputedStyle(document.body).backgroundColor") != ground
    page.open("jobs")
    assert page.run("return getComputedStyle(document.body).backgroundColor") != ground  # It is remembered.


def test_a_narrow_screen_needs_no_scrolling_sideways(page, service):
    page.width(390)
    page.address = service.http
    for view in all_views(service):
        open_and_wait(page, view)
        assert page.run("return document.documentElement.scrollWidth") <= 390, view
        assert page.run("return document.querySelector('main').scrollWidth") <= 390, view


def test_what_is_done_to_a_job(page, graft):
    graft.start(workers=0)
    load(graft)
    job = graft.submit()
    page.open(f"jobs/{id_of(job)}", graft.http)
    page.click("button", "Pause")
    page.shows("paused", ".head .chip")
    page.click("button", "Resume")
    page.shows("queued", ".head .chip")
    page.click("button", "Cancel")
    page.click("dialog button", "Leave it")
    assert graft.state(job) == "QUEUED"
    page.click("button", "Cancel")
    page.click("dialog button", "Cancel")
    page.shows("cancelled", ".head .chip")
    page.click("button", "Retry")
    wait_until(lambda: id_of(job) not in page.run("return location.hash"), "the retry's page")
    page.shows(f"retry of {id_of(job)}")


def test_a_job_is_submitted_from_a_form_made_of_the_specs_own_comments(page, loaded):
    page.open("submit", loaded.http)
    page.shows("is required", ".field .error")
    page.shows("Peak learning rate of every part of the method", ".help")
    for field, text in (("train", "train"), ("validation", "valid"), ("rank", "0")):
        page.one(f"[aria-label={field}]").send_keys(text)
    wait_until(lambda: any(page.texts(".field .error")) and "is required" not in page.texts(".field .error"), "what the server says of the rank")
    page.one("[aria-label=rank]").send_keys(page.keys.BACKSPACE, "3")
    page.run("for (const name of ['max_steps', 'max_samples']) document.querySelector(`[aria-label=${name}]`).closest('details').open = true")
    page.one("[aria-label=max_steps]").send_keys("4")
    page.one("[aria-label=max_samples]").send_keys("0")
    page.shows("The server would take it.")
    [text] = page.texts(".sticky pre")
    assert text.startswith("graft submit --file job.json")
    (loaded.directory / "job.json").write_text(text.split("# job.json\n")[1], encoding="utf-8")
    by_command = loaded.json("submit", "--file", loaded.directory / "job.json", "--validate-only")[0]
    page.click("button", "What it would do")
    page.shows("4 steps")
    page.click("button.primary", "Submit")
    job = "jobs/" + wait_until(lambda: re.match(r"#/jobs/(\w+)", page.run("return location.hash")), "the job's page")[1]
    resolved = loaded.job(job)["resolved_spec"]
    resolved["fine_tune"].pop("output_name")  # The job's name, unless it is given.
    by_command.pop("output_name", None)
    assert resolved["fine_tune"]["method"]["lora"]["rank"] == 3
    assert resolved["fine_tune"]["training"] == by_command.get("resolved_spec", by_command)["fine_tune"]["training"]
    loaded.wait_for(job)


def test_texts_of_two_adapters_come_side_by_side(page, service):
    page.open("playground?a=first&b=second", service.http)
    wait_until(lambda: page.run("return [...document.querySelectorAll('.panel select')].map(one => one.value)") == ["first", "second"], "the adapters")
    page.one("textarea").send_keys("The council met on Monday.")
    page.one("input[placeholder='128']").send_keys("5")
    page.click("button.primary")
    wait_until(lambda: all("tokens after" in text for text in page.texts(".panel .facts")), "both texts")
    assert all(page.texts(".panel .output"))


def test_the_queue_says_its_places(page, graft):
    graft.start(workers=0)
    load(graft)
    jobs = [graft.submit("--priority", priority) for priority in (0, 5)]
    page.open("jobs", graft.http)
    wait_until(lambda: page.texts(".list-body .wait") == ["1. in the queue", "2. in the queue"], "the newest, which goes first, above")
    graft.cli("cancel", jobs[1])
    wait_until(lambda: page.texts(".list-body .chip") == ["cancelled", "queued"], "the cancelled one")
    assert page.texts(".list-body .wait")[1] == "1. in the queue"
    page.open("workers")
    page.shows("no worker is connected", "td")


def test_files_come_in_and_go_out(page, service):
    rows = service.directory / "rows of mine.jsonl"
    rows.write_text('{"document": "It rained.", "summary": "Rain."}\n', encoding="utf-8")
    page.open("datasets", service.http)
    page.one("[type=file]").send_keys(str(rows))
    page.click("form button", "Upload")
    page.shows("rows_of_mine has 1 rows.")
    page.shows("rows_of_mine", "td a")
    rows.write_text("{}\n[]\n", encoding="utf-8")
    page.open("datasets")
    page.one("[type=file]").send_keys(str(rows))
    page.one("[aria-label=Name]").send_keys("2")
    page.click("form button", "Upload")
    page.shows("line 2", ".error")
    for view, selector in ((f"jobs/{id_of(service.names[0])}/files", "td a"), ("adapters/first", "a[download]")):
        open_and_wait(page, view)
        with urllib.request.urlopen(page.one(selector).get_attribute("href")) as answer:
            assert answer.status == 200 and answer.read(), view


def test_a_browser_that_has_the_files_is_not_sent_them_again(service):
    with urllib.request.urlopen(f"http://{service.http}/page/app.js") as answer:
        tag = answer.headers["ETag"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"http://{service.http}/page/app.js", headers={"If-None-Match": tag}))
    assert refused.value.code == 304
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"http://{service.http}/", headers={"Host": "elsewhere.example"}))
    assert refused.value.code == 421


@pytest.mark.full
def test_of_ten_thousand_jobs_only_those_in_sight_are_in_the_document(page, graft):
    graft.start(workers=0)
    load(graft)
    subprocess.run([graft.build / "bin/graft-server", "stop", "--data", graft.directory / "data"], check=True)
    graft.process.wait()
    subprocess.run([graft.build / "bin/bench_store_fill", "--store", graft.directory / "data/graft.db", "--ended", "9990", "--queued", "10"], check=True)
    graft.start(workers=0)
    page.open("jobs", graft.http)
    page.shows("10,000 of 10,000 jobs", ".figures")
    for share in (0, 0.5, 1):
        page.run("const list = document.querySelector('.list-scroller'); list.scrollTop = arguments[0] * list.scrollHeight", share)
        page.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert 5 < len(page.all(".list-body .list-row")) < 60
    assert page.run("return [...document.querySelectorAll('.list-body .list-row')].some(row => row.ariaRowIndex === '10000')")

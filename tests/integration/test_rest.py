"""The API as JSON over HTTP, as curl and browsers use it, against real servers and workers."""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import pathlib
import resource
import socket
import tarfile

import pytest

from conftest import ASSETS, scrape, wait_until

JSON = {"Content-Type": "application/json"}
SPEC = {"fine_tune": {"base_model": "tiny", "data": {"train": "train", "validation": "valid"}, "method": {"lora": {"rank": 2}},
                      "training": {"max_steps": "6", "batch_size": 4, "eval_every_steps": "3", "schedule": "cosine"},
                      "evaluation": {"max_samples": "0"}}}


@contextlib.contextmanager
def request(graft, method, path, body=None, headers=None, source=None):
    """An answer whose body is not read yet."""
    host, port = graft.http.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60, source_address=source and (source, 0))
    connection.request(method, path, body=body, headers=headers or {})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def ask(graft, method, path, body=None, headers=None):
    """Status and JSON of the answer."""
    if isinstance(body, dict):
        body, headers = json.dumps(body), {**JSON, **(headers or {})}
    with request(graft, method, path, body, headers) as answer:
        text = answer.read()
        return answer.status, json.loads(text or b"null")


def events(answer):
    """(id, type, data) of each server-sent event."""
    number, kind = None, "message"
    for line in answer:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            yield number, kind, json.loads(value)
            number, kind = None, "message"


def submit(graft, **fields):
    status, job = ask(graft, "POST", "/v1/jobs", {"spec": SPEC, **fields})
    assert status == 200, job
    return job["name"]


def follow(graft, name, **headers):
    with request(graft, "GET", f"/v1/{name}/events", headers={"Accept": "text/event-stream", **headers}) as answer:
        assert answer.status == 200 and answer.getheader("Content-Type") == "text/event-stream"
        return list(events(answer))


def test_a_job_from_submission_to_adapter(loaded):
    name = submit(loaded, display_name="by HTTP", labels={"team": "news"})
    seen = follow(loaded, name)
    numbers = [number for number, kind, _ in seen if number is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    assert seen[-1][1:] == ("end", {})
    assert seen[-2][2]["event"]["state_change"]["to"] == "JOB_STATE_SUCCEEDED"
    # Resumed behind any of them, the rest comes and nothing twice.
    rest = follow(loaded, name, **{"Last-Event-ID": str(numbers[3])})
    assert [number for number, _, _ in rest if number is not None] == numbers[4:]

    status, job = ask(loaded, "GET", f"/v1/{name}")
    assert status == 200
    assert job["state"] == "JOB_STATE_SUCCEEDED" and job["step"] == "6" and job["labels"] == {"team": "news"}
    assert job["spec"]["fine_tune"]["training"]["schedule"] == "SCHEDULE_COSINE"
    # As the command line has it.
    assert job == loaded.job(name)
    listed = ask(loaded, "GET", "/v1/jobs?filter=labels.team%20%3D%20%22news%22&page_size=1")[1]
    assert [entry["name"] for entry in listed["jobs"]] == [name]
    assert ask(loaded, "GET", f"/v1/{name}/metrics?metrics=train/loss&max_points=2")[1]["curves"][0]["num_values"] == "6"
    assert ask(loaded, "PATCH", f"/v1/{name}?update_mask=display_name", {"display_name": "renamed"})[1]["display_name"] == "renamed"

    with request(loaded, "GET", f"/v1/{name}/log?stream=engine") as answer:
        text = answer.read()
        assert answer.status == 200 and answer.getheader("Content-Type").startswith("text/plain")
    with request(loaded, "GET", f"/v1/{name}/log?stream=JOB_LOG_STREAM_ENGINE", headers={"Accept": "text/event-stream"}) as answer:
        chunks = list(events(answer))
    assert b"".join(base64.b64decode(data.get("data", "")) for _, kind, data in chunks if kind == "message") == text

    adapter = job["result"]["adapter"]
    with request(loaded, "GET", f"/v1/adapters/{adapter}:download") as answer:
        assert answer.status == 200 and answer.getheader("Content-Type") == "application/x-tar"
        packed = answer.read()
    files = {entry["path"]: entry["sha256"] for entry in ask(loaded, "GET", f"/v1/adapters/{adapter}")[1]["files"]}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {member.name: hashlib.sha256(archive.extractfile(member).read()).hexdigest() for member in archive} == files

    # The same tar is an adapter again, under another name; one that breaks off is none.
    url = "/v1/adapters/again?metadata.base_model=tiny"
    status, imported = ask(loaded, "PUT", url, packed, {"Content-Type": "application/x-tar"})
    assert status == 200 and imported["name"] == "again", imported
    status, refused = ask(loaded, "PUT", url.replace("again", "cut"), packed[:2000], {"Content-Type": "application/x-tar"})
    assert status == 400 and "ends too early" in refused["error"]["message"]
    assert ask(loaded, "GET", "/v1/adapters/cut")[0] == 404

    prompt = {"prompt": "In May", "max_new_tokens": 4}
    with request(loaded, "POST", "/v1/adapters/again:generate", json.dumps(prompt), JSON) as answer:
        tokens = list(events(answer))
    assert answer.status == 200 and tokens[-1][1] == "end" and tokens[-2][2]["done"]
    assert ask(loaded, "DELETE", "/v1/adapters/again") == (200, {})


def test_a_job_is_cancelled_and_errors_are_those_of_grpc(graft):
    graft.start(workers=0)
    graft.cli("models", "add", "tiny", ASSETS / "model")
    for name, source in (("train", "train.jsonl"), ("valid", "valid.jsonl")):
        rows = b"".join((ASSETS / "data" / source).read_bytes().splitlines(keepends=True)[:8])
        status, dataset = ask(graft, "PUT", f"/v1/datasets/{name}?metadata.format=json_lines", rows, {"Content-Type": "application/jsonl"})
        assert status == 200 and dataset["num_rows"] == "8" and dataset["sha256"] == hashlib.sha256(rows).hexdigest()
    name = submit(graft)
    with request(graft, "GET", f"/v1/{name}/events") as answer:
        stream = events(answer)
        assert next(stream)[0] == 1
        assert ask(graft, "POST", f"/v1/{name}:cancel", {})[1]["state"] == "JOB_STATE_CANCELLED"
        assert [kind for _, kind, _ in stream][-1] == "end"

    status, missing = ask(graft, "GET", "/v1/jobs/none")
    assert status == 404 and missing["error"]["status"] == "NOT_FOUND" and missing["error"]["code"] == 404
    with request(graft, "GET", "/v1/jobs/none/events") as answer:
        assert answer.status == 404
    status, refused = ask(graft, "POST", "/v1/jobs", {"spec": {"fine_tune": {**SPEC["fine_tune"], "base_model": "other"}}})
    assert status == 404, refused
    bad = {"spec": {"fine_tune": {**SPEC["fine_tune"], "method": {"lora": {"rank": -1}}}}}
    status, refused = ask(graft, "POST", "/v1/jobs?validate_only=true", bad)
    assert status == 400
    details = {detail["@type"].rsplit(".", 1)[1]: detail for detail in refused["error"]["details"]}
    assert details["BadRequest"]["field_violations"][0]["field"].endswith("lora.rank")
    assert details["ErrorInfo"]["reason"] == "INVALID_SPEC"
    status, refused = ask(graft, "POST", f"/v1/{name}:pause", {})
    assert status == 400 and refused["error"]["status"] == "FAILED_PRECONDITION"


def test_files_come_in_ranges(loaded):
    name = submit(loaded)
    follow(loaded, name)
    artifact = max(ask(loaded, "GET", f"/v1/{name}/artifacts")[1]["artifacts"], key=lambda entry: int(entry["size_bytes"]))
    url, size = f"/v1/{name}/artifacts/{artifact['path']}", int(artifact["size_bytes"])
    with request(loaded, "GET", url) as answer:
        whole = answer.read()
        assert answer.status == 200 and len(whole) == size and hashlib.sha256(whole).hexdigest() == artifact["sha256"]
        assert answer.getheader("Content-Length") == str(size) and answer.getheader("Content-Disposition").startswith("attachment")
    with request(loaded, "HEAD", url) as answer:
        assert answer.status == 200 and answer.getheader("Content-Length") == str(size) and answer.read() == b""
    for header, first, last in (("bytes=10-19", 10, 19), (f"bytes={size - 5}-", size - 5, size - 1), (f"bytes=7-{size * 2}", 7, size - 1)):
        with request(loaded, "GET", url, headers={"Range": header}) as answer:
            assert answer.status == 206 and answer.read() == whole[first : last + 1]
            assert answer.getheader("Content-Range") == f"bytes {first}-{last}/{size}"
    for header in (f"bytes={size}-", f"bytes={size + 1}-{size + 2}"):
        with request(loaded, "GET", url, headers={"Range": header}) as answer:
            assert answer.status == 416
    with request(loaded, "GET", url, headers={"Range": "bytes=10-19", "If-Range": '"other"'}) as answer:
        assert answer.status == 200 and answer.read() == whole
    assert ask(loaded, "GET", f"{url}x")[0] == 404


def test_an_upload_that_breaks_off_is_gone_on_with(graft):
    graft.start(workers=0)
    rows = b"".join(b'{"document": "Row %d", "summary": "%d"}\n' % (i, i) for i in range(60_000))
    digest = hashlib.sha256(rows).hexdigest()
    query = f"metadata.file_name=news.jsonl&metadata.size_bytes={len(rows)}&metadata.sha256={digest}"
    host, port = graft.http.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as broken:
        broken.sendall(f"PUT /v1/datasets/news?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl\r\n"
                       f"Content-Length: {len(rows)}\r\n\r\n".encode() + rows[: len(rows) // 2])
    state = f"/v1/uploads/{digest}?size_bytes={len(rows)}"
    received = wait_until(lambda: int(ask(graft, "GET", state)[1].get("received_bytes", 0)), "what came of the upload")
    assert 0 < received <= len(rows) // 2
    status, dataset = ask(graft, "PUT", f"/v1/datasets/news?{query}&metadata.offset_bytes={received}", rows[received:],
                          {"Content-Type": "application/jsonl"})
    assert status == 200 and dataset["sha256"] == digest and dataset["num_rows"] == "60000", dataset
    # Refused at once, whatever is still being sent.
    status, refused = ask(graft, "PUT", "/v1/datasets/.bad", rows, {"Content-Type": "text/csv"})
    assert status == 400 and "name" in refused["error"]["message"]


def test_pages_of_other_servers_get_nothing(graft):
    graft.start(workers=0, http_host="graft.lab")
    _, port = graft.http.rsplit(":", 1)
    assert ask(graft, "GET", "/v1/jobs", headers={"Host": "evil.example"})[0] == 421
    assert ask(graft, "GET", "/v1/jobs", headers={"Host": f"graft.lab:{port}"}) == (200, {})
    for path in ("/metrics", "/healthz"):
        with request(graft, "GET", path, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 200
    own = f"http://localhost:{port}"
    purge = json.dumps({"filter": "done = true"})
    for origin, kind, expected in (("http://evil.example", "application/json", 403), ("null", "application/json", 403), (own, "text/plain", 415),
                                   (own, "application/json", 200)):
        headers = {"Host": f"localhost:{port}", "Origin": origin, "Content-Type": kind}
        with request(graft, "POST", "/v1/jobs:purge", purge, headers) as answer:
            assert answer.status == expected, answer.read()
            assert answer.getheader("Access-Control-Allow-Origin") is None
            assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_beyond_loopback_the_api_is_asked_for(graft):
    graft.start(workers=0, http="0.0.0.0:0", insecure=True)
    graft.http = graft.http.replace("0.0.0.0", "127.0.0.1")
    assert "graft_build_info" in scrape(graft.http)
    status, refused = ask(graft, "GET", "/v1/jobs")
    assert status == 404 and "--http-api" in refused["error"]["message"]
    graft.stop()
    graft.start(workers=0, http="0.0.0.0:0", insecure=True, http_api=True)
    graft.http = graft.http.replace("0.0.0.0", "127.0.0.1")
    assert ask(graft, "GET", "/v1/jobs") == (200, {})


HOSTILE = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500, 400),
    "no target": (b"GET\r\n\r\n", 400),
    "no host": (b"GET /v1/jobs HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    "a long head": (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, 431),
    "no path": (b"GET http://localhost/v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "no UTF-8": (b"GET /v1/jobs?filter=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a path out": (b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "another verb": (b"TRACE /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "length and chunks": (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a large body": (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n", 413),
    "a deep body": (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
                    + b"[" * 1_000_000, 400),
    "endless chunks": (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                       + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 200, 413),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_requests_are_answered(micro, what):
    sent, expected = HOSTILE[what]
    host, port = micro.http.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        status = connection.makefile("rb").readline()
    assert status.startswith(b"HTTP/1.1 %d " % expected), status
    assert ask(micro, "GET", "/v1/workers")[0] == 200


def test_a_connection_is_kept(micro):
    host, port = micro.http.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    for path, status in (("/v1/jobs", 200), ("/v1/jobs/none", 404), ("/metrics", 200), ("/v1/queue", 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert connection.sock is not None
    connection.close()


def test_idle_connections_and_streams_cost_no_thread(graft):
    """1,000 of each; a client's 513th stream is refused, and its place is free when another ends."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    graft.start(workers=0)
    graft.cli("models", "add", "tiny", ASSETS / "model")
    rows = b'{"document": "a b", "summary": "c"}\n' * 4
    for name in ("train", "valid"):
        assert ask(graft, "PUT", f"/v1/datasets/{name}", rows, {"Content-Type": "application/jsonl"})[0] == 200
    name = submit(graft)
    threads = len(list(pathlib.Path(f"/proc/{graft.process.pid}/task").iterdir()))
    host, port = graft.http.rsplit(":", 1)
    with contextlib.ExitStack() as held:
        for _ in range(1000):
            held.enter_context(socket.create_connection((host, int(port))))

        def watch(source):
            answer = held.enter_context(request(graft, "GET", f"/v1/{name}/events", source=source))
            assert answer.status == 200, answer.read()
            assert next(events(answer))[0] == 1
            return answer

        for source in ("127.0.0.1", "127.0.0.2"):
            for _ in range(500):
                watch(source)
        streams = 'graft_rpc_streams{method="JobService.WatchJob"} 1000'
        assert streams in scrape(graft.http)
        assert len(list(pathlib.Path(f"/proc/{graft.process.pid}/task").iterdir())) <= threads + 2
        for _ in range(12):
            watch("127.0.0.1")
        with request(graft, "GET", f"/v1/{name}/events", source="127.0.0.1") as answer:
            refused = json.loads(answer.read())["error"]
            assert answer.status == 429 and answer.getheader("Retry-After") == "5" and "too many streams" in refused["message"]
        assert ask(graft, "GET", f"/v1/{name}")[0] == 200
    # All of them went, and the server noticed.
    wait_until(lambda: 'graft_rpc_streams{method="JobService.WatchJob"} 0' in scrape(graft.http), "the streams' end")


def test_streams_end_with_the_server(graft):
    graft.start(workers=0)
    graft.cli("models", "add", "tiny", ASSETS / "model")
    for name in ("train", "valid"):
        ask(graft, "PUT", f"/v1/datasets/{name}", b'{"document": "a b", "summary": "c"}\n' * 4, {"Content-Type": "application/jsonl"})
    with request(graft, "GET", f"/v1/{submit(graft)}/events") as answer:
        stream = events(answer)
        assert next(stream)[0] == 1
        graft.process.terminate()
        *_, (_, kind, data) = stream
    assert kind == "error" and data["error"]["status"] == "UNAVAILABLE" and data["error"]["code"] == 503

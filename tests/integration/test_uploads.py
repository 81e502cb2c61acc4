"""Uploads that break, of real files over a connection that ends in the middle."""

import shutil
import socket
import threading

import pytest

from conftest import ASSETS, samples, wait_until

ROWS = 40_000
RECEIVED = 'graft_rpc_stream_bytes_total{direction="received",method="DatasetService.UploadDataset"}'
RESUMED = "graft_resumed_upload_bytes_total"


class Dam(threading.Thread):
    """Passes connections on to a server: all of them together no more than `limit` bytes, until `cut` ends them and opens the dam."""

    def __init__(self, server, limit):
        super().__init__(daemon=True)
        host, port = server.rsplit(":", 1)
        self.server, self.left = (host, int(port)), limit
        self.changed = threading.Condition()
        self.ends = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(self.server)
            except OSError:
                client.close()
                continue
            self.ends += [client, server]
            threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, source, target, dammed):
        try:
            while data := source.recv(64 * 1024):
                with self.changed:
                    self.changed.wait_for(lambda: not dammed or self.left > 0)
                    self.left -= len(data) if dammed else 0
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def is_full(self):
        return self.left <= 0

    def cut(self):
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self.changed:
            self.left = 1 << 60
            self.changed.notify_all()


@pytest.fixture
def rows(graft_directory):
    path = graft_directory / "rows.jsonl"
    path.write_text("".join(f'{{"document": "Article {i} tells much of what there is.", "summary": "Short {i}"}}\n' for i in range(ROWS)))
    return path


def partials(graft):
    return list((graft.directory / "data/artifacts/blobs/partial").iterdir())


def upload_through(graft, dam, path, *flags):
    process = graft.popen("--server", dam.address, "datasets", "upload", path, *flags)
    wait_until(dam.is_full, "the dam to be full")
    wait_until(lambda: [part for part in partials(graft) if part.stat().st_size > 0], "some bytes at the server")
    return process


def test_a_killed_client_sends_only_the_rest(graft, rows):
    graft.start(workers=0)
    size = rows.stat().st_size
    dam = Dam(graft.address, size // 2)
    client = upload_through(graft, dam, rows)
    client.kill()
    client.communicate()
    dam.cut()
    wait_until(lambda: samples(graft.http)["graft_partial_uploads"] == 1, "the server to notice")
    there = partials(graft)[0].stat().st_size
    assert 0 < there < size
    before = samples(graft.http)[RECEIVED]
    graft.cli("datasets", "upload", rows)
    after = samples(graft.http)
    assert after[RESUMED] == there
    assert size - there <= after[RECEIVED] - before < size - there + 10_000 + (size - there) // 1000
    assert graft.json("datasets", "list")[0]["num_rows"] == str(ROWS)
    assert not partials(graft)


def test_an_upload_outlives_a_killed_server(graft, rows):
    graft.start(workers=0)
    size = rows.stat().st_size
    dam = Dam(graft.address, size // 2)
    client = upload_through(graft, dam, rows)
    graft.kill_server()
    there = partials(graft)[0].stat().st_size
    dam.cut()
    graft.start(workers=0)
    _, said = client.communicate()
    assert client.returncode == 0, said
    assert "the upload broke" in said
    assert samples(graft.http)[RESUMED] == there
    assert graft.json("datasets", "list")[0]["num_rows"] == str(ROWS)


def test_a_part_that_was_spoilt_on_the_disk_is_sent_again(graft, rows):
    graft.start(workers=0)
    dam = Dam(graft.address, rows.stat().st_size // 2)
    client = upload_through(graft, dam, rows)
    client.kill()
    client.communicate()
    graft.kill_server()
    dam.cut()
    with open(partials(graft)[0], "r+b") as part:
        part.seek(100)
        part.write(b"\0\0\0\0")
    graft.start(workers=0)
    graft.cli("datasets", "upload", rows)
    assert graft.json("datasets", "list")[0]["num_rows"] == str(ROWS)
    assert samples(graft.http)[RECEIVED] > rows.stat().st_size, "the rest in vain, then all of it"


def test_a_model_goes_on_in_the_file_that_broke(graft):
    graft.start(workers=0)
    folder = graft.directory / "model"
    shutil.copytree(ASSETS / "model", folder)
    weights = (folder / "model.safetensors").stat().st_size
    dam = Dam(graft.address, weights // 2)
    client = graft.popen("--server", dam.address, "models", "add", "tiny", folder)
    wait_until(dam.is_full, "the dam to be full")
    wait_until(lambda: any(part.stat().st_size > 0 for part in partials(graft)), "some bytes at the server")
    client.kill()
    client.communicate()
    dam.cut()
    wait_until(lambda: samples(graft.http)["graft_partial_uploads"] == 1, "the server to notice")
    graft.cli("models", "add", "tiny", folder)
    # Of the weights, and of config.json, which had come whole before them.
    assert samples(graft.http)[RESUMED] > (folder / "config.json").stat().st_size
    assert graft.json("models", "list")[0]["name"] == "tiny"

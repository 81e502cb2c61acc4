#!/usr/bin/env python3
"""Tests tools/wheels.py: only whole and right wheels are used, and a folder is unpacked whole or not at all."""

import contextlib
import hashlib
import io
import os
import sys
import tempfile
import types
import unittest
import zipfile
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import wheels  # noqa: E402

NAME = "fake_lib-1.0-py3-none-any.whl"
MEMBERS = {
    "torch/include/ATen/ATen.h": "header",
    "torch/lib/libc10.so": "library",
    "torch/lib/libtorch_cuda.so": "library",
    "torch/nn/functional.py": "python",
    "nvidia/cu13/lib/libcudart.so.13": "library",
    "nvidia/cu13/include/cuda.h": "header",
    "torch-2.11.0.dist-info/LICENSE": "licence",
    "torch-2.11.0.dist-info/RECORD": "record",
}


class WheelsTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = scratch.name
        self.folder = os.path.join(self.root, "wheels")
        os.makedirs(self.folder)
        whole = os.path.join(self.root, NAME)
        with zipfile.ZipFile(whole, "w") as wheel:
            for path, content in MEMBERS.items():
                wheel.writestr(path, content)
        with open(whole, "rb") as file:
            self.wheel = file.read()
        self.pins = self.write("pins.txt", f"# a comment\n\nfake-lib==1.0 --hash=sha256:{hashlib.sha256(self.wheel).hexdigest()}\n")
        self.target = os.path.join(self.root, "target")
        quiet = contextlib.redirect_stdout(io.StringIO())
        quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)

    def write(self, name, content):
        path = os.path.join(self.root, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    def pip(self, fails=0):
        """Stands for pip download: fails as often as told, then leaves the wheel in its -d folder."""
        calls = []

        def run(command, **_):
            calls.append(command)
            if len(calls) <= fails:
                return types.SimpleNamespace(returncode=1, stderr="connection reset")
            with open(os.path.join(command[command.index("-d") + 1], NAME), "wb") as file:
                file.write(self.wheel)
            return types.SimpleNamespace(returncode=0, stderr="")

        patched = mock.patch.object(wheels.subprocess, "run", run)
        patched.start()
        self.addCleanup(patched.stop)
        return calls

    def unpacked(self):
        return {os.path.relpath(os.path.join(folder, name), self.target)
                for folder, _, names in os.walk(self.target) for name in names}

    def test_what_is_there_is_not_fetched_again(self):
        calls = self.pip()
        wheels.fetch(self.folder, [self.pins])
        wheels.fetch(self.folder, [self.pins])
        self.assertEqual(len(calls), 1)
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_a_damaged_wheel_is_fetched_again(self):
        calls = self.pip()
        self.write("wheels/" + NAME, self.wheel[:-1])
        wheels.fetch(self.folder, [self.pins])
        self.assertEqual(len(calls), 1)
        self.assertIsNotNone(wheels.find_wheel(self.folder, *wheels.requirements([self.pins])[0]))

    def test_a_broken_connection_is_tried_again_and_at_last_reported(self):
        calls = self.pip(fails=2)
        wheels.fetch(self.folder, [self.pins])
        self.assertEqual(len(calls), 3)
        os.remove(os.path.join(self.folder, NAME))
        self.pip(fails=wheels.ATTEMPTS)
        with self.assertRaisesRegex(SystemExit, "(?s)fake-lib 1.0.*connection reset"):
            wheels.fetch(self.folder, [self.pins])
        self.assertEqual(os.listdir(self.folder), [])

    def test_what_a_killed_run_left_is_removed(self):
        self.pip()
        os.makedirs(os.path.join(self.folder, ".fetch-abc"))
        wheels.fetch(self.folder, [self.pins])
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_a_line_of_another_form_names_its_place(self):
        pins = self.write("bad.txt", "# one\ntorch>=2\n")
        with self.assertRaisesRegex(SystemExit, "bad.txt:2: .*torch>=2"):
            wheels.requirements([pins])

    def test_the_cpu_flavour_leaves_out_what_no_program_needs(self):
        self.write("wheels/" + NAME, self.wheel)
        wheels.unpack(self.folder, self.target, "cpu", [self.pins])
        self.assertEqual(self.unpacked(), {
            ".pins", "torch/include/ATen/ATen.h", "torch/lib/libc10.so", "nvidia/cu13/lib/libcudart.so.13",
            "torch-2.11.0.dist-info/LICENSE"})
        wheels.unpack(self.folder, self.target, "all", [self.pins])
        self.assertEqual(self.unpacked(), set(MEMBERS) | {".pins"})

    def test_a_folder_is_replaced_only_by_a_whole_one(self):
        os.makedirs(self.target)
        self.write("target/old", "old")
        with self.assertRaisesRegex(SystemExit, "fake-lib 1.0 is not in"):
            wheels.unpack(self.folder, self.target, "all", [self.pins])
        self.assertEqual(self.unpacked(), {"old"})
        self.write("wheels/" + NAME, self.wheel)
        os.makedirs(self.target + ".unpacking/half")
        wheels.unpack(self.folder, self.target, "all", [self.pins])
        self.assertNotIn("old", self.unpacked())
        self.assertEqual(sorted(os.listdir(self.root)), sorted([NAME, "pins.txt", "target", "wheels"]))


if __name__ == "__main__":
    unittest.main()

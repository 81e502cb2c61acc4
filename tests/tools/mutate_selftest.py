#!/usr/bin/env python3
"""Tests tools/mutate: every committed patch still applies, and what counts as caught."""

import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
TOOL = pathlib.Path(os.path.dirname(os.path.abspath(__file__)), "../../tools/mutate").resolve()
loader = importlib.machinery.SourceFileLoader("mutate", str(TOOL))
mutate = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate", loader))
sys.modules["mutate"] = mutate
loader.exec_module(mutate)

RAN = "[ RUN      ] LcsTest.Finds\n"
DIFF = "--- a/x.cc\n+++ b/x.cc\n@@ -1 +1 @@\n-int x = 1;\n+int x = 2;\n"


class PatchTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)

    def patch(self, head):
        path = self.root / "wrong_x.patch"
        path.write_text(head + DIFF, encoding="utf-8")
        return path

    def test_every_committed_patch_names_its_tests_and_applies(self):
        mutations = [each for path in sorted(mutate.PATCHES.glob("*.patch")) for each in mutate.read_mutations(path)]
        self.assertGreaterEqual(len(mutations), 12)
        self.assertEqual(mutate.check(mutations), [])

    def test_a_patch_says_what_is_wrong_and_what_catches_it(self):
        line = "Caught-by: common_text_test LcsTest.*\n"
        other = "Caught-by: common_base_test XTest.*\n"
        read = [(each.name, each.program, each.tests) for each in mutate.read_mutations(self.patch("x is 2.\n" + line + other + "\n"))]
        self.assertEqual(read, [("wrong_x", "common_text_test", "LcsTest.*"), ("wrong_x", "common_base_test", "XTest.*")])
        for head in ("x is 2.\n", "Caught-by: common_text_test LcsTest.*\n", "x is 2.\nCaught-by: LcsTest.*\n", "x is 2.\n" + line + "Caught-by: LcsTest.*\n"):
            with self.assertRaisesRegex(ValueError, "wrong_x.patch"):
                mutate.read_mutations(self.patch(head))

    def test_a_patch_of_other_code_does_not_apply(self):
        path = self.patch("")
        (self.root / "x.cc").write_text("int x = 1;\n", encoding="utf-8")
        self.assertEqual(mutate.apply(self.root, path, "--check"), "")
        (self.root / "x.cc").write_text("int x = 3;\n", encoding="utf-8")
        self.assertIn("x.cc", mutate.apply(self.root, path, "--check"))


class FailureTest(unittest.TestCase):
    def test_green_tests_have_caught_nothing(self):
        self.assertIsNone(mutate.first_failure(RAN + "[       OK ] LcsTest.Finds (0 ms)\n", 0))

    def test_the_first_failed_test_is_named(self):
        output = RAN + "[  FAILED  ] A/LcsTest.Finds/0, where GetParam() = 1 (0 ms)\n[  FAILED  ] LcsTest.Other (0 ms)\n"
        self.assertEqual(mutate.first_failure(output, 1), "A/LcsTest.Finds/0")

    def test_a_test_that_ends_the_program_or_hangs_has_failed(self):
        for status in (-11, None):
            self.assertEqual(mutate.first_failure(RAN, status), "LcsTest.Finds (ended or hung)")

    def test_a_program_that_does_not_begin_has_caught_nothing(self):
        self.assertIsNone(mutate.first_failure("cannot open shared object file\n", 127))


if __name__ == "__main__":
    unittest.main()

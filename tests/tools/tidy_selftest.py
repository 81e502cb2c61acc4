#!/usr/bin/env python3
"""Tests tools/tidy: which files it looks at, in a small repository and with a clang-tidy that only finds the word "bad"."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(os.path.dirname(os.path.abspath(__file__)), "../../tools/tidy").resolve()
CLANG_TIDY = """#!/bin/sh
if [ "$1" = --version ]; then cat "$FAKE_VERSION"; exit; fi
for file in "$@"; do :; done
echo "$file" >>"$FAKE_LOG"
! grep bad "$file"
"""
FILES = {
    ".clang-tidy": "Checks: '*'\n",
    ".gitignore": "/build/\n",
    "CMakeLists.txt": "",
    "proto/p/v1/p.proto": "message P {}\n",
    "a/CMakeLists.txt": "",
    "a/low.h": "int low();\n",
    "a/high.h": '#include "a/low.h"\n',
    "a/uses_low.cc": '#include "a/high.h"\n',
    "a/uses_proto.cc": '#include "p/v1/p.grpc.pb.h"\n',
    "b/CMakeLists.txt": "",
    "b/alone.cc": "int alone;\n",
    "b/torch.cc": "#include <torch/all.h>\n",
    "tests/a/a_test.cc": "int test;\n",
}
ALL = {"a/uses_low.cc", "a/uses_proto.cc", "b/alone.cc", "tests/a/a_test.cc"}


class TidyTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.root = self.scratch / "repository"
        self.log, self.version = self.scratch / "log", self.scratch / "version"
        self.version.write_text("LLVM version 14\n", encoding="utf-8")
        fake = self.scratch / "bin" / "clang-tidy"
        fake.parent.mkdir()
        fake.write_text(CLANG_TIDY, encoding="utf-8")
        fake.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "PATH": f"{fake.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(self.scratch / "cache"),
            "HOME": str(self.scratch), "FAKE_LOG": str(self.log), "FAKE_VERSION": str(self.version), "GIT_CONFIG_NOSYSTEM": "1",
        }
        for name, text in FILES.items():
            self.write(name, text)
        (self.root / "tools").mkdir()
        shutil.copy(TOOL, self.root / "tools" / "tidy")
        self.compile_commands([(name, "-O2") for name in FILES if name.endswith(".cc")])
        self.git("init", "-q", "-b", "main")
        self.commit("first")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def compile_commands(self, files):
        self.write("build/release/compile_commands.json", json.dumps(
            [{"directory": str(self.root / "build/release"), "file": str(self.root / name), "command": f"g++ {flags} -c {self.root / name}"}
             for name, flags in files]))

    def git(self, *arguments, at=None):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments], cwd=at or self.root, env=self.environment,
                       check=True, capture_output=True)

    def commit(self, message):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def tidy(self, *arguments, at=None, status=0):
        """The files that it looked at; what it printed is in self.printed."""
        self.log.write_text("", encoding="utf-8")
        root = at or self.root
        result = subprocess.run([sys.executable, "-B", root / "tools" / "tidy", *arguments], env=self.environment, capture_output=True,
                                text=True)
        self.printed = result.stdout + result.stderr
        self.assertEqual(result.returncode, status, self.printed)
        return {os.path.relpath(line, root) for line in self.log.read_text(encoding="utf-8").splitlines()}

    def forget(self):
        shutil.rmtree(self.scratch / "cache", ignore_errors=True)

    def test_without_a_parent_everything_is_looked_at_once(self):
        self.assertEqual(self.tidy(), ALL)
        self.assertIn("everything: HEAD's parent is not known: 4 files checked, 0 passed before, 0 left out, 0 with findings", self.printed)
        self.assertEqual(self.tidy(), set())
        self.assertIn("0 files checked, 4 passed before, 0 left out", self.printed)
        self.assertEqual(self.tidy("--all"), ALL)

    def test_a_fresh_clone_looks_at_what_the_last_commit_changed(self):
        self.write("a/low.h", "int low(int);\n")
        self.commit("second")
        self.assertEqual(self.tidy(), {"a/uses_low.cc"})
        self.assertRegex(self.printed, "since [0-9a-f]{12}, HEAD's parent: 1 files checked, 0 passed before, 3 left out")
        self.forget()
        self.assertEqual(self.tidy("--all"), ALL)

    def test_a_changed_proto_is_a_changed_header(self):
        self.write("proto/p/v1/p.proto", "message P { int32 x = 1; }\n")
        self.commit("second")
        self.assertEqual(self.tidy(), {"a/uses_proto.cc"})

    def test_what_is_not_committed_counts_and_is_no_pass_of_the_commit(self):
        self.commit_twice_after_a_pass()
        self.write("b/alone.cc", "int not_committed;\n")
        self.assertEqual(self.tidy(), {"a/uses_low.cc", "tests/a/a_test.cc", "b/alone.cc"})
        self.git("commit", "-q", "--allow-empty", "-m", "fourth")
        self.forget_files()
        self.assertEqual(self.tidy(), {"a/uses_low.cc", "tests/a/a_test.cc", "b/alone.cc"})

    def commit_twice_after_a_pass(self):
        self.tidy()
        self.write("a/low.h", "int low(int);\n")
        self.commit("second")
        self.write("tests/a/a_test.cc", "int other;\n")
        self.commit("third")

    def forget_files(self):
        """What stays are the commits that passed."""
        for path in (self.scratch / "cache" / "graft" / "tidy").iterdir():
            if path.is_file():
                path.unlink()

    def test_later_commits_are_looked_at_since_the_last_that_passed(self):
        self.commit_twice_after_a_pass()
        self.forget_files()
        self.assertEqual(self.tidy(), {"a/uses_low.cc", "tests/a/a_test.cc"})
        self.assertIn("the last commit that passed here", self.printed)

    def test_a_branch_is_looked_at_since_it_left_its_upstream(self):
        clone = self.scratch / "clone"
        self.git("clone", "-q", self.root, clone)
        shutil.copytree(self.root / "build", clone / "build")
        path = clone / "build/release/compile_commands.json"
        path.write_text(path.read_text(encoding="utf-8").replace(str(self.root), str(clone)), encoding="utf-8")
        for name in ("b/alone.cc", "a/uses_proto.cc"):
            (clone / name).write_text("int other;\n", encoding="utf-8")
            self.git("commit", "-q", "-am", name, at=clone)
        self.assertEqual(self.tidy(at=clone), {"b/alone.cc", "a/uses_proto.cc"})
        self.assertIn("where upstream was left", self.printed)
        self.git("checkout", "-q", "--detach", at=clone)
        self.forget()
        self.assertEqual(self.tidy(at=clone), {"b/alone.cc", "a/uses_proto.cc"})
        self.assertIn("where origin/main was left", self.printed)

    def test_a_commit_can_be_named(self):
        for name in ("b/alone.cc", "a/uses_proto.cc"):
            self.write(name, "int other;\n")
            self.commit(name)
        self.assertEqual(self.tidy("--since", "HEAD~2"), {"b/alone.cc", "a/uses_proto.cc"})
        self.assertEqual(self.tidy("--since", "nothing", status=1), set())
        self.assertIn("'nothing' is no commit", self.printed)

    def test_changed_settings_concern_every_file(self):
        self.tidy()
        for name in (".clang-tidy", "CMakeLists.txt", "cmake/Flags.cmake", "tests/tidy/rules.py"):
            self.write(name, "# other\n")
            self.commit(name)
            self.forget()
            self.assertEqual(self.tidy(), ALL, name)
            self.assertIn("everything: settings changed since", self.printed)

    def test_settings_of_a_folder_concern_its_files_and_their_tests(self):
        self.tidy()
        for name in ("a/CMakeLists.txt", "a/.clang-tidy"):
            self.write(name, "# other\n")
            self.commit(name)
            self.forget()
            self.assertEqual(self.tidy(), {"a/uses_low.cc", "a/uses_proto.cc", "tests/a/a_test.cc"}, name)

    def test_another_clang_tidy_looks_at_everything(self):
        self.tidy()
        self.version.write_text("LLVM version 15\n", encoding="utf-8")
        self.git("commit", "-q", "--allow-empty", "-m", "second")
        self.assertEqual(self.tidy(), ALL)
        self.assertIn("another clang-tidy", self.printed)

    def test_another_command_is_not_what_passed(self):
        self.tidy()
        self.compile_commands([("b/alone.cc", "-O1"), ("a/uses_low.cc", "-O2")])
        self.write("b/CMakeLists.txt", "# -O1\n")
        self.assertEqual(self.tidy(), {"b/alone.cc"})

    def test_files_compiled_together_are_looked_at_one_by_one(self):
        together = "build/release/a/CMakeFiles/a.dir/Unity/unity_0_cxx.cxx"
        self.write(together, "".join(f'/* comment */\n#include "{self.root / name}"\n\n' for name in ("a/uses_low.cc", "a/uses_proto.cc")))
        self.compile_commands([(together, "-O2"), ("b/alone.cc", "-O2")])
        self.assertEqual(self.tidy(), {"a/uses_low.cc", "a/uses_proto.cc", "b/alone.cc"})

    def test_what_has_findings_is_looked_at_again(self):
        self.write("b/alone.cc", "int bad;\n")
        self.commit("second")
        for _ in range(2):
            self.assertEqual(self.tidy(status=1), {"b/alone.cc"})
            self.assertIn("1 with findings", self.printed)
        self.write("a/low.h", "int third;\n")
        self.commit("third")
        self.assertEqual(self.tidy("--since", "HEAD~1", status=1), {"a/uses_low.cc", "b/alone.cc"})
        self.write("b/alone.cc", "int good;\n")
        self.commit("fourth")
        self.assertEqual(self.tidy(), {"b/alone.cc"})

    def test_a_named_commit_is_no_claim_that_all_else_passed(self):
        self.write("b/alone.cc", "int bad;\n")
        self.commit("second")
        self.assertEqual(self.tidy("--since", "HEAD"), set())
        self.assertEqual(self.tidy(status=1), {"b/alone.cc"})

    def test_what_a_proto_imports_counts(self):
        self.write("proto/p/v1/p.proto", 'import "p/v1/q.proto";\n')
        self.write("proto/p/v1/q.proto", "message Q {}\n")
        self.commit("second")
        self.tidy()
        self.write("proto/p/v1/q.proto", "message Q { int32 x = 1; }\n")
        self.commit("third")
        self.assertEqual(self.tidy(), {"a/uses_proto.cc"})


if __name__ == "__main__":
    unittest.main()

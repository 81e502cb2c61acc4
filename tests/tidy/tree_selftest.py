#!/usr/bin/env python3
"""Tests the tree test: a small clean tree passes, and each violation alone turns it red."""

import contextlib
import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402
import tree  # noqa: E402

CLEAN = {
    "CMakeLists.txt": "project(x)\n",
    "common/base/CMakeLists.txt": "graft_library(DEPS)\n",
    "common/base/a.h": "#pragma once\nint A();\n",
    "common/base/a.cc": '#include "common/base/a.h"\n\nint A() {\n  return 1;\n}\n',
    "common/text/b.h": '#pragma once\n#include "common/base/a.h"\n',
    "server/store/CMakeLists.txt": "graft_library(DEPS)\n",
    "server/store/s.h": '#pragma once\n#include "common/text/b.h"\n#include "graft/v1/job.pb.h"\n',
    "server/rpc/r.h": '#pragma once\n#include "server/store/s.h"\n',
    "server/graft_server_main.cc": '#include "server/rpc/r.h"\n',
    "worker/engine/plan.h": "#pragma once\n",
    "worker/engine/gpt2/model.cc": '#include <ATen/ATen.h>\n\n#include "worker/engine/plan.h"\n#include "common/text/b.h"\n',
    "worker/engine/gpt2/model.h": "#pragma once\n",
    "worker/engine/bridge.cc": '#include "graft/v1/job.pb.h"\n',
    "server/rpc/m.cc": 'Add("graft_rpc_seconds");\n',
    "deploy/alerts.yml": "expr: rate(graft_rpc_seconds_bucket[5m])\n",
    "tests/fakes/fake.h": "#pragma once\n",
    "tests/server/store/s_test.cc": '#include "server/store/s.h"\n#include "tests/fakes/fake.h"\n',
    "tests/integration/test_all.py": "def test_it():\n    pass\n",
}
# What breaks the clean tree (path → content), and a word of what must be said about it.
BROKEN = {
    "a source of 501 lines": ({"common/base/a.cc": "\n" * 501}, "501 lines"),
    "a test of 1,001 lines": ({"tests/server/store/s_test.cc": "\n" * 1001}, "1001 lines"),
    "a script of 501 lines": ({"tools/x": "#!/bin/sh\n" + "\n" * 500}, "501 lines"),
    "a function of 71 lines": ({"common/base/a.cc": "int A() {\n" + "  b();\n" * 69 + "}\n"}, "function of 71"),
    "a large file": ({"data.bin": b"\xff" * (rules.FILE_BYTES + 1)}, "needs its reason"),
    "common upwards": ({"common/base/a.h": '#pragma once\n#include "common/text/b.h"\n'}, "may not use common/text"),
    "store upwards": ({"server/store/s.h": '#pragma once\n#include "server/rpc/r.h"\n'}, "may not use server/rpc"),
    "client to server": ({"client/c.cc": '#include "server/store/s.h"\n'}, "may not use server/store"),
    "server to worker": ({"server/graft_server_main.cc": '#include "worker/engine/plan.h"\n'}, "may not use worker/engine"),
    "agent to engine": ({"worker/agent/a.cc": '#include "worker/engine/plan.h"\n'}, "may not use worker/engine"),
    "engine contracts upwards": ({"worker/engine/plan.h": '#pragma once\n#include "worker/engine/gpt2/model.h"\n'}, "may not use worker/engine/gpt2"),
    "an unknown folder": ({"misc/m.cc": '#include "common/base/a.h"\n'}, "may not use common/base"),
    "code to tests": ({"common/base/a.cc": '#include "tests/fakes/fake.h"\n'}, "may not use tests/fakes"),
    "a test beyond its folder": ({"tests/common/base/CMakeLists.txt": "", "tests/common/base/a_test.cc": '#include "server/store/s.h"\n'}, "may not use server/store"),
    "a missing header": ({"common/base/a.cc": '#include "common/base/gone.h"\n'}, "no such file"),
    "torch outside the engine": ({"common/base/a.cc": "#include <c10/core/Device.h>\n"}, "stay inside worker/engine"),
    "torch with protobuf": ({"worker/engine/gpt2/model.cc": '#include <ATen/ATen.h>\n#include "graft/v1/job.pb.h"\n'}, "sees both"),
    "torch with protobuf by way of a header": (
        {"worker/engine/plan.h": '#pragma once\n#include "graft/v1/job.pb.h"\n'}, "sees both"),
    "torch with spdlog": ({"worker/engine/gpt2/model.cc": "#include <torch/torch.h>\n#include <spdlog/spdlog.h>\n"}, "sees both"),
    "a test of no library": ({"tests/server/gone/x_test.cc": ""}, "never built"),
    "a test by another name": ({"tests/server/store/store_tests.cc": ""}, "name it *_test.cc"),
    "a pytest file where none runs": ({"tests/server/test_x.py": ""}, "pytest runs over"),
    "a sleep in a C++ test": ({"tests/server/store/s_test.cc": "  std::this_thread::sleep_for(x);\n"}, "a sleep"),
    "a sleep in a Python test": ({"tests/integration/test_all.py": "time.sleep(1)\n"}, "a sleep"),
    "a duration held against a bound": ({"tests/server/store/s_test.cc": "  EXPECT_LT(looks[1], absl::Milliseconds(20));\n"}, "a test of speed"),
    "a time since held against a bound": ({"tests/server/store/s_test.cc": "  ASSERT_LE(absl::Now() - begin, limit);\n"}, "a test of speed"),
    "a bound on a Python test's time": ({"tests/integration/test_all.py": "assert time.monotonic() - began < 3\n"}, "a test of speed"),
    "a detached thread": ({"common/base/a.cc": "  thread.detach();\n"}, "detached"),
    "strcpy": ({"worker/engine/bridge.cc": "  strcpy(a, b);\n"}, "unbounded"),
    "a shell": ({"client/c.cc": "  std::system(a);\n"}, "a shell"),
    "abort in a service": ({"server/rpc/r.cc": "  std::abort();\n"}, "end of the process"),
    "a date": ({"server/store/s.cc": "auto t = absl::Now();\n"}, "common/base/clock.h"),
    "a sync of its own": ({"server/store/s.cc": "::fsync(file);\n"}, "common/base/file.h"),
    "a file's time as an age": ({"common/text/b.cc": "auto t = absl::TimeFromTimespec(info.st_mtim);\n"}, "common/base/clock.h"),
    "a bare mutex": ({"server/store/s.cc": "std::mutex m;\n"}, "mutex.h"),
    "no pragma once": ({"common/base/a.h": "int A();\n"}, "pragma once"),
    "using namespace in a header": ({"common/base/a.h": "#pragma once\nusing namespace std;\n"}, "using namespace"),
    "an alert on a metric that is none": ({"deploy/alerts.yml": "expr: graft_rpc_secs > 1\n"}, "graft_rpc_secs"),
    "a metric that is not documented": ({"server/rpc/n.cc": 'AddGauge(\n    "graft_jobs", "Jobs.")\n', "docs/OPERATIONS.md": ""}, "graft_jobs is missing"),
    "a documented metric that is none": ({"docs/OPERATIONS.md": "| `graft_rpc_seconds` |\n"}, "no program has a metric graft_rpc_seconds"),
    "an alert that is not documented": ({"docs/OPERATIONS.md": "", "deploy/alerts.yml": "- alert: GraftX\n", "tests/deploy/a.yml": "alertname: GraftX\n"},
                                        "GraftX is not in docs"),
    "a metric on no board": ({"server/rpc/n.cc": 'AddGauge(\n    "graft_jobs", "Jobs.")\n', "deploy/grafana/b.json": "{}\n"}, "no panel shows the metric graft_jobs"),
    "an alert without a test": ({"docs/OPERATIONS.md": "GraftX\n", "deploy/alerts.yml": "- alert: GraftX\n"}, "makes GraftX fire"),
    "a marker": ({"common/base/a.cc": "// TO" + "DO: all\n"}, "marker"),
    "a machine's path": ({"README.md": "see /wo" + "rk/x\n"}, "path of one machine"),
    "a registry's host": ({"tools/x": "#!/bin/sh\npip -i py" + "pi.org\n"}, "registry"),
}
# What looks like a violation and is none.
FINE = {
    "a reasoned sleep": {"tests/integration/test_all.py": "# tidy: polls a process that tells nobody\ntime.sleep(0.1)\n"},
    "a point in time held against another": {"tests/server/store/s_test.cc": "  EXPECT_LE(deadline, after + absl::Seconds(55));\n"},
    "patience": {"tests/integration/test_all.py": "while time.monotonic() < deadline:\n    poll()\n"},
    "a banned word in a comment": {"common/base/a.cc": "// no system() here, no std::mutex\n/* strcpy(a) */\n"},
    "a banned word in a string": {"common/base/a.cc": 'auto x = "std::system(a)";\n'},
    "a method called system": {"client/c.cc": "x.system(a);\n"},
    "70 lines": {"common/base/a.cc": "int A() {\n" + "  b();\n" * 68 + "}\n"},
    "an engine program using its parts": {"worker/engine/graft_engine_main.cc": '#include "worker/engine/gpt2/model.h"\n'},
    "a fixture of a whole block": {"tests/worker/engine/golden.h": '#pragma once\n#include "worker/engine/gpt2/model.h"\n'},
    "an integration test using all": {"tests/integration/i.cc": '#include "server/rpc/r.h"\n#include "worker/engine/plan.h"\n'},
}


def violations(files):
    with tempfile.TemporaryDirectory() as root:
        for path, content in {**CLEAN, **files}.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
        return tree.Tree(root).check()


class TreeTest(unittest.TestCase):
    def test_clean_tree_passes(self):
        self.assertEqual(violations({}), [])

    def test_each_violation_alone_is_found_where_it_is(self):
        for name, (files, word) in BROKEN.items():
            with self.subTest(name):
                found = violations(files)
                self.assertEqual(len(found), 1, found)
                self.assertIn(word, found[0][2])

    def test_what_only_looks_like_a_violation_passes(self):
        for name, files in FINE.items():
            with self.subTest(name):
                self.assertEqual(violations(files), [])

    def test_exit_status_follows(self):
        with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(tree.main([root]), 1, "a tree without any source is no clean tree")
            with open(os.path.join(root, "a.h"), "w", encoding="utf-8") as file:
                file.write("#pragma once\n")
            self.assertEqual(tree.main([root]), 0)
            with open(os.path.join(root, "a.h"), "w", encoding="utf-8") as file:
                file.write("\n")
            self.assertEqual(tree.main([root]), 1)


if __name__ == "__main__":
    unittest.main()

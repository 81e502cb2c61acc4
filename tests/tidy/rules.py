"""What the tree test knows about this project: who may use whom, the limits, the calls that are not made."""

import re

# A folder may use proto, itself, and the folders listed for it. A nested folder without an entry of its own has its parent's.
COMMON = ["base", "errors", "rpc", "text", "formats", "methods", "jobs", "studies", "blobs", "telemetry"]
SERVER = ["store", "scheduler", "streams", "workers", "catalogue", "analysis", "planning", "operations", "serving", "rpc", "page", "http", "process"]
ENGINE = ["gpt2", "methods", "adapters", "data", "training", "generation", "evaluation", "session", "run"]


def _chain(prefix, names, below):
    """Each of the names may use what is below and the names before it."""
    return {f"{prefix}/{name}": below + [f"{prefix}/{other}" for other in names[:place]] for place, name in enumerate(names)}


_ALL_COMMON = [f"common/{name}" for name in COMMON]
USES = {
    **_chain("common", COMMON, []),
    **_chain("server", SERVER, _ALL_COMMON),
    "server": _ALL_COMMON + [f"server/{name}" for name in SERVER],
    "worker/agent": _ALL_COMMON,
    "worker/engine": _ALL_COMMON,  # the contracts that its parts share
    **_chain("worker/engine", ENGINE, _ALL_COMMON + ["worker/engine"]),
    "client": _ALL_COMMON,
    # Golden values and fakes that the tests of several engine folders share.
    "tests/worker/engine": _ALL_COMMON + ["worker/engine", "worker/engine/gpt2", "worker/engine/data"],
}
# A *_main.cc puts a whole block together.
BLOCKS = {
    "server": USES["server"],
    "worker/agent": USES["worker/agent"],
    "worker/engine": _ALL_COMMON + [f"worker/engine/{name}" for name in ENGINE],
    "client": USES["client"],
}
# Tests may also use these; a test of server/store otherwise what server/store may, and server/store itself.
TEST_HELPERS = ["tests"]
# These show programs together and may use anything.
FREE = ("tests/integration", "tests/fakes", "tests/parity", "tests/fuzz", "bench")

TORCH_HEADER = re.compile(r"(torch|ATen|c10|caffe2)/")
TORCH_FOLDERS = ("worker/engine", "tests/worker/engine", "tests/parity", "bench")
# With torch's headers these may not meet in one translation unit: the wheel holds other versions of the same libraries.
NOT_WITH_TORCH = re.compile(r".*\.pb\.h|(google/protobuf|spdlog|fmt|grpcpp|grpc)/.*")

SOURCE_LINES = 500
TEST_LINES = 1000
FUNCTION_LINES = 70
FILE_BYTES = 2 * 1024 * 1024
# Files that are larger, and why.
LARGE_FILES = {
    "tools/demo_assets/model/model.safetensors": "the demo's base model, which must run without a download",
}

CODE_SUFFIXES = (".cc", ".h", ".proto", ".py", ".sh", ".sql", ".cmake")

_SLEEP = re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep|SleepFor|sleep)\s*\(")
# (what, pattern, where it may not stand, what to do instead). Patterns see a line without comments and string contents.
BANNED = [
    ("a detached thread", re.compile(r"(\.|->)detach\(\)"), ("",), "who starts a thread joins it"),
    ("an unbounded string function", re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok)\s*\("), ("",), "use std::string or absl"),
    ("a shell", re.compile(r"(?<![\w.>])(std::|::)?(system|popen)\s*\("), ("",), "start the program itself"),
    ("an end of the process", re.compile(r"(?<![\w.>:])(std::|::)?(abort|terminate|quick_exit)\s*\("),
     ("server", "worker/agent", "client"), "return a Status: bad input never ends a service"),
    ("a bare standard mutex", re.compile(r"\bstd::(mutex|timed_mutex|recursive_mutex|shared_mutex|lock_guard|unique_lock|scoped_lock|condition_variable)\b"),
     ("common", "server", "worker/agent", "client"), "use common/base/mutex.h, which carries the thread-safety annotations"),
    ("a change of a name, or a sync, without a failpoint",
     re.compile(r"(?<![\w.>:])(::|std::)?(fsync|fdatasync|rename(at2?)?|link(at)?|unlink(at)?|symlink(at)?|mkdir(at)?|rmdir)\s*\("
                r"|\b(std::filesystem|fs)::(rename|remove\w*|create_\w+)\s*\("),
     ("common", "server", "worker", "client"), "go through common/base/file.h"),
    ("a clock of its own", re.compile(r"\babsl::Now\(|\bstd::chrono::(steady|system)_clock\b|\blast_write_time\b|\bTimeFromTimespec\b"),
     ("common", "server", "worker", "client"), "go by common/base/clock.h: boottime for waits, deadlines and ages, Clock::Now for display"),
]
BANNED_EXCEPT = {"common/base/mutex.h", "common/base/clock.cc", "common/base/file.cc", "common/base/links.cc"}
SLEEP = _SLEEP
# A time that a test took, held against a bound: "EXPECT_LT(took, absl::Milliseconds(3))", "assert time.monotonic() - began < 3".
SPEED = re.compile(r"\b(EXPECT|ASSERT)_L[TE]\([^,]*,\s*absl::(Nano|Micro|Milli)?[sS]econds\("
                   r"|\b(EXPECT|ASSERT)_L[TE]\(.*(absl::Now|(steady|system)_clock::now)\(\) - \w"
                   r"|\bassert .*\btime\.(time|monotonic|perf_counter)(_ns)?\(\) - \w+ <")
# A sleep or a bound that stays says why, in a comment on its line or the one before: "tidy: <reason>".
REASON = re.compile(r"tidy: \w+")

# Written in pieces so that this file does not break its own rules.
MARKERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
MACHINE_PATHS = re.compile(r"(?<![\w.}/])/(" + "|".join(["ro" + "ot", "wo" + "rk", "ho" + "me"]) + r")/")
REGISTRY_HOSTS = re.compile(r"\b(" + "|".join(["py" + r"pi\.org", "files.python" + r"hosted\.org", r"deb\.deb" + r"ian\.org"]) + r")\b")

# Metrics that no panel of deploy/grafana shows, and why.
NOT_ON_A_BOARD = {
    "process_virtual_memory_bytes": "address space that is only reserved tells nobody anything; memory in RAM is shown",
}

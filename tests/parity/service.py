"""A graft-server of its own for claims that need one, driven through the command line as in tests/integration."""

import contextlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from programs import ROOT


def integration():
    folder = ROOT / "tests/integration"
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # Last: both folders have a conftest.
    spec = importlib.util.spec_from_file_location("graft_service", folder / "conftest.py")
    service = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    return service


@contextlib.contextmanager
def running(workers=1):
    """A server with the demo's model and data, until the end of the `with` statement."""
    service = integration()
    directory = Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))  # Short: a socket's path has at most 107 bytes.
    graft = service.Graft(directory)
    try:
        graft.start(workers=workers)
        service.load(graft)
        yield graft
    finally:
        graft.stop()
        shutil.rmtree(directory, ignore_errors=True)

"""Makes graft_client.v1, the messages and stubs of the API, from the checkout's .proto files."""

import pathlib
import re
import tempfile
from importlib import metadata, resources

from grpc_tools import protoc
from setuptools import setup
from setuptools.command.build_py import build_py

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"


def make_messages(package):
    package.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        well_known = resources.files("grpc_tools") / "_proto"
        files = sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / "graft/v1").glob("*.proto"))
        if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--python_out={made}", f"--pyi_out={made}", f"--grpc_python_out={made}", *files]):
            raise RuntimeError(f"the messages of {PROTOS} could not be made")
        for path in (pathlib.Path(made) / "graft/v1").iterdir():
            # They lie in this package, and nowhere else.
            text = re.sub(r"\bgraft\.v1(?= import|\.\w+_pb2')", "graft_client.v1", path.read_text(encoding="utf-8"))
            (package / path.name).write_text(text, encoding="utf-8")
    (package / "__init__.py").write_text('"""The messages of the API, as its .proto files say them."""\n', encoding="utf-8")


class BuildWithMessages(build_py):
    def run(self):
        super().run()
        make_messages(pathlib.Path(self.build_lib) / "graft_client/v1")


setup(cmdclass={"build_py": BuildWithMessages},
      install_requires=[f"grpcio>={metadata.version('grpcio-tools')}", f"protobuf>={metadata.version('protobuf')}",
                        "googleapis-common-protos>=1.70", "tqdm>=4.65"])

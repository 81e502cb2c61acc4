"""The protocol's messages, for tests that speak it themselves."""

import pathlib
import subprocess

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"


def load_files(directory, *protos):
    """The descriptors of .proto files, what they import first, made from them: needs no generated code that fits this protobuf. And a
    pool that holds them."""
    path = directory / "graft.descriptors"
    subprocess.run(["protoc", f"-I{PROTOS}", "--include_imports", f"--descriptor_set_out={path}", *(str(PROTOS / proto) for proto in protos)], check=True)
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    return files, pool


def load_messages(directory, proto="graft/v1/job.proto"):
    """The classes of the package of a .proto file."""
    _, pool = load_files(directory, proto)
    package = str(pathlib.PurePath(proto).parent).replace("/", ".")
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))

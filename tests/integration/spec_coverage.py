"""tools/spec_coverage: what of graft.v1.JobSpec no job of the tests sets."""

import pathlib
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTPUT_ONLY = "Set at resolution only"
# What no job can set, and why.
REFUSED = {
    "evaluate.data.train": "is not used by evaluate jobs",
    "evaluate.data.validation_fraction": "is not used by evaluate jobs",
}


class Protocol:
    """The messages of proto/graft/v1, and what their comments say."""

    def __init__(self):
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run(["protoc", "--include_imports", "--include_source_info", f"--descriptor_set_out={file.name}", f"-I{ROOT / 'proto'}",
                            "graft/v1/job.proto"], check=True)
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
        self.pool = descriptor_pool.DescriptorPool()
        self.output_only = set()
        for proto in files.file:
            self.pool.Add(proto)
            self.read_comments(proto)

    def read_comments(self, proto):
        for location in proto.source_code_info.location:
            path = list(location.path)
            # message_type[i].field[j] of a message at the top.
            if len(path) == 4 and path[0] == 4 and path[2] == 2 and OUTPUT_ONLY in location.leading_comments:
                message = proto.message_type[path[1]]
                self.output_only.add(f"{proto.package}.{message.name}.{message.field[path[3]].name}")

    def message_class(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))


def settings_of(protocol, descriptor, prefix=""):
    """Every path that a spec can set; of an enum every value but the first, which says that nothing is."""
    for field in descriptor.fields:
        path = prefix + field.name
        if field.full_name in protocol.output_only:
            continue
        if field.message_type is not None:
            yield from settings_of(protocol, field.message_type, path + ".")
        elif field.enum_type is not None:
            yield from (f"{path}={value.name}" for value in field.enum_type.values if value.number != 0)
        else:
            yield path


def set_by(message, prefix=""):
    for field, value in message.ListFields():
        path = prefix + field.name
        if field.message_type is not None:
            yield from set_by(value, path + ".")
        elif field.enum_type is not None:
            yield f"{path}={field.enum_type.values_by_number[value].name}"
        else:
            yield path


def main():
    protocol = Protocol()
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.job"))
    if not files:
        print(f"no specs in {sys.argv[1]}: GRAFT_KEEP_SPECS names a folder for the tests' servers", file=sys.stderr)
        return 2
    job = protocol.message_class("graft.v1.Job")
    found = set()
    for file in files:
        found |= set(set_by(job.FromString(file.read_bytes()).spec))
    every = list(settings_of(protocol, protocol.pool.FindMessageTypeByName("graft.v1.JobSpec")))
    holes = [path for path in every if path not in found and path.partition("=")[0] not in REFUSED]
    for path in holes:
        print(f"{path}: no job of the tests sets it")
    stale = sorted(path for path in REFUSED if path in found or path not in {one.partition("=")[0] for one in every})
    for path in stale:
        print(f"{path}: is set by a job after all, or does not exist: spec_coverage.py is wrong")
    print(f"spec coverage: {len(every)} settings, {len(every) - len(holes) - len(REFUSED)} set by the {len(files)} specs of the tests' jobs, "
          f"{len(REFUSED)} that no job can set, {len(holes)} not set")
    return 1 if holes or stale else 0


if __name__ == "__main__":
    sys.exit(main())

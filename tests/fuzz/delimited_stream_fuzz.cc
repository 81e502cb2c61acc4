// What comes over an engine's socket: whole messages, or an error; each is parsed as what a peer
// may say.

#include "common/base/delimited_stream.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "graft/engine/v1/engine.pb.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const graft::UniqueFd file(memfd_create("stream", MFD_CLOEXEC));
  FUZZ_CHECK(write(file.get(), data, size) == static_cast<ssize_t>(size));
  FUZZ_CHECK(lseek(file.get(), 0, SEEK_SET) == 0);
  graft::DelimitedReader reader(file.get());
  size_t used = 0;
  for (;;) {
    const absl::StatusOr<std::string> message = reader.Read();
    if (!message.ok()) {
      FUZZ_CHECK(absl::IsOutOfRange(message.status()) || absl::IsDataLoss(message.status()));
      return 0;
    }
    used += message->size() + 1;
    FUZZ_CHECK(used <= size);
    graft::engine::v1::EngineEvent event;
    if (event.ParseFromString(*message)) (void)event.ByteSizeLong();
    graft::engine::v1::EngineCommand command;
    if (command.ParseFromString(*message)) (void)command.ByteSizeLong();
  }
}

// adapter_config.json: what is accepted can be written again and says the same.

#include "common/formats/peft_config.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string json(graft::TextOf(data, size));
  for (const char* version : {"0.10.0", graft::kDefaultPeftVersion}) {
    (void)graft::ConvertPeftConfigJson(json, version);
  }
  const absl::StatusOr<graft::PeftConfig> config = graft::ParsePeftConfig(json);
  if (!config.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(config.status()) || absl::IsUnimplemented(config.status()));
    return 0;
  }
  const absl::StatusOr<std::string> written = graft::PeftConfigJson(*config);
  if (!written.ok()) return 0;
  const absl::StatusOr<graft::PeftConfig> again = graft::ParsePeftConfig(*written);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(*graft::PeftConfigJson(*again) == *written);
  return 0;
}

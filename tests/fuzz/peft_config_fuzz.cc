// adapter_config.json: what is accepted can be written again and says the same.

#include "common/methods/peft_fields.h"
#include "common/methods/peft_lora.h"
#include "common/methods/soft_prompt.h"

#include "tests/fuzz/fuzz.h"

namespace {

template <typename Config, typename Parse>
void WrittenAgain(const absl::StatusOr<Config>& config, const Parse& parse) {
  if (!config.ok()) return;
  const auto written = graft::PeftConfigJson(*config, graft::kDefaultPeftVersion);
  if (!written.ok()) return;
  const auto again = parse(*written);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(*graft::PeftConfigJson(*again, graft::kDefaultPeftVersion) == *written);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string json(graft::TextOf(data, size));
  for (const char* version : {"0.10.0", graft::kDefaultPeftVersion}) {
    (void)graft::ConvertPeftConfigJson(json, version);
  }
  const absl::Status known = graft::CheckPeftConfig(json);
  FUZZ_CHECK(known.ok() || absl::IsInvalidArgument(known) || absl::IsUnimplemented(known));
  WrittenAgain(graft::ParsePeftLora(json),
               [](absl::string_view text) { return graft::ParsePeftLora(text); });
  WrittenAgain(graft::ParsePeftPrompt(json),
               [](absl::string_view text) { return graft::ParsePeftPrompt(text); });
  return 0;
}

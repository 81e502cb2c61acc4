#pragma once

#include <cstdint>
#include <string>

#include "common/text/data_reader.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// A row and what was made of it as an event carries them: of long texts the beginning.
SampleTextEvent MakeSampleText(int64_t row_index, const DataRow& row,
                               const std::string& prediction);

}  // namespace graft

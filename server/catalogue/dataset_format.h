#pragma once

#include "common/text/data_reader.h"
#include "graft/v1/dataset.pb.h"

namespace graft {

// kAutomatic for UNSPECIFIED, and the other way round.
DataFormat ToDataFormat(v1::DatasetFormat format);
v1::DatasetFormat FromDataFormat(DataFormat format);

}  // namespace graft

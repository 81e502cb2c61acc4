#pragma once

// Where pictures go: standard output, or a file.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/command.h"
#include "client/cli/plot.h"

namespace graft {

// INVALID_ARGUMENT: a name that is not empty and does not end in .svg.
absl::Status CheckPlotFile(const std::string& output);
// Of a picture on standard output.
size_t PlotColumns();
// Draws on standard output, or writes an SVG file (`output` is not empty) and says its name.
absl::Status ShowPlots(const CliContext& context, const std::vector<Plot>& plots,
                       const std::string& output);

}  // namespace graft

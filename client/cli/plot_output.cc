#include "client/cli/plot_output.h"

#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kPipeColumns = 80;

void PrintPlots(std::vector<Plot> plots) {
  TextPlotOptions how;
  how.columns = PlotColumns();
  how.utf8 = IsUtf8Locale();
  how.colour = TakesColour(STDOUT_FILENO);
  for (Plot& plot : plots) {
    plot.title = Printable(plot.title);
    plot.x_title = Printable(plot.x_title);
    for (PlotTick& tick : plot.x_ticks) tick.text = Printable(tick.text);
    std::fputs(PlotText(plot, how).c_str(), stdout);
  }
}

}  // namespace

absl::Status CheckPlotFile(const std::string& output) {
  if (output.empty() || absl::EndsWithIgnoreCase(output, ".svg")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--output writes SVG: its name must end in .svg, not as ", output));
}

size_t PlotColumns() {
  return isatty(STDOUT_FILENO) == 1 ? TerminalColumns(STDOUT_FILENO) : kPipeColumns;
}

absl::Status ShowPlots(const CliContext& context, const std::vector<Plot>& plots,
                       const std::string& output) {
  if (output.empty()) {
    PrintPlots(plots);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(WriteFileAtomically(output, PlotSvg(plots)));
  std::fputs(OneFact(context.json, "file", output, output).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace graft

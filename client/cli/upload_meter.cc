#include "client/cli/upload_meter.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/byte_text.h"
#include "common/base/clock.h"

namespace graft {
namespace {

constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);
// A rate of less says nothing.
constexpr absl::Duration kLeastTime = absl::Milliseconds(500);

struct UploadScreen {
  LiveLine line{stderr};
  UploadView view;
  absl::Duration next_draw;

  void Show(const UploadProgress& progress, bool json) {
    const absl::Duration now = Clock::Real().Boottime();
    const std::string news = view.News(progress);
    const bool broken = progress.stage == UploadProgress::Stage::kBroken;
    if (!news.empty() && (line.live() || broken) && !json) {
      line.Erase();
      std::fprintf(stderr, "graft: %s", Printable(news).c_str());
    }
    const std::string text = view.Line(progress, now);
    if (broken || progress.done_bytes >= progress.total_bytes) {
      line.Erase();
    } else if (!json && now >= next_draw) {
      next_draw = now + kRedrawInterval;
      line.Draw(OneLine(absl::StrCat("  ", text), line.columns()));
    }
  }
};

}  // namespace

std::string UploadView::Line(const UploadProgress& progress, absl::Duration now) {
  const std::string done =
      absl::StrCat(FormatBytes(progress.done_bytes), " of ", FormatBytes(progress.total_bytes));
  if (progress.stage != UploadProgress::Stage::kSending) {
    sending_ = false;
    return absl::StrCat("reading ", done);
  }
  if (!sending_) begin_ = now;
  sending_ = true;
  const int64_t sent = progress.done_bytes - progress.kept_bytes;
  if (sent <= 0 || now - begin_ < kLeastTime) return done;
  const double rate = static_cast<double>(sent) / absl::ToDoubleSeconds(now - begin_);
  const auto left = static_cast<double>(progress.total_bytes - progress.done_bytes);
  return absl::StrCat(done, "  ", FormatBytes(static_cast<int64_t>(rate)), "/s  ",
                      FormatSeconds(left / rate), " left");
}

std::string UploadView::News(const UploadProgress& progress) {
  if (progress.stage == UploadProgress::Stage::kBroken) {
    told_kept_bytes_ = 0;
    return absl::StrCat("the upload broke (", progress.why.message(),
                        "); it goes on when the server is there\n");
  }
  if (progress.stage != UploadProgress::Stage::kSending || progress.kept_bytes == 0 ||
      progress.kept_bytes == told_kept_bytes_) {
    return "";
  }
  told_kept_bytes_ = progress.kept_bytes;
  const std::string total = FormatBytes(progress.total_bytes);
  if (progress.kept_bytes == progress.total_bytes) {
    return absl::StrCat("all ", total, " are there already\n");
  }
  return absl::StrCat("goes on at ", FormatBytes(progress.kept_bytes), " of ", total, "\n");
}

UploadObserver UploadMeter(const CliContext& context) {
  return [screen = std::make_shared<UploadScreen>(),
          json = context.json](const UploadProgress& progress) { screen->Show(progress, json); };
}

}  // namespace graft

#include "server/process/data_commands.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/byte_text.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "server/operations/artifacts_owner.h"
#include "server/operations/restore.h"
#include "server/process/data_operations.h"

namespace graft {
namespace {

// What is done now, on standard error: redrawn on a terminal, else one line for each thing.
class ProgressLine {
 public:
  ~ProgressLine() { Clear(); }

  OperationProgress Function() {
    return [this](const admin::v1::Progress& progress) {
      Show(progress);
      return true;
    };
  }
  void Clear() const {
    if (terminal_ && !what_.empty()) std::fprintf(stderr, "\r\033[K");
  }

 private:
  void Show(const admin::v1::Progress& progress) {
    if (!terminal_ && progress.what() == what_) return;
    what_ = progress.what();
    std::string amount;
    if (progress.total_bytes() > 0) {
      const std::string total = FormatBytes(progress.total_bytes());
      amount = terminal_ ? absl::StrCat(": ", FormatBytes(progress.done_bytes()), " of ", total)
                         : absl::StrCat(": ", total);
    }
    std::fprintf(stderr, "%s%s%s%s", terminal_ ? "\r\033[K" : "", what_.c_str(), amount.c_str(),
                 terminal_ ? "" : "\n");
  }

  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  std::string what_;
};

template <typename... Parts>
void Say(const Parts&... parts) {
  std::printf("%s\n", absl::StrCat(parts...).c_str());
}

std::string Count(int64_t blobs, int64_t bytes) {
  return absl::StrCat(blobs, blobs == 1 ? " blob (" : " blobs (", FormatBytes(bytes), ")");
}

void Print(const admin::v1::CheckReport& report) {
  Say("artifacts: those in ", report.artifacts(), " ",
      report.owner_id().empty() ? "do not say whose they are"
                                : absl::StrCat("belong to the store ", report.owner_id(),
                                               ", last used as ", report.owner_store()));
  Say("store:     ", report.store(), " is the store ", report.store_id());
  Say("blobs:     the store names ", report.named_blobs(), " and does not name ",
      report.unnamed_blobs(), " (", FormatBytes(report.named_bytes()), " and ",
      FormatBytes(report.unnamed_bytes()), ")");
  for (const std::string& problem : report.problems()) Say("problem:   ", problem);
  if (report.problem_count() > report.problems_size()) {
    Say("problem:   and ", report.problem_count() - report.problems_size(), " more");
  }
}

absl::Status Adopt(const ServerFlags& flags, const admin::v1::CheckReport& report) {
  Say("Adopted, they are this store's: a server with it deletes, after a day of running, the ",
      report.unnamed_blobs(),
      " blobs that the store does not name, and at once the folders and logs of what it does not "
      "know.");
  if (!flags.check_adopt) {
    return absl::FailedPreconditionError("the artifacts are not this store's; --adopt makes them");
  }
  RETURN_IF_ERROR(WriteArtifactsOwner(flags.artifacts, {report.store_id(), flags.store}));
  Say("Adopted.");
  return absl::OkStatus();
}

absl::StatusOr<std::string> Absolute(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  if (error) return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.message()));
  return absolute;
}

}  // namespace

absl::Status CheckData(ServerFlags flags) {
  RETURN_IF_ERROR(CompleteServerFlags(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<DataOperations> data, OpenData(flags));
  if (data->server_runs() && flags.check_adopt) {
    return absl::FailedPreconditionError(absl::StrCat("a graft-server uses ", flags.data,
                                                      ", so its artifacts are its store's: "
                                                      "--adopt is for when none runs"));
  }
  admin::v1::CheckRequest request;
  request.set_read(flags.check_read);
  ProgressLine line;
  ASSIGN_OR_RETURN(const admin::v1::CheckReport report, data->Check(request, line.Function()));
  line.Clear();
  Print(report);
  const bool own = report.owner_id() == report.store_id();
  if (own) Say("The artifacts are this store's.");
  const absl::Status owned = own ? absl::OkStatus() : Adopt(flags, report);
  if (report.problem_count() > 0) {
    return absl::DataLossError(absl::StrCat(report.problem_count(), " problems were found"));
  }
  RETURN_IF_ERROR(owned);
  Say(flags.check_read ? "No problem was found; all bytes were read."
                       : "No problem was found; --read compares the blobs' bytes, too.");
  return absl::OkStatus();
}

absl::Status BackUpData(ServerFlags flags) {
  RETURN_IF_ERROR(CompleteServerFlags(flags));
  admin::v1::BackUpRequest request;
  ASSIGN_OR_RETURN(*request.mutable_to(), Absolute(flags.backup_to));
  ASSIGN_OR_RETURN(const std::unique_ptr<DataOperations> data, OpenData(flags));
  ProgressLine line;
  ASSIGN_OR_RETURN(const admin::v1::BackUpReport report, data->BackUp(request, line.Function()));
  line.Clear();
  Say("backup:    ", report.directory());
  Say("holds:     ", report.jobs(), report.jobs() == 1 ? " job, " : " jobs, ",
      Count(report.blobs(), report.blob_bytes()), ", ", report.log_files(), " files of logs");
  Say("copied:    ", FormatBytes(report.copied_bytes()),
      " of the blobs; the others are hard links");
  if (report.missing().empty()) return absl::OkStatus();
  for (const std::string& missing : report.missing()) Say("problem:   ", missing);
  return absl::DataLossError(absl::StrCat(
      "the backup is made, but for ", report.missing_size(),
      report.missing_size() == 1 ? " blob" : " blobs",
      " that the store names and has not; \"graft-server check --read\" says the same"));
}

absl::Status RestoreData(ServerFlags flags) {
  if (!flags.store.empty() || !flags.artifacts.empty()) {
    return absl::InvalidArgumentError(
        "restore puts all of it below --data DIR; leave --store and --artifacts away, and move "
        "graft.db or artifacts afterwards if they are to be elsewhere");
  }
  RETURN_IF_ERROR(CompleteServerFlags(flags));
  ASSIGN_OR_RETURN(const std::string from, Absolute(flags.restore_from));
  ProgressLine line;
  ASSIGN_OR_RETURN(const BackupManifest backup, Restore(from, flags.data, line.Function()));
  line.Clear();
  Say("restored:  ", flags.data, " is the store ", backup.store_id, " as of ", backup.time);
  Say("holds:     ", backup.jobs, backup.jobs == 1 ? " job, " : " jobs, ",
      Count(backup.blobs, backup.blob_bytes), "; every byte is what was backed up");
  if (!backup.missing_blobs.empty()) {
    Say("lacks:     ", backup.missing_blobs.size(),
        " blobs that were lost before the backup; \"graft-server check\" names them");
  }
  Say("Start it:  graft-server --data ", flags.data);
  return absl::OkStatus();
}

absl::Status CollectData(ServerFlags flags) {
  RETURN_IF_ERROR(CompleteServerFlags(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<DataOperations> data, OpenData(flags));
  admin::v1::CollectGarbageRequest request;
  request.set_dry_run(flags.collect_dry_run);
  ASSIGN_OR_RETURN(const admin::v1::CollectGarbageReport report, data->Collect(request));
  Say(request.dry_run() ? "would go:  " : "deleted:   ", Count(report.blobs(), report.bytes()),
      ", the logs of ", report.logs(), report.logs() == 1 ? " job" : " jobs", " that are gone");
  std::string why;
  if (report.young_blobs() > 0) {
    why = absl::StrCat(
        ": they lost their last name less than 5 minutes ago, or belong to uploads "
        "that began within a day; the first may go in ",
        absl::FormatDuration(absl::Seconds(report.first_due_seconds())), " of running time");
  }
  Say("not yet:   ", Count(report.young_blobs(), report.young_bytes()), why);
  Say("kept:      ", Count(report.named_blobs(), report.named_bytes()), " that the store names");
  if (report.held()) Say("A backup is under way: nothing is deleted until its end.");
  return absl::OkStatus();
}

}  // namespace graft

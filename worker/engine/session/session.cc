#include "worker/engine/session/session.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/usable_cores.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/session/session_impl.h"

namespace graft {

bool IsSameContent(const BaseModel& a, const BaseModel& b) {
  return a.sha256.empty() || b.sha256.empty() ? a.directory == b.directory : a.sha256 == b.sha256;
}

EngineSession::EngineSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EngineSession::~EngineSession() = default;

absl::StatusOr<std::unique_ptr<EngineSession>> EngineSession::Create(
    const SessionOptions& options) {
  std::unique_ptr<Impl> impl;
  const int threads = options.threads > 0 ? options.threads : UsableCores();
  RETURN_IF_ERROR(CatchTorchErrors([&]() -> absl::Status {
    ConfigureRuntime(threads);
    ASSIGN_OR_RETURN(const c10::Device device, ResolveDevice(options.device));
    impl = std::make_unique<Impl>(device, threads);
    return absl::OkStatus();
  }));
  return std::unique_ptr<EngineSession>(new EngineSession(std::move(impl)));
}

std::vector<std::string> EngineSession::Devices() {
  std::vector<std::string> devices = {"cpu"};
  for (int i = 0;; ++i) {
    const std::string name = absl::StrCat("cuda:", i);
    const absl::StatusOr<c10::Device> device = ResolveDevice(name);
    if (!device.ok()) return devices;
    // Without its versions.
    const std::string described = DescribeDevice(*device);
    devices.push_back(described.substr(0, described.find(',')));
  }
}

// LibTorch's CUDA half registers itself when it is loaded, whatever GPUs there are.
bool EngineSession::IsBuiltForCuda() { return c10::impl::hasDeviceGuardImpl(c10::kCUDA); }

bool EngineSession::HasNativeBf16() { return graft::HasNativeBf16(c10::Device(c10::kCPU)); }

std::string EngineSession::CpuCapability() { return at::get_cpu_capability(); }

std::string EngineSession::DeviceModel() const { return graft::DeviceModel(impl_->device()); }

int64_t EngineSession::GpuMemoryBytes() const { return graft::GpuMemoryBytes(impl_->device()); }

absl::StatusOr<FineTuneOutcome> EngineSession::FineTune(const FineTuneRequest& request,
                                                        EventSink& sink, StopToken& stop) {
  FineTuneOutcome outcome;
  const Impl::Running running(*impl_);
  RETURN_IF_ERROR(impl_->Guarded([&] { return impl_->FineTune(request, sink, stop, &outcome); }));
  return outcome;
}

absl::StatusOr<MeasureOutcome> EngineSession::Measure(const FineTuneRequest& request,
                                                      double within_seconds, StopToken& stop) {
  MeasureOutcome outcome;
  const Impl::Running running(*impl_);
  RETURN_IF_ERROR(
      impl_->Guarded([&] { return impl_->Measure(request, within_seconds, stop, &outcome); }));
  return outcome;
}

absl::StatusOr<EvaluateOutcome> EngineSession::Evaluate(const EvaluateRequest& request,
                                                        EventSink& sink, StopToken& stop) {
  EvaluateOutcome outcome;
  const Impl::Running running(*impl_);
  RETURN_IF_ERROR(impl_->Guarded([&] { return impl_->Evaluate(request, sink, stop, &outcome); }));
  return outcome;
}

absl::Status EngineSession::GenerateTexts(TextSource& source, StopToken& stop) {
  return impl_->GenerateTexts(source, stop);
}

void EngineSession::SetMemoryBudget(int64_t bytes) { impl_->SetMemoryBudget(bytes); }

void EngineSession::FreeUnused() { ReleaseFreeMemory(impl_->device()); }

bool EngineSession::IsBrokenBy(int code) const {
  return code == static_cast<int>(absl::StatusCode::kInternal) && !impl_->device().is_cpu();
}

absl::Status EngineSession::DumpLogits(const LogitsRequest& request, StopToken& stop) {
  return impl_->Guarded([&] { return impl_->DumpLogits(request, stop); });
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> EngineSession::Impl::Load(const BaseModel& base,
                                                                             Precision precision,
                                                                             Pulse& pulse) {
  Gpt2Model::Options options;
  options.device = device_;
  options.dtype = ResolvePrecision(precision, device_);
  options.pulse = &pulse;
  if (model_ != nullptr && IsSameContent(model_->source, base) &&
      model_->model->dtype() == options.dtype) {
    return model_;
  }
  ForgetModel();  // Before, so that two models are never in memory.
  ASSIGN_OR_RETURN(model_, LoadModel(base, options));
  MeasureMemory();
  return model_;
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> EngineSession::Impl::LoadForText(
    const GenerateRequest& request, Pulse& pulse) {
  const Precision precision = request.precision;
  const bool held = model_ != nullptr && IsSameContent(model_->source, request.base_model) &&
                    (precision == Precision::kAuto ||
                     model_->model->dtype() == ResolvePrecision(precision, device_));
  if (held) return model_;
  if (running_) return absl::UnavailableError("this engine runs a job on another base model");
  return Load(request.base_model, precision, pulse);
}

absl::Status EngineSession::Impl::Guarded(const std::function<absl::Status()>& body) {
  absl::Status status = CatchTorchErrors(body);
  if (absl::IsResourceExhausted(status)) ForgetModel();
  return status;
}

int EngineSession::Impl::UseThreads(int threads) {
  const int used = threads > 0 ? threads : threads_;
  at::set_num_threads(used);
  return used;
}

Execution EngineSession::Impl::ExecutionOf(const StageEvent& stage, const std::string& libtorch,
                                           const std::string& code_sha256) const {
  return {graft::DeviceModel(device_),
          device_.is_cpu() ? CpuCapability() : "",
          stage.precision,
          stage.threads,
          libtorch,
          code_sha256};
}

DataContext EngineSession::Impl::MakeDataContext(const LoadedModel& base,
                                                 const std::string& cache_directory,
                                                 int64_t num_virtual_tokens, int threads) const {
  DataContext context;
  context.tokenizer = base.tokenizer.get();
  context.tokenizer_sha256 = base.tokenizer_sha256;
  context.cache_directory = cache_directory;
  context.max_total_tokens = base.model->config().n_positions - num_virtual_tokens;
  context.threads = threads;
  return context;
}

absl::StatusOr<std::unique_ptr<AdapterSet>> LoadAdapter(const Gpt2Model& base,
                                                        const std::string& directory) {
  if (directory.empty()) return std::unique_ptr<AdapterSet>();
  return AdapterSet::Load(base, directory);
}

void GoOnAsBegun(const absl::StatusOr<Execution>& begun, Precision& precision, int& threads) {
  if (!begun.ok()) return;
  const bool was_fp32 = begun->precision == PrecisionName(c10::ScalarType::Float);
  if (precision == Precision::kAuto && was_fp32) precision = Precision::kFp32;
  if (threads == 0) threads = begun->threads;
}

absl::Status CheckEvaluationFits(const LoadedModel& base, const DataConfig& data,
                                 const EvaluationConfig& evaluation, int64_t num_virtual_tokens) {
  if (!data.text_field.empty() || evaluation.max_samples == 0) return absl::OkStatus();
  return CheckRoomForPrompts({base.tokenizer.get(), data, evaluation},
                             base.model->config().n_positions, num_virtual_tokens);
}

absl::Status MakeEmptyDirectory(const std::string& path) {
  RETURN_IF_ERROR(CreateDirectories(path));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  if (names.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path, ": is not empty"));
}

}  // namespace graft

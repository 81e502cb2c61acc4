#include "worker/agent/agent.h"

#include <pthread.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/jobs/timestamps.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

constexpr char kTokenCache[] = "cache/tokens";  // Below the state directory.

// Until the server's Welcome says its own.
constexpr absl::Duration kFirstHeartbeatInterval = absl::Milliseconds(500);

// A server that is away must not hold up the worker's end.
constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(1);

// An attempt takes far less from looking up its inputs to having opened them.
constexpr absl::Duration kCacheMinAge = absl::Hours(1);

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::string NewRequestId() {
  absl::BitGen random;
  return absl::StrCat("lease-", absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

ServerLink::Options WithIdentity(ServerLink::Options options,
                                 const worker::v1::WorkerIdentity& identity) {
  options.identity = identity;
  return options;
}

void Cancel(Attempt& attempt, bool saves) {
  if (saves) {
    attempt.SaveAndCancel();
  } else {
    attempt.Cancel();
  }
}

}  // namespace

Agent::Agent(Options options, std::shared_ptr<grpc::Channel> channel, EngineLauncher& launcher,
             Clock& clock, MetricRegistry& metrics)
    : options_(std::move(options)),
      clock_(clock),
      link_(std::move(channel), WithIdentity(options_.link, options_.identity)),
      inputs_(JoinPath(options_.state_directory, "cache"), link_),
      cache_limit_(JoinPath(options_.state_directory, "cache"), clock),
      engines_({options_.engine_idle, [this](const engine::v1::Hello& hello) { Learn(hello); }},
               launcher, clock),
      measurer_({JoinPath(options_.state_directory, kTokenCache), options_.engine_memory_bytes,
                 JoinPath(options_.state_directory, "work/measure.log")},
                link_, inputs_, engines_, clock),
      stop_(clock),
      silent_(clock),
      attempts_(clock),
      attempts_total_(metrics.AddCounter("graft_worker_attempts_total",
                                         "Attempts that ended here, by their end.", {"result"})),
      engine_crashes_total_(metrics.AddCounter("graft_engine_crashes_total",
                                               "Engines that ended without having been told to.")),
      heartbeats_total_(metrics.AddCounter("graft_worker_heartbeats_total",
                                           "Heartbeats sent to the server, by code.", {"code"})),
      busy_slots_gauge_(
          metrics.AddGauge("graft_worker_busy_slots", "Slots that run a job or a text now.")) {}

Agent::~Agent() { Stop(); }

absl::Status Agent::Start() {
  const std::string work = JoinPath(options_.state_directory, "work");
  RETURN_IF_ERROR(RemoveTree(work));
  RETURN_IF_ERROR(CreateDirectories(work));
  RETURN_IF_ERROR(CreateDirectories(JoinPath(options_.state_directory, "cache")));
  // Before any thread that looks at them.
  slots_.resize(options_.slots);
  for (Slot& slot : slots_) {
    const std::string log =
        JoinPath(work, absl::StrCat("generate-", &slot - slots_.data(), ".log"));
    slot.generator = std::make_unique<Generator>(Generator::Place::kSlot, log, link_, inputs_,
                                                 engines_, generations_);
  }
  guest_.generator = std::make_unique<Generator>(Generator::Place::kGuest, "", link_, inputs_,
                                                 engines_, generations_);
  {
    MutexLock lock(mutex_);
    working_threads_ = options_.slots + 1;
  }
  command_thread_ = std::thread([this] { FollowCommands(); });
  pthread_setname_np(command_thread_.native_handle(), "commands");
  heartbeat_thread_ = std::thread([this] { SendHeartbeats(); });
  pthread_setname_np(heartbeat_thread_.native_handle(), "heartbeat");
  for (Slot& slot : slots_) {
    slot.thread = std::thread([this, &slot] {
      RunSlot(slot);
      EndThread();
    });
    pthread_setname_np(slot.thread.native_handle(), "slot");
  }
  guest_.thread = std::thread([this] {
    ServeGuests();
    EndThread();
  });
  pthread_setname_np(guest_.thread.native_handle(), "guest-texts");
  return absl::OkStatus();
}

void Agent::Leave(absl::Duration patience) {
  {
    // First, for attempts that see the stop.
    MutexLock lock(mutex_);
    leave_by_ = std::min(leave_by_, clock_.Boottime() + patience);
  }
  stop_.Stop();
  {
    MutexLock lock(mutex_);
    woken_.NotifyAll();
  }
  measurer_.GiveWay();
  for (const auto& attempt : attempts_.All()) attempt->Leave(patience);
}

void Agent::Stop() {
  if (!stop_.stopped()) Leave(absl::ZeroDuration());
  WaitForThreads();
  // Whoever is still there has no engine any more, and knows why.
  for (const auto& attempt : attempts_.All()) attempt->Leave(absl::ZeroDuration());
  engines_.Stop();
  for (Slot& slot : slots_) {
    if (slot.thread.joinable()) slot.thread.join();
  }
  if (guest_.thread.joinable()) guest_.thread.join();
  silent_.Stop();
  if (command_thread_.joinable()) command_thread_.join();
  if (heartbeat_thread_.joinable()) {
    heartbeat_thread_.join();
    if (welcomed()) SayGoodbye();
  }
}

void Agent::EndThread() {
  MutexLock lock(mutex_);
  --working_threads_;
  woken_.NotifyAll();
}

void Agent::WaitForThreads() {
  MutexLock lock(mutex_);
  while (working_threads_ > 0 && clock_.Boottime() < leave_by_) {
    clock_.WaitUntil(woken_, mutex_, leave_by_);
  }
}

absl::Duration Agent::TimeToLeave() {
  MutexLock lock(mutex_);
  return leave_by_ - clock_.Boottime();
}

void Agent::FollowCommands() {
  worker::v1::ConnectRequest request;
  request.set_hostname(ToValidUtf8(HostName()));
  request.set_version(options_.version);
  for (const std::string& device : options_.devices) request.add_devices(device);
  request.set_slots(options_.slots);
  request.set_engine_threads(options_.engine_threads);
  request.set_measures(!options_.serves_only);
  request.set_batches_texts(true);
  request.set_serves_only(options_.serves_only);
  bool reachable = true;  // As far as was logged.
  absl::Duration pause = options_.link.first_delay;
  while (!stop_.stopped()) {
    bool welcomed = false;
    const absl::Status end = link_.FollowCommands(
        request,
        [&](const worker::v1::Command& command) {
          if (command.has_welcome()) welcomed = reachable = true;
          HandleCommand(command);
        },
        stop_);
    pause = welcomed ? options_.link.first_delay : std::min(pause * 1.5, options_.link.last_delay);
    if (!stop_.stopped() && (welcomed || reachable)) {
      Log(LogLevel::kWarning, "the server is away; trying until it is back",
          {{"reason", std::string(end.message())}});
      reachable = false;
    }
    stop_.WaitFor(pause);
  }
}

void Agent::HandleCommand(const worker::v1::Command& command) {
  if (command.has_welcome()) {
    inputs_.UseServerBlobs(command.welcome().blobs_directory());
    {
      MutexLock lock(mutex_);
      welcome_ = command.welcome();
    }
    Log(LogLevel::kInfo, "connected to the server");
    WakeSlots();
  } else if (command.has_work_available()) {
    measurer_.GiveWay();
    WakeSlots();
  } else if (command.has_cancel_job()) {
    const auto attempt =
        attempts_.Find(command.cancel_job().job(), command.cancel_job().lease_epoch());
    if (attempt != nullptr) Cancel(*attempt, command.cancel_job().save_checkpoint());
  } else if (command.has_pause_job()) {
    const auto attempt =
        attempts_.Find(command.pause_job().job(), command.pause_job().lease_epoch());
    if (attempt != nullptr) attempt->Pause();
  } else if (command.has_generate()) {
    const absl::Status pushed = generations_.Push(command.generate());
    if (!pushed.ok()) link_.ReportGenerationError(command.generate(), pushed).IgnoreError();
    RefuseTextsBehindJobs();
    WakeSlots();
  } else if (command.has_cancel_generate()) {
    const auto& text = command.cancel_generate();
    if (generations_.Remove(text.id(), text.row())) return;
    for (Slot& slot : slots_) slot.generator->Cancel(text.id(), text.row());
    guest_.generator->Cancel(text.id(), text.row());
  } else if (command.has_measure()) {
    measurer_.Push(command.measure());
    WakeSlots();
  }
}

// The server gives them to another worker, or keeps them until a heartbeat tells of a free slot.
void Agent::RefuseTextsBehindJobs() {
  while (running_jobs_ == options_.slots) {
    const auto text =
        generations_.Begin([this](const auto& one) { return !HasRoomBesideJob(one); });
    if (!text.has_value()) return;
    generations_.End(text->id());
    link_
        .ReportGenerationError(
            *text, absl::UnavailableError("every slot runs a job, none on this base model"))
        .IgnoreError();
  }
}

bool Agent::HasRoomBesideJob(const worker::v1::Command::Generate& text) {
  return engines_.held().with_job.contains(text.base_model().sha256());
}

void Agent::ServeGuests() {
  int64_t seen = 0;
  while (!stop_.stopped()) {
    const auto text = generations_.Begin([this](const auto& one) { return HasRoomBesideJob(one); });
    if (text.has_value()) {
      guest_.generator->Serve(*text, stop_);
    } else {
      seen = WaitForWakeUp(seen, heartbeat_interval());
    }
  }
}

Attempt::Options Agent::AttemptOptions() {
  Attempt::Options options;
  options.work_directory = JoinPath(options_.state_directory, "work");
  options.cache_directory = JoinPath(options_.state_directory, kTokenCache);
  options.memory_budget_bytes = options_.engine_memory_bytes;
  options.cancel_patience = options_.cancel_patience;
  options.least_hang_time = options_.least_hang_time;
  return options;
}

void Agent::Learn(const engine::v1::Hello& hello) {
  if (hello.device().empty()) return;  // An engine of an earlier build.
  worker::v1::Capabilities able;
  able.add_devices(hello.device());
  // Wherever it is not native bf16 is slow, but there.
  for (const char* precision : {"fp32", "bf16", "fp64"}) able.add_precisions(precision);
  able.set_cpu_capability(hello.cpu_capability());
  able.set_code_sha256(hello.code_sha256());
  able.set_memory_bytes(hello.memory_bytes());
  MutexLock lock(mutex_);
  capabilities_ = std::move(able);
}

std::optional<worker::v1::Capabilities> Agent::capabilities() {
  MutexLock lock(mutex_);
  return capabilities_;
}

// In a network that swallows packets the next one is sent while there is still a lease to renew.
absl::Duration Agent::heartbeat_timeout() {
  MutexLock lock(mutex_);
  const absl::Duration lease = FromProtoDuration(welcome_.lease_duration());
  return lease > absl::ZeroDuration() ? lease / 4 : absl::InfiniteDuration();
}

absl::Duration Agent::heartbeat_interval() {
  MutexLock lock(mutex_);
  const absl::Duration interval = FromProtoDuration(welcome_.heartbeat_interval());
  return interval > absl::ZeroDuration() ? interval : kFirstHeartbeatInterval;
}

bool Agent::welcomed() {
  MutexLock lock(mutex_);
  return welcome_.has_heartbeat_interval();
}

void Agent::SendHeartbeats() {
  while (!silent_.WaitFor(heartbeat_interval())) {
    SendHeartbeat();
    if (options_.on_heartbeat) options_.on_heartbeat();
  }
}

void Agent::SendHeartbeat() {
  worker::v1::HeartbeatRequest request;
  for (const auto& attempt : attempts_.All()) {
    auto& held = *request.add_leases();
    held.set_job(attempt->job());
    held.set_lease_epoch(attempt->lease_epoch());
  }
  request.set_free_slots(options_.slots - busy_slots_);
  const EnginePool::Held held = engines_.held();
  for (const std::string& base : held.idle) request.add_idle_base_models(base);
  for (const std::string& base : held.with_job) request.add_busy_base_models(base);
  request.set_engine_restarts_total(engine_crashes_);
  request.set_engine_restarts_acknowledged(acknowledged_crashes_);
  const absl::Duration sent = clock_.Boottime();
  const auto response = link_.Heartbeat(request, heartbeat_timeout());
  heartbeats_total_.Add({absl::StatusCodeToString(response.status().code())});
  if (!response.ok()) return;  // The leases run on until their deadline.
  acknowledged_crashes_ = request.engine_restarts_total();
  absl::Duration margin;
  {
    MutexLock lock(mutex_);
    margin = FromProtoDuration(welcome_.lease_margin());
  }
  const absl::Duration deadline = sent + FromProtoDuration(response->lease_duration()) - margin;
  for (const auto& renewal : response->renewals()) {
    const auto attempt = attempts_.Find(renewal.job(), renewal.lease_epoch());
    if (attempt == nullptr) continue;
    if (!renewal.held()) {
      attempt->End(Attempt::EndReason::kLeaseLost,
                   absl::FailedPreconditionError("the lease was lost"));
      continue;
    }
    attempt->Renew(deadline);
    if (renewal.pause()) attempt->Pause();
    attempt->WantCheckpoint(renewal.checkpoint_step());
    if (renewal.cancel()) Cancel(*attempt, renewal.cancel_saves());
  }
}

void Agent::SayGoodbye() {
  worker::v1::HeartbeatRequest request;
  request.set_engine_restarts_total(engine_crashes_);
  request.set_engine_restarts_acknowledged(acknowledged_crashes_);
  request.set_leaving(true);
  link_.Heartbeat(request, kGoodbyeTimeout).IgnoreError();
}

void Agent::WakeSlots() {
  MutexLock lock(mutex_);
  ++wake_ups_;
  woken_.NotifyAll();
}

int64_t Agent::WaitForWakeUp(int64_t seen, absl::Duration interval) {
  const absl::Duration deadline = clock_.Boottime() + interval;
  MutexLock lock(mutex_);
  while (wake_ups_ == seen && !stop_.stopped() && clock_.WaitUntil(woken_, mutex_, deadline)) {
  }
  return wake_ups_;
}

void Agent::RunSlot(Slot& slot) {
  int64_t seen = 0;
  while (!stop_.stopped()) {
    // A lease needs the margin that Welcome brings.
    if (welcomed() && Work(slot)) continue;
    // The interval is for a wake-up that was lost with its stream.
    seen = WaitForWakeUp(seen, heartbeat_interval());
  }
}

bool Agent::Work(Slot& slot) {
  if (auto text = generations_.Begin([](const auto&) { return true; }); text.has_value()) {
    busy_slots_gauge_.Set({}, ++busy_slots_);
    slot.generator->Serve(*text, stop_);
    busy_slots_gauge_.Set({}, --busy_slots_);
    return true;
  }
  if (options_.serves_only) return false;
  return RunNextJob() || MeasureNext();
}

bool Agent::MeasureNext() {
  const auto request = measurer_.Pop();
  if (!request.has_value()) return false;
  busy_slots_gauge_.Set({}, ++busy_slots_);
  measurer_.Serve(*request, stop_);
  busy_slots_gauge_.Set({}, --busy_slots_);
  return true;
}

bool Agent::RunNextJob() {
  const std::string request_id = NewRequestId();
  worker::v1::LeaseJobResponse response;
  const std::optional<worker::v1::Capabilities> able = capabilities();
  absl::Duration sent;
  const absl::Status leased = link_.Retry(stop_, [&] {
    sent = clock_.Boottime();
    ASSIGN_OR_RETURN(response, link_.LeaseJob(request_id, able));
    return absl::OkStatus();
  });
  if (!leased.ok() && !absl::IsCancelled(leased)) {
    Log(LogLevel::kError, "the server refuses to lease", {{"error", leased.ToString()}});
  }
  if (!leased.ok() || !response.has_lease()) return false;
  const worker::v1::Lease& lease = response.lease();
  absl::Duration margin;
  {
    MutexLock lock(mutex_);
    margin = FromProtoDuration(welcome_.lease_margin());
  }
  busy_slots_gauge_.Set({}, ++busy_slots_);
  ++running_jobs_;
  RefuseTextsBehindJobs();
  const auto attempt =
      std::make_shared<Attempt>(AttemptOptions(), Attempt::Parts{link_, inputs_, engines_, clock_},
                                lease, sent + FromProtoDuration(lease.lease_duration()) - margin);
  attempts_.Add(attempt);
  const absl::Cleanup done = [&] {
    attempts_.Remove(attempt);
    --running_jobs_;
    busy_slots_gauge_.Set({}, --busy_slots_);
  };
  // Leave() may have looked before it was there.
  if (stop_.stopped()) attempt->Leave(TimeToLeave());
  const Attempt::Outcome outcome = attempt->Run();
  attempts_total_.Add({outcome.result});
  if (outcome.engine_crashed) {
    ++engine_crashes_;
    engine_crashes_total_.Add({});
  }
  TrimInputs();
  return true;
}

void Agent::TrimInputs() {
  const absl::StatusOr<int64_t> removed = cache_limit_.Trim(options_.cache_max_bytes, kCacheMinAge);
  if (!removed.ok()) {
    Log(LogLevel::kWarning, "the cache could not be trimmed",
        {{"error", removed.status().ToString()}});
  } else if (*removed > 0) {
    Log(LogLevel::kInfo, "cache trimmed", {{"bytes", absl::StrCat(*removed)}});
  }
}

}  // namespace graft

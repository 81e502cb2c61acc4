#include "server/serving/text_telemetry.h"

namespace graft {

TextTelemetry::TextTelemetry(MetricRegistry& registry)
    : tokens_(registry.AddCounter("graft_generate_tokens_total",
                                  "Tokens of texts that were generated, by adapter.", {"adapter"})),
      first_token_seconds_(
          registry.AddHistogram("graft_generate_first_token_seconds",
                                "From the request for a text to its first token, by adapter.",
                                {"adapter"}, WaitBuckets())),
      token_seconds_(registry.AddHistogram("graft_generate_token_seconds",
                                           "Time of a token after a text's first, by adapter.",
                                           {"adapter"}, LatencyBuckets())),
      waiting_(registry.AddGauge("graft_generate_queue_requests",
                                 "Texts that wait for a worker, by adapter.", {"adapter"})) {
  tokens_.Add({LabelOf("")}, 0);
}

void TextTelemetry::OnFirstToken(const std::string& adapter, absl::Duration since_request) {
  first_token_seconds_.Observe({LabelOf(adapter)}, absl::ToDoubleSeconds(since_request));
}

void TextTelemetry::OnTokens(const std::string& adapter, int64_t tokens) {
  tokens_.Add({LabelOf(adapter)}, static_cast<double>(tokens));
}

void TextTelemetry::OnEnd(const std::string& adapter, absl::Duration time, int64_t tokens) {
  token_seconds_.Observe({LabelOf(adapter)},
                         absl::ToDoubleSeconds(time) / static_cast<double>(tokens));
}

void TextTelemetry::ShowWaiting(const std::map<std::string, size_t>& by_adapter) {
  std::map<std::string, size_t> by_label;
  for (const auto& [adapter, texts] : by_adapter) by_label[LabelOf(adapter)] += texts;
  {
    MutexLock lock(mutex_);
    for (const std::string& adapter : adapters_) by_label.try_emplace(adapter, 0);
  }
  waiting_.Clear();
  for (const auto& [label, texts] : by_label) waiting_.Set({label}, static_cast<double>(texts));
}

std::string TextTelemetry::LabelOf(const std::string& adapter) {
  MutexLock lock(mutex_);
  if (adapters_.contains(adapter)) return adapter;
  if (adapters_.size() >= kMaxAdaptersInTelemetry) return "other";
  adapters_.insert(adapter);
  return adapter;
}

}  // namespace graft

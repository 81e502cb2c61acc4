#pragma once

#include <string>
#include <vector>

#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "gtest/gtest.h"

namespace graft {

// Specs as a client writes them, and what the server knows of their names: a GPT-2 small, two data
// sets and a LoRA of rank 4.
class JobSpecTest : public ::testing::Test {
 protected:
  JobSpecTest() {
    model_.set_name("gpt2");
    model_.set_sha256(std::string(64, 'a'));
    model_.set_vocab_size(50257);
    model_.set_n_positions(1024);
    model_.set_n_embd(768);
    model_.set_n_layer(12);
    model_.set_n_head(12);
    train_.set_name("train");
    train_.set_sha256(std::string(64, 'b'));
    train_.set_num_rows(100);
    train_.add_fields("document");
    train_.add_fields("summary");
    validation_ = train_;
    validation_.set_name("valid");
    validation_.set_sha256(std::string(64, 'c'));
    adapter_.set_name("old");
    adapter_.set_sha256(std::string(64, 'd'));
    adapter_.set_base_model("gpt2");
    adapter_.set_base_model_sha256(model_.sha256());
    adapter_.mutable_method()->mutable_lora()->set_rank(4);
  }

  static v1::JobSpec LoraSpec() {
    v1::JobSpec spec;
    v1::FineTuneSpec& fine_tune = *spec.mutable_fine_tune();
    fine_tune.set_base_model("gpt2");
    fine_tune.mutable_data()->set_train("train");
    fine_tune.mutable_data()->set_validation("valid");
    fine_tune.mutable_method()->mutable_lora();
    return spec;
  }
  static v1::JobSpec EvaluateSpec() {
    v1::JobSpec spec;
    spec.mutable_evaluate()->set_base_model("gpt2");
    spec.mutable_evaluate()->mutable_data()->set_validation("valid");
    return spec;
  }

  SpecFacts FactsOf(const v1::JobSpec& spec) const {
    const SpecReferences names = ReferencesOf(spec, "");
    SpecFacts facts;
    facts.base_model = &model_;
    if (!names.adapter.name.empty()) facts.adapter = &adapter_;
    for (size_t i = 0; i < names.adapters.size(); ++i) facts.adapters.push_back(&adapters_[i]);
    if (!names.train.name.empty()) facts.train = &train_;
    if (!names.validation.name.empty()) facts.validation = &validation_;
    return facts;
  }
  absl::StatusOr<v1::JobSpec> Resolve(const v1::JobSpec& spec) const {
    return ResolveSpec(spec, FactsOf(spec), {.threads = 3}, "spec");
  }
  v1::FineTuneSpec ResolvedFineTune(const v1::JobSpec& spec) const {
    const auto resolved = Resolve(spec);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
    return resolved.ok() ? resolved->fine_tune() : v1::FineTuneSpec();
  }

  v1::Model model_;
  v1::Dataset train_, validation_;
  v1::Adapter adapter_;
  std::vector<v1::Adapter> adapters_;  // Of an evaluate job of several, in its order.
};

// The fields that a refusal names, in its order.
inline std::vector<std::string> FieldsOf(const absl::Status& status) {
  std::vector<std::string> fields;
  for (const auto& violation : FieldViolationsOf(status)) fields.push_back(violation.field());
  return fields;
}

}  // namespace graft

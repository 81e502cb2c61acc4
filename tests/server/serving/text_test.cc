#include "server/serving/text.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using worker::v1::Command;

class TextCallTest : public ::testing::Test {
 protected:
  static v1::GenerateResponse Piece(const std::string& text, int id) {
    v1::GenerateResponse response;
    response.set_text(text);
    response.add_ids(id);
    response.add_log_probabilities(-1);
    return response;
  }

  TextCall call_{std::vector<Command::Generate>(2), std::make_shared<StreamWaker>([] {}),
                 absl::ZeroDuration()};
};

TEST_F(TextCallTest, ASlowReaderGetsAllOfItInFewerMessages) {
  Text& text = call_.texts()[0];
  const int pieces = 3 * static_cast<int>(kMaxWaitingMessages);
  std::string sent;
  for (int i = 0; i < pieces; ++i) {
    sent += absl::StrCat(i, " ");
    v1::GenerateResponse piece = Piece(absl::StrCat(i, " "), i);
    if (i + 1 == pieces) piece.set_done(true);
    ASSERT_TRUE(call_.Push(text, piece));
    call_.Push(call_.texts()[1], Piece("another", 1));
  }
  call_.End(text, absl::OkStatus());
  std::string read;
  int messages = 0, ids = 0, log_probabilities = 0;
  bool done = false;
  v1::GenerateBatchResponse response;
  while (call_.Next(&response) == SourceState::kMessage) {
    if (response.row() == 1) continue;
    ++messages;
    read += response.response().text();
    for (const int id : response.response().ids()) EXPECT_EQ(id, ids++);
    log_probabilities += response.response().log_probabilities_size();
    EXPECT_FALSE(done) << "nothing comes after the end";
    done = response.response().done();
  }
  EXPECT_EQ(messages, static_cast<int>(kMaxWaitingMessages));
  EXPECT_EQ(read, sent);
  EXPECT_EQ(ids, pieces);
  EXPECT_EQ(log_probabilities, pieces);
  EXPECT_TRUE(done);
  // Now that the reader has caught up, each piece is a message again.
  ASSERT_TRUE(call_.Push(call_.texts()[1], Piece("x", 1)));
  ASSERT_TRUE(call_.Push(call_.texts()[1], Piece("y", 1)));
  ASSERT_EQ(call_.Next(&response), SourceState::kMessage);
  EXPECT_EQ(response.response().text(), "x");
}

TEST_F(TextCallTest, WhatNobodyReadsIsBounded) {
  Text& text = call_.texts()[0];
  const std::string large(kMaxWaitingTextBytes / 4, 'x');
  size_t pushed = 0;
  while (call_.Push(text, Piece(large, 1))) ASSERT_LT(++pushed, 100u);
  EXPECT_GE(pushed, kMaxWaitingMessages);
}

TEST_F(TextCallTest, ItEndsWhenAllTextsHave) {
  v1::GenerateBatchResponse response;
  call_.End(call_.texts()[1], absl::InternalError("broken"));
  ASSERT_EQ(call_.Next(&response), SourceState::kMessage);
  EXPECT_EQ(response.row(), 1);
  EXPECT_EQ(response.error().message(), "broken");
  EXPECT_EQ(call_.Next(&response), SourceState::kWait);
  call_.End(call_.texts()[0], absl::OkStatus());
  EXPECT_EQ(call_.Next(&response), SourceState::kEnd);
}

}  // namespace
}  // namespace graft

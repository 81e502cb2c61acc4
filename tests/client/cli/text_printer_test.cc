#include "client/cli/text_printer.h"

#include <string>

#include "common/rpc/status.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

class TextPrinterTest : public ::testing::Test {
 protected:
  static v1::GenerateBatchRequest Asked() {
    v1::GenerateBatchRequest request;
    request.add_requests()->set_adapter("news");
    v1::GenerateRequest& base = *request.add_requests();
    base.set_base_model("gpt2");
    base.set_num_return_sequences(2);
    return request;
  }
  static v1::GenerateBatchResponse Piece(int row, int sequence, const std::string& text,
                                         bool done) {
    v1::GenerateBatchResponse message;
    message.set_row(row);
    message.set_sequence(sequence);
    message.mutable_response()->set_text(text);
    message.mutable_response()->set_done(done);
    return message;
  }

  TextPrinter printer_{Asked(), /*on_terminal=*/false};
};

TEST_F(TextPrinterTest, TextsThatComeBesideEachOtherStandOneAfterTheOther) {
  EXPECT_EQ(printer_.Take(Piece(1, 1, "third\n", true)), "");
  EXPECT_EQ(printer_.Take(Piece(0, 0, "fir", false)), "==> news <==\nfir");
  EXPECT_EQ(printer_.Take(Piece(1, 0, "sec", false)), "");
  EXPECT_EQ(printer_.Take(Piece(0, 0, "st", false)), "st") << "as it comes";
  EXPECT_EQ(printer_.Take(Piece(0, 0, "", true)), "\n\n==> gpt2, 1 of 2 <==\nsec");
  EXPECT_EQ(printer_.Take(Piece(1, 0, "ond", true)), "ond\n\n==> gpt2, 2 of 2 <==\nthird\n");
  EXPECT_TRUE(printer_.error().ok());
}

TEST_F(TextPrinterTest, AnErrorStandsInItsPlace) {
  v1::GenerateBatchResponse failed;
  *failed.mutable_error() = ToRpcStatus(absl::ResourceExhaustedError("out of memory"));
  EXPECT_EQ(printer_.Take(Piece(0, 0, "Once", false)), "==> news <==\nOnce");
  EXPECT_EQ(printer_.Take(failed), "\n(failed: out of memory)\n");
  EXPECT_EQ(printer_.error().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(printer_.Take(Piece(1, 0, "", true)), "\n==> gpt2, 1 of 2 <==\n") << "no text at all";
}

TEST_F(TextPrinterTest, ARowThatWasNotAskedForIsNotPrinted) {
  EXPECT_EQ(printer_.Take(Piece(7, 0, "x", true)), "");
}

}  // namespace
}  // namespace graft

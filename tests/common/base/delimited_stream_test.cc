#include "common/base/delimited_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "common/base/unique_fd.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

struct Pair {
  Pair() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    left = UniqueFd(fds[0]);
    right = UniqueFd(fds[1]);
  }
  UniqueFd left, right;
};

TEST(DelimitedStreamTest, MessagesOfEveryLengthArriveWholeAndInOrder) {
  Pair pair;
  const std::vector<size_t> sizes = {0, 1, 127, 128, 16383, 16384, 300000, 5};
  std::thread sender([&] {
    DelimitedWriter writer(pair.left.get());
    for (size_t size : sizes) EXPECT_TRUE(writer.Write(std::string(size, 'a' + size % 26)).ok());
    pair.left = UniqueFd();
  });
  DelimitedReader reader(pair.right.get());
  for (size_t size : sizes) {
    auto message = reader.Read();
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(*message, std::string(size, 'a' + size % 26));
  }
  EXPECT_EQ(reader.Read().status().code(), absl::StatusCode::kOutOfRange);
  sender.join();
}

TEST(DelimitedStreamTest, EndInsideAMessageIsDataLoss) {
  Pair pair;
  ASSERT_EQ(write(pair.left.get(),
                  "\x05"
                  "abc",
                  4),
            4);
  pair.left = UniqueFd();
  EXPECT_EQ(DelimitedReader(pair.right.get()).Read().status().code(), absl::StatusCode::kDataLoss);
}

TEST(DelimitedStreamTest, AnImpossibleLengthIsDataLossAndAllocatesNothing) {
  Pair pair;
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
  ASSERT_EQ(write(pair.left.get(), huge.data(), huge.size()), 9);
  EXPECT_EQ(DelimitedReader(pair.right.get()).Read().status().code(), absl::StatusCode::kDataLoss);
}

TEST(DelimitedStreamTest, WritingToAPeerThatIsGoneIsUnavailable) {
  Pair pair;
  pair.right = UniqueFd();
  EXPECT_EQ(DelimitedWriter(pair.left.get()).Write("hello").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace graft

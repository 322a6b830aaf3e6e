// SPDX-License-Identifier: Apache-2.0
#include "base/netlink_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::base::netlink_view_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kSequence = 7;
constexpr uint16_t kType = 0x1234;

// Netlink messages as the kernel makes them.
class Messages {
 public:
  Messages& Add(uint16_t type, uint16_t flags = 0, uint32_t sequence = kSequence,
                absl::string_view payload = "") {
    nlmsghdr* const header = mnl_nlmsg_put_header(buffer_.data() + size_);
    header->nlmsg_type = type;
    header->nlmsg_flags = flags;
    header->nlmsg_seq = sequence;
    if (!payload.empty()) {
      auto* const body = static_cast<char*>(mnl_nlmsg_put_extra_header(header, payload.size()));
      payload.copy(body, payload.size());
    }
    size_ += MNL_ALIGN(header->nlmsg_len);
    return *this;
  }
  Messages& Error(int error, uint16_t type = NLMSG_ERROR) {
    nlmsgerr body{};
    body.error = -error;
    return Add(type, 0, kSequence, {reinterpret_cast<const char*>(&body), sizeof(body)});
  }
  absl::string_view bytes() const { return {buffer_.data(), size_}; }

 private:
  alignas(nlmsghdr) std::array<char, 4096> buffer_{};
  size_t size_ = 0;
};

int ErrorIn(int32_t value) {
  return ErrorOf({reinterpret_cast<const char*>(&value), sizeof(value)});
}

TEST(ErrorOfTest, ANumberThatIsNoErrnoIsAProtocolError) {
  EXPECT_EQ(ErrorIn(0), 0);
  EXPECT_EQ(ErrorIn(-EPERM), EPERM);
  EXPECT_EQ(ErrorIn(-4095), 4095);
  for (const int32_t value : {EPERM, -4096, std::numeric_limits<int32_t>::min()}) {
    EXPECT_EQ(ErrorIn(value), EPROTO) << value;
  }
  EXPECT_EQ(ErrorOf("abc"), EPROTO);
}

struct Outcome {
  std::vector<uint16_t> types;  // of the messages that reached the caller
  bool ended = false;
  bool interrupted = false;
  int error = 0;
};

Outcome Read(const Messages& messages, bool dump = true) {
  NetlinkReply reply(kSequence, dump);
  Outcome outcome;
  reply.Take(messages.bytes(),
             [&outcome](const nlmsghdr& message) { outcome.types.push_back(message.nlmsg_type); });
  outcome.ended = reply.ended();
  outcome.interrupted = reply.interrupted();
  outcome.error = reply.error();
  return outcome;
}

TEST(NetlinkReply, AListEndsWithDone) {
  const Outcome outcome = Read(Messages().Add(kType).Add(kType + 1).Add(NLMSG_DONE).Add(kType));
  EXPECT_THAT(outcome.types, ElementsAre(kType, kType + 1));
  EXPECT_TRUE(outcome.ended);
  EXPECT_FALSE(outcome.interrupted);
  EXPECT_EQ(outcome.error, 0);
}

TEST(NetlinkReply, AListWithoutDoneHasNotEnded) {
  EXPECT_FALSE(Read(Messages()).ended);
  EXPECT_FALSE(Read(Messages().Add(kType)).ended);
}

TEST(NetlinkReply, SkipsMessagesOfAnEarlierRequest) {
  const Outcome outcome =
      Read(Messages().Add(kType, 0, kSequence - 1).Add(NLMSG_DONE, 0, kSequence - 1).Add(kType));
  EXPECT_THAT(outcome.types, ElementsAre(kType));
  EXPECT_FALSE(outcome.ended);
}

TEST(NetlinkReply, DoneReportsTheError) {
  for (const int error : {ENOENT, EPERM}) {
    const Outcome outcome = Read(Messages().Error(error));
    EXPECT_TRUE(outcome.ended);
    EXPECT_EQ(outcome.error, error);
    EXPECT_FALSE(outcome.interrupted);
  }
  // A walk that failed half way.
  EXPECT_EQ(Read(Messages().Add(kType).Error(ENOMEM, NLMSG_DONE)).error, ENOMEM);
  EXPECT_EQ(Read(Messages().Error(0, NLMSG_DONE)).error, 0);
  // Too short to hold an errno.
  EXPECT_EQ(Read(Messages().Add(NLMSG_ERROR)).error, EPROTO);
}

TEST(NetlinkReply, OnlyAListIgnoresAnAcknowledgement) {
  EXPECT_EQ(Read(Messages().Error(0), /*dump=*/true).error, EPROTO);
  const Outcome outcome = Read(Messages().Add(kType).Error(0), /*dump=*/false);
  EXPECT_THAT(outcome.types, ElementsAre(kType));
  EXPECT_TRUE(outcome.ended);
  EXPECT_EQ(outcome.error, 0);
}

TEST(NetlinkReply, AChangeDuringTheWalkInterrupts) {
  EXPECT_TRUE(Read(Messages().Add(NLMSG_DONE, NLM_F_DUMP_INTR)).interrupted);
  EXPECT_TRUE(Read(Messages().Add(kType, NLM_F_DUMP_INTR).Add(NLMSG_DONE)).interrupted);
  EXPECT_TRUE(Read(Messages().Error(EINTR)).interrupted);
  EXPECT_TRUE(Read(Messages().Error(EAGAIN, NLMSG_DONE)).interrupted);
}

TEST(NetlinkView, ValuesAndHeadersHaveTheirSize) {
  const std::string bytes("\1\0\0\0\2\0\0\0", 8);
  EXPECT_EQ(ValueOf<uint32_t>(absl::string_view(bytes).substr(0, 4)), 1U);
  EXPECT_FALSE(ValueOf<uint32_t>(bytes).has_value());
  EXPECT_EQ(HeaderOf<uint32_t>(bytes), 1U);
  EXPECT_FALSE(HeaderOf<uint32_t>(absl::string_view(bytes).substr(0, 3)).has_value());
  EXPECT_EQ(AttributesBehind<uint32_t>(bytes).size(), 4U);
  EXPECT_THAT(AttributesBehind<uint64_t>(absl::string_view(bytes).substr(0, 7)), IsEmpty());
}

TEST(NetlinkView, NotificationsNameTheirTable) {
  const auto table = [](uint8_t subsystem, uint8_t type) {
    nfgenmsg header{};
    header.nfgen_family = AF_INET6;
    std::string payload(reinterpret_cast<const char*>(&header), sizeof(header));
    payload += std::string("\x08\0\1\0nat\0", 8);
    return ChangedTable({static_cast<uint16_t>(subsystem << 8 | type), 0, 0, payload});
  };
  const auto changed = table(NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE);
  ASSERT_TRUE(changed.has_value());
  EXPECT_EQ(changed->family, AF_INET6);
  EXPECT_FALSE(table(NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN).has_value());
  EXPECT_FALSE(table(NFNL_SUBSYS_CTNETLINK, NFT_MSG_NEWRULE).has_value());
}

}  // namespace
}  // namespace npg::base::netlink_view_test

// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"
#include "testing/byte_step.h"
#include "testing/testdata.h"

namespace npg::rules::rule_changes_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

// NFPROTO_..., whose header conflicts with <netinet/in.h>.
constexpr uint8_t kInet = 1;
constexpr uint8_t kIp4 = 2;
constexpr uint8_t kArp = 3;
constexpr uint8_t kIp6 = 10;

// A notification as the kernel makes it.
class Notification {
 public:
  Notification(uint8_t type, uint8_t family, const char* table) {
    mnl_nlmsg_put_header(buffer_.data());
    header()->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type);
    auto* nft = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header(), sizeof(nfgenmsg)));
    nft->nfgen_family = family;
    if (table != nullptr) mnl_attr_put_strz(header(), NFTA_TABLE_NAME, table);
  }
  Notification& Name(uint16_t attribute, const char* name) {
    mnl_attr_put_strz(header(), attribute, name);
    return *this;
  }
  Notification& Hook() {
    nlattr* const hook = mnl_attr_nest_start(header(), NFTA_CHAIN_HOOK);
    mnl_attr_put_u32(header(), NFTA_HOOK_HOOKNUM, htonl(3));
    mnl_attr_nest_end(header(), hook);
    return *this;
  }
  bool NoteIn(RuleChanges& changes) const {
    const auto& message = *reinterpret_cast<const nlmsghdr*>(buffer_.data());
    return NoteChange(base::ViewOf(message), "nodeport_guard", changes);
  }

 private:
  // A copy has a buffer of its own.
  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }

  alignas(nlmsghdr) std::array<char, 1024> buffer_{};
};

RuleChanges Noted(const Notification& notification) {
  RuleChanges changes;
  EXPECT_TRUE(notification.NoteIn(changes));
  EXPECT_FALSE(changes.empty());
  return changes;
}

const TableId& Nat() {
  static const auto* const kNat = new TableId{Engine::kNfTables, kIp4, "nat"};
  return *kNat;
}

TEST(RuleChangesTest, NamesWhatANotificationNames) {
  for (const uint8_t type : {NFT_MSG_NEWRULE, NFT_MSG_DELRULE}) {
    const RuleChanges changes =
        Noted(Notification(type, kIp4, "nat").Name(NFTA_RULE_CHAIN, "OUTPUT"));
    EXPECT_THAT(changes.chains, ElementsAre(ChainName{Nat(), "OUTPUT"}));
    EXPECT_FALSE(changes.base_chains);
    EXPECT_FALSE(changes.all);
  }
  for (const uint8_t type : {NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM}) {
    EXPECT_THAT(Noted(Notification(type, kIp4, "nat").Name(NFTA_SET_ELEM_LIST_SET, "ports")).sets,
                ElementsAre(Pair(Nat(), "ports")));
  }
  for (const uint8_t type : {NFT_MSG_NEWSET, NFT_MSG_DELSET}) {
    EXPECT_THAT(Noted(Notification(type, kIp4, "nat").Name(NFTA_SET_NAME, "ports")).sets,
                ElementsAre(Pair(Nat(), "ports")));
  }
}

TEST(RuleChangesTest, DistinguishesChainsWithAHook) {
  RuleChanges changes =
      Noted(Notification(NFT_MSG_NEWCHAIN, kIp6, "filter").Name(NFTA_CHAIN_NAME, "theirs"));
  EXPECT_THAT(changes.chains,
              ElementsAre(ChainName{{Engine::kNfTables, kIp6, "filter"}, "theirs"}));
  EXPECT_FALSE(changes.base_chains);
  changes =
      Noted(Notification(NFT_MSG_NEWCHAIN, kInet, "filter").Name(NFTA_CHAIN_NAME, "in").Hook());
  EXPECT_TRUE(changes.base_chains);
  // Without the hook, even if it had one.
  changes = Noted(Notification(NFT_MSG_DELCHAIN, kIp4, "nat").Name(NFTA_CHAIN_NAME, "OUTPUT"));
  EXPECT_THAT(changes.removed, ElementsAre(ChainName{Nat(), "OUTPUT"}));
  EXPECT_THAT(changes.chains, IsEmpty());
}

TEST(RuleChangesTest, NamesTables) {
  RuleChanges changes = Noted(Notification(NFT_MSG_DELTABLE, kIp4, "nat"));
  EXPECT_THAT(changes.tables, ElementsAre(Nat()));
  EXPECT_TRUE(changes.base_chains);
  // It may have become dormant.
  changes = Noted(Notification(NFT_MSG_NEWTABLE, kIp4, "nat"));
  EXPECT_THAT(changes.tables, IsEmpty());
  EXPECT_TRUE(changes.base_chains);
}

TEST(RuleChangesTest, IgnoresWhatNoConnectMeets) {
  RuleChanges changes;
  for (const Notification& notification :
       {Notification(NFT_MSG_NEWRULE, kInet, "nodeport_guard").Name(NFTA_RULE_CHAIN, "output"),
        Notification(NFT_MSG_DELTABLE, kInet, "nodeport_guard"),
        Notification(NFT_MSG_NEWRULE, kArp, "filter").Name(NFTA_RULE_CHAIN, "output"),
        Notification(NFT_MSG_NEWOBJ, kIp4, "nat"), Notification(NFT_MSG_NEWGEN, 0, nullptr),
        Notification(NFT_MSG_NEWFLOWTABLE, kIp4, "nat")}) {
    EXPECT_FALSE(notification.NoteIn(changes));
  }
  EXPECT_TRUE(changes.empty());
  EXPECT_TRUE(Notification(NFT_MSG_DELTABLE, kIp4, "nodeport_guard").NoteIn(changes))
      << "the table of another program";
  // The end of a transaction is nothing by itself, also while everything is to be read.
  changes.NoteAll();
  EXPECT_FALSE(Notification(NFT_MSG_NEWGEN, 0, nullptr).NoteIn(changes));
  EXPECT_FALSE(Notification(NFT_MSG_NEWOBJ, kIp4, "nat").NoteIn(changes));
}

TEST(RuleChangesTest, ManyChangesAreAll) {
  RuleChanges changes;
  for (int i = 0; i < 5000; ++i) {
    EXPECT_TRUE(Notification(NFT_MSG_NEWRULE, kIp4, "nat")
                    .Name(NFTA_RULE_CHAIN, absl::StrCat("KUBE-SVC-", i).c_str())
                    .NoteIn(changes));
  }
  EXPECT_TRUE(changes.all);
  EXPECT_TRUE(changes.base_chains);
  EXPECT_FALSE(changes.legacy);
  EXPECT_THAT(changes.chains, IsEmpty());
}

TEST(RuleChangesTest, Unites) {
  EXPECT_TRUE(RuleChanges().empty());
  RuleChanges changes =
      Noted(Notification(NFT_MSG_NEWRULE, kIp4, "nat").Name(NFTA_RULE_CHAIN, "OUTPUT"));
  RuleChanges other = Noted(Notification(NFT_MSG_NEWSET, kIp4, "nat").Name(NFTA_SET_NAME, "ports"));
  other.legacy = true;
  changes.Add(other);
  EXPECT_EQ(changes.chains.size(), 1U);
  EXPECT_EQ(changes.sets.size(), 1U);
  EXPECT_TRUE(changes.legacy);
  EXPECT_FALSE(changes.ip_sets);
  changes.Add(RuleChanges::Everything());
  EXPECT_TRUE(changes.all);
  EXPECT_TRUE(changes.ip_sets);
  EXPECT_THAT(changes.chains, IsEmpty());
  changes.Add(other);
  EXPECT_THAT(changes.sets, IsEmpty()) << "all has them";
}

TEST(RuleChangesTest, SurvivesDamage) {
  std::string bytes = testing::ReadTestdata("kube-proxy-1.36-service-nodeports.bin");
  for (char& byte : bytes) {
    const char old = byte;
    for (size_t value = 0; value < 256; value += testing::kByteStep) {
      byte = static_cast<char>(value);
      RuleChanges changes;
      absl::string_view rest = bytes;
      for (base::NetlinkMessage message; base::NextMessage(rest, message);) {
        (void)NoteChange(message, "nodeport_guard", changes);
      }
    }
    byte = old;
  }
}

}  // namespace
}  // namespace npg::rules::rule_changes_test

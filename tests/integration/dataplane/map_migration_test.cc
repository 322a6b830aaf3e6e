// SPDX-License-Identifier: Apache-2.0
// What a start makes of the maps, programs and links that another build has pinned.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/skeleton.h"
#include "guard_abi.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::map_migration_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MapMigrationTest : public DataplaneTest {
 protected:
  void ExpectCarriedOver(const core::PortKey& key, abi::SourceBits sources);
};

// Expects that the next guard has the entry of the other layout: "a/b", since 42.
void MapMigrationTest::ExpectCarriedOver(const core::PortKey& key, abi::SourceBits sources) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, ProgramConstants{}));
  EXPECT_THAT(guard->notes(), ElementsAre(HasSubstr("1 entries carried over")));
  NPG_ASSERT_OK(guard->Attach(cgroup_fd_.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::optional<abi::NodePort> entry, state.NodePort(key));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->sources, sources);
  EXPECT_EQ(entry->since, absl::FromUnixSeconds(42));
  EXPECT_EQ(entry->service, "a/b");
}

TEST_F(MapMigrationTest, EntriesOfAnOlderLayoutAreCarriedOver) {
  // 24 bytes: sources, reserved, since, and a Service cut to 8.
  const base::UniqueFd old = PinMap(pins_, "nodeports", sizeof(npg_port_key), 24);
  const npg_port_key key{kPort, IPPROTO_UDP, 0};
  npg_nodeport value{};
  value.sources = NPG_SOURCE_FILE;
  value.since = 42;
  std::memcpy(value.service, "a/b", 4);
  ASSERT_EQ(bpf_map_update_elem(old.get(), &key, &value, BPF_ANY), 0);

  ExpectCarriedOver(abi::FromC(key), NPG_SOURCE_FILE);
}

// After a rollback, an older build finds the maps of the newer one.
TEST_F(MapMigrationTest, EntriesOfANewerLayoutAreCutToTheKnownFields) {
  struct Newer {
    npg_nodeport known;
    uint64_t more;
  };
  const base::UniqueFd newer = PinMap(pins_, "nodeports", sizeof(npg_port_key), sizeof(Newer));
  const npg_port_key key{kPort, IPPROTO_TCP, 0};
  Newer value{};
  value.known.sources = NPG_SOURCE_KUBERNETES;
  value.known.since = 42;
  std::memcpy(value.known.service, "a/b", 4);
  value.more = ~uint64_t{0};
  ASSERT_EQ(bpf_map_update_elem(newer.get(), &key, &value, BPF_ANY), 0);

  ExpectCarriedOver(abi::FromC(key), NPG_SOURCE_KUBERNETES);
}

TEST_F(MapMigrationTest, EntriesWithKeysOfAnOlderLayoutAreDroppedWithANote) {
  const base::UniqueFd old = PinMap(pins_, "nodeports", 8, sizeof(npg_nodeport));
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, ProgramConstants{}));
  EXPECT_THAT(guard->notes(), ElementsAre(HasSubstr("keys changed (8 to 4 bytes)")));
  NPG_ASSERT_OK(guard->Attach(cgroup_fd_.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  EXPECT_THAT(ports, IsEmpty());
}

// Pins of a build that did not have this map, which came without a new ABI version.
TEST_F(MapMigrationTest, AdoptsPinsWithoutTheMapOfSources) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  Connect(kPort);
  ASSERT_EQ(unlink(pins_.Map("sources").c_str()), 0);
  {
    NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(const auto sources, state.Sources());
    EXPECT_THAT(sources, IsEmpty());
  }
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  EXPECT_TRUE(guard->adopted());
  EXPECT_THAT(guard->notes(), IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1) << "a restart keeps the counters";
  NPG_ASSERT_OK(guard->SetSourceState(abi::Source::kFile, abi::SourceState()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto sources, state.Sources());
  EXPECT_EQ(sources.size(), 1);
}

// A later build may have appended fields. Then this build reads no states of sources,
// but everything else.
TEST_F(MapMigrationTest, ReadsNoSourcesOfAnotherLayout) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  ASSERT_EQ(unlink(pins_.Map("sources").c_str()), 0);
  const base::UniqueFd later =
      PinMap(pins_, "sources", sizeof(npg_source_key), sizeof(npg_source_state) + 8);
  const npg_source_key key{NPG_SOURCE_FILE};
  const std::array<uint8_t, sizeof(npg_source_state) + 8> value{1};
  ASSERT_EQ(bpf_map_update_elem(later.get(), &key, value.data(), BPF_ANY), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto sources, state.Sources());
  EXPECT_THAT(sources, IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  EXPECT_EQ(ports.size(), 1);
}

// The programs of another layout use the maps of that layout.
TEST_F(MapMigrationTest, AFailedRestartPinsTheFormerMapsAgain) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  ASSERT_EQ(unlink(pins_.Map("nodeports").c_str()), 0);
  const base::UniqueFd old = PinMap(pins_, "nodeports", sizeof(npg_port_key), 24);
  ASSERT_EQ(unlink(pins_.Map("sources").c_str()), 0);
  const uint32_t before = MapId("nodeports");
  ASSERT_NE(before, 0);
  ASSERT_NO_FATAL_FAILURE(BlockConnect6());
  EXPECT_THAT(StartInVain(/*service=*/true), HasSubstr("attach npg_connect6"));
  EXPECT_EQ(MapId("nodeports"), before);
  EXPECT_FALSE(std::filesystem::exists(pins_.Map("sources"))) << "it was added by the start";
  EXPECT_TRUE(std::filesystem::exists(pins_.Map("counters")));
}

// Moves a pin of this build to the name that ABI versions below 4 have.
void RenamePin(const std::string& from, const std::string& to) {
  EXPECT_EQ(std::rename(from.c_str(), to.c_str()), 0) << from;
}

// A start over the guard of an earlier ABI version, which has other programs at bind(), fails
// after it has pinned all programs and all links but the last one.
TEST_F(MapMigrationTest, AFailedStartRemovesThePinsThatItAdded) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  RenamePin(pins_.Program("npg_bind4"), pins_.Program("npg_post_bind4"));
  RenamePin(pins_.Program("npg_bind6"), pins_.Program("npg_post_bind6"));
  RenamePin(pins_.Link("npg_bind4"), pins_.Link("npg_post_bind4"));
  RenamePin(pins_.Link("npg_bind6"), pins_.Link("npg_post_bind6"));
  const uint32_t before = Attached("npg_connect4");
  ASSERT_NE(before, 0);

  // A link of another cgroup is replaced, but the kernel refuses to rename over a mount point.
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node_->cgroup().MakeChild("elsewhere"));
  const base::UniqueFd child_fd(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd program, OpenPin(pins_.Program("npg_post_bind6")));
  const base::UniqueFd other(
      bpf_link_create(program.get(), child_fd.get(), BPF_CGROUP_INET6_BIND, nullptr));
  ASSERT_TRUE(other);
  const std::string last = pins_.Link("npg_bind6");
  ASSERT_EQ(bpf_obj_pin(other.get(), last.c_str()), 0);
  ASSERT_EQ(mount(last.c_str(), last.c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_THAT(StartInVain(/*service=*/false), HasSubstr(absl::StrCat("publish ", last)));
  ASSERT_EQ(umount2(last.c_str(), MNT_DETACH), 0);

  EXPECT_EQ(Attached("npg_connect4"), before);
  EXPECT_EQ(ProgramId(pins_.Program("npg_connect4")), before);
  for (const char* name : {"npg_bind4", "npg_bind6"}) {
    EXPECT_FALSE(std::filesystem::exists(pins_.Program(name))) << name;
  }
  for (const char* name : kFormerLinkNames) {
    EXPECT_TRUE(std::filesystem::exists(pins_.Program(name))) << name;
    EXPECT_TRUE(std::filesystem::exists(pins_.Link(name))) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(pins_.Link("npg_bind4")));
  EXPECT_TRUE(std::filesystem::exists(last)) << "it is of the other cgroup";
  for (const bpf_attach_type hook : {BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND}) {
    uint32_t attached = 0;
    ASSERT_EQ(bpf_prog_query(cgroup_fd_.get(), hook, 0, nullptr, nullptr, &attached), 0);
    EXPECT_EQ(attached, 1) << "those of the earlier guard, hook " << hook;
  }
}

TEST_F(MapMigrationTest, ReadsTheRecordsOfEarlierAbiVersions) {
  NPG_ASSERT_OK_AND_ASSIGN(auto records, ReadFormerRecords(pins_));
  EXPECT_THAT(records, IsEmpty()) << "no guard";
  struct Value {
    uint32_t verdict, pid, uid, reserved;
    std::array<char, NPG_COMM_LEN> comm;
    uint64_t cgroup_id;
  };
  const base::UniqueFd map = PinMap(pins_, "listeners", sizeof(npg_listener_key), sizeof(Value));
  const auto put = [&map](uint8_t protocol, uint32_t verdict) {
    npg_listener_key key{};
    key.port = kPort;
    key.protocol = protocol;
    const Value value{verdict, 812, 7, 0, {'a', 'g', 'e', 'n', 't'}, 42};
    return bpf_map_update_elem(map.get(), &key, &value, BPF_ANY);
  };
  ASSERT_EQ(put(IPPROTO_TCP, NPG_OWNER_GUARDED), 0);
  ASSERT_EQ(put(IPPROTO_UDP, NPG_OWNER_GUARDED), 0);
  core::Binder binder;
  binder.pid = 812;
  binder.comm = "agent";
  binder.uid = 7;
  binder.cgroup_id = 42;
  const abi::ListenerKey tcp{{kPort, core::Protocol::kTcp}, {}};
  const abi::ListenerKey udp{{kPort, core::Protocol::kUdp}, {}};
  NPG_ASSERT_OK_AND_ASSIGN(records, ReadFormerRecords(pins_));
  ASSERT_EQ(records.size(), 2);
  EXPECT_EQ(records[tcp], binder) << "it may have asked for any port";
  binder.asked_port = kPort;
  EXPECT_EQ(records[udp], binder) << "every UDP socket was a listener";
  ASSERT_EQ(put(IPPROTO_TCP, NPG_OWNER_IGNORED), 0);
  NPG_ASSERT_OK_AND_ASSIGN(records, ReadFormerRecords(pins_));
  EXPECT_EQ(records[tcp], binder) << "it holds the port";
}

TEST_F(MapMigrationTest, AddsTheCountsOfAnOlderLayoutOnce) {
  // A counter less than this build has.
  std::filesystem::create_directories(pins_.Maps());
  const base::UniqueFd old(bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", sizeof(uint32_t),
                                          sizeof(uint64_t), NPG_COUNTER_MAX - 1, nullptr));
  ASSERT_TRUE(old);
  ASSERT_EQ(bpf_obj_pin(old.get(), pins_.Map("counters").c_str()), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t cpus, PossibleCpus());
  std::vector<uint64_t> values(cpus);
  const auto count = [&](uint64_t sum) {
    const uint32_t index = NPG_COUNTER_EXEMPTED;
    values[0] = sum;
    ASSERT_EQ(bpf_map_update_elem(old.get(), &index, values.data(), BPF_ANY), 0);
  };
  count(5);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  count(7);
  for (int again = 0; again < 2; ++again) {
    NPG_EXPECT_OK(guard->FinishMigration());
    NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
    EXPECT_EQ(exempted, 7);
  }
}

}  // namespace
}  // namespace npg::dataplane::map_migration_test

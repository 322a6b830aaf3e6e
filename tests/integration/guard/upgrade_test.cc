// SPDX-License-Identifier: Apache-2.0
// As docs/upgrade.md states: this build adopts the state that a build with an earlier ABI
// version left in the kernel, and no connect meets a moment without a guard.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "abi/convert.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/mark.h"
#include "core/port_blocks.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/nft/nft_table.h"
#include "guard_abi.h"
#include "node/cgroups.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_maps.h"
#include "testing/guard_process.h"
#include "testing/hammer.h"
#include "testing/paths.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::upgrade_test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint16_t kPort = 33589;
constexpr int64_t kSince = 1'700'000'000;

const Dial& Tcp() {
  static const Dial dial{"127.0.0.1", kPort, Transport::kTcp};
  return dial;
}

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

// Values of an earlier layout may be shorter, because later builds only append fields.
template <typename Key, typename Value>
absl::Status Put(const Object& object, const char* name, const Key& key, const Value& value) {
  const bpf_map* map = bpf_object__find_map_by_name(object.get(), name);
  if (map == nullptr || bpf_map__key_size(map) != sizeof(key) ||
      bpf_map__value_size(map) > sizeof(value)) {
    return absl::InternalError(absl::StrCat("the earlier build has no such map ", name));
  }
  if (bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("fill ", name));
  }
  return absl::OkStatus();
}

class GuardUpgradeTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  }

  // Leaves the node as a build with ABI version `abi` does: programs attached, everything
  // pinned, no controller.
  absl::Status LeaveGuardOfAbi(uint32_t abi) const {
    const std::string path = TestdataPath(absl::StrCat("abi/abi-", abi, ".bpf.o"));
    const Object object(bpf_object__open_file(path.c_str(), nullptr));
    if (!object) return base::ErrnoStatus(errno, absl::StrCat("open ", path));
    if (bpf_program* learn = bpf_object__find_program_by_name(object.get(), "npg_learn_netns");
        learn != nullptr) {
      bpf_program__set_autoload(learn, false);
    }
    if (const int error = bpf_object__load(object.get()); error != 0) {
      return base::ErrnoStatus(-error, absl::StrCat("load ", path));
    }
    const base::UniqueFd cgroup(
        open(node().cgroup().path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    NPG_RETURN_IF_ERROR(Fill(object, abi, cgroup.get()));
    return Pin(object, abi, cgroup.get());
  }

  void Upgrade(uint32_t abi) {
    EXPECT_EQ(Ask(Tcp()), Hijacked());
    NPG_ASSERT_OK(LeaveGuardOfAbi(abi));
    for (int i = 0; i < 20; ++i) EXPECT_EQ(Ask(Tcp()), kHost) << "the earlier programs work";
    constexpr uint64_t counted_before = 20;
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t link, maps().LinkId("npg_connect4"));
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t program, maps().LinkProgramId("npg_connect4"));

    Hammer hammer({Tcp(), {"::ffff:127.0.0.1", kPort, Transport::kTcp}});
    NPG_ASSERT_OK(StartGuard());
    EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&, before = hammer.connects()] {
      return hammer.connects() > before + 10;
    }));
    EXPECT_THAT(hammer.Stop(), IsEmpty());

    EXPECT_THAT(guard().Log(), HasSubstr("adopted from an earlier run"));
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t link_now, maps().LinkId("npg_connect4"));
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t program_now, maps().LinkProgramId("npg_connect4"));
    EXPECT_EQ(link_now, link) << "the link stays, so that there is no gap";
    EXPECT_NE(program_now, program) << "the program is this build's";
    NPG_ASSERT_OK_AND_ASSIGN(const auto entry, maps().NodePort(kPort, Transport::kTcp));
    ASSERT_TRUE(entry.has_value());
    EXPECT_EQ(entry->since, kSince) << "known since before the upgrade";
    // The controller adds later what the earlier programs counted while it replaced them.
    // One count of that moment may be lost, as docs/upgrade.md states.
    const uint64_t connects = counted_before + hammer.connects();
    uint64_t counted = 0;
    EXPECT_TRUE(WaitUntil(absl::Seconds(10),
                          [&] {
                            counted += Counted(NPG_COUNTER_EXEMPTED);
                            return counted + 1 >= connects;
                          }))
        << counted << " of " << connects;
    EXPECT_LE(counted, connects);
    NPG_ASSERT_OK_AND_ASSIGN(const dataplane::GuardState state,
                             dataplane::GuardState::Open(dataplane::PinPaths(node().bpffs())));
    EXPECT_EQ(state.config().abi_version, NPG_ABI_VERSION);
    // The takeover ends by removing what only the earlier versions had.
    const std::vector<std::string> former = {maps().root() + "/links/npg_post_bind4",
                                             maps().root() + "/links/npg_post_bind6",
                                             maps().root() + "/maps/listeners"};
    EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&former] {
      return std::none_of(former.begin(), former.end(),
                          [](const std::string& pin) { return std::filesystem::exists(pin); });
    }));
    NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
    EXPECT_EQ(attached, 4);
  }

  // A listener that the programs of this ABI version saw: `answer` before and after the upgrade.
  void UpgradeWithListenerOf(uint32_t abi, const char* name, const std::string& answer) {
    host_.reset();
    NPG_ASSERT_OK(LeaveGuardOfAbi(abi));
    prctl(PR_SET_NAME, name);
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
    EXPECT_EQ(Ask(Tcp()), answer) << "with the earlier programs";
    NPG_ASSERT_OK(StartGuard());
    EXPECT_EQ(Ask(Tcp()), answer);
    // Also once the earlier records are gone.
    EXPECT_TRUE(WaitUntil(absl::Seconds(10), [this] {
      return !std::filesystem::exists(maps().root() + "/maps/listeners");
    }));
    EXPECT_EQ(Ask(Tcp()), answer);
    NPG_ASSERT_OK(guard().Stop());
    NPG_ASSERT_OK(StartGuard());
    EXPECT_EQ(Ask(Tcp()), answer);
  }

 private:
  absl::Status Fill(const Object& object, uint32_t abi, int cgroup) const {
    const absl::StatusOr<uint64_t> cookie = dataplane::NetnsCookie(cgroup);
    if (!cookie.ok()) return cookie.status();
    npg_config config{};
    config.abi_version = abi;
    config.mode = NPG_MODE_ENFORCE;
    config.mark = config.mark_mask = 0x1000;
    config.netns_cookie = *cookie;
    config.default_verdict = NPG_OWNER_GUARDED;
    NPG_RETURN_IF_ERROR(Put(object, "config", uint32_t{0}, config));
    npg_nodeport nodeport{};
    nodeport.sources = NPG_SOURCE_FILE;
    nodeport.since = kSince;
    std::memcpy(nodeport.service, "web/old", 8);
    for (const uint8_t protocol : {uint8_t{IPPROTO_TCP}, uint8_t{IPPROTO_UDP}}) {
      NPG_RETURN_IF_ERROR(Put(object, "nodeports", npg_port_key{kPort, protocol, 0}, nodeport));
    }
    // The default of those versions.
    const uint32_t verdict =
        abi < dataplane::kFirstAbiWithUids ? NPG_OWNER_IGNORED : NPG_OWNER_HOLDER;
    for (const char* name : {"kube-proxy", "ovnkube"}) {
      NPG_RETURN_IF_ERROR(
          Put(object, "owner_policy", abi::PolicyKeyOf(name), npg_policy{verdict, 0}));
    }
    if (abi >= dataplane::kFirstAbiWithUids)
      NPG_RETURN_IF_ERROR(NoteEarlierSockets(object, cgroup));
    // The table outlives the process that made it, and considers every port, as with that build.
    auto table = dataplane::NftTable::Install(core::Mark{});
    if (!table.ok()) return table.status();
    return (*table)->Cover(core::PortBlocks::All());
  }

  // What the controller of such a version noted of the listeners that were there before it: this
  // test's, on 127.0.0.1.
  static absl::Status NoteEarlierSockets(const Object& object, int cgroup) {
    const absl::StatusOr<uint64_t> cgroup_id = node::CgroupId(cgroup);
    if (!cgroup_id.ok()) return cgroup_id.status();
    NPG_RETURN_IF_ERROR(Put(object, "guard_uids", npg_uid_key{getuid()}, npg_member{1}));
    npg_socket_owner owner{};
    owner.cgroup_id = *cgroup_id;
    owner.uid = getuid();
    owner.pid = static_cast<uint32_t>(getpid());
    abi::SetField(owner.comm, "upgrade_test");
    owner.asked_port = kPort;
    npg_listener_key key{};
    key.address[10] = key.address[11] = 0xff;
    key.address[12] = 127;
    key.address[15] = 1;
    key.port = kPort;
    for (const uint8_t protocol : {uint8_t{IPPROTO_TCP}, uint8_t{IPPROTO_UDP}}) {
      key.protocol = protocol;
      NPG_RETURN_IF_ERROR(Put(object, "earlier_sockets", key, owner));
    }
    return absl::OkStatus();
  }

  absl::Status Pin(const Object& object, uint32_t abi, int cgroup) const {
    const dataplane::PinPaths pins(node().bpffs());
    const bool pins_programs = abi >= dataplane::kFirstAbiWithUids;
    std::error_code error;
    std::filesystem::create_directories(pins.Maps(), error);
    std::filesystem::create_directories(pins.Links(), error);
    if (pins_programs) std::filesystem::create_directories(pins.Programs(), error);
    // Those that only a live controller uses.
    const std::vector<std::string> unpinned = {"learned_cookie", "binds", "last_unknown",
                                               "datagram_targets"};
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object.get()) {
      const std::string name = bpf_map__name(map);
      if (bpf_map__is_internal(map)) continue;
      if (std::find(unpinned.begin(), unpinned.end(), name) != unpinned.end()) continue;
      if (bpf_map__pin(map, pins.Map(name).c_str()) != 0) {
        return base::ErrnoStatus(errno, absl::StrCat("pin map ", name));
      }
    }
    for (const char* name : dataplane::LinkNames(abi)) {
      const bpf_program* program = bpf_object__find_program_by_name(object.get(), name);
      if (program == nullptr) return absl::NotFoundError(absl::StrCat("no program ", name));
      const std::unique_ptr<bpf_link, int (*)(bpf_link*)> link(
          bpf_program__attach_cgroup(program, cgroup), bpf_link__destroy);
      if (!link || bpf_link__pin(link.get(), pins.Link(name).c_str()) != 0) {
        return base::ErrnoStatus(errno, absl::StrCat("attach and pin ", name));
      }
      if (pins_programs && bpf_obj_pin(bpf_program__fd(program), pins.Program(name).c_str()) != 0) {
        return base::ErrnoStatus(errno, absl::StrCat("pin program ", name));
      }
      bpf_link__disconnect(link.get());
    }
    return absl::OkStatus();
  }

  std::unique_ptr<EchoServer> host_;
};

TEST_P(GuardUpgradeTest, FromThePreviousAbi) {
  static_assert(NPG_ABI_VERSION == 5, "testdata/abi/README.md: keep the object of the one before");
  Upgrade(NPG_ABI_VERSION - 1);
}

// The last version with other programs at bind(), and without records on sockets.
TEST_P(GuardUpgradeTest, FromAbi3) { Upgrade(3); }

TEST_P(GuardUpgradeTest, FromTheFirstAbi) { Upgrade(1); }

// That version guarded every listener of CRI-O. This one takes a socket of CRI-O on a given port
// for a hostPort that is only held, and cannot see which port the earlier one asked for.
TEST_P(GuardUpgradeTest, KeepsAListenerOfCrioGuarded) { UpgradeWithListenerOf(3, "crio", kHost); }

TEST_P(GuardUpgradeTest, KeepsAListenerGuarded) {
  UpgradeWithListenerOf(NPG_ABI_VERSION - 1, "agent", kHost);
}

TEST_P(GuardUpgradeTest, KeepsAPortHolderIgnored) {
  UpgradeWithListenerOf(NPG_ABI_VERSION - 1, "kube-proxy", Hijacked());
}

TEST_P(GuardUpgradeTest, KeepsAPortHolderOfAbi3Ignored) {
  UpgradeWithListenerOf(3, "kube-proxy", Hijacked());
}

// The commands of this build show the guard of an earlier one: what is there, and what that
// version does not have. They judge listeners as its programs do.
TEST_P(GuardUpgradeTest, ReadersShowEveryEarlierAbi) {
  constexpr int kConnects = 3;
  // Bound before the programs were attached: the earlier guard has no entry for it.
  NPG_ASSERT_OK_AND_ASSIGN(const auto udp, Host({{"127.0.0.1", kPort, Transport::kUdp}}));
  for (uint32_t abi = 1; abi < NPG_ABI_VERSION; ++abi) {
    SCOPED_TRACE(absl::StrCat("ABI version ", abi));
    NPG_ASSERT_OK(LeaveGuardOfAbi(abi));
    // The entry has the name that the process had at bind().
    prctl(PR_SET_NAME, "kube-proxy");
    NPG_ASSERT_OK_AND_ASSIGN(const auto holder, Host({{"127.0.0.2", kPort, Transport::kTcp}}));
    prctl(PR_SET_NAME, "upgrade_test");
    EXPECT_EQ(Ask({"127.0.0.2", kPort, Transport::kTcp}), Hijacked());
    for (int i = 0; i < kConnects; ++i) EXPECT_EQ(Ask(Tcp()), kHost);
    const std::string versions =
        absl::StrCat("ABI version ", abi, ", this program has ", NPG_ABI_VERSION);

    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult text,
                             RunForResult(GuardCommand(node(), {"status"})));
    EXPECT_EQ(text.exit_code, 0) << text.err;
    EXPECT_THAT(text.out, HasSubstr(versions));
    EXPECT_THAT(text.out, HasSubstr("4 of 4 attached"));
    EXPECT_THAT(text.out, HasSubstr("web/old"));

    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult json,
                             RunForResult(GuardCommand(node(), {"status", "-o", "json"})));
    EXPECT_EQ(json.exit_code, 0) << json.err;
    const auto status = nlohmann::json::parse(json.out, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(status.is_object()) << json.out;
    EXPECT_EQ(status["counters"]["exempted"], kConnects);
    EXPECT_EQ(status["counters"]["probed"], 0) << "a counter that it does not have";
    EXPECT_EQ(status["guard"]["scope"], "loopback");
    EXPECT_TRUE(status["guard"]["own_addresses"].empty()) << "a map that it may not have";
    const auto& conflicts = status["conflicts"];
    ASSERT_EQ(conflicts.size(), 3U) << conflicts;
    EXPECT_EQ(conflicts[0]["exempted"], kConnects);
    EXPECT_EQ(conflicts[0]["verdict"], "guarded");
    EXPECT_EQ(conflicts[1]["listener"], "127.0.0.2");
    EXPECT_EQ(conflicts[1]["verdict"], "ignored");
    EXPECT_EQ(conflicts[2]["protocol"], "udp");
    EXPECT_EQ(conflicts[2]["verdict"], "guarded");
    EXPECT_THAT(status["notes"].dump(), HasSubstr(versions));
    EXPECT_EQ(absl::StrContains(status["notes"].dump(), "counter probed"), abi < 3);
    EXPECT_EQ(absl::StrContains(status["notes"].dump(), "counter untrusted_owner"),
              abi < dataplane::kFirstAbiWithUids);
    EXPECT_THAT(status["notes"].dump(), HasSubstr("map protection"));
    EXPECT_EQ(absl::StrContains(status["notes"].dump(), "map local_addresses"), abi == 1);

    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult explained,
                             RunForResult(GuardCommand(node(), {"explain", absl::StrCat(kPort)})));
    EXPECT_EQ(explained.exit_code, 0) << explained.err;
    EXPECT_THAT(explained.out, HasSubstr("web/old"));
    EXPECT_THAT(explained.out, HasSubstr(absl::StrCat("127.0.0.1:", kPort, " is exempted")));
    EXPECT_THAT(explained.out,
                HasSubstr(absl::StrCat("UDP connect to 127.0.0.1:", kPort, " is exempted")));
    EXPECT_THAT(explained.out, HasSubstr("listens there and is ignored"));

    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult findings,
                             RunForResult(GuardCommand(node(), {"doctor"})));
    EXPECT_THAT(findings.out, HasSubstr(absl::StrCat("with the pins' layout ", abi)));
    EXPECT_THAT(findings.out, HasSubstr("a guard is loaded"));

    NPG_ASSERT_OK_AND_ASSIGN(auto events,
                             ChildProcess::Start(GuardCommand(node(), {"events", "--count", "1"})));
    EXPECT_TRUE(WaitUntil(absl::Seconds(30), [&] {
      return !events.Running() || absl::StrContains(events.Err(), "waiting for connects");
    }));
    EXPECT_EQ(Ask(Tcp()), kHost);
    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult shown, events.Wait());
    EXPECT_EQ(shown.exit_code, 0) << shown.err;
    EXPECT_THAT(shown.out, HasSubstr(absl::StrCat(kPort, "/tcp")));
    const bool without_owner = absl::StrContains(shown.out, "listener on 127.0.0.1");
    EXPECT_EQ(without_owner, abi < dataplane::kFirstAbiWithUids) << shown.out;
    EXPECT_THAT(shown.out, HasSubstr(" on 127.0.0.1"));

    NPG_ASSERT_OK(RunCommand(GuardCommand(node(), {"unload"})));
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardUpgradeTest, ::testing::ValuesIn(RuleShapes()), RuleShapeName);

}  // namespace
}  // namespace npg::testing::upgrade_test

// SPDX-License-Identifier: Apache-2.0
// `nodeport-guard doctor`, as a black box: each test makes a fault for real, and
// doctor reports it while it exists, but neither before nor after.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing::doctor_test {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr uint16_t kPort = 33589;

struct Diagnosis {
  int exit_code = -1;
  std::string text;
  Json json;

  // The findings under `id` that are more than ok: "warn: WHAT | FIX", a line each.
  std::string Of(absl::string_view id) const {
    std::vector<std::string> lines;
    for (const Json& finding : json["findings"]) {
      if (finding["id"] != std::string(id) || finding["severity"] == "ok") continue;
      lines.push_back(absl::StrCat(
          finding["severity"].get<std::string>(), ": ", finding["what"].get<std::string>(), " | ",
          finding["fix"].is_null() ? "" : finding["fix"].get<std::string>()));
    }
    return absl::StrJoin(lines, "\n");
  }
};

absl::StatusOr<Diagnosis> RunDoctor(const std::vector<std::string>& command) {
  const auto result = RunForResult(command);
  if (!result.ok()) return result.status();
  Diagnosis diagnosis{result->exit_code, absl::StrCat(result->out, result->err),
                      Json::parse(result->out, nullptr, /*allow_exceptions=*/false)};
  if (!diagnosis.json.is_object()) return absl::InternalError(diagnosis.text);
  return diagnosis;
}

// A connect4 program that permits every connect, attached to a cgroup until destroyed.
class ForeignProgram {
 public:
  static absl::StatusOr<std::unique_ptr<ForeignProgram>> Attach(const std::string& cgroup,
                                                                const char* name, uint32_t flags) {
    bpf_insn proceed{}, leave{};
    proceed.code = BPF_ALU64 | BPF_MOV | BPF_K;
    proceed.imm = 1;
    leave.code = BPF_JMP | BPF_EXIT;
    const std::array<bpf_insn, 2> instructions = {proceed, leave};
    bpf_prog_load_opts options{};
    options.sz = sizeof(options);
    options.expected_attach_type = BPF_CGROUP_INET4_CONNECT;
    std::unique_ptr<ForeignProgram> foreign(new ForeignProgram());
    foreign->program_ = UniqueFd(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, name, "GPL",
                                               instructions.data(), instructions.size(), &options));
    if (!foreign->program_) return ErrnoStatus(errno, "load a program");
    foreign->cgroup_ = UniqueFd(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!foreign->cgroup_) return ErrnoStatus(errno, "open the cgroup");
    if (bpf_prog_attach(foreign->program_.get(), foreign->cgroup_.get(), BPF_CGROUP_INET4_CONNECT,
                        flags) != 0) {
      foreign->program_.Reset();
      return ErrnoStatus(errno, "attach a program");
    }
    return foreign;
  }
  ~ForeignProgram() {
    if (program_) bpf_prog_detach2(program_.get(), cgroup_.get(), BPF_CGROUP_INET4_CONNECT);
  }
  ForeignProgram(const ForeignProgram&) = delete;
  ForeignProgram& operator=(const ForeignProgram&) = delete;

  // The errno of attaching a second program by a bpf_link, as the guard does; 0 if it works.
  int ErrorOfLink(const std::string& cgroup) const {
    const UniqueFd folder(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const UniqueFd link(
        bpf_link_create(program_.get(), folder.get(), BPF_CGROUP_INET4_CONNECT, nullptr));
    return link ? 0 : errno;
  }

 private:
  ForeignProgram() = default;
  UniqueFd program_, cgroup_;
};

class DoctorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create());
    NPG_ASSERT_OK(WriteNodePortsFile(node_->File("nodeports.json"), {{kPort, Transport::kTcp}}));
  }

  const TestNode& node() const { return *node_; }

  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"doctor", "--source", "file", "--nodeports-file",
                                          node_->File("nodeports.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  absl::StatusOr<Diagnosis> Doctor(std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"-o", "json"});
    return RunDoctor(GuardCommand(*node_, Arguments(more)));
  }

  // The findings under `id` now; expects exit code 0.
  std::string Found(absl::string_view id, const std::vector<std::string>& more = {}) const {
    const auto diagnosis = Doctor(more);
    if (!diagnosis.ok()) return diagnosis.status().ToString();
    EXPECT_EQ(diagnosis->exit_code, 0) << diagnosis->text;
    return diagnosis->Of(id);
  }

  // Expects a finding under `id` with these words between `make` and its undoing, and none
  // before or after.
  void ExpectFound(absl::string_view id, const std::vector<std::string>& make,
                   const std::vector<std::string>& undo, const std::string& words) const {
    SCOPED_TRACE(absl::StrJoin(make, " "));
    EXPECT_EQ(Found(id), "");
    NPG_ASSERT_OK(RunCommand(make));
    EXPECT_THAT(Found(id), HasSubstr(words));
    NPG_ASSERT_OK(RunCommand(undo));
    EXPECT_EQ(Found(id), "");
  }

 private:
  std::unique_ptr<TestNode> node_;
};

TEST_F(DoctorTest, ReportsNoFaultOfAHealthyNode) {
  NPG_ASSERT_OK(RunCommand({"nft", "add", "table", "inet", "others"}));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string before, RunCommand({"nft", "list", "ruleset"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto diagnosis, Doctor());
  EXPECT_EQ(diagnosis.exit_code, 0) << diagnosis.text;
  EXPECT_EQ(diagnosis.json["capable"], true);
  for (const Json& finding : diagnosis.json["findings"]) {
    EXPECT_NE(finding["severity"], "fail") << finding;
    EXPECT_FALSE(finding["why"].get<std::string>().empty()) << finding;
  }
  for (const char* id : {"kernel-programs", "kernel-helper", "kernel-ring-buffer",
                         "kernel-cgroup-link", "kernel-nf-tables", "kernel-sock-diag", "cgroup2",
                         "bpffs", "mark-collision", "cgroup-attach-blocked", "not-seen"}) {
    EXPECT_EQ(diagnosis.Of(id), "");
  }
  EXPECT_NE(diagnosis.Of("network-namespace"), "") << "the test has its own network namespace";
  EXPECT_THAT(diagnosis.Of("guard"), HasSubstr("note: no guard"));

  // Nothing is left behind.
  NPG_ASSERT_OK_AND_ASSIGN(const std::string after, RunCommand({"nft", "list", "ruleset"}));
  EXPECT_EQ(before, after);
  EXPECT_FALSE(std::filesystem::exists(node().bpffs() + "/nodeport-guard"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string attached,
                           RunCommand({"bpftool", "cgroup", "show", node().cgroup().path()}));
  EXPECT_THAT(attached, Not(HasSubstr("connect")));

  const auto table = RunForResult(GuardCommand(node(), Arguments({})));
  NPG_ASSERT_OK(table);
  EXPECT_THAT(table->out, HasSubstr("This node can be guarded"));
  const auto yaml = RunForResult(GuardCommand(node(), Arguments({"-o", "yaml"})));
  NPG_ASSERT_OK(yaml);
  EXPECT_THAT(yaml->out, HasSubstr("findings:\n"));
}

TEST_F(DoctorTest, MarkInARoutingRule) {
  const std::vector<std::string> rule = {"fwmark", "0x1000/0x1000", "lookup", "100"};
  for (const char* family : {"-4", "-6"}) {
    std::vector<std::string> add = {"ip", family, "rule", "add"},
                             remove = {"ip", family, "rule", "del"};
    add.insert(add.end(), rule.begin(), rule.end());
    remove.insert(remove.end(), rule.begin(), rule.end());
    ExpectFound("mark-collision", add, remove,
                "fwmark 0x1000/0x1000 lookup 100 | nodeport-guard "
                "run --mark 0x800 --mark-mask 0x800");
    // The proposed bit does not collide.
    NPG_ASSERT_OK(RunCommand(add));
    EXPECT_NE(Found("mark-collision"), "");
    EXPECT_EQ(Found("mark-collision", {"--mark", "0x800"}), "");
    NPG_ASSERT_OK(RunCommand(remove));
  }
}

TEST_F(DoctorTest, MarkInAnNftRule) {
  NPG_ASSERT_OK(RunCommand({"nft", "add", "table", "inet", "vpn"}));
  NPG_ASSERT_OK(RunCommand({"nft", "add", "chain", "inet", "vpn", "c"}));
  const std::vector<std::string> flush = {"nft", "flush", "chain", "inet", "vpn", "c"};
  ExpectFound("mark-collision",
              {"nft", "add rule inet vpn c meta mark and 0x1000 == 0x1000 accept"}, flush,
              "is looked at by others: nft table inet vpn: chain c, handle");
  ExpectFound("mark-collision", {"nft", "add rule inet vpn c meta mark set meta mark or 0x1000"},
              flush, "is set by others: nft table inet vpn: chain c, handle");
  ExpectFound("mark-collision", {"nft", "add rule inet vpn c meta mark set 0x1001"}, flush,
              "sets mark 0x1001");
  ExpectFound("mark-collision", {"nft", "add rule inet vpn c meta mark { 0x1000, 0x2000 } accept"},
              flush, "note: ");
  NPG_ASSERT_OK(RunCommand({"nft", "add rule inet vpn c meta mark and 0x4000 == 0x4000 accept"}));
  EXPECT_EQ(Found("mark-collision"), "");
}

TEST_F(DoctorTest, MarkInAnIptablesRule) {
  const std::vector<std::string> match = {"OUTPUT",        "-m", "mark",  "--mark",
                                          "0x1000/0x1000", "-j", "ACCEPT"};
  const std::vector<std::string> set = {"OUTPUT", "-j", "MARK", "--set-xmark", "0x1000/0x1000"};
  for (const auto& [program, where] :
       {std::pair{"iptables-nft", "nft table ip mangle: chain OUTPUT, handle "},
        std::pair{"ip6tables-nft", "nft table ip6 mangle: chain OUTPUT, handle "},
        std::pair{"iptables-legacy", "iptables-legacy table mangle: chain OUTPUT, rule 1"},
        std::pair{"ip6tables-legacy", "ip6tables-legacy table mangle: chain OUTPUT, rule 1"}}) {
    for (const auto& [rule, words] :
         {std::pair{match, "is looked at by others: "}, std::pair{set, "is set by others: "}}) {
      std::vector<std::string> add = {program, "-t", "mangle", "-A"};
      std::vector<std::string> remove = {program, "-t", "mangle", "-D"};
      add.insert(add.end(), rule.begin(), rule.end());
      remove.insert(remove.end(), rule.begin(), rule.end());
      ExpectFound("mark-collision", add, remove, absl::StrCat(words, where));
    }
  }
}

TEST_F(DoctorTest, ARuleThatCannotBeEvaluated) {
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(table ip odd {
  chain out { type nat hook output priority -100; }
})"));
  ExpectFound("rules", {"nft", "add rule ip odd out meta cgroup 7 tcp dport 31000 redirect to :9"},
              {"nft", "flush chain ip odd out"}, "warn: nft table ip odd, chain out, handle ");
  NPG_ASSERT_OK(RunCommand({"nft", "add rule ip odd out tcp dport 31000 redirect to :9"}));
  EXPECT_EQ(Found("rules"), "");
}

TEST_F(DoctorTest, EphemeralPortsThatOverlapTheNodePortRange) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "32768 60999"));
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_reserved_ports", "8080,33589"));
  EXPECT_EQ(Found("port-range-allocated"), "");
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_reserved_ports", "8080"));
  EXPECT_THAT(Found("port-range-allocated"), HasSubstr("1 NodePort is among"));
  EXPECT_EQ(Found("port-range-usual"), "");
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "20000 60999"));
  EXPECT_THAT(Found("port-range-usual"), HasSubstr("2768 ports of 30000-32767"));
  // The fixes, as they are printed.
  for (const char* id : {"port-range-allocated", "port-range-usual"}) {
    const std::string line = Found(id);
    const std::vector<std::string> parts = absl::StrSplit(line, "sysctl -w ");
    ASSERT_EQ(parts.size(), 2) << line;
    const std::string setting = parts[1].substr(0, parts[1].find(", and keep"));
    NPG_ASSERT_OK(RunCommand({"sysctl", "-w", setting}));
    EXPECT_EQ(Found(id), "") << setting;
  }
}

TEST_F(DoctorTest, ForeignProgramsOnTheCgroup) {
  const std::string cgroup = node().cgroup().path();
  EXPECT_EQ(Found("cgroup-foreign-program"), "");
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto program,
                             ForeignProgram::Attach(cgroup, "spy", BPF_F_ALLOW_MULTI));
    EXPECT_EQ(program->ErrorOfLink(cgroup), 0);
    EXPECT_THAT(Found("cgroup-foreign-program"), HasSubstr("note: run beside"));
    EXPECT_THAT(Found("cgroup-foreign-program"), HasSubstr("spy (id"));
    EXPECT_EQ(Found("cilium-socket-lb"), "");
  }
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto program,
                             ForeignProgram::Attach(cgroup, "cil_sock4_conne", BPF_F_ALLOW_MULTI));
    EXPECT_THAT(Found("cilium-socket-lb"), HasSubstr("warn: "));
  }
  for (const auto& [name, product] :
       {std::pair{"calico_connect_", "of Calico,"}, std::pair{"llb_sock4_conn", "of LoxiLB,"},
        std::pair{"kmesh_connect4", "of Kmesh,"}}) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto program,
                             ForeignProgram::Attach(cgroup, name, BPF_F_ALLOW_MULTI));
    EXPECT_THAT(Found("cilium-socket-lb"), HasSubstr(product));
    EXPECT_EQ(Found("cgroup-foreign-program"), "");
  }
  EXPECT_EQ(Found("cgroup-foreign-program"), "");
  EXPECT_EQ(Found("cilium-socket-lb"), "");
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node().cgroup().MakeChild("child"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto below, ForeignProgram::Attach(child, "below", 0));
  EXPECT_THAT(Found("cgroup-foreign-program"), HasSubstr("below (id"));
}

// On the guarded cgroup itself and on its parent: doctor predicts what the kernel does.
TEST_F(DoctorTest, AForeignProgramThatBlocksAttaching) {
  const std::string cgroup = node().cgroup().path();
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node().cgroup().MakeChild("child"));
  const std::string binary = GuardCommand(node(), {}).front();
  const auto doctor_on = [&](const std::string& folder) {
    std::vector<std::string> command =
        Arguments({"--cgroup", folder, "--bpffs", node().bpffs(), "-o", "json"});
    command.insert(command.begin(), binary);
    return RunDoctor(command);
  };
  for (const uint32_t flags : {uint32_t{0}, uint32_t{BPF_F_ALLOW_OVERRIDE}}) {
    for (const std::string& guarded : {cgroup, child}) {
      SCOPED_TRACE(absl::StrCat(guarded, " ", flags));
      NPG_ASSERT_OK_AND_ASSIGN(const auto before, doctor_on(guarded));
      EXPECT_EQ(before.exit_code, 0) << before.text;
      EXPECT_EQ(before.Of("cgroup-attach-blocked"), "");
      NPG_ASSERT_OK_AND_ASSIGN(const auto program, ForeignProgram::Attach(cgroup, "alone", flags));
      NPG_ASSERT_OK_AND_ASSIGN(const auto found, doctor_on(guarded));
      const bool refused = program->ErrorOfLink(guarded) == EPERM;
      EXPECT_EQ(refused, guarded == cgroup || flags == 0);
      EXPECT_EQ(found.exit_code, refused ? 4 : 0) << found.text;
      if (refused) {
        EXPECT_THAT(found.Of("cgroup-attach-blocked"), HasSubstr("fail: alone (id"));
      } else {
        EXPECT_EQ(found.Of("cgroup-attach-blocked"), "");
        EXPECT_THAT(found.Of("cgroup-foreign-program"), HasSubstr("will not run"));
      }
    }
  }
}

// doctor says where the kernel refuses others because of the guard.
TEST_F(DoctorTest, TheGuardKeepsExclusiveProgramsFromItsHooks) {
  const std::string cgroup = node().cgroup().path();
  EXPECT_EQ(Found("cgroup-exclusive-refused"), "");
  NPG_ASSERT_OK(ForeignProgram::Attach(cgroup, "alone", 0).status());
  NPG_ASSERT_OK_AND_ASSIGN(auto guard,
                           GuardProcess::Start(node(), {"--source", "file", "--nodeports-file",
                                                        node().File("nodeports.json")}));
  EXPECT_THAT(Found("cgroup-exclusive-refused"),
              AllOf(HasSubstr("note: "), HasSubstr("connect4, connect6, bind4, bind6 of "),
                    HasSubstr(cgroup), HasSubstr("EPERM")));
  for (const uint32_t flags : {uint32_t{0}, uint32_t{BPF_F_ALLOW_OVERRIDE}}) {
    EXPECT_TRUE(absl::IsPermissionDenied(ForeignProgram::Attach(cgroup, "alone", flags).status()));
  }
  NPG_EXPECT_OK(ForeignProgram::Attach(cgroup, "beside", BPF_F_ALLOW_MULTI).status());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node().cgroup().MakeChild("child"));
  NPG_EXPECT_OK(ForeignProgram::Attach(child, "alone", 0).status());
  // Without a controller the programs are still there.
  NPG_ASSERT_OK(guard.Stop());
  EXPECT_THAT(Found("cgroup-exclusive-refused"), HasSubstr("note: "));
  NPG_ASSERT_OK(RunCommand(GuardCommand(node(), {"unload"})));
  EXPECT_EQ(Found("cgroup-exclusive-refused"), "");
  NPG_EXPECT_OK(ForeignProgram::Attach(cgroup, "alone", 0).status());
}

TEST_F(DoctorTest, KubeProxyInEachMode) {
  EXPECT_THAT(Found("kube-proxy-mode"), HasSubstr("no rules of kube-proxy"));
  for (const auto& [variant, words] : {std::pair{IptablesVariant::kNft, "iptables (in nf_tables)"},
                                       std::pair{IptablesVariant::kLegacy, "iptables (legacy)"}}) {
    const std::string prefix =
        variant == IptablesVariant::kNft ? "iptables-nft" : "iptables-legacy";
    NPG_ASSERT_OK(KubeProxyRules(variant, TestNode::kPod, TestNode::kPodPort)
                      .Apply(TcpAndUdp({kPort}, /*endpoint=*/true)));
    NPG_ASSERT_OK_AND_ASSIGN(const auto found, Doctor());
    EXPECT_THAT(found.text, HasSubstr(absl::StrCat("kube-proxy's mode: ", words)));
    EXPECT_EQ(found.Of("kube-proxy-mode"), "");
    EXPECT_EQ(found.Of("mark-collision"), "") << "kube-proxy uses other bits";
    for (const char* table : {"nat", "filter"}) {
      NPG_ASSERT_OK(RunCommand({prefix, "-t", table, "-F"}));
      NPG_ASSERT_OK(RunCommand({prefix, "-t", table, "-X"}));
    }
  }
  EXPECT_THAT(Found("kube-proxy-mode"), HasSubstr("no rules of kube-proxy"));

  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(table ip kube-proxy {
  map service-nodeports { type inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  chain nodeport-endpoints-check { }
})"));
  EXPECT_THAT(Found("kube-proxy-mode"), HasSubstr("note: kube-proxy's mode: nftables"));
  EXPECT_THAT(Found("kube-proxy-mode"), HasSubstr("the guard has nothing to do"));
  EXPECT_THAT(Found("kube-proxy-mode", {"--scope", "local"}),
              Not(HasSubstr("the guard has nothing to do")));

  EXPECT_EQ(Found("kube-proxy-leftovers"), "");
  NPG_ASSERT_OK(
      RunCommand({"ip", "link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "p"}));
  EXPECT_THAT(Found("kube-proxy-leftovers"), HasSubstr("nftables, ipvs"));
}

TEST_F(DoctorTest, LocalhostNodePorts) {
  NPG_ASSERT_OK(KubeProxyRules(IptablesVariant::kNft, TestNode::kPod, TestNode::kPodPort)
                    .Apply(TcpAndUdp({kPort}, /*endpoint=*/true)));
  NPG_ASSERT_OK(SetSysctl("net/ipv4/conf/all/route_localnet", "1"));
  EXPECT_EQ(Found("kube-proxy-localhost"), "");
  NPG_ASSERT_OK(SetSysctl("net/ipv4/conf/all/route_localnet", "0"));
  EXPECT_THAT(Found("kube-proxy-localhost"), HasSubstr("time out"));
}

TEST_F(DoctorTest, ListenersOnNodePorts) {
  EXPECT_EQ(Found("listener-conflict"), "");
  EXPECT_EQ(Found("node-addresses-unguarded"), "");
  {
    NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd listener, ListenOn("127.0.0.1", kPort));
    EXPECT_THAT(Found("listener-conflict"), HasSubstr("33589/tcp 127.0.0.1"));
    EXPECT_EQ(Found("node-addresses-unguarded"), "");
    EXPECT_EQ(Found("kube-proxy-listens"), "");
    prctl(PR_SET_NAME, "kube-proxy");
    EXPECT_THAT(Found("kube-proxy-listens"), HasSubstr("127.0.0.1 kube-proxy["));
    EXPECT_EQ(Found("listener-conflict"), "");
    prctl(PR_SET_NAME, "doctor_test");
  }
  NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd listener, ListenOn("0.0.0.0", kPort));
  EXPECT_THAT(Found("node-addresses-unguarded"), HasSubstr("33589/tcp 0.0.0.0"));
  EXPECT_EQ(Found("node-addresses-unguarded", {"--scope", "local"}), "");
}

TEST_F(DoctorTest, WithoutABpfFileSystem) {
  EXPECT_EQ(Found("bpffs"), "");
  std::vector<std::string> command =
      Arguments({"--cgroup", node().cgroup().path(), "--bpffs", node().File("none"), "-o", "json"});
  command.insert(command.begin(), GuardCommand(node(), {}).front());
  NPG_ASSERT_OK_AND_ASSIGN(const auto missing, RunDoctor(command));
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_EQ(missing.json["capable"], false);
  EXPECT_THAT(missing.Of("bpffs"), HasSubstr("mount -t bpf bpf " + node().File("none")));
}

TEST_F(DoctorTest, WithoutACapability) {
  EXPECT_EQ(Found("capabilities"), "");
  for (const auto& [dropped, name] : std::vector<std::pair<std::string, std::string>>{
           {"-net_admin", "CAP_NET_ADMIN"}, {"-bpf,-sys_admin", "CAP_BPF"}}) {
    std::vector<std::string> command = {"setpriv", "--inh-caps", dropped, "--bounding-set",
                                        dropped};
    for (const std::string& word : GuardCommand(node(), Arguments({"-o", "json"}))) {
      command.push_back(word);
    }
    NPG_ASSERT_OK_AND_ASSIGN(const auto without, RunDoctor(command));
    EXPECT_EQ(without.exit_code, 4) << without.text;
    EXPECT_THAT(without.Of("capabilities"), HasSubstr("fail: this process lacks " + name));
    EXPECT_EQ(without.Of("kernel-programs").find("fail"), std::string::npos) << without.text;
  }
}

TEST_F(DoctorTest, AsAnotherUser) {
  NPG_ASSERT_OK(RunCommand({"ip", "rule", "add", "fwmark", "0x1000/0x1000", "lookup", "100"}));
  // Other users may not have access to the build folder.
  const std::string binary = node().File("nodeport-guard");
  std::error_code error;
  std::filesystem::copy_file(GuardCommand(node(), {}).front(), binary, error);
  ASSERT_FALSE(error) << error.message();
  std::vector<std::string> command = GuardCommand(node(), Arguments({"-o", "json"}));
  command.front() = binary;
  command.insert(command.begin(),
                 {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"});
  NPG_ASSERT_OK_AND_ASSIGN(const auto found, RunDoctor(command));
  EXPECT_EQ(found.exit_code, 4);
  EXPECT_THAT(found.Of("capabilities"), HasSubstr("CAP_BPF, CAP_NET_ADMIN"));
  EXPECT_THAT(found.Of("not-seen"), HasSubstr("nftables and iptables-nft rules"));
  EXPECT_THAT(found.Of("not-seen"), HasSubstr("cgroup programs"));
  EXPECT_THAT(found.Of("mark-collision"), HasSubstr("ip rule"))
      << "ip rules are readable without privileges";
}

TEST_F(DoctorTest, ReportsTheStateOfTheGuard) {
  EXPECT_THAT(Found("guard"), HasSubstr("no guard"));
  NPG_ASSERT_OK_AND_ASSIGN(
      auto guard, GuardProcess::Start(node(), {"--source", "file", "--nodeports-file",
                                               node().File("nodeports.json"), "--mark", "0x800"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto running, Doctor());
  EXPECT_EQ(running.exit_code, 0) << running.text;
  for (const char* id :
       {"guard", "guard-problem", "guard-version", "controller", "network-namespace",
        "cgroup-foreign-program", "cgroup-attach-blocked", "mark-collision"}) {
    EXPECT_EQ(running.Of(id), "") << "a running guard is no fault";
  }
  // doctor looks for collisions with the mark of the running guard.
  NPG_ASSERT_OK(RunCommand({"ip", "rule", "add", "fwmark", "0x800/0x800", "lookup", "100"}));
  EXPECT_THAT(Found("mark-collision"), HasSubstr("0x800/0x800"));

  NPG_ASSERT_OK(guard.Stop());
  EXPECT_THAT(Found("controller"), HasSubstr("no controller runs"));
  std::error_code error;
  ASSERT_TRUE(std::filesystem::remove(node().bpffs() + "/nodeport-guard/links/npg_connect4", error))
      << error.message();
  EXPECT_THAT(Found("guard-problem"), HasSubstr("fail: program npg_connect4"));
  NPG_ASSERT_OK(RunCommand(GuardCommand(node(), {"unload"})));
  EXPECT_EQ(Found("guard-problem"), "");
}

}  // namespace
}  // namespace npg::testing::doctor_test

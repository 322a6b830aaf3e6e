// SPDX-License-Identifier: Apache-2.0
// `nodeport-guard scan`, as a black box: which owners it names, and with which privileges.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_cgroup.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing::scan_test {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Json = nlohmann::json;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;
constexpr const char* kComm = "victim";

// Forks a child that keeps the descriptors of this process until this process ends. In a
// new pid namespace the child cannot watch its parent's pid, so it waits on a pipe.
absl::StatusOr<pid_t> ForkKeeper() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid > 0) return pid;  // the write end stays open until this process ends
  close(ends[1]);
  char nothing = 0;
  while (read(ends[0], &nothing, 1) < 0 && errno == EINTR) {
  }
  _exit(0);
}

// A process named kComm that keeps what `open` opens, until destroyed.
class Process {
 public:
  // Returns the pid that `scan` must name: its own, or that of a child.
  using Open = std::function<absl::StatusOr<pid_t>(std::vector<UniqueFd>& kept)>;

  static absl::StatusOr<std::unique_ptr<Process>> Start(const Open& open) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
    const UniqueFd report(ends[0]);
    UniqueFd theirs(ends[1]);
    std::unique_ptr<Process> process(new Process());
    process->pid_ = fork();
    if (process->pid_ < 0) return ErrnoStatus(errno, "fork");
    if (process->pid_ == 0) Live(open, theirs.get());
    theirs.Reset();
    // One write, so one read.
    std::array<char, 512> text{};
    const ssize_t size = read(report.get(), text.data(), text.size());
    const absl::string_view said(text.data(), size > 0 ? static_cast<size_t>(size) : 0);
    const auto json = Json::parse(said, nullptr, /*allow_exceptions=*/false);
    if (!json.is_number()) {
      return absl::InternalError(json.is_string() ? json.get<std::string>() : "process ended");
    }
    process->expected_owner_ = json.get<pid_t>();
    return process;
  }
  ~Process() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  pid_t expected_owner() const { return expected_owner_; }

 private:
  Process() = default;

  [[noreturn]] static void Live(const Open& open, int report) {
    prctl(PR_SET_NAME, kComm);
    std::vector<UniqueFd> kept;
    const absl::StatusOr<pid_t> pid = open(kept);
    const std::string text =
        (pid.ok() ? Json(*pid) : Json(std::string(pid.status().message()))).dump();
    // After `open`, because a change of user clears this setting.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (write(report, text.data(), text.size()) < 0) _exit(1);
    for (;;) pause();
  }

  pid_t pid_ = -1;
  pid_t expected_owner_ = -1;
};

Process::Open Listens(const std::string& address, uint16_t port = kPort) {
  return [address, port](std::vector<UniqueFd>& kept) -> absl::StatusOr<pid_t> {
    auto socket = ListenOn(address, port);
    if (!socket.ok()) return socket.status();
    kept.push_back(*std::move(socket));
    return getpid();
  };
}

struct Scanned {
  int exit_code = -1;
  std::string text;
  Json json;  // standard output
};

absl::StatusOr<Scanned> RunScan(const std::vector<std::string>& command) {
  const auto result = RunForResult(command);
  if (!result.ok()) return result.status();
  return Scanned{result->exit_code, absl::StrCat(result->out, result->err),
                 Json::parse(result->out, nullptr, /*allow_exceptions=*/false)};
}

class ScanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create());
    NPG_ASSERT_OK(WriteNodePortsFile(node_->File("nodeports.json"),
                                     {{kPort, Transport::kTcp}, {kOtherPort, Transport::kTcp}}));
  }

  const TestNode& node() const { return *node_; }

  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"scan", "--source", "file", "--nodeports-file",
                                          node_->File("nodeports.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  absl::StatusOr<Scanned> Scan(const std::vector<std::string>& more = {"-o", "json"}) const {
    return RunScan(GuardCommand(*node_, Arguments(more)));
  }

  // The owner of the only conflict.
  Json OwnerOfConflict() const {
    const auto scanned = Scan();
    if (!scanned.ok() || scanned->exit_code != 3 || scanned->json["conflicts"].size() != 1) {
      ADD_FAILURE() << scanned.status() << (scanned.ok() ? scanned->text : "");
      return Json::object();
    }
    return scanned->json["conflicts"][0]["owner"];
  }

  // The owner that `scan` reports for a process in the cgroup at `path`.
  Json OwnerInCgroup(const std::string& path) const {
    const auto process =
        Process::Start([&path](std::vector<UniqueFd>& kept) -> absl::StatusOr<pid_t> {
          NPG_RETURN_IF_ERROR(TestCgroup::Enter(path));
          return Listens("127.0.0.1")(kept);
        });
    if (!process.ok()) {
      ADD_FAILURE() << process.status();
      return Json::object();
    }
    return OwnerOfConflict();
  }

 private:
  std::unique_ptr<TestNode> node_;
};

TEST_F(ScanTest, NamesTheOwner) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto none, Scan());
  EXPECT_EQ(none.exit_code, 0) << none.text;
  EXPECT_THAT(none.json["conflicts"], IsEmpty());

  NPG_ASSERT_OK_AND_ASSIGN(const auto process, Process::Start(Listens("127.0.0.1")));
  const Json owner = OwnerOfConflict();
  EXPECT_EQ(owner["pid"], process->pid());
  EXPECT_EQ(owner["comm"], kComm);
  EXPECT_THAT(owner["holders"], ElementsAre(process->pid()));
  EXPECT_EQ(owner["executable"], std::filesystem::read_symlink("/proc/self/exe").string());
}

// Without privileges and without a bpf file system, `scan` finds the same conflicts, and
// the names of the user's own processes. --guard-uid does not name the user.
TEST_F(ScanTest, AsAnotherUser) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto roots, Process::Start(Listens("127.0.0.1")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto own,
                           Process::Start([](std::vector<UniqueFd>& kept) -> absl::StatusOr<pid_t> {
                             NPG_RETURN_IF_ERROR(BecomeNobody());
                             return Listens("127.0.0.1", kOtherPort)(kept);
                           }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto as_root, Scan());
  ASSERT_EQ(as_root.exit_code, 3) << as_root.text;
  ASSERT_THAT(as_root.json["conflicts"], SizeIs(1));
  EXPECT_EQ(as_root.json["conflicts"][0]["owner"]["pid"], roots->pid());
  ASSERT_THAT(as_root.json["untrusted"], SizeIs(1));
  EXPECT_EQ(as_root.json["untrusted"][0]["verdict"], "untrusted");
  EXPECT_EQ(as_root.json["untrusted"][0]["owner"]["pid"], own->pid());
  EXPECT_THAT(as_root.json["notes"], IsEmpty());

  // Other users may not have access to the build folder.
  const std::string binary = node().File("nodeport-guard");
  std::error_code error;
  std::filesystem::copy_file(GuardCommand(node(), {}).front(), binary, error);
  ASSERT_FALSE(error) << error.message();
  std::vector<std::string> command = Arguments({"--bpffs", node().File("none"), "-o", "json"});
  command.insert(command.begin(), binary);
  NPG_ASSERT_OK_AND_ASSIGN(const std::string said, RunInFork([&command]() -> std::string {
                             if (const absl::Status status = BecomeNobody(); !status.ok())
                               return status.ToString();
                             const auto scanned = RunScan(command);
                             if (!scanned.ok()) return scanned.status().ToString();
                             return absl::StrCat(scanned->exit_code, " ", scanned->text);
                           }));
  ASSERT_EQ(said.substr(0, 2), "3 ") << said;
  const Json json = Json::parse(said.substr(2), nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object()) << said;
  ASSERT_THAT(json["conflicts"], SizeIs(1)) << said;
  EXPECT_EQ(json["conflicts"][0]["port"], kPort);
  EXPECT_TRUE(json["conflicts"][0]["owner"]["pid"].is_null()) << said;
  EXPECT_EQ(json["conflicts"][0]["owner"]["uid"], 0);
  ASSERT_THAT(json["untrusted"], SizeIs(1)) << said;
  EXPECT_EQ(json["untrusted"][0]["port"], kOtherPort);
  EXPECT_EQ(json["untrusted"][0]["owner"]["pid"], own->pid());
  EXPECT_EQ(json["untrusted"][0]["owner"]["comm"], kComm);
  EXPECT_EQ(json["untrusted"][0]["owner"]["uid"], kNobodyUid);
  EXPECT_EQ(json["guarded"], false);
  EXPECT_THAT(json["notes"],
              ElementsAre(::testing::AllOf(
                  ::testing::StartsWith("no process was found for 1 listener: "),
                  ::testing::EndsWith(" could not be read; root can read those of other users"))));

  NPG_ASSERT_OK_AND_ASSIGN(const auto table, Scan({}));
  EXPECT_THAT(table.text, HasSubstr("To guard 33590/tcp, run with --guard-uid +65534"));
  for (const char* uid : {"+65534", "any"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto trusting, Scan({"--guard-uid", uid, "-o", "json"}));
    EXPECT_THAT(trusting.json["conflicts"], SizeIs(2)) << uid;
    EXPECT_THAT(trusting.json["untrusted"], IsEmpty()) << uid;
  }
}

TEST_F(ScanTest, OwnerInAnotherPidNamespace) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto process,
                           Process::Start([](std::vector<UniqueFd>&) -> absl::StatusOr<pid_t> {
                             const auto socket = ListenOn("127.0.0.1", kPort);
                             if (!socket.ok()) return socket.status();
                             if (unshare(CLONE_NEWPID) != 0)
                               return ErrnoStatus(errno, "unshare(CLONE_NEWPID)");
                             return ForkKeeper();  // this process closes its copy
                           }));
  const std::string status = absl::StrCat("/proc/", process->expected_owner(), "/status");
  NPG_ASSERT_OK_AND_ASSIGN(const std::string pids, RunCommand({"grep", "NSpid", status}));
  ASSERT_EQ(pids, absl::StrCat("NSpid:\t", process->expected_owner(), "\t1\n"));
  const Json owner = OwnerOfConflict();
  EXPECT_EQ(owner["pid"], process->expected_owner());
  EXPECT_EQ(owner["comm"], kComm);
  EXPECT_THAT(owner["holders"], ElementsAre(process->expected_owner()));
}

// Without the rules of kube-proxy, source netfilter sees no NodePort, wherever they are.
TEST_F(ScanTest, WithoutTheRulesOfKubeProxyItCannotTell) {
  const std::vector<std::string> netfilter = {"scan", "--source", "netfilter", "-o", "json"};
  NPG_ASSERT_OK_AND_ASSIGN(const auto none, RunScan(GuardCommand(node(), netfilter)));
  EXPECT_EQ(none.exit_code, 5) << none.text;
  EXPECT_EQ(none.json["coverage"], "none");
  EXPECT_THAT(none.json["notes"], ElementsAre(HasSubstr("no rules of kube-proxy")));

  NPG_ASSERT_OK_AND_ASSIGN(const auto file, Scan());
  EXPECT_EQ(file.exit_code, 0) << file.text;
  EXPECT_EQ(file.json["coverage"], "all");

  // The chain alone shows that kube-proxy runs.
  const KubeProxyRules rules(IptablesVariant::kNft, TestNode::kPod, TestNode::kPodPort);
  NPG_ASSERT_OK(rules.Apply({}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto all, RunScan(GuardCommand(node(), netfilter)));
  EXPECT_EQ(all.exit_code, 0) << all.text;
  EXPECT_EQ(all.json["coverage"], "all");

  // The services of IPVS are read, too, where the kernel has it; OVN-Kubernetes has NodePorts that
  // are in no rules.
  const auto add_interface = [](const std::string& name) {
    return RunCommand(
               {"ip", "link", "add", name, "type", "veth", "peer", "name", absl::StrCat(name, "p")})
        .status();
  };
  NPG_ASSERT_OK(add_interface("kube-ipvs0"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto ipvs, RunScan(GuardCommand(node(), netfilter)));
  const bool readable = std::filesystem::exists("/proc/self/net/ip_vs");
  EXPECT_EQ(ipvs.exit_code, readable ? 0 : 5) << ipvs.text;
  EXPECT_EQ(ipvs.json["coverage"], readable ? "all" : "part");
  NPG_ASSERT_OK(add_interface("ovn-k8s-mp0"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto part, RunScan(GuardCommand(node(), netfilter)));
  EXPECT_EQ(part.exit_code, 5) << part.text;
  EXPECT_EQ(part.json["coverage"], "part");

  // A conflict is one, even where others may be missing.
  NPG_ASSERT_OK(rules.Apply({{kPort, Transport::kTcp, true}}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto process, Process::Start(Listens("127.0.0.1")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto found, RunScan(GuardCommand(node(), netfilter)));
  EXPECT_EQ(found.exit_code, 3) << found.text;
  EXPECT_THAT(found.json["notes"], Contains(HasSubstr("OVN-Kubernetes")));
}

// Cilium's connect program has taken the connect before the guard's mark has an effect.
TEST_F(ScanTest, PromisesNothingBesideCiliumsSocketLoadBalancer) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto process, Process::Start(Listens("127.0.0.1")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto without, Scan({}));
  EXPECT_THAT(without.text, HasSubstr("'nodeport-guard run' with the same flags prevents that.\n"));
  // A link cannot be pinned without its program; the name is what counts.
  std::filesystem::create_directories(
      absl::StrCat(node().bpffs(), "/cilium/socketlb/links/cgroup/cil_sock4_connect"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto beside, Scan({}));
  EXPECT_EQ(beside.exit_code, 3) << beside.text;
  EXPECT_THAT(beside.text, HasSubstr("'nodeport-guard run' does not prevent that"));
  EXPECT_THAT(beside.text, HasSubstr("Note: Cilium's socket load balancer"));
}

// The socket lookup of the connect programs has no device.
TEST_F(ScanTest, PromisesNothingForAListenerOnADevice) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const auto process, Process::Start([](std::vector<UniqueFd>& kept) -> absl::StatusOr<pid_t> {
        absl::StatusOr<pid_t> self = Listens("127.0.0.53")(kept);
        if (!self.ok()) return self;
        if (setsockopt(kept.back().get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) != 0) {
          return ErrnoStatus(errno, "SO_BINDTODEVICE");
        }
        return self;
      }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto scanned, Scan({}));
  EXPECT_EQ(scanned.exit_code, 3) << scanned.text;
  EXPECT_THAT(scanned.text, HasSubstr("'nodeport-guard run' does not prevent that"));
  EXPECT_THAT(scanned.text, HasSubstr("Note: 33589/tcp 127.0.0.53 is bound to a device"));
}

TEST_F(ScanTest, SocketsThatShareAnAddressAreOneLine) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const auto process, Process::Start([](std::vector<UniqueFd>& kept) -> absl::StatusOr<pid_t> {
        for (int i = 0; i < 8; ++i) {
          UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
          const int on = 1;
          sockaddr_in address{};
          address.sin_family = AF_INET;
          address.sin_port = htons(kPort);
          address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
          if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
              bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
              listen(fd.get(), 1) != 0) {
            return ErrnoStatus(errno, "listen with SO_REUSEPORT");
          }
          kept.push_back(std::move(fd));
        }
        return getpid();
      }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, Scan({}));
  EXPECT_THAT(table.text, HasSubstr("127.0.0.1 (8 sockets)"));
  EXPECT_EQ(table.text.find("33589/tcp"), table.text.rfind("33589/tcp"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto json, Scan());
  EXPECT_THAT(json.json["conflicts"], SizeIs(8));
}

// A file that is not there may have named the ports that are in conflict.
TEST_F(ScanTest, WhereASourceFailsItCannotTell) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const auto scanned,
      RunScan(GuardCommand(node(), {"scan", "--source", "file", "--nodeports-file",
                                    node().File("absent.json"), "-o", "json"})));
  EXPECT_EQ(scanned.exit_code, 5) << scanned.text;
  EXPECT_EQ(scanned.json["coverage"], "none");
  EXPECT_THAT(scanned.json["notes"], ElementsAre(HasSubstr("absent.json")));
}

TEST_F(ScanTest, SharedAfterFork) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto process,
                           Process::Start([](std::vector<UniqueFd>& kept) -> absl::StatusOr<pid_t> {
                             absl::StatusOr<pid_t> self = Listens("127.0.0.1")(kept);
                             if (!self.ok()) return self;
                             return ForkKeeper();
                           }));
  EXPECT_THAT(OwnerOfConflict()["holders"],
              ::testing::UnorderedElementsAre(process->pid(), process->expected_owner()));
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, Scan({}));
  EXPECT_EQ(table.exit_code, 3);
  EXPECT_THAT(table.text, HasSubstr(", shared by 2 processes\n"));
}

TEST_F(ScanTest, IgnoredOwners) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto process, Process::Start(Listens("127.0.0.1")));
  EXPECT_EQ(OwnerOfConflict()["pid"], process->pid());
  for (const auto& [flag, name, ignored] :
       std::vector<std::tuple<std::string, std::string, bool>>{{"--ignore-process", kComm, true},
                                                               {"--only-process", "other", true},
                                                               {"--ignore-process", "other", false},
                                                               {"--only-process", kComm, false}}) {
    SCOPED_TRACE(absl::StrCat(flag, " ", name));
    NPG_ASSERT_OK_AND_ASSIGN(const auto scanned, Scan({flag, name, "-o", "json"}));
    EXPECT_EQ(scanned.exit_code, ignored ? 0 : 3) << scanned.text;
    EXPECT_THAT(scanned.json["conflicts"], SizeIs(ignored ? 0 : 1));
    ASSERT_THAT(scanned.json["ignored"], SizeIs(ignored ? 1 : 0));
    const Json& listed = scanned.json[ignored ? "ignored" : "conflicts"];
    EXPECT_EQ(listed[0]["owner"]["pid"], process->pid());
  }
}

TEST_F(ScanTest, ScopeLocal) {
  constexpr const char* kNodeAddress = "10.244.1.1";
  NPG_ASSERT_OK_AND_ASSIGN(const auto process, Process::Start(Listens(kNodeAddress)));
  NPG_ASSERT_OK_AND_ASSIGN(const auto loopback, Scan());
  EXPECT_EQ(loopback.exit_code, 0) << loopback.text;
  EXPECT_THAT(loopback.json["conflicts"], IsEmpty());
  EXPECT_EQ(loopback.json["listeners"], 1);
  NPG_ASSERT_OK_AND_ASSIGN(const auto local, Scan({"--scope", "local", "-o", "json"}));
  EXPECT_EQ(local.exit_code, 3) << local.text;
  ASSERT_THAT(local.json["conflicts"], SizeIs(1));
  EXPECT_EQ(local.json["conflicts"][0]["listener"], kNodeAddress);
  EXPECT_EQ(local.json["conflicts"][0]["owner"]["pid"], process->pid());
}

// The cgroups have the names that kubelet's systemd driver and containerd give.
TEST_F(ScanTest, OwnerInAContainer) {
  const std::string id(64, 'c');
  const std::string slice = "kubepods-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice";
  NPG_ASSERT_OK(node().cgroup().MakeChild(slice));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string scope, node().cgroup().MakeChild(absl::StrCat(
                                                        slice, "/cri-containerd-", id, ".scope")));
  const Json owner = OwnerInCgroup(scope);
  EXPECT_EQ(owner["pod_uid"], "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9");
  EXPECT_EQ(owner["container_id"], id);
  EXPECT_EQ(owner["container_runtime"], "containerd");
  EXPECT_TRUE(owner["unit"].is_null());
}

TEST_F(ScanTest, OwnerInAUnit) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::string unit, node().cgroup().MakeChild("agent.service"));
  const Json owner = OwnerInCgroup(unit);
  EXPECT_EQ(owner["unit"], "agent.service");
  EXPECT_TRUE(owner["pod_uid"].is_null());
  EXPECT_TRUE(owner["container_id"].is_null());
  EXPECT_THAT(owner["cgroup"].get<std::string>(), ::testing::EndsWith("/agent.service"));
}

}  // namespace
}  // namespace npg::testing::scan_test

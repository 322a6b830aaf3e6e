// SPDX-License-Identifier: Apache-2.0
#include "cli/args/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "abi/names.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "serve/http_address.h"
#include "testing/status_asserts.h"

namespace npg::cli::command_line_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Variables = std::map<std::string, std::string>;

Environment From(const Variables& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
  };
}

// The arguments are the words between blanks.
absl::StatusOr<Options> Parse(const std::string& line, const Variables& variables = {}) {
  CommandLine command_line;
  return command_line.Parse(absl::StrSplit(line, ' ', absl::SkipEmpty()), From(variables));
}

template <typename T>
absl::StatusOr<T> ParseAs(const std::string& line, const Variables& variables = {}) {
  absl::StatusOr<Options> options = Parse(line, variables);
  if (!options.ok()) return options.status();
  return std::get<T>(*options);
}

// Expects a usage error, and returns its message.
std::string Refused(const std::string& line, const Variables& variables = {}) {
  const absl::StatusOr<Options> options = Parse(line, variables);
  if (options.ok()) return "(accepted)";
  EXPECT_EQ(ExitCode(options.status()), kExitUsage) << options.status();
  EXPECT_THAT(std::string(options.status().message()), Not(HasSubstr("\n")));
  return std::string(options.status().message());
}

class ConfigFile {
 public:
  explicit ConfigFile(const std::string& content) {
    std::string pattern = ::testing::TempDir() + "npg-config-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    std::ofstream(path()) << content;
  }
  ~ConfigFile() { std::filesystem::remove_all(folder_); }
  ConfigFile(const ConfigFile&) = delete;
  ConfigFile& operator=(const ConfigFile&) = delete;

  std::string path() const { return folder_ / "guard.yaml"; }

 private:
  std::filesystem::path folder_;
};

TEST(CommandLineTest, DefaultsOfRun) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run, ParseAs<RunOptions>("run"));
  EXPECT_EQ(run.node.cgroup, "");
  EXPECT_EQ(run.node.bpffs, "/sys/fs/bpf");
  EXPECT_THAT(run.sources.sources, ElementsAre("auto"));
  EXPECT_EQ(run.sources.nodeports_file, "");
  EXPECT_EQ(run.sources.kubeconfig, "");
  EXPECT_EQ(run.sources.kube_context, "");
  EXPECT_EQ(run.sources.kube_api_server, "");
  EXPECT_FALSE(run.sources.in_cluster);
  EXPECT_EQ(run.mode, abi::Mode::kEnforce);
  EXPECT_EQ(run.mark.value, 0x1000U);
  EXPECT_EQ(run.mark.mask, 0x1000U);
  EXPECT_THAT(run.owners.ignored,
              ElementsAre("kube-proxy", "ovnkube", "k3s-server", "k3s-agent", "kubelite",
                          "hyperkube", "crio", "dockerd", "conmon", "antrea-agent"));
  EXPECT_THAT(run.owners.uids, ElementsAre(0));
  EXPECT_THAT(run.owners.cgroups, IsEmpty());
  EXPECT_FALSE(run.detach_on_exit);
  ASSERT_TRUE(run.http.has_value());
  EXPECT_EQ(serve::ToString(*run.http), "127.0.0.1:9829");
  EXPECT_EQ(run.log_level, "info");
  EXPECT_FALSE(run.log_json);
  EXPECT_TRUE(run.kube_events);
  EXPECT_EQ(run.node_name, "");
}

TEST(CommandLineTest, TheNodeNameIsFlagThenEnvironment) {
  const auto name = [](const std::string& line, const Variables& variables) {
    const auto run = ParseAs<RunOptions>(line, variables);
    return run.ok() ? run->node_name : "(refused)";
  };
  const Variables both = {{"NODE_NAME", "pod"}, {"NODEPORT_GUARD_NODE_NAME", "own"}};
  EXPECT_EQ(name("run", {{"NODE_NAME", "pod"}}), "pod");
  EXPECT_EQ(name("run", both), "own");
  EXPECT_EQ(name("run --node-name flag", both), "flag");
  EXPECT_EQ(Refused("run --kube-events maybe"), "--kube-events: \"maybe\" is not one of on, off");
}

// Where `run` with this line listens for HTTP.
std::string HttpAddressOf(const std::string& line, const Variables& variables = {}) {
  const absl::StatusOr<RunOptions> run = ParseAs<RunOptions>(line, variables);
  if (!run.ok()) return std::string(run.status().message());
  return run->http ? serve::ToString(*run->http) : "off";
}

TEST(CommandLineTest, HttpAddress) {
  EXPECT_EQ(HttpAddressOf("run --http-address off"), "off");
  EXPECT_EQ(HttpAddressOf("run --http-address [::1]:80"), "[::1]:80");
  EXPECT_EQ(HttpAddressOf("run --http-address 0.0.0.0:9000 --http-address 10.0.0.1:9001"),
            "10.0.0.1:9001");
  EXPECT_EQ(HttpAddressOf("run", {{"NODEPORT_GUARD_HTTP_ADDRESS", "127.0.0.2:1"}}), "127.0.0.2:1");
  EXPECT_EQ(
      HttpAddressOf("run --http-address 127.0.0.3:1", {{"NODEPORT_GUARD_HTTP_ADDRESS", "off"}}),
      "127.0.0.3:1");
  const ConfigFile config("http-address: \"[::]:9829\"\n");
  EXPECT_EQ(HttpAddressOf("run --config " + config.path()), "[::]:9829");
  EXPECT_EQ(HttpAddressOf("run --http-address off --config " + config.path()), "off");
  const ConfigFile off("http-address: off\n");
  EXPECT_EQ(HttpAddressOf("run --config " + off.path()), "off");
}

TEST(CommandLineTest, RefusesAnInvalidHttpAddress) {
  EXPECT_EQ(Refused("run --http-address 127.0.0.1:0"),
            "--http-address: \"127.0.0.1:0\" has port 0, which would be another one at each "
            "start; write an IP address and a port, as 127.0.0.1:9829 or [::1]:9829, or off");
  EXPECT_THAT(Refused("run --http-address localhost:9829"), HasSubstr("are not looked up"));
  EXPECT_THAT(Refused("run --http-address :9829"), HasSubstr("names no address"));
  EXPECT_THAT(Refused("run --http-address OFF"), HasSubstr("has no port"));
  EXPECT_THAT(Refused("run", {{"NODEPORT_GUARD_HTTP_ADDRESS", "9829"}}),
              HasSubstr("NODEPORT_GUARD_HTTP_ADDRESS"));
}

TEST(CommandLineTest, AllFlagsOfRun) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const RunOptions run,
      ParseAs<RunOptions>(
          "run --source netfilter --source=file,kubernetes --nodeports-file p.yaml "
          "--kubeconfig k.yaml --kube-context c --kube-api-server https://192.0.2.1:6443/ "
          "--mode observe "
          "--cgroup /cg --bpffs /bpf --mark 0x10 --mark-mask 0xf0 --ignore-process a,b "
          "--ignore-process c --detach-on-exit --log-level debug --log-format json "
          "--kube-events off --node-name worker-1 --nft-owner off"));
  EXPECT_THAT(run.sources.sources, ElementsAre("netfilter", "file", "kubernetes"));
  EXPECT_EQ(run.sources.nodeports_file, "p.yaml");
  EXPECT_EQ(run.sources.kubeconfig, "k.yaml");
  EXPECT_EQ(run.sources.kube_context, "c");
  EXPECT_EQ(run.sources.kube_api_server, "https://192.0.2.1:6443");
  EXPECT_EQ(run.mode, abi::Mode::kObserve);
  EXPECT_EQ(run.node.cgroup, "/cg");
  EXPECT_EQ(run.node.bpffs, "/bpf");
  EXPECT_EQ(run.mark.value, 0x10U);
  EXPECT_EQ(run.mark.mask, 0xf0U);
  EXPECT_THAT(run.owners.ignored, ElementsAre("a", "b", "c"));
  EXPECT_TRUE(run.detach_on_exit);
  EXPECT_EQ(run.log_level, "debug");
  EXPECT_TRUE(run.log_json);
  EXPECT_FALSE(run.kube_events);
  EXPECT_FALSE(run.nft_owner);
  EXPECT_EQ(run.node_name, "worker-1");
}

TEST(CommandLineTest, FlagsOfDoctor) {
  NPG_ASSERT_OK_AND_ASSIGN(const DoctorOptions plain, ParseAs<DoctorOptions>("doctor"));
  EXPECT_FALSE(plain.mark.has_value()) << "defaults to the mark of the loaded guard";
  EXPECT_EQ(plain.scope, abi::Scope::kLoopback);
  EXPECT_THAT(plain.sources.sources, ElementsAre("auto"));
  NPG_ASSERT_OK_AND_ASSIGN(
      const DoctorOptions doctor,
      ParseAs<DoctorOptions>("doctor --mark 0x800 --scope local --source file --nodeports-file p "
                             "--cgroup /cg --bpffs /bpf -o yaml"));
  ASSERT_TRUE(doctor.mark.has_value());
  EXPECT_EQ(doctor.mark->value, 0x800U);
  EXPECT_EQ(doctor.mark->mask, 0x800U);
  EXPECT_EQ(doctor.scope, abi::Scope::kLocal);
  EXPECT_EQ(doctor.sources.nodeports_file, "p");
  EXPECT_EQ(doctor.node.cgroup, "/cg");
  EXPECT_EQ(doctor.node.bpffs, "/bpf");
  EXPECT_EQ(doctor.output, OutputFormat::kYaml);
  EXPECT_THAT(Refused("doctor --mark 0x1001 --mark-mask 0x1000"), HasSubstr("outside --mark-mask"));
}

TEST(CommandLineTest, TheLastOfASingleFlagCounts) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run,
                           ParseAs<RunOptions>("run --mode observe --mode enforce"));
  EXPECT_EQ(run.mode, abi::Mode::kEnforce);
}

TEST(CommandLineTest, NamesUnknownFlagsAndCommands) {
  EXPECT_EQ(Refused(""), "no command given");
  EXPECT_EQ(Refused("walk"), "unknown command \"walk\"");
  EXPECT_EQ(Refused("--bpffs /x run"), "unknown flag \"--bpffs\"");
  EXPECT_EQ(Refused("run --frob"), "unknown flag \"--frob\"");
  EXPECT_EQ(Refused("run --frob=1"), "unknown flag \"--frob\"");
  EXPECT_EQ(Refused("run -z"), "unknown flag \"-z\"");
  EXPECT_EQ(Refused("run status"), "unexpected argument \"status\"");
  EXPECT_EQ(Refused("status --mode observe"), "unknown flag \"--mode\"");
  EXPECT_EQ(Refused("version --bpffs /x"), "unknown flag \"--bpffs\"");
  EXPECT_EQ(Refused("run --mode"), "--mode: needs a value");
  EXPECT_EQ(Refused("run --bpffs="), "--bpffs: needs a value");
  CommandLine command_line;
  EXPECT_EQ(command_line.Parse({"run", "--bpffs", ""}, From({})).status(),
            UsageError("--bpffs: is empty"));
}

TEST(CommandLineTest, EscapesControlCharactersInMessages) {
  EXPECT_EQ(Refused("\x1b[2J"), "unknown command \"\\x1b[2J\"");
  EXPECT_EQ(Refused("run --mode a\nb"), "--mode: \"a\\nb\" is not one of enforce, observe");
}

TEST(CommandLineTest, ProtectionIsOffByDefault) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run, ParseAs<RunOptions>("run"));
  EXPECT_EQ(run.reserve_ports, abi::ReservePorts::kOff);
  EXPECT_EQ(run.bind_protection, abi::BindProtection::kOff);
  EXPECT_EQ(run.bind_exceptions, core::BindExceptions());
}

TEST(CommandLineTest, ReservePorts) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions alone,
                           ParseAs<RunOptions>("run --reserve-ports allocated"));
  EXPECT_EQ(alone.reserve_ports, abi::ReservePorts::kAllocated);
  EXPECT_EQ(alone.bind_protection, abi::BindProtection::kOff);
  EXPECT_EQ(Refused("run --reserve-ports all"),
            "--reserve-ports: \"all\" is not one of off, allocated");
  EXPECT_EQ(Refused("scan --reserve-ports off"), "unknown flag \"--reserve-ports\"");
}

// Whether `run` with this line reserves ports.
abi::ReservePorts ReservedBy(const std::string& line, const Variables& variables = {}) {
  const absl::StatusOr<RunOptions> run = ParseAs<RunOptions>(line, variables);
  NPG_EXPECT_OK(run);
  return run.ok() ? run->reserve_ports : abi::ReservePorts::kOff;
}

TEST(CommandLineTest, DenyReservesPortsAndWarnDoesNot) {
  EXPECT_EQ(ReservedBy("run --bind-protection deny"), abi::ReservePorts::kAllocated);
  EXPECT_EQ(ReservedBy("run", {{"NODEPORT_GUARD_BIND_PROTECTION", "deny"}}),
            abi::ReservePorts::kAllocated);
  const ConfigFile config("bind-protection: deny\n");
  EXPECT_EQ(ReservedBy("run --config " + config.path()), abi::ReservePorts::kAllocated);
  EXPECT_EQ(ReservedBy("run --bind-protection warn"), abi::ReservePorts::kOff);
  EXPECT_EQ(ReservedBy("run --bind-protection warn --reserve-ports off"), abi::ReservePorts::kOff);
  EXPECT_EQ(ReservedBy("run --bind-protection off --reserve-ports allocated"),
            abi::ReservePorts::kAllocated);
}

TEST(CommandLineTest, DenyWithoutReservedPortsIsAContradiction) {
  const std::string why =
      "--reserve-ports off: --bind-protection deny needs allocated: the kernel would still assign "
      "NodePorts to sockets that ask for any port, and those that then bind that number fail";
  EXPECT_EQ(Refused("run --bind-protection deny --reserve-ports off"), why);
  EXPECT_EQ(Refused("run --bind-protection deny", {{"NODEPORT_GUARD_RESERVE_PORTS", "off"}}), why);
  const ConfigFile config("bind-protection: deny\nreserve-ports: \"off\"\n");
  EXPECT_EQ(Refused("run --config " + config.path()), why);
}

TEST(CommandLineTest, ExceptionsToBindProtection) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const RunOptions run,
      ParseAs<RunOptions>(
          "run --bind-protection warn --bind-allow-uid 1000,1001 --bind-allow-uid 0 "
          "--bind-allow-cgroup /system.slice/** --bind-allow-cgroup /lb "
          "--bind-allow-process haproxy,envoy,haproxy"));
  EXPECT_EQ(run.bind_protection, abi::BindProtection::kWarn);
  EXPECT_THAT(run.bind_exceptions.uids, ElementsAre(1000, 1001, 0));
  EXPECT_THAT(run.bind_exceptions.cgroups, ElementsAre("/system.slice/**", "/lb"));
  EXPECT_THAT(run.bind_exceptions.processes, ElementsAre("haproxy", "envoy"));
  EXPECT_THAT(run.owners.cgroups, IsEmpty()) << "these are about listeners";

  const ConfigFile config(
      "bind-protection: deny\nbind-allow-uid: [+7]\nbind-allow-process: [+a, +b]\n"
      "bind-allow-cgroup: [+/a]\n");
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions added,
                           ParseAs<RunOptions>("run --config " + config.path()));
  EXPECT_THAT(added.bind_exceptions.uids, ElementsAre(7));
  EXPECT_THAT(added.bind_exceptions.processes, ElementsAre("a", "b"));
  EXPECT_THAT(added.bind_exceptions.cgroups, ElementsAre("/a"));
  NPG_ASSERT_OK_AND_ASSIGN(
      const RunOptions variables,
      ParseAs<RunOptions>("run", {{"NODEPORT_GUARD_BIND_PROTECTION", "deny"},
                                  {"NODEPORT_GUARD_BIND_ALLOW_PROCESS", "haproxy, envoy"}}));
  EXPECT_THAT(variables.bind_exceptions.processes, ElementsAre("haproxy", "envoy"));
}

TEST(CommandLineTest, ExceptionsToBindProtectionAreChecked) {
  const std::string deny = "run --bind-protection deny ";
  EXPECT_EQ(Refused(deny + "--bind-allow-uid any"),
            "--bind-allow-uid: \"any\" is no user id; see 'id -u NAME'");
  EXPECT_EQ(Refused(deny + "--bind-allow-uid 4294967295"),
            "--bind-allow-uid: \"4294967295\" is no user id; see 'id -u NAME'");
  EXPECT_EQ(Refused(deny + "--bind-allow-uid +1,2"),
            "--bind-allow-uid: has values with and without '+'; begin each with '+' to add to the "
            "default, or none to replace it");
  EXPECT_EQ(Refused(deny + "--bind-allow-cgroup lb"),
            "--bind-allow-cgroup: \"lb\" is not the path of a cgroup; it begins with '/', as in "
            "/system.slice/**");
  EXPECT_EQ(Refused(deny + "--bind-allow-cgroup /"),
            "--bind-allow-cgroup: \"/\" selects every cgroup; write --bind-protection off if that "
            "is meant");
  EXPECT_EQ(Refused(deny + "--bind-allow-process 1234567890123456"),
            "--bind-allow-process: \"1234567890123456\" is longer than the 15 bytes that the "
            "kernel keeps of a name; write \"123456789012345\" if that is meant");
  std::string many = deny + "--bind-allow-uid 0";
  for (int uid = 1; uid < 256; ++uid) many += "," + std::to_string(uid);
  NPG_EXPECT_OK(Parse(many));
  EXPECT_EQ(Refused(many + ",256"), "--bind-allow-uid: names more than 256 users");
}

TEST(CommandLineTest, ExceptionsNeedBindProtection) {
  for (const char* flag :
       {"--bind-allow-uid 7", "--bind-allow-cgroup /lb", "--bind-allow-process haproxy"}) {
    const std::string name(flag, std::string(flag).find(' '));
    for (const char* line :
         {"run ", "run --bind-protection off ", "run --reserve-ports allocated "}) {
      EXPECT_EQ(Refused(std::string(line) + flag),
                name + ": is not used without --bind-protection warn or --bind-protection deny");
    }
  }
  EXPECT_EQ(Refused("run --bind-protection block"),
            "--bind-protection: \"block\" is not one of off, warn, deny");
}

TEST(CommandLineTest, ValuesAreChecked) {
  EXPECT_EQ(Refused("run --mode off"), "--mode: \"off\" is not one of enforce, observe");
  EXPECT_EQ(Refused("run --scope node"), "--scope: \"node\" is not one of loopback, local");
  EXPECT_EQ(Refused("run --source etcd"),
            "--source: \"etcd\" is not a source (auto, kubernetes, netfilter, file)");
  EXPECT_EQ(Refused("run --source ,"), "--source: names no source");
  EXPECT_EQ(Refused("run --source file"), "--source file: needs --nodeports-file FILE");
  EXPECT_EQ(Refused("run --source netfilter --nodeports-file p"),
            "--nodeports-file: is not read unless --source has auto or file");
  EXPECT_EQ(Refused("run --log-level loud"),
            "--log-level: \"loud\" is not one of trace, debug, info, warn, error");
  EXPECT_EQ(Refused("run --detach-on-exit=perhaps"),
            "--detach-on-exit: \"perhaps\" is neither true nor false");
  EXPECT_EQ(Refused("run --ignore-process kube-controller-manager"),
            "--ignore-process: \"kube-controller-manager\" is longer than the 15 bytes that the "
            "kernel keeps of a name; write \"kube-controller\" if that is meant");
  EXPECT_EQ(Refused("run --guard-uid nobody"),
            "--guard-uid: \"nobody\" is neither a user id nor 'any'; see 'id -u NAME'");
  EXPECT_EQ(Refused("run --guard-uid 4294967295"),
            "--guard-uid: \"4294967295\" is neither a user id nor 'any'; see 'id -u NAME'");
  EXPECT_EQ(Refused("run --guard-uid +1000,1001"),
            "--guard-uid: has values with and without '+'; begin each with '+' to add to the "
            "default, or none to replace it");
  EXPECT_EQ(Refused("run --ignore-process a --ignore-process +b"),
            "--ignore-process: has values with and without '+'; begin each with '+' to add to the "
            "default, or none to replace it");
  EXPECT_EQ(Refused("run --guard-cgroup system.slice"),
            "--guard-cgroup: \"system.slice\" is not the path of a cgroup; it begins with '/', as "
            "in /system.slice/**");
  EXPECT_EQ(Refused("run --guard-cgroup /"),
            "--guard-cgroup: \"/\" selects every cgroup; write --guard-uid any if that is meant");
  EXPECT_EQ(Refused("status -o xml"), "--output: \"xml\" is not one of table, json, yaml");
  EXPECT_EQ(Refused("events -o yaml"), "--output: \"yaml\" is not one of text, json");
  EXPECT_EQ(Refused("events --count -1"), "--count: \"-1\" is not a number");
  EXPECT_EQ(Refused("unload --drain 5s"), "--drain: \"5s\" is not a number");
  EXPECT_EQ(Refused("unload --drain 4294967296"), "--drain: \"4294967296\" is not a number");
}

TEST(CommandLineTest, FlagsOfTheApiServerNeedTheSourceThatAsksIt) {
  for (const std::string command : {"run", "scan"}) {
    EXPECT_EQ(Refused(command + " --source netfilter --kubeconfig k"),
              "--kubeconfig: is not read unless --source has auto or kubernetes");
    EXPECT_EQ(Refused(command + " --source file --nodeports-file p --kubeconfig k"),
              "--kubeconfig: is not read unless --source has auto or kubernetes");
    EXPECT_EQ(Refused(command + " --kube-context c"), "--kube-context: needs --kubeconfig FILE");
    EXPECT_EQ(Refused(command + " --source kubernetes --kube-context c"),
              "--kube-context: needs --kubeconfig FILE");
    for (const char* source : {"", " --source auto", " --source netfilter"}) {
      EXPECT_EQ(Refused(command + source + " --kube-api-server https://192.0.2.1"),
                "--kube-api-server: is not used unless --source has kubernetes, or auto in a pod "
                "with a service account or with --kubeconfig");
    }
    NPG_EXPECT_OK(Parse(command + " --source kubernetes --kube-api-server https://192.0.2.1"));
    NPG_EXPECT_OK(Parse(command + " --kubeconfig k --kube-api-server https://192.0.2.1"));
    NPG_EXPECT_OK(Parse(command + " --source kubernetes"))
        << "whether credentials exist is known later";
  }
}

TEST(CommandLineTest, RefusesABadApiServerUrlFromAnyOrigin) {
  EXPECT_EQ(Refused("run --kubeconfig k --kube-api-server http://192.0.2.1"),
            "--kube-api-server: \"http://192.0.2.1\" is not https: the token would be sent in the "
            "clear; write https://");
  EXPECT_EQ(Refused("scan", {{"NODEPORT_GUARD_KUBE_API_SERVER", "192.0.2.1"}}),
            "NODEPORT_GUARD_KUBE_API_SERVER: \"192.0.2.1\" does not begin with https://; write "
            "https://HOST:PORT");
  const ConfigFile config("kube-api-server: https://fd00::1:6443\n");
  EXPECT_THAT(Refused("run --config " + config.path()),
              HasSubstr(": kube-api-server: \"https://fd00::1:6443\" has an IPv6 address without"));
}

TEST(CommandLineTest, LocalAddresses) {
  for (const std::string command : {"run", "scan", "doctor"}) {
    EXPECT_EQ(Refused(command + " --local-address 192.0.2.7"),
              "--local-address: is not used without --scope local");
    EXPECT_EQ(Refused(command + " --scope local --local-address 192.0.2.7/40"),
              "--local-address: \"192.0.2.7/40\" has no prefix length from 0 to 32");
  }
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions none, ParseAs<RunOptions>("run --scope local"));
  EXPECT_FALSE(none.local_addresses.given);
  EXPECT_TRUE(none.local_addresses.add);
  NPG_ASSERT_OK_AND_ASSIGN(
      const RunOptions run,
      ParseAs<RunOptions>("run --scope local --local-address 192.0.2.7,2001:db8::/64 "
                          "--local-address 192.0.2.8"));
  EXPECT_TRUE(run.local_addresses.given);
  EXPECT_FALSE(run.local_addresses.add);
  EXPECT_EQ(run.local_addresses.ranges.size(), 3U);
  const ConfigFile config("scope: local\nlocal-address: [+192.0.2.7, 2001:db8::7]\n");
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions configured,
                           ParseAs<RunOptions>("run --config " + config.path()));
  EXPECT_TRUE(configured.local_addresses.add);
  EXPECT_EQ(configured.local_addresses.ranges.size(), 2U);
}

TEST(CommandLineTest, AnEmptyIgnoreListIsPossible) {
  CommandLine command_line;
  NPG_ASSERT_OK_AND_ASSIGN(const Options run,
                           command_line.Parse({"run", "--ignore-process", ""}, From({})));
  EXPECT_THAT(std::get<RunOptions>(run).owners.ignored, IsEmpty());
  const ConfigFile config("ignore-process: []\n");
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions configured,
                           ParseAs<RunOptions>("run --config " + config.path()));
  EXPECT_THAT(configured.owners.ignored, IsEmpty());
}

TEST(CommandLineTest, APlusAddsToTheDefault) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions standard, ParseAs<RunOptions>("run"));
  std::vector<std::string> names = standard.owners.ignored;
  EXPECT_THAT(names, Contains("crio"));
  names.emplace_back("holder");
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions added,
                           ParseAs<RunOptions>("run --ignore-process +holder"));
  EXPECT_EQ(added.owners.ignored, names);
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions replaced,
                           ParseAs<RunOptions>("run --ignore-process holder"));
  EXPECT_THAT(replaced.owners.ignored, ElementsAre("holder"));

  EXPECT_THAT(standard.owners.uids, ElementsAre(0));
  EXPECT_FALSE(standard.owners.any_uid);
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions more,
                           ParseAs<RunOptions>("run --guard-uid +1000 --guard-uid +65534"));
  EXPECT_THAT(more.owners.uids, ElementsAre(0, 1000, 65534));
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions other, ParseAs<RunOptions>("run --guard-uid 1000"));
  EXPECT_THAT(other.owners.uids, ElementsAre(1000)) << "without root";
  NPG_ASSERT_OK_AND_ASSIGN(const ScanOptions any, ParseAs<ScanOptions>("scan --guard-uid any"));
  EXPECT_TRUE(any.owners.any_uid);
}

TEST(CommandLineTest, OnlyProcessLeavesTheDefaultOfIgnoreProcess) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run, ParseAs<RunOptions>("run --only-process crio"));
  EXPECT_THAT(run.owners.ignored, Not(Contains("crio")));
  EXPECT_THAT(run.owners.ignored, Contains("kube-proxy"));
}

TEST(CommandLineTest, CgroupsOfListeners) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const RunOptions run,
      ParseAs<RunOptions>("run --guard-cgroup /system.slice/** --guard-cgroup /kubepods/*/crio-*"));
  EXPECT_THAT(run.owners.cgroups, ElementsAre("/system.slice/**", "/kubepods/*/crio-*"));
}

TEST(CommandLineTest, ASwitchCanBeTurnedOff) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run,
                           ParseAs<RunOptions>("run --detach-on-exit=false",
                                               {{"NODEPORT_GUARD_DETACH_ON_EXIT", "true"}}));
  EXPECT_FALSE(run.detach_on_exit);
}

TEST(CommandLineTest, AMarkAloneIsItsOwnMask) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run, ParseAs<RunOptions>("run --mark 131072"));
  EXPECT_EQ(run.mark.value, 0x20000U);
  EXPECT_EQ(run.mark.mask, 0x20000U);
}

TEST(CommandLineTest, AMaskAloneKeepsTheMark) {
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run, ParseAs<RunOptions>("run --mark-mask 0xFFFF0000"
                                                                     " --mark 0x10000"));
  EXPECT_EQ(run.mark.mask, 0xffff0000U);
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions wide, ParseAs<RunOptions>("run --mark-mask 0x3000"));
  EXPECT_EQ(wide.mark.value, 0x1000U);
  EXPECT_EQ(wide.mark.mask, 0x3000U);
}

TEST(CommandLineTest, BadMarksAreRefused) {
  EXPECT_EQ(Refused("run --mark 0x1000 --mark-mask 0xff"),
            "--mark 0x1000: has bits outside --mark-mask 0xff");
  EXPECT_EQ(Refused("run --mark-mask 0xff"), "--mark 0x1000: has bits outside --mark-mask 0xff");
  EXPECT_EQ(Refused("run --mark 0"), "--mark: is 0; at least one bit must be set");
  EXPECT_EQ(Refused("run --mark-mask 0x0"), "--mark-mask: is 0; at least one bit must be set");
  for (const char* bad : {"0x", "x", "-1", "+1", "0x1g", "1.5", "0x100000000", "4294967296"}) {
    EXPECT_THAT(Refused(std::string("run --mark ") + bad), HasSubstr("is not a number of 32 bits"))
        << bad;
  }
}

TEST(CommandLineTest, EnvironmentVariablesReplaceFlags) {
  const Variables variables = {{"NODEPORT_GUARD_MODE", "observe"},
                               {"NODEPORT_GUARD_SOURCE", "netfilter, file"},
                               {"NODEPORT_GUARD_NODEPORTS_FILE", "p.yaml"},
                               {"NODEPORT_GUARD_DETACH_ON_EXIT", "yes"},
                               {"NODEPORT_GUARD_BPFFS", ""},
                               // Kubernetes sets such variables for a Service of that name.
                               {"NODEPORT_GUARD_PORT", "tcp://10.0.0.1:80"}};
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run, ParseAs<RunOptions>("run", variables));
  EXPECT_EQ(run.mode, abi::Mode::kObserve);
  EXPECT_THAT(run.sources.sources, ElementsAre("netfilter", "file"));
  EXPECT_EQ(run.sources.nodeports_file, "p.yaml");
  EXPECT_TRUE(run.detach_on_exit);
  EXPECT_EQ(run.node.bpffs, "/sys/fs/bpf") << "an empty variable counts as unset";
}

TEST(CommandLineTest, NamesABadVariable) {
  EXPECT_EQ(Refused("run", {{"NODEPORT_GUARD_MODE", "off"}}),
            "NODEPORT_GUARD_MODE: \"off\" is not one of enforce, observe");
  EXPECT_EQ(Refused("status", {{"NODEPORT_GUARD_OUTPUT", "xml"}}),
            "NODEPORT_GUARD_OUTPUT: \"xml\" is not one of table, json, yaml");
}

TEST(CommandLineTest, PrecedenceIsFlagEnvironmentConfigDefault) {
  const ConfigFile config(
      "mode: observe\n"
      "log-level: trace\n"
      "log-format: json\n"
      "ignore-process: [one, two]\n"
      "mark: 0x2000\n");
  const Variables variables = {{"NODEPORT_GUARD_LOG_LEVEL", "warn"},
                               {"NODEPORT_GUARD_MODE", "observe"},
                               {"NODEPORT_GUARD_CONFIG", config.path()}};
  NPG_ASSERT_OK_AND_ASSIGN(const RunOptions run,
                           ParseAs<RunOptions>("run --mode enforce", variables));
  EXPECT_EQ(run.mode, abi::Mode::kEnforce) << "flag";
  EXPECT_EQ(run.log_level, "warn") << "environment";
  EXPECT_TRUE(run.log_json) << "config";
  EXPECT_THAT(run.owners.ignored, ElementsAre("one", "two")) << "config";
  EXPECT_EQ(run.mark.value, 0x2000U) << "config";
  EXPECT_EQ(run.node.bpffs, "/sys/fs/bpf") << "default";
}

TEST(CommandLineTest, AnEmptyConfigFileChangesNothing) {
  for (const char* content : {"", "# nothing\n", "---\n", "{}\n"}) {
    const ConfigFile config(content);
    NPG_EXPECT_OK(Parse("run --config " + config.path())) << content;
  }
}

TEST(CommandLineTest, NamesBadConfigFiles) {
  const auto refused = [](const std::string& content) {
    const ConfigFile config(content);
    const std::string message = Refused("run --config " + config.path());
    const std::string prefix = "config file " + config.path() + ": ";
    EXPECT_EQ(message.substr(0, prefix.size()), prefix);
    return message.substr(prefix.size());
  };
  EXPECT_EQ(refused("mode: enforce\nmod: x\n"), "line 2: unknown key \"mod\"");
  EXPECT_EQ(refused("config: other.yaml\n"), "line 1: unknown key \"config\"");
  EXPECT_EQ(refused("help: true\n"), "line 1: unknown key \"help\"");
  EXPECT_EQ(refused("mode: enforce\nmode: observe\n"), "line 2: \"mode\" is there twice");
  EXPECT_EQ(refused("mode: off\n"), "mode: \"off\" is not one of enforce, observe");
  EXPECT_EQ(refused("mode: [enforce]\nlog-level: [info, warn]\n"),
            "log-level: takes one value, not a list");
  EXPECT_EQ(refused("mode: {a: b}\n"), "line 1: \"mode\" has no plain value");
  EXPECT_EQ(refused("mode:\n"), "line 1: \"mode\" has no plain value");
  EXPECT_EQ(refused("source: [[file]]\n"), "line 1: \"source\" has no plain value");
  EXPECT_EQ(refused("- mode\n"), "is not a YAML mapping of flag names to values");
  EXPECT_EQ(refused("mode: enforce\n---\nmode: observe\n"), "holds more than one YAML document");
  EXPECT_THAT(refused("mode: \"enfor"), HasSubstr("line 1: "));
  EXPECT_EQ(refused(std::string((1 << 20) + 1, '#')), "is larger than 1 MiB");
  EXPECT_EQ(Refused("run --config /nowhere/guard.yaml"),
            "config file /nowhere/guard.yaml: No such file or directory");
  EXPECT_EQ(Refused("run --config /"), "config file /: Is a directory");
}

TEST(CommandLineTest, ExplainTakesAPort) {
  NPG_ASSERT_OK_AND_ASSIGN(const ExplainOptions plain, ParseAs<ExplainOptions>("explain 33589"));
  EXPECT_EQ(plain.port, 33589);
  EXPECT_FALSE(plain.protocol.has_value());
  NPG_ASSERT_OK_AND_ASSIGN(const ExplainOptions udp,
                           ParseAs<ExplainOptions>("explain -o json 65535/UDP --bpffs /b"));
  EXPECT_EQ(udp.port, 65535);
  EXPECT_EQ(udp.protocol, core::Protocol::kUdp);
  EXPECT_EQ(udp.output, OutputFormat::kJson);
  EXPECT_EQ(udp.node.bpffs, "/b");
}

TEST(CommandLineTest, BadPortsAreRefused) {
  EXPECT_EQ(Refused("explain"), "no port given, as in 'nodeport-guard explain 33589'");
  EXPECT_EQ(Refused("explain 0"), "port 0 is outside 1-65535");
  EXPECT_EQ(Refused("explain 70000"), "port 70000 is outside 1-65535");
  EXPECT_EQ(Refused("explain http"), "\"http\" is not a port number");
  EXPECT_EQ(Refused("explain /tcp"), "\"\" is not a port number");
  EXPECT_EQ(Refused("explain 80/"), "\"\" is not a protocol (tcp, udp)");
  EXPECT_EQ(Refused("explain 80/sctp"), "protocol SCTP is not guarded");
  EXPECT_EQ(Refused("explain 80 81"), "unexpected argument \"81\"");
  EXPECT_EQ(Refused("explain -1"), "\"-1\" is not a port number");
}

TEST(CommandLineTest, OptionsOfTheOtherCommands) {
  NPG_ASSERT_OK_AND_ASSIGN(const StatusOptions status,
                           ParseAs<StatusOptions>("status --output yaml --cgroup /cg"));
  EXPECT_EQ(status.output, OutputFormat::kYaml);
  EXPECT_EQ(status.node.cgroup, "/cg");
  NPG_ASSERT_OK_AND_ASSIGN(const EventsOptions events,
                           ParseAs<EventsOptions>("events -o json --count 3"));
  EXPECT_TRUE(events.json);
  EXPECT_EQ(events.count, 3U);
  NPG_ASSERT_OK_AND_ASSIGN(
      const ScanOptions scan,
      ParseAs<ScanOptions>("scan --nodeports-file p --ignore-process x -o table"));
  EXPECT_EQ(scan.sources.nodeports_file, "p");
  EXPECT_THAT(scan.owners.ignored, ElementsAre("x"));
  NPG_ASSERT_OK_AND_ASSIGN(const UnloadOptions unload, ParseAs<UnloadOptions>("unload --drain 60"));
  EXPECT_EQ(unload.drain_seconds, 60U);
  EXPECT_FALSE(unload.stay);
  NPG_ASSERT_OK_AND_ASSIGN(const UnloadOptions stays, ParseAs<UnloadOptions>("unload --stay"));
  EXPECT_TRUE(stays.stay);
  NPG_EXPECT_OK(ParseAs<VersionOptions>("version"));
}

TEST(CommandLineTest, HelpNamesTheCommandThatWasMeant) {
  CommandLine command_line;
  EXPECT_EQ(command_line.HelpCommand(), "nodeport-guard --help");
  EXPECT_FALSE(command_line.Parse({"run", "--frob"}, From({})).ok());
  EXPECT_EQ(command_line.HelpCommand(), "nodeport-guard run --help");
}

TEST(CommandLineTest, EveryCommandHasHelpWithAnExampleOn80Columns) {
  for (const char* line :
       {"--help", "-h", "run --help", "run --mode observe -h", "status --help", "explain --help",
        "events --help", "scan --help", "unload --help", "version --help"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const HelpOptions help, ParseAs<HelpOptions>(line));
    EXPECT_THAT(help.text, HasSubstr("Usage: nodeport-guard")) << line;
    EXPECT_THAT(help.text, HasSubstr("Example")) << line;
    for (const std::string& text : std::vector<std::string>(absl::StrSplit(help.text, '\n'))) {
      EXPECT_LE(text.size(), 80U) << text;
    }
  }
}

// The effective sources of "--source" and the other settings, as text.
std::string Effective(const std::vector<std::string>& named, const std::string& kubeconfig = "",
                      bool in_cluster = false, const std::string& nodeports_file = "") {
  SourceOptions options;
  options.sources = named;
  options.kubeconfig = kubeconfig;
  options.in_cluster = in_cluster;
  options.nodeports_file = nodeports_file;
  const auto sources = EffectiveSources(options);
  NPG_EXPECT_OK(sources);
  if (!sources.ok()) return "";
  return absl::StrJoin(*sources, " ", [](std::string* out, abi::Source source) {
    absl::StrAppend(out, abi::Name(source));
  });
}

TEST(EffectiveSourcesTest, AutoIsNetfilterPlusThoseOfOtherFlagsAndThePod) {
  EXPECT_EQ(Effective({"auto"}), "netfilter");
  EXPECT_EQ(Effective({"auto"}, "", false, "p"), "netfilter file");
  EXPECT_EQ(Effective({"auto"}, "k"), "kubernetes netfilter");
  EXPECT_EQ(Effective({"auto"}, "", true), "kubernetes netfilter");
  EXPECT_EQ(Effective({"auto"}, "k", true, "p"), "kubernetes netfilter file");
}

TEST(EffectiveSourcesTest, NamedSourcesExcludeOthers) {
  EXPECT_EQ(Effective({"file"}, "", true, "p"), "file");
  EXPECT_EQ(Effective({"netfilter"}, "", true), "netfilter");
  EXPECT_EQ(Effective({"kubernetes"}), "kubernetes");
  EXPECT_EQ(Effective({"kubernetes"}, "k", true), "kubernetes");
  EXPECT_EQ(Effective({"file", "kubernetes"}, "k", false, "p"), "kubernetes file");
}

TEST(EffectiveSourcesTest, EachSourceOccursOnceInAFixedOrder) {
  EXPECT_EQ(Effective({"file", "netfilter", "file", "auto", "kubernetes"}, "", true, "p"),
            "kubernetes netfilter file");
}

TEST(ExitCodeTest, DependsOnTheKindOfError) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(absl::InternalError("x")), 1);
  EXPECT_EQ(ExitCode(absl::NotFoundError("x")), 1);
  EXPECT_EQ(ExitCode(absl::UnavailableError("x")), 1);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("x")), 1)
      << "an EINVAL of the kernel is no usage error";
  EXPECT_EQ(ExitCode(UsageError("x")), 2);
  EXPECT_EQ(ExitCode(absl::FailedPreconditionError("x")), 4);
  EXPECT_EQ(ExitCode(absl::PermissionDeniedError("x")), 4);
  EXPECT_EQ(ExitCode(absl::UnimplementedError("x")), 4);
}

}  // namespace
}  // namespace npg::cli::command_line_test

// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/coverage.h"
#include "node/node_port_traces.h"
#include "node/save_commands.h"
#include "sources/netfilter_source.h"
#include "sources/rule_parts.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::netfilter_reader_test {
namespace {

using testing::Tcp;
using testing::TempFolder;
using testing::Udp;
using testing::WriteFile;
using testing::WriteScript;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

std::string NatDump(int port) {
  return absl::StrCat(
      "*nat\\n-A KUBE-NODEPORTS -p tcp -m comment --comment default/a:b -m tcp --dport ", port,
      " -j KUBE-EXT-A\\nCOMMIT\\n");
}

RulePartSet Only(RulePart part) { return RulePartSet().set(Index(part)); }
RulePartSet All() { return RulePartSet().set(); }

// A system whose save commands are scripts of the test.
class NetfilterReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    NPG_ASSERT_OK(loop);
    loop_ = *std::move(loop);
    std::filesystem::create_directory(folder_ / "bin");
    std::filesystem::create_directory(folder_ / "net");
  }

  NetfilterEdges Edges() {
    return {.read_maps = [this] { return maps_; },
            .has_chain = [this](uint8_t family, absl::string_view table,
                                absl::string_view chain) -> absl::StatusOr<bool> {
              if (!chain_error_.ok()) return chain_error_;
              return chains_.contains(
                  absl::StrCat(family == AF_INET ? "ip " : "ip6 ", table, " ", chain));
            },
            .command_folders = {folder_ / "bin"},
            .proc_net = folder_ / "net",
            .limits = {.timeout = absl::Seconds(20)},
            .read_traces = [this] { return traces_; }};
  }

  // Makes a command that prints `text` (with the escapes of printf) and logs that it ran.
  void Command(const std::string& name, const std::string& text, const std::string& more = "") {
    WriteScript(folder_ / "bin/" + name, absl::StrCat("echo \"", name, " $*\" >> ", folder_ / "log",
                                                      "\nprintf '%b' '", text, "'\n", more));
  }
  // Lines of shell that wait for a file, with a limit: no process kills them if the test crashes.
  static std::string WaitFor(const std::string& file) {
    return absl::StrCat("n=0; while [ ! -e ", file,
                        " ] && [ $n -lt 30000 ]; do sleep 0.01; n=$((n + 1)); done");
  }
  void LegacyTables(const std::string& names) { WriteFile(folder_ / "net/ip_tables_names", names); }

  NetfilterReader::Outcome Read(NetfilterReader& reader, RulePartSet parts = All()) {
    std::optional<NetfilterReader::Outcome> outcome;
    reader.Start(*loop_, parts, [&](NetfilterReader::Outcome result) {
      outcome = std::move(result);
      loop_->Stop();
    });
    NPG_EXPECT_OK(loop_->Run());
    EXPECT_TRUE(outcome.has_value());
    return *outcome;
  }
  absl::StatusOr<Reading> ReadOnce() {
    NetfilterReader reader(Edges());
    return Read(reader).reading;
  }

  // The commands that ran since the last call, a line each.
  std::string Ran() {
    std::ifstream log(folder_ / "log");
    std::string all;
    for (std::string line; std::getline(log, line);) all += line + "\n";
    std::filesystem::remove(folder_ / "log");
    return all;
  }

  const TempFolder folder_;
  std::unique_ptr<base::EventLoop> loop_;
  absl::StatusOr<Reading> maps_ = Reading{};
  absl::Status chain_error_;
  std::set<std::string> chains_;
  node::NodePortTraces traces_;
};

TEST_F(NetfilterReaderTest, UnitesAllParts) {
  maps_ = Reading{{{Tcp(1), "ns/map"}}, {"map line"}};
  chains_ = {"ip nat KUBE-NODEPORTS", "ip6 nat CNI-HOSTPORT-DNAT",
             "ip filter KUBE-EXTERNAL-SERVICES"};
  LegacyTables("nat\nfilter\n");
  Command("iptables-nft-save",
          NatDump(2) +
              "*filter\\n-A KUBE-EXTERNAL-SERVICES -p udp -m comment --comment \"x/y has "
              "no endpoints\" -m addrtype --dst-type LOCAL -m udp --dport 3 -j "
              "DROP\\nCOMMIT\\n");
  Command("ip6tables-nft-save",
          R"(*nat\nodd\n-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 4 -j CNI-DN-A\nCOMMIT\n)");
  Command("iptables-legacy-save", NatDump(5));
  Command("ip6tables-legacy-save", NatDump(6));
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports,
              ElementsAre(Pair(Tcp(1), "ns/map"), Pair(Tcp(2), "default/a"), Pair(Udp(3), "x/y"),
                          Pair(Tcp(4), ""), Pair(Tcp(5), "default/a")));
  EXPECT_THAT(reading->skipped,
              UnorderedElementsAre("map line", folder_ / "bin/ip6tables-nft-save -t nat: line 2: "
                                                         "\"odd\" is not a rule"));
  // Does not read IPv6 legacy tables that do not exist, because that would create them.
  EXPECT_EQ(Ran(),
            "iptables-nft-save -t nat\niptables-nft-save -t filter\nip6tables-nft-save -t nat\n"
            "iptables-legacy-save \n");
}

TEST_F(NetfilterReaderTest, RunsNoCommandWithoutRules) {
  Command("iptables-nft-save", "broken", "exit 1");
  Command("iptables-legacy-save", "broken", "exit 1");
  LegacyTables("mangle\nraw\n");
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports, IsEmpty());
  EXPECT_THAT(reading->skipped, IsEmpty());
  EXPECT_EQ(Ran(), "");
}

TEST_F(NetfilterReaderTest, ReadsTheMapsWithoutAnyCommand) {
  maps_ = Reading{{{Tcp(1), "ns/map"}}, {}};
  chains_ = {"ip nat KUBE-NODEPORTS"};
  LegacyTables("nat\n");
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports, ElementsAre(Pair(Tcp(1), "ns/map")));
  EXPECT_THAT(reading->skipped,
              ElementsAre("the rules of iptables cannot be read: there is no iptables-save; "
                          "install the package iptables"));
}

// With kube-proxy's chains there may be no NodePort; without them, they are somewhere else.
TEST_F(NetfilterReaderTest, CoversNodePortsWhereKubeProxyHasItsChains) {
  maps_ = NothingSeen();
  Command("iptables-nft-save", "*nat\\n:KUBE-NODEPORTS - [0:0]\\nCOMMIT\\n");
  absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_EQ(reading->coverage, core::Coverage::kNone);
  chains_ = {"ip nat KUBE-NODEPORTS"};
  reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports, IsEmpty());
  EXPECT_EQ(reading->coverage, core::Coverage::kAll);
  traces_.ipvs = true;
  reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_EQ(reading->coverage, core::Coverage::kPart);
  traces_ = {.cilium = true};
  reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_EQ(reading->coverage, core::Coverage::kAll) << "kube-proxy runs beside Cilium";
}

TEST_F(NetfilterReaderTest, CoversNoNodePortsWithHostPortsAlone) {
  maps_ = NothingSeen();
  chains_ = {"ip nat CNI-HOSTPORT-DNAT"};
  Command("iptables-nft-save",
          R"(*nat\n-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 4 -j CNI-DN-A\nCOMMIT\n)");
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports, ElementsAre(Pair(Tcp(4), "")));
  EXPECT_EQ(reading->coverage, core::Coverage::kNone);
}

TEST_F(NetfilterReaderTest, RulesThatCannotBeReadLeaveAPartOfTheNodePortsUnseen) {
  chains_ = {"ip6 nat KUBE-NODEPORTS"};
  absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_EQ(reading->coverage, core::Coverage::kPart) << "the maps were read";
  maps_ = NothingSeen();
  reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_EQ(reading->coverage, core::Coverage::kNone);
}

TEST_F(NetfilterReaderTest, NamesTheVariantThatIsMissing) {
  Command("iptables-nft-save", NatDump(2));
  LegacyTables("filter\nnat\n");
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->skipped,
              ElementsAre("the legacy tables filter, nat cannot be read: there is no "
                          "iptables-legacy-save; install the package iptables"));
}

TEST_F(NetfilterReaderTest, AFailingCommandFailsTheReading) {
  maps_ = Reading{{{Tcp(1), "ns/map"}}, {}};
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", NatDump(2), "echo no luck >&2\nexit 4");
  absl::StatusOr<Reading> reading = ReadOnce();
  EXPECT_THAT(std::string(reading.status().message()),
              HasSubstr("iptables-nft-save failed with exit code 4: no luck"));

  Command("iptables-nft-save", "*nat\\n:KUBE-NODEPORTS - [0:0]\\n");
  reading = ReadOnce();
  EXPECT_THAT(std::string(reading.status().message()),
              AllOf(HasSubstr("iptables-nft-save -t nat"), HasSubstr("ends within table nat")));

  Command("iptables-nft-save", "# Table `nat is incompatible, use nft tool.\\n");
  reading = ReadOnce();
  EXPECT_THAT(std::string(reading.status().message()), HasSubstr("did not print the table"));

  Command("iptables-nft-save", NatDump(2));
  maps_ = absl::InternalError("no maps");
  EXPECT_EQ(ReadOnce().status().message(), "no maps");

  maps_ = Reading{};
  chain_error_ = absl::PermissionDeniedError("not you");
  EXPECT_EQ(ReadOnce().status().message(), "not you");
}

TEST_F(NetfilterReaderTest, ACommandThatHangsFailsTheReading) {
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", "", "sleep 1000");
  NetfilterEdges edges = Edges();
  edges.limits.timeout = absl::Milliseconds(100);
  NetfilterReader reader(std::move(edges));
  EXPECT_EQ(Read(reader).reading.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(NetfilterReaderTest, ReadsOnlyTheRequestedParts) {
  chains_ = {"ip nat KUBE-NODEPORTS", "ip6 nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", NatDump(1));
  Command("ip6tables-nft-save", NatDump(2));
  NetfilterReader reader(Edges());
  EXPECT_EQ(Read(reader).reading->ports.size(), 2U);
  Ran();
  Command("iptables-nft-save", NatDump(3));
  Command("ip6tables-nft-save", NatDump(4));
  const NetfilterReader::Outcome outcome = Read(reader, Only(RulePart::kIp6Nat));
  EXPECT_EQ(Ran(), "ip6tables-nft-save -t nat\n");
  EXPECT_TRUE(outcome.reading->ports.contains(Tcp(1)));
  EXPECT_TRUE(outcome.reading->ports.contains(Tcp(4)));
  EXPECT_FALSE(outcome.reading->ports.contains(Tcp(3)));
}

TEST_F(NetfilterReaderTest, RemovesAPortWhenTwoReadingsLackIt) {
  NetfilterReader reader(Edges());
  maps_ = Reading{{{Tcp(1), "a/b"}, {Tcp(2), ""}}, {}};
  EXPECT_TRUE(Read(reader).unsettled.none());
  maps_ = Reading{{{Tcp(1), "a/c"}, {Tcp(3), ""}}, {}};
  NetfilterReader::Outcome outcome = Read(reader);
  EXPECT_EQ(outcome.unsettled, Only(RulePart::kMaps));
  EXPECT_THAT(outcome.reading->ports,
              ElementsAre(Pair(Tcp(1), "a/c"), Pair(Tcp(2), ""), Pair(Tcp(3), "")));
  outcome = Read(reader, outcome.unsettled);
  EXPECT_TRUE(outcome.unsettled.none());
  EXPECT_THAT(outcome.reading->ports, ElementsAre(Pair(Tcp(1), "a/c"), Pair(Tcp(3), "")));
}

TEST_F(NetfilterReaderTest, AFailureKeepsTheLastReadingOfThePart) {
  NetfilterReader reader(Edges());
  maps_ = Reading{{{Tcp(1), "a/b"}}, {}};
  NPG_EXPECT_OK(Read(reader).reading);
  maps_ = absl::InternalError("broken");
  NetfilterReader::Outcome outcome = Read(reader);
  EXPECT_FALSE(outcome.reading.ok());
  EXPECT_EQ(outcome.failed, Only(RulePart::kMaps));
  EXPECT_TRUE(outcome.unsettled.none());
  // The part still counts as failed, although it was not read this time.
  EXPECT_FALSE(Read(reader, Only(RulePart::kIp4Nat)).reading.ok());
  maps_ = Reading{};
  outcome = Read(reader);
  EXPECT_EQ(outcome.unsettled, Only(RulePart::kMaps));
  EXPECT_THAT(outcome.reading->ports, ElementsAre(Pair(Tcp(1), "a/b")));
}

TEST_F(NetfilterReaderTest, AFailureHasThePortsOfTheOtherParts) {
  maps_ = Reading{{{Tcp(1), "ns/map"}}, {}};
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", "", "exit 1");
  NetfilterReader reader(Edges());
  NetfilterReader::Outcome outcome = Read(reader);
  EXPECT_FALSE(outcome.reading.ok());
  EXPECT_THAT(outcome.partial, ElementsAre(Pair(Tcp(1), "ns/map")));
  EXPECT_TRUE(outcome.in_part);
  Command("iptables-nft-save", NatDump(2));
  outcome = Read(reader);
  NPG_EXPECT_OK(outcome.reading);
  EXPECT_THAT(outcome.partial, IsEmpty());
  EXPECT_FALSE(outcome.in_part);

  Command("iptables-nft-save", "", "exit 1");
  NetfilterSource source(Edges(), {});
  EXPECT_FALSE(source.Read().ok());
  EXPECT_THAT(source.PartialPorts(), ElementsAre(Pair(Tcp(1), "ns/map")));
  EXPECT_FALSE(source.State().connected);
  EXPECT_EQ(source.State().coverage, core::Coverage::kPart);
}

TEST_F(NetfilterReaderTest, AFailureWithoutAnythingElseIsNoPart) {
  maps_ = NothingSeen();
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", "", "exit 1");
  NetfilterReader reader(Edges());
  const NetfilterReader::Outcome outcome = Read(reader);
  EXPECT_FALSE(outcome.reading.ok());
  EXPECT_FALSE(outcome.in_part);
}

TEST_F(NetfilterReaderTest, ACommandThatDisappearsFailsTheReading) {
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", NatDump(1));
  NetfilterReader reader(Edges());
  NPG_EXPECT_OK(Read(reader).reading);
  std::filesystem::remove(folder_ / "bin/iptables-nft-save");
  EXPECT_EQ(Read(reader).reading.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(NetfilterReaderTest, TheSourceUsesTheReader) {
  maps_ = Reading{{{Tcp(1), "ns/map"}}, {}};
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", NatDump(2));
  NetfilterSource source(Edges(), {});
  EXPECT_EQ(source.name(), "netfilter");
  EXPECT_EQ(source.id(), abi::Source::kNetfilter);
  const absl::StatusOr<Reading> reading = source.Read();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports, ElementsAre(Pair(Tcp(1), "ns/map"), Pair(Tcp(2), "default/a")));
}

TEST_F(NetfilterReaderTest, AReadBeyondItsLimitEndsWithAnError) {
  chains_ = {"ip nat KUBE-NODEPORTS"};
  const std::string go = folder_ / "go";
  Command("iptables-nft-save", NatDump(2), WaitFor(go));
  NetfilterEdges edges = Edges();
  edges.limits.timeout = absl::Minutes(10);
  NetfilterSource limited(edges, {.read_limit = absl::Milliseconds(100)});
  const absl::Status status = limited.Read().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not read within 100ms"));
  EXPECT_FALSE(limited.State().connected);

  WriteFile(go, "");
  NetfilterSource source(edges, {.read_limit = absl::Minutes(10)});
  const absl::StatusOr<Reading> reading = source.Read();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->ports, ElementsAre(Pair(Tcp(2), "default/a")));
}

TEST_F(NetfilterReaderTest, AReadBeyondItsLimitHasThePortsOfThePartsBefore) {
  maps_ = Reading{{{Tcp(1), "ns/map"}}, {}};
  chains_ = {"ip nat KUBE-NODEPORTS"};
  Command("iptables-nft-save", NatDump(2), WaitFor(folder_ / "never"));
  NetfilterEdges edges = Edges();
  edges.limits.timeout = absl::Minutes(10);
  NetfilterSource source(edges, {.read_limit = absl::Milliseconds(100)});
  EXPECT_EQ(source.Read().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(source.PartialPorts(), ElementsAre(Pair(Tcp(1), "ns/map")));
  EXPECT_EQ(source.State().coverage, core::Coverage::kPart);
}

class SaveCommandsTest : public ::testing::Test {
 protected:
  void Program(const std::string& name) { WriteScript(folder_ / name, ":"); }
  void Link(const std::string& name, const std::string& target) {
    std::filesystem::create_symlink(target, folder_ / name);
  }
  node::SaveCommands Find() {
    return node::FindSaveCommands("iptables", {"/nowhere", folder_.path()});
  }

  const TempFolder folder_;
};

TEST_F(SaveCommandsTest, VariantsByName) {
  EXPECT_EQ(Find(), node::SaveCommands{});
  Program("iptables-save");
  Program("iptables-nft-save");
  EXPECT_EQ(Find(), (node::SaveCommands{folder_ / "iptables-nft-save", ""}));
  Program("iptables-legacy-save");
  EXPECT_EQ(Find(),
            (node::SaveCommands{folder_ / "iptables-nft-save", folder_ / "iptables-legacy-save"}));
}

TEST_F(SaveCommandsTest, ThePlainCommandHasTheVariantOfItsTarget) {
  for (const char* program : {"xtables-nft-multi", "xtables-legacy-multi", "xtables-multi"}) {
    Program(program);
  }
  const std::string plain = folder_ / "iptables-save";
  Link("iptables-save", "xtables-nft-multi");
  EXPECT_EQ(Find(), (node::SaveCommands{plain, ""}));
  std::filesystem::remove(plain);
  Link("alternative", "xtables-legacy-multi");
  Link("iptables-save", "alternative");
  EXPECT_EQ(Find(), (node::SaveCommands{"", plain}));
  std::filesystem::remove(plain);
  Link("iptables-save", "xtables-multi");
  EXPECT_EQ(Find(), (node::SaveCommands{"", plain}));
  std::filesystem::remove(plain);
  Program("iptables-save");
  EXPECT_EQ(Find(), (node::SaveCommands{plain, plain}));
}

TEST_F(SaveCommandsTest, IgnoresFilesThatAreNotExecutable) {
  WriteFile(folder_ / "iptables-nft-save", "text");
  EXPECT_EQ(Find(), node::SaveCommands{});
}

TEST(CommandFoldersTest, OmitsRelativeFolders) {
  setenv("PATH", "bin::/opt/bin:.:/usr/bin", 1);
  EXPECT_THAT(node::CommandFolders(), ElementsAre("/usr/sbin", "/sbin", "/opt/bin", "/usr/bin"));
  unsetenv("PATH");
  EXPECT_THAT(node::CommandFolders(), ElementsAre("/usr/sbin", "/sbin"));
}

}  // namespace
}  // namespace npg::sources::netfilter_reader_test

// SPDX-License-Identifier: Apache-2.0
#include "serve/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/port.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"
#include "serve/node_view.h"
#include "testing/command.h"
#include "unit/inspect/facts.h"
#include "unit/serve/metrics_input.h"

namespace npg::serve::metrics_test {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// The series of one family, without the common prefix.
std::vector<std::string> SeriesOf(const std::string& text, const std::string& name) {
  std::vector<std::string> series;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::string short_line = absl::StrReplaceAll(line, {{"nodeport_guard_", ""}});
    if (absl::StartsWith(short_line, name + " ") || absl::StartsWith(short_line, name + "{")) {
      series.push_back(short_line);
    }
  }
  return series;
}

std::vector<std::string> Typical(const std::string& name) {
  return SeriesOf(MetricsText(TypicalInput()), name);
}

TEST(MetricsTest, Counters) {
  EXPECT_THAT(Typical("exempted_connects_total"),
              UnorderedElementsAre("exempted_connects_total 42"));
  EXPECT_THAT(Typical("passed_connects_total"),
              UnorderedElementsAre(R"(passed_connects_total{reason="foreign_netns"} 43)",
                                   R"(passed_connects_total{reason="no_listener"} 44)",
                                   R"(passed_connects_total{reason="ignored_owner"} 45)",
                                   R"(passed_connects_total{reason="observed"} 46)",
                                   R"(passed_connects_total{reason="mark_failed"} 47)",
                                   R"(passed_connects_total{reason="untrusted_owner"} 52)",
                                   R"(passed_connects_total{reason="standing_aside"} 53)"));
  EXPECT_THAT(Typical("events_suppressed_total"),
              UnorderedElementsAre("events_suppressed_total 48"));
  EXPECT_THAT(Typical("events_lost_total"), UnorderedElementsAre("events_lost_total 49"));
  EXPECT_THAT(Typical("rules_restored_total"), UnorderedElementsAre("rules_restored_total 50"));
  EXPECT_THAT(Typical("probed_connects_total"), UnorderedElementsAre("probed_connects_total 51"));
}

TEST(MetricsTest, WhetherTheGuardStandsAside) {
  EXPECT_THAT(Typical("standing_aside"), UnorderedElementsAre("standing_aside 0"));
  inspect::GuardFacts facts = TypicalFacts();
  facts.config.standing_aside = abi::Bit(abi::Traffic::kUdp4);
  EXPECT_THAT(SeriesOf(MetricsText(InputOf(std::move(facts))), "standing_aside"),
              UnorderedElementsAre("standing_aside 1"));
}

TEST(MetricsTest, NoCounterIsForgotten) {
  uint64_t count = 42;
  for (const abi::CounterRow& row : abi::kCounters) {
    const std::string name(row.name);
    const std::string series = row.counted == abi::Counted::kConnects ? name + "_connects_total"
                               : row.counted == abi::Counted::kPassedConnects
                                   ? "passed_connects_total"
                                   : name + "_total";
    const std::string labels =
        row.counted == abi::Counted::kPassedConnects ? "{reason=\"" + name + "\"}" : "";
    EXPECT_THAT(Typical(series), Contains(absl::StrCat(series, labels, " ", count++)));
  }
}

TEST(MetricsTest, KernelSide) {
  EXPECT_THAT(
      Typical("config_info"),
      UnorderedElementsAre(
          R"(config_info{mode="enforce",scope="loopback",mark="0x1000",mark_mask="0x1000"} 1)"));
  inspect::GuardFacts facts = TypicalFacts();
  facts.links[0].link.cgroup_id = 0;
  const std::string text = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(text, "program_attached"),
              UnorderedElementsAre(R"(program_attached{program="npg_connect4"} 0)",
                                   R"(program_attached{program="npg_connect6"} 1)",
                                   R"(program_attached{program="npg_bind4"} 1)",
                                   R"(program_attached{program="npg_bind6"} 1)"));
  EXPECT_THAT(SeriesOf(text, "problems"), UnorderedElementsAre("problems 1"));
  EXPECT_THAT(Typical("problems"), UnorderedElementsAre("problems 0"));
  EXPECT_THAT(Typical("nft_exempted_packets_total"),
              UnorderedElementsAre("nft_exempted_packets_total 168"));
  EXPECT_THAT(Typical("nft_flows"), SizeIs(1));
  EXPECT_THAT(Typical("nft_flows_max"), UnorderedElementsAre("nft_flows_max 65536"));
  EXPECT_THAT(Typical("nft_datagram_ports"), SizeIs(1));
}

TEST(MetricsTest, NftTable) {
  inspect::GuardFacts facts = TypicalFacts();
  EXPECT_THAT(Typical("nft_table_present"), UnorderedElementsAre("nft_table_present 1"));
  facts.nft = dataplane::NftTableState{};
  EXPECT_THAT(SeriesOf(MetricsText(InputOf(facts)), "nft_table_present"),
              UnorderedElementsAre("nft_table_present 0"));
  facts.nft = absl::PermissionDeniedError("no");
  EXPECT_THAT(SeriesOf(MetricsText(InputOf(facts)), "nft_table_present"),
              UnorderedElementsAre("nft_table_present 0"))
      << "a table that cannot be read has no series";
}

TEST(MetricsTest, NodePortsAndMaps) {
  EXPECT_THAT(Typical("nodeports"), UnorderedElementsAre("nodeports 1"));
  EXPECT_THAT(Typical("source_nodeports"),
              UnorderedElementsAre(R"(source_nodeports{source="kubernetes"} 0)",
                                   R"(source_nodeports{source="netfilter"} 1)",
                                   R"(source_nodeports{source="file"} 0)"));
  EXPECT_THAT(Typical("map_entries"),
              UnorderedElementsAre(
                  R"(map_entries{map="nodeports"} 1)", R"(map_entries{map="earlier_sockets"} 0)",
                  R"(map_entries{map="local_addresses"} 0)", R"(map_entries{map="owner_policy"} 2)",
                  R"(map_entries{map="port_stats"} 1)"));
  EXPECT_THAT(Typical("map_max_entries"),
              UnorderedElementsAre(R"(map_max_entries{map="nodeports"} 65536)",
                                   R"(map_max_entries{map="earlier_sockets"} 65536)",
                                   R"(map_max_entries{map="local_addresses"} 16384)",
                                   R"(map_max_entries{map="owner_policy"} 256)",
                                   R"(map_max_entries{map="port_stats"} 8192)"));
}

TEST(MetricsTest, Sources) {
  EXPECT_THAT(Typical("source_connected"),
              UnorderedElementsAre(R"(source_connected{source="netfilter"} 1)",
                                   R"(source_connected{source="kubernetes"} 0)"));
  EXPECT_THAT(Typical("sync_age_seconds"),
              UnorderedElementsAre(R"(sync_age_seconds{source="netfilter"} 0)",
                                   R"(sync_age_seconds{source="kubernetes"} 310)"));
  EXPECT_THAT(Typical("source_last_event_timestamp_seconds"),
              UnorderedElementsAre(
                  absl::StrCat(R"(source_last_event_timestamp_seconds{source="netfilter"} )",
                               inspect::kNow - 2),
                  absl::StrCat(R"(source_last_event_timestamp_seconds{source="kubernetes"} )",
                               inspect::kNow - 310)));
  EXPECT_THAT(Typical("source_last_reading_timestamp_seconds"), SizeIs(2));
  EXPECT_THAT(Typical("source_services"), Contains(R"(source_services{source="kubernetes"} 2)"));
  EXPECT_THAT(Typical("source_health_check_ports"),
              UnorderedElementsAre(R"(source_health_check_ports{source="netfilter"} 0)",
                                   R"(source_health_check_ports{source="kubernetes"} 1)"));
  EXPECT_THAT(Typical("source_skipped"), Contains(R"(source_skipped{source="kubernetes"} 2)"));
  EXPECT_THAT(Typical("source_errors_total"),
              IsSupersetOf({R"(source_errors_total{source="kubernetes",kind="connect"} 9)",
                            R"(source_errors_total{source="kubernetes",kind="tls"} 0)",
                            R"(source_errors_total{source="netfilter",kind="read"} 0)"}));
  EXPECT_THAT(Typical("source_errors_total"), SizeIs(2 * abi::kSourceErrors.size()));
}

TEST(MetricsTest, ASourceWithoutAReadingAgesFromItsStart) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  abi::SourceState state;
  state.since = absl::FromUnixSeconds(inspect::kNow - 30);
  facts.sources.emplace_back(abi::Source::kFile, state);
  const std::string text = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(text, "sync_age_seconds"),
              UnorderedElementsAre(R"(sync_age_seconds{source="file"} 30)"));
  EXPECT_THAT(SeriesOf(text, "source_last_event_timestamp_seconds"), IsEmpty());
}

TEST(MetricsTest, ConflictsByState) {
  const auto state_of_tcp = [](const inspect::GuardFacts& facts) {
    for (const std::string& line : SeriesOf(MetricsText(InputOf(facts)), "conflicts")) {
      if (absl::StartsWith(line, R"(conflicts{protocol="tcp")") && absl::EndsWith(line, " 1")) {
        return line;
      }
    }
    return std::string("none");
  };
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(SeriesOf(MetricsText(InputOf(facts)), "conflicts"), SizeIs(10)) << "2 x 5, also at 0";
  EXPECT_EQ(state_of_tcp(facts), R"(conflicts{protocol="tcp",state="exempted"} 1)");

  facts.config.mode = abi::Mode::kObserve;
  EXPECT_EQ(state_of_tcp(facts), R"(conflicts{protocol="tcp",state="observed"} 1)");
  facts.config.mode = abi::Mode::kEnforce;

  facts.links[0].link.cgroup_id = 0;
  EXPECT_EQ(state_of_tcp(facts), R"(conflicts{protocol="tcp",state="unguarded"} 1)");
  facts.links[0].link.cgroup_id = 1;
  facts.nft = dataplane::NftTableState{};
  EXPECT_EQ(state_of_tcp(facts), R"(conflicts{protocol="tcp",state="unguarded"} 1)");

  inspect::BoundBy(facts.listeners[0], "kube-proxy", 812);
  EXPECT_EQ(state_of_tcp(facts), R"(conflicts{protocol="tcp",state="ignored"} 1)");

  facts.listeners.clear();
  EXPECT_EQ(state_of_tcp(facts), "none");
}

constexpr absl::string_view kTypicalConflict =
    R"(port="33589",protocol="tcp",service_namespace="default",service_name="web",)"
    R"(listener="127.0.0.1",process="containerd")";

TEST(MetricsTest, AConflictOfRulesThatNameNoService) {
  inspect::GuardFacts facts = TypicalFacts();
  facts.nodeports.clear();
  inspect::AddNodePort(facts, 33589, "nft table inet a/b, chain c");
  EXPECT_THAT(
      SeriesOf(MetricsText(InputOf(facts)), "conflict_info"),
      UnorderedElementsAre(R"(conflict_info{port="33589",protocol="tcp",service_namespace="",)"
                           R"(service_name="nft table inet a/b, chain c",listener="127.0.0.1",)"
                           R"(process="containerd",state="exempted"} 1)"));
}

TEST(MetricsTest, SeriesOfAConflict) {
  EXPECT_THAT(Typical("conflict_info"),
              UnorderedElementsAre(
                  absl::StrCat("conflict_info{", kTypicalConflict, R"(,state="exempted"} 1)")));
  EXPECT_THAT(Typical("conflict_exempted_connects_total"),
              UnorderedElementsAre(
                  absl::StrCat("conflict_exempted_connects_total{", kTypicalConflict, "} 42")));
  EXPECT_THAT(Typical("conflict_observed_connects_total"),
              UnorderedElementsAre(
                  absl::StrCat("conflict_observed_connects_total{", kTypicalConflict, "} 7")));
  EXPECT_THAT(
      Typical("conflict_since_timestamp_seconds"),
      UnorderedElementsAre(absl::StrCat("conflict_since_timestamp_seconds{", kTypicalConflict, "} ",
                                        inspect::kNow - 3 * 86400)));
  EXPECT_THAT(Typical("conflicts_omitted"), UnorderedElementsAre("conflicts_omitted 0"));
}

TEST(MetricsTest, NamesAProcessThatOnlyTheMapKnows) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].owner = {};
  inspect::BoundBy(facts.listeners[0], "crio", 9);
  EXPECT_THAT(SeriesOf(MetricsText(InputOf(facts)), "conflict_info"),
              UnorderedElementsAre(::testing::HasSubstr(R"(process="crio")")));
}

TEST(MetricsTest, SocketsWithEqualLabelsShareASeries) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.push_back(facts.listeners[0]);
  const std::string text = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(text, "conflict_info"), SizeIs(1));
  EXPECT_THAT(SeriesOf(text, "conflicts"),
              Contains(R"(conflicts{protocol="tcp",state="exempted"} 2)"));
  EXPECT_THAT(SeriesOf(text, "conflicts_omitted"), UnorderedElementsAre("conflicts_omitted 0"));
}

TEST(MetricsTest, AcceptQueues) {
  EXPECT_THAT(Typical("accept_queue"),
              UnorderedElementsAre(absl::StrCat("accept_queue{", kTypicalConflict, "} 0")));
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].accept_queue = 3;
  facts.listeners.push_back(facts.listeners[0]);
  facts.listeners[1].accept_queue = 4;
  EXPECT_THAT(SeriesOf(MetricsText(InputOf(facts)), "accept_queue"),
              UnorderedElementsAre(absl::StrCat("accept_queue{", kTypicalConflict, "} 7")))
      << "sockets with equal labels are one series";
  facts.listeners.resize(1);
  facts.listeners[0].key.protocol = core::Protocol::kUdp;
  inspect::AddNodePort(facts, 33589, "kube-system/dns", abi::Bit(abi::Source::kNetfilter),
                       core::Protocol::kUdp);
  const std::string udp = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(udp, "conflict_info"), SizeIs(1));
  EXPECT_THAT(SeriesOf(udp, "accept_queue"), IsEmpty());
}

// It is the controller's, which needs several looks.
TEST(MetricsTest, ConflictsThatDoNotAccept) {
  EXPECT_THAT(Typical("conflicts_not_accepting"),
              UnorderedElementsAre("conflicts_not_accepting 0"));
  MetricsInput input = TypicalInput();
  input.health.not_accepting = 2;
  EXPECT_THAT(SeriesOf(MetricsText(input), "conflicts_not_accepting"),
              UnorderedElementsAre("conflicts_not_accepting 2"));
  input.health.not_accepting.reset();
  EXPECT_THAT(SeriesOf(MetricsText(input), "conflicts_not_accepting"), IsEmpty()) << "not known";
}

TEST(MetricsTest, OnlyTheBusiestConflictsHaveSeries) {
  const std::string text = MetricsText(InputOf(FactsOfManyConflicts(250)));
  EXPECT_THAT(SeriesOf(text, "conflicts_omitted"), UnorderedElementsAre("conflicts_omitted 150"));
  EXPECT_THAT(SeriesOf(text, "conflicts"),
              Contains(R"(conflicts{protocol="tcp",state="exempted"} 250)"));
  for (const char* family :
       {"conflict_info", "conflict_exempted_connects_total", "conflict_since_timestamp_seconds",
        "conflict_observed_connects_total", "accept_queue"}) {
    const std::vector<std::string> series = SeriesOf(text, family);
    EXPECT_THAT(series, SizeIs(kMaxConflictSeries)) << family;
    std::set<std::string> ports;
    for (const std::string& line : series) ports.insert(line.substr(line.find('"') + 1, 5));
    EXPECT_THAT(ports, SizeIs(kMaxConflictSeries));
    EXPECT_EQ(*ports.begin(), "20150") << "the one with 150 exemptions is the last that fits";
  }
}

TEST(MetricsTest, EscapesLabelsThatProcessesChoose) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].owner.comm = "a\xff\x1b\"\\\n\xc3\xa9";
  const std::string text = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(text, "conflict_info"),
              UnorderedElementsAre(
                  ::testing::HasSubstr("process=\"a\\\\xff\\\\x1b\\\"\\\\\\\\n\xc3\xa9\"")))
      << "escaped once to be printable, and the backslashes and quotes again as the format asks";
  EXPECT_EQ(text.find('\xff'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(MetricsTest, SelfProbe) {
  EXPECT_THAT(Typical("self_probe_success"), UnorderedElementsAre("self_probe_success 1"));
  EXPECT_THAT(Typical("self_probes_total"),
              UnorderedElementsAre(R"(self_probes_total{result="success"} 1440)",
                                   R"(self_probes_total{result="failure"} 2)"));
  EXPECT_THAT(Typical("self_probe_connect_duration_seconds"), Each(::testing::HasSubstr("e-05")));
  EXPECT_THAT(
      Typical("self_probe_last_timestamp_seconds"),
      UnorderedElementsAre(absl::StrCat("self_probe_last_timestamp_seconds ", inspect::kNow - 3)));
  MetricsInput input = TypicalInput();
  input.health.probe->result = absl::FailedPreconditionError("counter did not move");
  EXPECT_THAT(SeriesOf(MetricsText(input), "self_probe_success"),
              UnorderedElementsAre("self_probe_success 0"));
  EXPECT_THAT(SeriesOf(MetricsText(input), "live"), UnorderedElementsAre("live 0"));
  input.health.probe.reset();
  EXPECT_THAT(SeriesOf(MetricsText(input), "self_probe_success"), IsEmpty()) << "not known yet";
}

TEST(MetricsTest, Health) {
  EXPECT_THAT(Typical("live"), UnorderedElementsAre("live 1"));
  EXPECT_THAT(Typical("ready"), UnorderedElementsAre("ready 1"));
  EXPECT_THAT(Typical("main_loop_age_seconds"), UnorderedElementsAre("main_loop_age_seconds 0.25"));
  MetricsInput input = TypicalInput();
  input.health.sources = {{"kubernetes", false, "refused"}};
  EXPECT_THAT(SeriesOf(MetricsText(input), "ready"), UnorderedElementsAre("ready 0"));
  EXPECT_THAT(SeriesOf(MetricsText(input), "live"), UnorderedElementsAre("live 1"));
}

TEST(MetricsTest, KubernetesEvents) {
  EXPECT_THAT(Typical("kube_events_total"),
              UnorderedElementsAre(R"(kube_events_total{result="created"} 5)",
                                   R"(kube_events_total{result="failed"} 1)",
                                   R"(kube_events_total{result="suppressed"} 7)"));
}

TEST(MetricsTest, ProcessAndBuild) {
  EXPECT_THAT(Typical("build_info"),
              UnorderedElementsAre(absl::StrCat(
                  R"(build_info{version="0.1.0",commit="0123abc",libbpf_version="1.1",abi=")",
                  abi::kVersion, R"("} 1)")));
  EXPECT_THAT(Typical("process_cpu_seconds_total"),
              UnorderedElementsAre("process_cpu_seconds_total 1.5"));
  EXPECT_THAT(Typical("process_resident_memory_bytes"),
              UnorderedElementsAre("process_resident_memory_bytes 12000000"));
  EXPECT_THAT(Typical("process_virtual_memory_bytes"),
              UnorderedElementsAre("process_virtual_memory_bytes 90000000"));
  EXPECT_THAT(Typical("process_open_fds"), UnorderedElementsAre("process_open_fds 31"));
  EXPECT_THAT(Typical("process_max_fds"), UnorderedElementsAre("process_max_fds 1024"));
  EXPECT_THAT(
      Typical("process_start_time_seconds"),
      UnorderedElementsAre(absl::StrCat("process_start_time_seconds ", inspect::kNow - 7200)));
  EXPECT_THAT(Typical("threads"), UnorderedElementsAre("threads 3"));
  MetricsInput input = TypicalInput();
  input.process->max_fds = std::numeric_limits<uint64_t>::max();
  EXPECT_THAT(SeriesOf(MetricsText(input), "process_max_fds"),
              UnorderedElementsAre("process_max_fds +Inf"));
}

MetricsInput ErrorInput() {
  MetricsInput input = TypicalInput();
  input.node = absl::PermissionDeniedError("open /sys/fs/bpf/nodeport-guard");
  input.process = absl::NotFoundError("/proc/self/stat");
  return input;
}

TEST(MetricsTest, ReportsAStatusErrorAndTheOtherMetrics) {
  EXPECT_THAT(Typical("status_success"), UnorderedElementsAre("status_success 1"));
  const std::string text = MetricsText(ErrorInput());
  EXPECT_THAT(SeriesOf(text, "status_success"), UnorderedElementsAre("status_success 0"));
  EXPECT_THAT(SeriesOf(text, "self_probe_success"), SizeIs(1));
  EXPECT_THAT(SeriesOf(text, "build_info"), SizeIs(1));
  for (const char* family : {"conflicts", "nodeports", "exempted_connects_total",
                             "process_open_fds", "source_connected"}) {
    EXPECT_THAT(SeriesOf(text, family), IsEmpty()) << family << " is unknown, so it has no series";
  }
}

TEST(MetricsTest, AcceptsAStatusWithMissingFacts) {
  inspect::GuardFacts facts;
  facts.nft = absl::PermissionDeniedError("list tables: Operation not permitted");
  const std::string text = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(text, "status_success"), SizeIs(1));
  EXPECT_THAT(SeriesOf(text, "nft_flows"), IsEmpty()) << "unknown, so it has no series";
}

class PromtoolInputTest : public ::testing::TestWithParam<std::string> {};

MetricsInput InputNamed(const std::string& name) {
  if (name == "empty") return {};
  if (name == "error") return ErrorInput();
  if (name == "odd") {
    inspect::GuardFacts facts = TypicalFacts();
    facts.listeners[0].owner.comm = "a\xff\x1b\"\\\n}";
    facts.listeners.push_back(facts.listeners[0]);
    return InputOf(facts);
  }
  return name == "many" ? InputOf(FactsOfManyConflicts(10'000)) : TypicalInput();
}

// Shows that promtool does check the input.
TEST(PromtoolTest, FindsABadName) {
  const absl::StatusOr<npg::testing::CommandResult> result = npg::testing::RunForResult(
      {"promtool", "check", "metrics"},
      "# HELP connects Connects.\n# TYPE connects counter\nconnects 1\n");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NE(result->exit_code, 0);
}

TEST_P(PromtoolInputTest, FindsNothing) {
  const absl::StatusOr<npg::testing::CommandResult> result = npg::testing::RunForResult(
      {"promtool", "check", "metrics"}, MetricsText(InputNamed(GetParam())));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_EQ(result->out, "");
  EXPECT_EQ(result->err, "");
}

INSTANTIATE_TEST_SUITE_P(Inputs, PromtoolInputTest,
                         ::testing::Values("empty", "typical", "many", "error", "odd"),
                         [](const auto& input) { return input.param; });

TEST(MetricsTest, PortsThatTheKernelAssigns) {
  EXPECT_THAT(Typical("automatic_ports"), UnorderedElementsAre("automatic_ports 28232"));
  EXPECT_THAT(Typical("automatic_ports_allocated"),
              UnorderedElementsAre("automatic_ports_allocated 1"));
  EXPECT_THAT(Typical("automatic_port_listeners"),
              UnorderedElementsAre("automatic_port_listeners 1"));
  EXPECT_THAT(Typical("collision_probability"),
              UnorderedElementsAre(::testing::StartsWith("collision_probability 0.00014")));
  EXPECT_THAT(Typical("next_service_collision_probability"),
              UnorderedElementsAre("next_service_collision_probability 0"));
  inspect::GuardFacts facts = TypicalFacts();
  facts.overlap.reset();
  const std::string text = MetricsText(InputOf(facts));
  EXPECT_THAT(SeriesOf(text, "automatic_ports"), ::testing::IsEmpty()) << "not known";
  EXPECT_THAT(SeriesOf(text, "reserved_ports"), UnorderedElementsAre("reserved_ports 3"));
}

TEST(MetricsTest, ReservedPortsAndBindProtection) {
  EXPECT_THAT(Typical("reserved_ports"), UnorderedElementsAre("reserved_ports 3"));
  EXPECT_THAT(Typical("refusable_ports"), UnorderedElementsAre("refusable_ports 1"));
  EXPECT_THAT(Typical("reserve_state"),
              UnorderedElementsAre(
                  R"(reserve_state{state="off"} 0)", R"(reserve_state{state="ok"} 1)",
                  R"(reserve_state{state="failed"} 0)", R"(reserve_state{state="too_few"} 0)"));
  EXPECT_THAT(Typical("bind_spared_total"), UnorderedElementsAre("bind_spared_total 54"));
  EXPECT_THAT(Typical("bind_warned_total"), UnorderedElementsAre("bind_warned_total 55"));
  EXPECT_THAT(Typical("bind_refused_total"), UnorderedElementsAre("bind_refused_total 56"));
}

}  // namespace
}  // namespace npg::serve::metrics_test

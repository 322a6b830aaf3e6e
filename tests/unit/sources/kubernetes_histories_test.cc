// SPDX-License-Identifier: Apache-2.0
//
// The reflector is level-triggered: for random changes of the API server's state and random
// faults of its stream, the store always equals a state that the server once had, never
// goes back to an earlier one, and equals the server's state in the end. The API server is
// a model without sockets, time is virtual, and each failure names the seed of its choices.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/list_decoder.h"
#include "sources/kubernetes/reflector.h"
#include "sources/kubernetes/service_store.h"
#include "sources/service_decoder.h"
#include "testing/api_model.h"
#include "testing/api_query.h"
#include "testing/api_status.h"
#include "testing/byte_step.h"

namespace npg::sources::kubernetes_histories_test {
namespace {

using ::npg::testing::ApiAnswer;
using ::npg::testing::ApiModel;
using ::npg::testing::ApiModelOptions;
using ::npg::testing::ApiQuery;
using ::npg::testing::ParseTarget;
using ::npg::testing::QueryFlag;
using ::npg::testing::ServicePort;
using ::npg::testing::ServiceSpec;
using ::npg::testing::WatchList;

// One thing that goes wrong with an exchange.
struct Fault {
  enum class Kind {
    kNone,
    kRefused,   // no connection
    kNoAnswer,  // connected, but no byte of an answer
    kStatus,    // `status` instead of an answer
    kHtml,      // 200, with an HTML page
    kCut,       // after `at` bytes of the body
    kStall,     // the same, but the connection stays open
    kGarble,    // byte `at` is one that is invalid in JSON
    kTwice,     // every event twice
  };
  Kind kind = Kind::kNone;
  size_t at = 0;
  int status = 0;
};

// A node's reflector and an API server, in virtual time.
class History {
 public:
  History(const ApiModelOptions& options, uint64_t seed, size_t page)
      : random_(seed), model_(options), reflector_(ReflectorOptions(page), random_) {
    Remember();
  }

  ApiModel& model() { return model_; }
  Reflector& reflector() { return reflector_; }
  std::mt19937_64& random() { return random_; }
  size_t Below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random_);
  }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  // Changes the state. From now on the store may equal the ports that follow from it.
  void Put(const ServiceSpec& spec) {
    model_.Put(spec);
    std::vector<core::PortKey>& ports = specs_[absl::StrCat(spec.ns, "/", spec.name)];
    ports.clear();
    if (spec.type == "NodePort" || spec.type == "LoadBalancer") {
      for (const ServicePort& port : spec.ports) {
        if (port.node_port == 0 || port.node_port > UINT16_MAX || port.node_port < 0) continue;
        if (port.protocol != "TCP" && port.protocol != "UDP") continue;
        ports.push_back({static_cast<uint16_t>(port.node_port),
                         port.protocol == "TCP" ? core::Protocol::kTcp : core::Protocol::kUdp});
      }
    }
    Remember();
  }
  void Delete(const std::string& name) {
    const size_t slash = name.find('/');
    EXPECT_TRUE(model_.Delete(name.substr(0, slash), name.substr(slash + 1)).ok());
    specs_.erase(name);
    Remember();
  }
  // etcd is restored from a backup of `version`.
  void RestoreTo(uint64_t version) {
    model_.RestoreTo(version);
    specs_ = by_version_.at(version).specs;
    by_version_.erase(by_version_.upper_bound(version), by_version_.end());
    may_go_back_ = true;
    Remember();
  }
  const std::map<std::string, std::vector<core::PortKey>>& specs() const { return specs_; }

  // One request of the reflector, with a fault. `changes` happen one by one while a watch
  // is open.
  void Exchange(const Fault& fault, const std::vector<std::function<void()>>& changes);

  // Makes exchanges without faults until the reflector watches and has received the whole
  // state. Returns false if `exchanges` do not suffice.
  bool Settle(int exchanges);

  core::PortSnapshot Expected() const { return Ports(specs_); }
  // What a list of the server's state says about the use of the ports.
  core::BindFacts ExpectedFacts() const {
    ServiceStore store;
    ListDecoder list([&store](ServicePorts&& service) { store.Put(std::move(service)); });
    EXPECT_TRUE(list.Feed(model_.List({}).body).ok());
    return store.bind_facts();
  }
  const core::PortSnapshot& Known() { return reflector_.store().reading()->ports; }
  size_t fed() const { return fed_; }
  bool watched() const { return watched_; }  // the last request was a watch that was accepted
  const std::vector<std::string>& targets() const { return targets_; }
  absl::Duration longest_delay() const { return longest_delay_; }
  absl::Duration last_delay() const { return last_delay_; }

 private:
  static Reflector::Options ReflectorOptions(size_t page) {
    Reflector::Options options;
    options.page = page;
    return options;
  }

  static core::PortSnapshot Ports(const std::map<std::string, std::vector<core::PortKey>>& specs) {
    core::PortSnapshot ports;
    for (const auto& [name, keys] : specs) {
      for (const core::PortKey& key : keys) ports.try_emplace(key, name);
    }
    return ports;
  }

  // Records the state at this version. Several versions may have equal states.
  void Remember() { by_version_[model_.resource_version()] = {specs_, Ports(specs_)}; }

  // Expects that the store equals a state of the API server, and none before its last one.
  void Check(const std::string& when) {
    if (nothing_yet_ && Known().empty() && !reflector_.synced()) return;
    if (Known() == last_known_) return;
    nothing_yet_ = false;
    for (auto it = may_go_back_ ? by_version_.begin() : by_version_.lower_bound(last_version_);
         it != by_version_.end(); ++it) {
      if (it->second.ports != Known()) continue;
      last_version_ = it->first;
      last_known_ = Known();
      return;
    }
    ADD_FAILURE() << when << ": the store is what the API server never knew, or has gone back: "
                  << ::testing::PrintToString(Known()) << "\nafter version " << last_version_;
  }

  // Feeds bytes in random chunks. Returns false when the reflector stops the exchange.
  bool Feed(absl::string_view bytes) {
    while (!bytes.empty()) {
      const size_t size = Chance(0.1) ? 1 : 1 + Below(bytes.size());
      const bool more = reflector_.OnBody(bytes.substr(0, size), now_);
      Check("in a body");
      if (!more) return false;
      bytes.remove_prefix(size);
      fed_ += size;
    }
    return true;
  }

  static std::string EachLineTwice(absl::string_view bytes) {
    std::string twice;
    for (const absl::string_view line : absl::StrSplit(bytes, '\n', absl::SkipEmpty())) {
      absl::StrAppend(&twice, line, "\n", line, "\n");
    }
    return twice;
  }

  // Feeds the next bytes of the body, with the fault if it is in them. Returns the end of
  // the exchange if the fault ends it.
  std::optional<kubernetes::HttpEnd> FeedWithFault(std::string bytes, const Fault& fault) {
    using Kind = Fault::Kind;
    if (fault.kind == Kind::kTwice) bytes = EachLineTwice(bytes);
    const bool here = fault.at >= fed_ && fault.at < fed_ + bytes.size();
    if (fault.kind == Kind::kGarble && here) bytes[fault.at - fed_] = '\x01';
    if ((fault.kind == Kind::kCut || fault.kind == Kind::kStall) && here) {
      bytes.resize(fault.at - fed_);
      if (!Feed(bytes)) return kubernetes::HttpEnd{kubernetes::HttpEnd::Kind::kStopped, ""};
      return fault.kind == Kind::kCut
                 ? kubernetes::HttpEnd{kubernetes::HttpEnd::Kind::kCut, "cut"}
                 : kubernetes::HttpEnd{kubernetes::HttpEnd::Kind::kStalled, "stalled"};
    }
    if (!Feed(bytes)) return kubernetes::HttpEnd{kubernetes::HttpEnd::Kind::kStopped, ""};
    return std::nullopt;
  }

  kubernetes::HttpEnd Answer(const ApiAnswer& answer, const Fault& fault) {
    kubernetes::HttpHead head;
    head.status = answer.code;
    if (answer.retry_after > 0) head.retry_after = absl::Seconds(answer.retry_after);
    if (!reflector_.OnHead(head, now_)) return {kubernetes::HttpEnd::Kind::kStopped, ""};
    const auto end = FeedWithFault(answer.body, fault);
    return end ? *end : kubernetes::HttpEnd{kubernetes::HttpEnd::Kind::kComplete, ""};
  }

  kubernetes::HttpEnd Watch(const ApiQuery& query, const Fault& fault,
                            const std::vector<std::function<void()>>& changes);
  kubernetes::HttpEnd Perform(const ApiQuery& query, const Fault& fault,
                              const std::vector<std::function<void()>>& changes);

  std::mt19937_64 random_;
  ApiModel model_;
  Reflector reflector_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);

  std::map<std::string, std::vector<core::PortKey>> specs_;
  struct State {
    std::map<std::string, std::vector<core::PortKey>> specs;
    core::PortSnapshot ports;  // of these specs
  };
  std::map<uint64_t, State> by_version_;
  uint64_t last_version_ = 0;
  core::PortSnapshot last_known_;
  bool nothing_yet_ = true;
  bool may_go_back_ = false;
  size_t fed_ = 0;  // bytes of this body so far
  bool watched_ = false;
  std::vector<std::string> targets_;
  absl::Duration longest_delay_;
  absl::Duration last_delay_;  // before the last request
};

kubernetes::HttpEnd History::Watch(const ApiQuery& query, const Fault& fault,
                                   const std::vector<std::function<void()>>& changes) {
  ApiModel::WatchAnswer answer = model_.Watch(query);
  if (!answer.cursor) return Answer(answer.refusal, fault);
  if (!reflector_.OnHead({.status = 200, .retry_after = std::nullopt}, now_)) {
    return {kubernetes::HttpEnd::Kind::kStopped, ""};
  }
  Check("at the head");
  watched_ = true;
  bool heard = false;
  const auto send = [&](std::string bytes) {
    heard = heard || !bytes.empty();
    return FeedWithFault(std::move(bytes), fault);
  };
  if (auto end = send(answer.cursor->Next())) return *end;
  for (const std::function<void()>& change : changes) {
    now_ += absl::Seconds(1);
    change();
    // Sometimes several changes arrive together.
    if (Chance(0.3)) continue;
    if (auto end = send(answer.cursor->Next())) return *end;
    if (Chance(0.2)) {
      if (auto end = send(answer.cursor->Bookmark())) return *end;
    }
  }
  if (auto end = send(answer.cursor->Next())) return *end;
  now_ += absl::Minutes(1);
  if (auto end = send(answer.cursor->Bookmark())) return *end;
  if (answer.cursor->ended()) return {kubernetes::HttpEnd::Kind::kComplete, ""};
  if (!heard) return {kubernetes::HttpEnd::Kind::kStalled, "silent"};
  now_ += absl::Minutes(5);
  return {kubernetes::HttpEnd::Kind::kComplete, ""};
}

kubernetes::HttpEnd History::Perform(const ApiQuery& query, const Fault& fault,
                                     const std::vector<std::function<void()>>& changes) {
  switch (fault.kind) {
    case Fault::Kind::kRefused:
      return {kubernetes::HttpEnd::Kind::kConnect, "refused"};
    case Fault::Kind::kNoAnswer:
      return {kubernetes::HttpEnd::Kind::kStalled, "no answer"};
    case Fault::Kind::kStatus: {
      ApiAnswer answer = testing::StatusAnswer(fault.status, "Reason", "as it was told to");
      if (fault.status == 429) answer.retry_after = 7;
      return Answer(answer, {});
    }
    case Fault::Kind::kHtml:
      return Answer({.code = 200, .body = "<html><body>Sign in</body></html>"}, {});
    default:
      break;
  }
  if (QueryFlag(query, "watch")) return Watch(query, fault, changes);
  return Answer(model_.List(query), fault);
}

void History::Exchange(const Fault& fault, const std::vector<std::function<void()>>& changes) {
  const Reflector::Step step = reflector_.Next(now_);
  now_ += step.delay;
  last_delay_ = step.delay;
  longest_delay_ = std::max(longest_delay_, step.delay);
  targets_.push_back(step.request.target);
  const auto target = ParseTarget(step.request.target);
  EXPECT_EQ(target.path, "/api/v1/services");
  fed_ = 0;
  watched_ = false;
  const kubernetes::HttpEnd end = Perform(target.query, fault, changes);
  reflector_.OnEnd(end, now_);
  Check("at the end");
}

bool History::Settle(int exchanges) {
  for (int i = 0; i < exchanges; ++i) {
    const size_t before = targets_.size();
    Exchange({}, {});
    const bool watched = absl::StrContains(targets_[before], "watch=true");
    if (!watched || !reflector_.synced() || Known() != Expected()) continue;
    if (reflector_.store().bind_facts() == ExpectedFacts()) return true;
  }
  return false;
}

// Random changes: those of a cluster, and some invalid ones.
void Change(History& history) {
  const std::vector<std::string> names = {"a/web", "a/dns", "b/web", "b/api", "c/edge", "c/x"};
  const std::string& full = names[history.Below(names.size())];
  const size_t slash = full.find('/');
  if (history.specs().contains(full) && history.Chance(0.3)) return history.Delete(full);

  ServiceSpec spec;
  spec.ns = full.substr(0, slash);
  spec.name = full.substr(slash + 1);
  const std::vector<std::string> types = {"NodePort", "NodePort", "LoadBalancer", "ClusterIP"};
  spec.type = types[history.Below(types.size())];
  const size_t ports = history.Below(4);
  for (size_t i = 0; i < ports; ++i) {
    ServicePort port;
    port.name = absl::StrCat("p", i);
    port.protocol = history.Chance(0.3) ? "UDP" : "TCP";
    // Few numbers, so that Services take over ports from each other.
    port.node_port = static_cast<int64_t>(30000 + history.Below(8));
    const size_t oddity = history.Below(20);
    if (oddity == 0) port.node_port = 0;
    if (oddity == 1) port.node_port = 70000;
    if (oddity == 2) port.node_port = -1;
    if (oddity == 3) port.protocol = "QUIC";
    if (oddity == 4) {
      port.node_port = 0;
      port.extra = R"("nodePort":"x")";
    }
    const size_t target = history.Below(8);
    if (target == 0) port.target = R"("http")";
    if (target == 1) port.target = absl::StrCat(30000 + history.Below(8));
    spec.ports.push_back(port);
  }
  if (history.Chance(0.2)) spec.selector = "{}";
  if (history.Chance(0.5)) spec.extra_spec = R"("ipFamilies":["IPv6","IPv4"])";
  if (history.Chance(0.2)) spec.health_check_node_port = 32000;
  if (history.Chance(0.1)) {
    spec.extra_metadata = R"("annotations":{"items":"[{\"}]\\","type":"BOOKMARK"})";
  }
  history.Put(spec);
}

ApiModelOptions RandomServer(std::mt19937_64& random) {
  const auto below = [&random](int bound) {
    return std::uniform_int_distribution<int>(0, bound - 1)(random);
  };
  ApiModelOptions options;
  options.selects_by_type = below(4) != 0;
  options.watch_list = static_cast<WatchList>(below(4));
  options.limit_ignored_at_zero = below(2) == 0;
  options.expired_as_code = below(2) == 0;
  return options;
}

Fault RandomFault(History& history) {
  if (history.Chance(0.4)) return {};
  constexpr size_t kKinds = 9;
  const std::vector<int> statuses = {400, 401, 403, 404, 410, 422, 429, 500, 503, 504};
  Fault fault;
  fault.kind = static_cast<Fault::Kind>(history.Below(kKinds));
  fault.at = history.Below(history.Chance(0.5) ? 200 : 5000);
  fault.status = statuses[history.Below(statuses.size())];
  return fault;
}

class SeededHistories : public ::testing::TestWithParam<int> {};

TEST_P(SeededHistories, EndAtTheStateOfTheApiServer) {
  constexpr int kEach = 250;
  for (int i = 0; i < kEach; ++i) {
    const uint64_t seed = static_cast<uint64_t>(GetParam()) * kEach + static_cast<uint64_t>(i);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    History history(RandomServer(random), seed, 1 + random() % 5);
    const size_t exchanges = 2 + history.Below(12);
    for (size_t e = 0; e < exchanges; ++e) {
      std::vector<std::function<void()>> changes;
      for (size_t c = history.Below(6); c > 0; --c) changes.push_back([&] { Change(history); });
      history.Exchange(RandomFault(history), changes);
      if (history.Chance(0.3)) Change(history);  // while no watch is open
      if (history.Chance(0.1)) history.model().Compact(history.model().resource_version());
      if (history.Chance(0.05)) history.model().options() = RandomServer(random);
    }
    ASSERT_TRUE(history.Settle(12)) << "not the state of the API server after 12 good exchanges: "
                                    << absl::StrJoin(history.targets(), "\n")
                                    << "\nlast failure: " << history.reflector().failure();
    ASSERT_EQ(history.Known(), history.Expected());
    ASSERT_TRUE(history.reflector().store().bind_facts() == history.ExpectedFacts());
    // A minute, and what jitter adds to a Retry-After.
    EXPECT_LE(history.longest_delay(), absl::Seconds(60));
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SeededHistories, ::testing::Range(0, 16));

// A history with every kind of event, for a fault at each of its bytes.
void FixedChanges(History& history) {
  history.Put({.ns = "a", .name = "web", .ports = {{.name = "http", .node_port = 30080}}});
  history.Put({.ns = "a",
               .name = "dns",
               .ports = {{.name = "t", .node_port = 30053},
                         {.name = "u", .node_port = 30053, .protocol = "UDP"}}});
}

std::vector<std::function<void()>> FixedWatch(History& history) {
  return {
      [&] {
        history.Put({.ns = "b", .name = "api", .ports = {{.name = "x", .node_port = 30001}}});
      },
      [&] {
        history.Put({.ns = "a", .name = "web", .ports = {{.name = "http", .node_port = 30081}}});
      },
      [&] {
        history.Put({.ns = "b", .name = "api", .type = "ClusterIP", .ports = {{.name = "x"}}});
      },
      [&] { history.Delete("a/dns"); },
  };
}

struct ByteCase {
  std::string name;
  Fault::Kind kind;
  WatchList watch_list;
};

class FaultAtEveryByte : public ::testing::TestWithParam<ByteCase> {};

TEST_P(FaultAtEveryByte, IsRecoveredFrom) {
  constexpr int kExchanges = 10;  // two refusals, five pages, a watch, and some more
  size_t reached = 0;
  for (size_t at = 0;; at += testing::kByteStep) {
    SCOPED_TRACE(absl::StrCat("byte ", at));
    History history({.watch_list = GetParam().watch_list}, at, 1);
    FixedChanges(history);
    std::vector<std::function<void()>> changes = FixedWatch(history);
    bool hit = false;
    size_t passed = 0;
    for (int i = 0; i < kExchanges && !hit && passed <= at; ++i) {
      history.Exchange({.kind = GetParam().kind, .at = at - passed}, changes);
      if (history.watched()) changes.clear();
      hit = !history.reflector().failure().ok();
      passed += history.fed();
    }
    ASSERT_TRUE(history.Settle(12));
    ASSERT_FALSE(HasFailure());
    // Not every byte matters: those in the text of an error do not.
    if (hit) ++reached;
    if (!hit && passed <= at) break;  // beyond the last byte
  }
  EXPECT_GT(reached, 1000U / testing::kByteStep) << "the fault occurred too seldom";
}

std::vector<ByteCase> ByteCases() {
  std::vector<ByteCase> cases;
  const std::vector<std::pair<std::string, Fault::Kind>> kinds = {
      {"Cut", Fault::Kind::kCut}, {"Stall", Fault::Kind::kStall}, {"Garble", Fault::Kind::kGarble}};
  for (const auto& [name, kind] : kinds) {
    cases.push_back({name + "WatchList", kind, WatchList::kOffered});
    cases.push_back({name + "Pages", kind, WatchList::kForbidden});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Streams, FaultAtEveryByte, ::testing::ValuesIn(ByteCases()),
                         [](const auto& parameters) { return parameters.param.name; });

// etcd is restored from a backup, so that the node's version is newer than the server's.
// The server accepts the watch and sends nothing.
TEST(Histories, NoticesAVersionThatIsNewerThanTheServer) {
  for (const WatchList watch_list : {WatchList::kOffered, WatchList::kForbidden}) {
    History history({.watch_list = watch_list}, 1, 500);
    FixedChanges(history);
    const uint64_t backup = history.model().resource_version();
    ASSERT_TRUE(history.Settle(4));
    history.Exchange({}, FixedWatch(history));
    ASSERT_EQ(history.Known(), history.Expected());
    const core::PortSnapshot before = history.Known();

    history.RestoreTo(backup);
    ASSERT_NE(history.Expected(), before);
    history.Exchange({}, {});
    EXPECT_EQ(history.Known(), before) << "no port is removed before a new list";
    EXPECT_FALSE(history.reflector().synced());
    EXPECT_TRUE(history.Settle(4));
  }
}

// The API server was away for minutes. A Service is new, and the server's history begins
// after the node's version: it accepts the watch, and ends it with 410.
TEST(Histories, ListsWithinFiveSecondsAfterTheServersRestart) {
  for (const WatchList watch_list : {WatchList::kOffered, WatchList::kForbidden}) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
      SCOPED_TRACE(absl::StrCat("seed ", seed));
      History history({.watch_list = watch_list}, seed, 500);
      FixedChanges(history);
      ASSERT_TRUE(history.Settle(4));
      for (int i = 0; i < 10; ++i) history.Exchange({.kind = Fault::Kind::kRefused}, {});
      history.Put({.ns = "b", .name = "new", .ports = {{.name = "x", .node_port = 30002}}});
      history.model().AdvanceTo(history.model().resource_version() + 10);
      history.model().Compact(history.model().resource_version());
      history.Exchange({}, {});
      ASSERT_TRUE(history.watched());
      ASSERT_FALSE(history.reflector().synced());
      absl::Duration waited;
      for (int i = 0; i < 3 && history.Known() != history.Expected(); ++i) {
        history.Exchange({}, {});
        waited += history.last_delay();
      }
      ASSERT_EQ(history.Known(), history.Expected());
      ASSERT_LE(waited, absl::Seconds(5));
    }
  }
}

// Services of the broken page may be deleted before the next attempt.
TEST(Histories, DropsTheServicesOfABrokenFirstPage) {
  size_t at = 1;
  for (;; ++at) {
    SCOPED_TRACE(absl::StrCat("byte ", at));
    History history({.watch_list = WatchList::kForbidden}, at, 500);
    FixedChanges(history);
    history.Exchange({}, {});  // the server refuses a WatchList
    history.Exchange({.kind = Fault::Kind::kCut, .at = at}, {});
    if (history.reflector().failure().ok()) break;  // beyond the last byte
    history.Delete("a/dns");
    ASSERT_TRUE(history.Settle(4));
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(at, 500U) << "the page of two Services is longer";
}

// A list with the same content causes no write.
TEST(Histories, ARelistThatChangesNothingIsNoChange) {
  History history({}, 1, 500);
  FixedChanges(history);
  ASSERT_TRUE(history.Settle(4));
  EXPECT_TRUE(history.reflector().store().TakeChanged());
  history.Exchange({.kind = Fault::Kind::kStatus, .status = 410}, {});
  EXPECT_FALSE(history.reflector().synced());
  ASSERT_TRUE(history.Settle(4));
  EXPECT_FALSE(history.reflector().store().TakeChanged());
}

}  // namespace
}  // namespace npg::sources::kubernetes_histories_test

// SPDX-License-Identifier: Apache-2.0
#include "core/reserved_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port_ranges.h"

namespace npg::core::reserved_plan_test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = ReservedStep::Kind;

constexpr PortRange kLocal = {20000, 60999};

PortRanges Ports(absl::string_view text) { return *ParsePortRanges(text); }

// The plan for a content and notes.
ReservedPlan PlanOf(absl::string_view content, absl::string_view ours, absl::string_view admin,
                    absl::string_view wanted, absl::string_view unsure = "") {
  return PlanReserved({Ports(content), Ports(ours), Ports(unsure), Ports(admin)}, Ports(wanted),
                      kLocal);
}

std::string TextOf(const ReservedPlan& plan) {
  return absl::StrCat("admin ", PortRangesText(plan.admin), "; ours ", PortRangesText(plan.ours),
                      "; add ", PortRangesText(plan.add), "; remove ", PortRangesText(plan.remove),
                      plan.too_few ? "; too few" : "");
}

TEST(ReservedPlanTest, AddsWhatTheKernelAssignsAndTheAdministratorHasNot) {
  EXPECT_EQ(TextOf(PlanOf("8080,30001", "", "", "10000,30001,30002,61000")),
            "admin 8080,30001; ours ; add 30002; remove ");
  EXPECT_EQ(TextOf(PlanOf("8080,30001-30002", "30001", "8080,30002", "30001-30003")),
            "admin 8080,30002; ours 30001; add 30003; remove ");
  EXPECT_EQ(TextOf(PlanOf("8080,30001", "30001", "8080", "")),
            "admin 8080; ours 30001; add ; remove 30001");
  // The range of automatic ports has moved.
  EXPECT_EQ(TextOf(PlanOf("10000", "10000", "", "10000")),
            "admin ; ours 10000; add ; remove 10000");
}

TEST(ReservedPlanTest, NothingToDoIsNoStep) {
  const ReservedNow now = {Ports("8080,30001"), Ports("30001"), {}, Ports("8080")};
  const ReservedPlan plan = PlanReserved(now, Ports("30001"), kLocal);
  EXPECT_THAT(StepsToAdd(now, plan), IsEmpty());
  EXPECT_THAT(StepsToRemove(plan), IsEmpty());
  const ReservedNow without = {Ports("8080"), {}, {}, {}};
  EXPECT_THAT(StepsToAdd(without, PlanReserved(without, Ports("8080"), kLocal)), IsEmpty());
}

TEST(ReservedPlanTest, NotesBeforeAndAfterEachWrite) {
  const ReservedNow now = {Ports("8080"), {}, {}, {}};
  const ReservedPlan add = PlanReserved(now, Ports("30001"), kLocal);
  EXPECT_EQ(StepsToAdd(now, add), (std::vector<ReservedStep>{{Kind::kNoteAdmin, Ports("8080")},
                                                             {Kind::kNoteUnsure, Ports("30001")},
                                                             {Kind::kAdd, Ports("30001")},
                                                             {Kind::kNoteOurs, Ports("30001")}}));
  const ReservedPlan remove = PlanOf("8080,30001,30003", "30001,30003", "8080", "30003");
  EXPECT_EQ(StepsToRemove(remove),
            (std::vector<ReservedStep>{{Kind::kNoteUnsure, Ports("30001")},
                                       {Kind::kReplace, Ports("8080"), Ports("30003")},
                                       {Kind::kForget, Ports("30001")}}));
  // Without ports of the controller there are no notes.
  EXPECT_EQ(StepsToRemove(PlanOf("8080,30001", "30001", "8080", "")),
            (std::vector<ReservedStep>{{Kind::kNoteUnsure, Ports("30001")},
                                       {Kind::kReplace, Ports("8080")},
                                       {Kind::kForget, Ports("30001")},
                                       {Kind::kForget, Ports("8080")}}));
}

TEST(ReservedPlanTest, ThePortsLeftMustBeEnough) {
  const auto plan = [](const PortRange& local, const PortRanges& admin, const PortRanges& wanted) {
    return PlanReserved({admin, {}, {}, {}}, wanted, local);
  };
  EXPECT_FALSE(plan({30000, 39999}, {}, {{30000, 35903}}).too_few);
  EXPECT_TRUE(plan({30000, 39999}, {}, {{30000, 35904}}).too_few);
  // What the administrator has reserved is not there to be left.
  EXPECT_FALSE(plan({30000, 39999}, {{35904, 39999}}, {{30000, 32951}}).too_few);
  EXPECT_TRUE(plan({30000, 39999}, {{35904, 39999}}, {{30000, 32952}}).too_few);
  EXPECT_FALSE(plan({30000, 30063}, {}, {{30000, 30031}}).too_few);
  EXPECT_TRUE(plan({30000, 30063}, {}, {{30000, 30032}}).too_few);
  // Too few without the controller's doing.
  EXPECT_FALSE(plan({30000, 30063}, {{30000, 30063}}, {{30000, 30063}}).too_few);
  // All goes, not only what is new.
  const ReservedPlan too_few =
      PlanReserved({Ports("30001"), Ports("30001"), {}, {}}, {{30001, 30050}}, {30000, 30063});
  EXPECT_EQ(TextOf(too_few), "admin ; ours 30001; add ; remove 30001; too few");
}

TEST(ReservedPlanTest, TheAdministratorReplacesAll) {
  // What the controller had added is gone, and is added again.
  EXPECT_EQ(TextOf(PlanOf("8472", "30001,30002", "8080", "30001-30002")),
            "admin 8472; ours ; add 30001-30002; remove ");
  // A port that the controller had added, too, is the administrator's now.
  EXPECT_EQ(TextOf(PlanOf("8472,30001", "30001,30003", "8080", "30001,30003")),
            "admin 8472,30001; ours ; add 30003; remove ");
  EXPECT_EQ(TextOf(PlanOf("", "30001", "8080", "30001")), "admin ; ours ; add 30001; remove ");
  // A range that covers all of the controller's ports.
  EXPECT_EQ(TextOf(PlanOf("30000-32767", "30001,30003,32767", "", "30001,30003,32767")),
            "admin 30000-32767; ours ; add ; remove ");
  EXPECT_EQ(TextOf(PlanOf("8080,30000-32767", "30000,40000", "8080", "30000")),
            "admin 8080,30000-32767; ours ; add ; remove ");
}

TEST(ReservedPlanTest, TheAdministratorAppendsAndRemoves) {
  EXPECT_EQ(TextOf(PlanOf("8080,8472,30001", "30001", "8080", "30001")),
            "admin 8080,8472; ours 30001; add ; remove ");
  EXPECT_EQ(TextOf(PlanOf("30001", "30001", "8080", "30001")), "admin ; ours 30001; add ; remove ");
  // Appends a range with one of the controller's.
  EXPECT_EQ(TextOf(PlanOf("8080,30000-30099,40000", "30001,40000", "8080", "30001,40000")),
            "admin 8080,30000-30099; ours 40000; add ; remove ");
  // A port beside those of the administrator stays the controller's.
  EXPECT_EQ(TextOf(PlanOf("30000-30002,9000", "30001", "30000,30002", "30001")),
            "admin 9000,30000,30002; ours 30001; add ; remove ");
}

TEST(ReservedPlanTest, TheContentSettlesWhatIsUnsure) {
  // Both of an addition and of a removal.
  EXPECT_EQ(TextOf(PlanOf("8080,30001", "", "8080", "30001-30002", "30001")),
            "admin 8080; ours 30001; add 30002; remove ");
  EXPECT_EQ(TextOf(PlanOf("8080", "", "8080", "", "30001")), "admin 8080; ours ; add ; remove ");
  EXPECT_EQ(TextOf(PlanOf("8080,30001", "", "8080", "", "30001")),
            "admin 8080; ours 30001; add ; remove 30001");
  EXPECT_EQ(TextOf(PlanOf("8080,30001", "30001", "8080", "30001", "30002")),
            "admin 8080; ours 30001; add ; remove ");
}

// Ports of which no two are adjacent: `count` from `first` on.
PortRanges Scattered(uint16_t first, int count) {
  PortRanges ports;
  for (int i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(first + 2 * i);
    ports.push_back({port, port});
  }
  return ports;
}

TEST(ReservedPlanTest, ARewriteThatDidNotEndLosesNothing) {
  const PortRanges admin = Scattered(10001, 1000);
  const PortRanges ours = Scattered(40001, 1000);
  const std::vector<std::string> writes = ReservedWrites(admin, ours);
  ASSERT_THAT(writes, SizeIs(3));
  PortRanges content;
  for (const std::string& write : writes) {
    content = Union(content, Ports(write));
    const ReservedNow now = {content, ours, {{50001, 50001}}, admin};
    const ReservedPlan plan = PlanReserved(now, ours, kLocal);
    EXPECT_EQ(plan.admin, admin);
    EXPECT_EQ(plan.ours, Intersect(ours, content));
    EXPECT_EQ(plan.add, Without(ours, content));
    // Written again before the notes that tell of the rewrite are removed.
    const PortRanges missing = Without(admin, content);
    if (missing.empty()) continue;
    EXPECT_EQ(StepsToAdd(now, plan).front(), (ReservedStep{Kind::kAdd, missing}));
  }
  // The same without a rewrite, or something else in place of it: the administrator.
  const PortRanges part = Ports(writes.front());
  EXPECT_EQ(PlanReserved({part, ours, {}, admin}, ours, kLocal).admin, part);
  const PortRanges shorter(part.begin(), part.begin() + 100);
  const PortRanges unsure = {{50001, 50001}};
  EXPECT_EQ(PlanReserved({shorter, ours, unsure, admin}, ours, kLocal).admin, shorter);
  const PortRanges later(part.begin() + 1, part.end());
  EXPECT_EQ(PlanReserved({later, ours, unsure, admin}, ours, kLocal).admin, later);
}

TEST(ReservedPlanTest, EachTextFitsIntoOneWrite) {
  const PortRanges ports = Scattered(1, 32767);
  const std::vector<std::string> writes = ReservedWrites({{9, 11}}, ports);
  PortRanges all;
  for (const std::string& text : writes) {
    EXPECT_LE(text.size(), kReservedWriteBytes);
    all = Union(all, Ports(text));
  }
  EXPECT_EQ(all, Union({{9, 11}}, ports));
  for (size_t i = 0; i + 1 < writes.size(); ++i) EXPECT_GT(writes[i].size(), 4080U);
  EXPECT_THAT(ReservedWrites({}, {}), ::testing::ElementsAre("\n"));
  EXPECT_THAT(ReservedWrites({{8080, 8080}}, {{1, 2}, {4, 4}}),
              ::testing::ElementsAre("8080,1-2,4"));
}

// The sysctl, the notes, and what the administrator wants, against which the parts are compared.
class Model {
 public:
  explicit Model(uint32_t seed) : random_(seed) {}

  bool Chance(int percent) { return Below(100) < percent; }
  int Below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(random_); }
  // Enough for several writes, sometimes.
  PortRanges RandomPorts(PortRange range, bool many) {
    PortRanges ports;
    for (int i = Below(many && Chance(30) ? 2000 : 6); i > 0; --i) {
      const int port = range.first + Below(range.last - range.first - 8);
      const int last = Chance(20) ? port + Below(8) : port;
      ports.push_back({static_cast<uint16_t>(port), static_cast<uint16_t>(last)});
    }
    return Merged(ports);
  }

  ReservedNow Now() const {
    ReservedNow now;
    now.content = content_;
    for (const auto& [port, kind] : notes_) {
      PortRanges& part = kind == Kind::kNoteOurs     ? now.ours
                         : kind == Kind::kNoteUnsure ? now.unsure
                                                     : now.admin;
      part.push_back({port, port});
    }
    for (PortRanges* const part : {&now.ours, &now.unsure, &now.admin}) *part = Merged(*part);
    return now;
  }

  // False: the controller ended within the steps.
  bool Take(const std::vector<ReservedStep>& steps, int crash_percent) {
    for (const ReservedStep& step : steps) {
      const bool crash = Chance(crash_percent);
      Apply(step, crash);
      if (crash) return false;
    }
    return true;
  }
  bool Sync(const PortRanges& wanted, bool remove, int crash_percent) {
    const ReservedNow now = Now();
    const ReservedPlan plan = PlanReserved(now, wanted, kLocal);
    EXPECT_EQ(PortRangesText(plan.admin), PortRangesText(admin_));
    if (!Take(StepsToAdd(now, plan), crash_percent)) return false;
    EXPECT_THAT(Without(admin_, content_), IsEmpty());
    if (!remove && !plan.too_few) return true;
    if (!Take(StepsToRemove(plan), crash_percent)) return false;
    const PortRanges added = plan.too_few ? PortRanges() : Intersect(wanted, kLocal);
    EXPECT_EQ(PortRangesText(content_), PortRangesText(Union(admin_, added)));
    return true;
  }
  void Restore(int crash_percent) {
    for (bool done = false; !done;) {
      const ReservedNow now = Now();
      const ReservedPlan plan = PlanRestore(now);
      done = Take(StepsToAdd(now, plan), crash_percent) && Take(StepsToRemove(plan), crash_percent);
    }
    EXPECT_EQ(PortRangesText(content_), PortRangesText(admin_));
    EXPECT_THAT(notes_, IsEmpty());
  }

  // One write of the administrator that can be told from those of the controller.
  void Administrate() {
    const ReservedNow now = Now();
    const PortRanges noted = Union(now.ours, now.unsure);
    const int kind = Below(4);
    if (kind == 0) {
      PortRanges ports = Without(RandomPorts({1000, 60999}, true), now.unsure);
      // Some of the controller's own, too. Not the first of them after a crash: to have those and
      // no others looks like a rewrite that was cut.
      const size_t spared = now.unsure.empty() ? 0 : 1;
      if (Chance(50) && now.ours.size() > spared) {
        const auto begin = now.ours.begin() + static_cast<std::ptrdiff_t>(spared);
        ports = Union(
            ports, PortRanges(begin, begin + Below(static_cast<int>(now.ours.end() - begin) + 1)));
      }
      // To contain all of the controller's ports, and none beside one, looks like an addition.
      if (!noted.empty() && Without(now.ours, ports).empty()) return;
      content_ = admin_ = ports;
    } else if (kind == 1 && !now.ours.empty() && now.unsure.empty()) {
      const PortRange all = {static_cast<uint16_t>(now.ours.front().first - 1),
                             static_cast<uint16_t>(now.ours.back().last + 1)};
      // Nothing new in it: it cannot be told from what was there.
      if (Without(all, Union(now.admin, noted)).empty()) return;
      content_ = admin_ = {all};
    } else if (kind == 2) {
      const auto port = static_cast<uint16_t>(1000 + Below(60000));
      const PortRanges touching = {
          {static_cast<uint16_t>(port - 1), static_cast<uint16_t>(port + 1)}};
      if (!Intersect(Union(content_, noted), touching).empty()) return;
      admin_ = Union(admin_, {{port, port}});
      content_ = Union(content_, {{port, port}});
    } else if (kind == 3 && !admin_.empty() && now.unsure.empty()) {
      const PortRanges gone = {admin_[static_cast<size_t>(Below(static_cast<int>(admin_.size())))]};
      admin_ = Without(admin_, gone);
      content_ = Without(content_, gone);
    }
  }

 private:
  void Note(const PortRanges& ports, Kind kind, bool crash) {
    for (const PortRange& range : ports) {
      for (uint32_t port = range.first; port <= range.last; ++port) {
        if (crash && Chance(10)) return;
        if (kind == Kind::kForget) {
          notes_.erase(static_cast<uint16_t>(port));
        } else {
          notes_[static_cast<uint16_t>(port)] = kind;
        }
      }
    }
  }
  void Write(const std::vector<std::string>& texts, bool replace, bool crash) {
    for (const std::string& text : texts) {
      if (crash && Chance(50)) return;
      content_ = replace ? Ports(text) : Union(content_, Ports(text));
      replace = false;
    }
  }
  void Apply(const ReservedStep& step, bool crash) {
    if (step.kind == Kind::kAdd || step.kind == Kind::kReplace) {
      Write(ReservedWrites(step.ports, step.rest), step.kind == Kind::kReplace, crash);
    } else {
      Note(step.ports, step.kind, crash);
    }
  }

  std::mt19937 random_;
  PortRanges content_, admin_;
  std::map<uint16_t, Kind> notes_;
};

TEST(ReservedPlanTest, TheAdministratorsPartSurvivesAnyHistory) {
  for (uint32_t seed = 0; seed < 400 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    const int crash_percent = 5 + model.Below(30);
    for (int i = model.Below(20); i >= 0; --i) {
      if (model.Chance(50)) {
        model.Administrate();
      } else {
        // One after the other, so that a seed is the same history with every compiler.
        const PortRanges wanted = model.RandomPorts({15000, 62000}, true);
        model.Sync(wanted, model.Chance(60), crash_percent);
      }
    }
    model.Restore(crash_percent);
  }
}

}  // namespace
}  // namespace npg::core::reserved_plan_test

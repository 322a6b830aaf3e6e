// SPDX-License-Identifier: Apache-2.0
#include "core/reserved_plan.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/port_ranges.h"

namespace npg::core {
namespace {

constexpr size_t kLongestRangeText = sizeof(",65534-65535") - 1;

// The two parts of the content.
struct ReservedParts {
  PortRanges admin;  // with what a rewrite that did not end has not yet written again
  PortRanges ours;
};

// Whether `part` is what ascending writes of `all` have written at some time.
bool IsStartOf(const PortRanges& part, const PortRanges& all) {
  return part.empty() || part == Intersect(all, {0, part.back().last});
}

// Whether ports are missing because the controller ended within a rewrite of several writes. A
// write of the administrator is not taken for that: it would have to contain the whole first
// write.
bool RewriteWasCut(const ReservedNow& now) {
  // The first write of a rewrite removes all of these.
  if (now.unsure.empty() || !Intersect(now.unsure, now.content).empty()) return false;
  const PortRanges admin = Intersect(now.admin, now.content);
  const PortRanges ours = Intersect(now.ours, now.content);
  const bool all_of_admin = admin == Merged(now.admin);
  if (all_of_admin && ours == Merged(now.ours)) return false;
  if (!all_of_admin && !ours.empty()) return false;
  if (!IsStartOf(admin, now.admin) || !IsStartOf(ours, now.ours)) return false;
  const size_t written = PortRangesText(admin).size() + PortRangesText(ours).size() + 1;
  return written + kLongestRangeText >= kReservedWriteBytes;
}

// Those of `ours` in a range of the content in which there is also one of `fresh`: it was written
// as a range, and the ports of the controller in it were meant, too.
PortRanges CoveredBy(const PortRanges& content, const PortRanges& fresh, const PortRanges& ours) {
  PortRanges ranges;
  for (const PortRange& port : fresh) {
    // Ends before the range that starts after it.
    const auto after = std::upper_bound(
        content.begin(), content.end(), port.first,
        [](uint16_t first, const PortRange& range) { return first < range.first; });
    ranges.push_back(*std::prev(after));
  }
  return Intersect(ours, ranges);
}

ReservedParts SplitReserved(const ReservedNow& now) {
  const PortRanges content = Merged(now.content);
  const PortRanges noted = Union(now.ours, now.unsure);
  const bool cut = RewriteWasCut(now);
  // The administrator has replaced all: what the controller has added is gone, and a port that it
  // had added is there because the administrator wants it.
  const bool replaced = !cut && !Without(now.ours, content).empty();
  if (noted.empty() || replaced) return {content, {}};

  ReservedParts parts;
  parts.ours = Intersect(noted, content);
  const PortRanges fresh = Without(content, Union(now.admin, noted));
  const PortRanges covered = CoveredBy(content, fresh, parts.ours);
  parts.admin = Union(Without(content, parts.ours), covered);
  parts.ours = Without(parts.ours, covered);
  if (cut) parts.admin = Union(parts.admin, now.admin);
  return parts;
}

void AddStep(std::vector<ReservedStep>& steps, ReservedStep::Kind kind, PortRanges ports) {
  if (!ports.empty()) steps.push_back({kind, std::move(ports)});
}

}  // namespace

ReservedPlan PlanReserved(const ReservedNow& now, const PortRanges& wanted,
                          const PortRange& local) {
  const ReservedParts parts = SplitReserved(now);
  ReservedPlan plan;
  plan.admin = parts.admin;
  plan.ours = parts.ours;
  const PortRanges target = Without(Intersect(wanted, local), parts.admin);
  const size_t before = CountPorts(Without(local, parts.admin));
  const size_t left = before - CountPorts(target);
  plan.too_few = !target.empty() && LeavesTooFew(before, left);
  if (plan.too_few) {
    plan.remove = parts.ours;
  } else {
    plan.add = Without(target, parts.ours);
    plan.remove = Without(parts.ours, target);
  }
  return plan;
}

ReservedPlan PlanRestore(const ReservedNow& now) { return PlanReserved(now, {}, {}); }

// Each step leaves what the next start needs to come to the same parts. The ports that show a
// write of the administrator, because they are missing, are forgotten only when all that he wants
// is noted as his; those that show a cut rewrite (unsure), only when all is written again.
std::vector<ReservedStep> StepsToAdd(const ReservedNow& now, const ReservedPlan& plan) {
  using Kind = ReservedStep::Kind;
  std::vector<ReservedStep> steps;
  const PortRanges noted = Union(now.ours, now.unsure);
  const bool keep_notes = !plan.ours.empty() || !plan.add.empty();
  const PortRanges taken = Intersect(noted, plan.admin);
  const PortRanges admin_notes = Union(now.admin, taken);

  AddStep(steps, Kind::kAdd, Without(plan.admin, now.content));
  AddStep(steps, Kind::kNoteAdmin, taken);
  if (keep_notes) AddStep(steps, Kind::kNoteAdmin, Without(plan.admin, admin_notes));
  AddStep(steps, Kind::kForget, Without(now.ours, Union(plan.ours, taken)));
  AddStep(steps, Kind::kNoteOurs, Intersect(now.unsure, plan.ours));
  AddStep(steps, Kind::kForget, Without(now.unsure, Union(plan.ours, taken)));
  AddStep(steps, Kind::kForget, keep_notes ? Without(admin_notes, plan.admin) : admin_notes);

  AddStep(steps, Kind::kNoteUnsure, plan.add);
  AddStep(steps, Kind::kAdd, plan.add);
  AddStep(steps, Kind::kNoteOurs, plan.add);
  return steps;
}

std::vector<ReservedStep> StepsToRemove(const ReservedPlan& plan) {
  using Kind = ReservedStep::Kind;
  if (plan.remove.empty()) return {};
  const PortRanges rest = Union(Without(plan.ours, plan.remove), plan.add);
  std::vector<ReservedStep> steps = {{Kind::kNoteUnsure, plan.remove},
                                     {Kind::kReplace, plan.admin, rest},
                                     {Kind::kForget, plan.remove}};
  if (rest.empty()) AddStep(steps, Kind::kForget, plan.admin);
  return steps;
}

std::vector<std::string> ReservedWrites(const PortRanges& first, const PortRanges& rest) {
  std::vector<std::string> writes = {""};
  for (const PortRanges& ranges : {Merged(first), Merged(rest)}) {
    for (const PortRange& range : ranges) {
      const std::string text = PortRangesText({range});
      if (writes.back().size() + 1 + text.size() > kReservedWriteBytes) writes.emplace_back();
      absl::StrAppend(&writes.back(), writes.back().empty() ? "" : ",", text);
    }
  }
  if (writes.back().empty()) writes.back() = "\n";
  return writes;
}

}  // namespace npg::core

// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/service_store.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "core/port.h"
#include "core/service_ref.h"
#include "sources/service_decoder.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// If more have changed, to compare all of them is as cheap.
constexpr size_t kMaxChanged = 1000;

}  // namespace

ServiceStore::Ports ServiceStore::PortsOf(const ServicePorts& service) {
  std::vector<core::PortKey> shared = service.shared;
  std::sort(shared.begin(), shared.end());
  Ports ports;
  ports.reserve(service.ports.size());
  for (const core::PortKey& key : service.ports) {
    const bool is_shared = std::binary_search(shared.begin(), shared.end(), key);
    ports.push_back(
        {key.port, key.protocol, static_cast<uint8_t>(is_shared ? 0 : service.families)});
  }
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  return ports;
}

void ServiceStore::NoteChanged(const core::PortKey& key) {
  changed_ = true;
  auto& keys = reading_->changed;
  if (!keys) return;
  if (keys->size() < kMaxChanged) {
    keys->push_back(key);
  } else {
    keys.reset();
  }
}

void ServiceStore::Settle(const core::PortKey& key) {
  auto claim = claims_.lower_bound({key, 0, {}});
  if (claim == claims_.end() || claim->key != key) {
    if (reading_->ports.erase(key) > 0) NoteChanged(key);
    SettleFacts(key, false, 0);
    return;
  }
  core::ServiceRef& owner = reading_->ports[key];
  if (owner != claim->name) {
    owner = claim->name;
    NoteChanged(key);
  }
  bool shared = false;
  uint32_t families = 0;
  for (; claim != claims_.end() && claim->key == key; ++claim) {
    shared = shared || claim->families == 0;
    families |= claim->families;
  }
  SettleFacts(key, shared, shared ? 0 : families);
}

void ServiceStore::SettleFacts(const core::PortKey& key, bool shared, uint32_t families) {
  if (shared ? facts_.shared.insert(key).second : facts_.shared.erase(key) > 0) changed_ = true;
  if (families == 0) {
    if (facts_.refusable.erase(key) > 0) changed_ = true;
  } else if (uint32_t& known = facts_.refusable[key]; known != families) {
    known = families;
    changed_ = true;
  }
}

// Both are sorted. A port whose families alone have changed is never without a claim when it is
// settled.
void ServiceStore::ReplacePorts(const core::ServiceRef& name, const Ports& before,
                                const Ports& now) {
  const auto without = [](const Ports& ports, const Ports& others) {
    Ports rest;
    std::set_difference(ports.begin(), ports.end(), others.begin(), others.end(),
                        std::back_inserter(rest));
    return rest;
  };
  const Ports gone = without(before, now);
  const Ports added = without(now, before);
  for (const Port& port : gone) claims_.erase({port.key(), port.families, name});
  for (const Port& port : added) claims_.insert({port.key(), port.families, name});
  for (const Port& port : gone) Settle(port.key());
  for (const Port& port : added) Settle(port.key());
  with_ports_ += now.empty() ? 0U : 1U;
  with_ports_ -= before.empty() ? 0U : 1U;
}

void ServiceStore::ReplaceHealthCheck(uint16_t before, uint16_t now) {
  if (before == now) return;
  if (now != 0) {
    ++health_check_ports_;
    ++health_check_claims_[now];
    if (facts_.health_checks.insert(now).second) changed_ = true;
  }
  if (before == 0) return;
  --health_check_ports_;
  const auto claims = health_check_claims_.find(before);
  if (--claims->second > 0) return;
  health_check_claims_.erase(claims);
  facts_.health_checks.erase(before);
  changed_ = true;
}

void ServiceStore::SetSkipped(const core::ServiceRef& name, std::vector<std::string> lines) {
  const auto known = skipped_.find(name);
  if (known == skipped_.end() ? lines.empty() : known->second == lines) return;
  if (lines.empty()) {
    skipped_.erase(known);
  } else {
    skipped_[name] = std::move(lines);
  }
  SkippedLines all;
  for (const auto& [service, of_service] : skipped_) {
    for (const std::string& line : of_service) all.Add(line);
  }
  reading_->skipped = std::move(all).Take();
  changed_ = true;
}

void ServiceStore::Put(ServicePorts service) {
  const core::ServiceRef name(service.service);
  if (name.empty()) {
    std::vector<std::string> lines;
    if (const auto known = skipped_.find(name); known != skipped_.end()) lines = known->second;
    // A repeated error of an object is one line.
    for (std::string& line : service.skipped) {
      const bool is_known = std::find(lines.begin(), lines.end(), line) != lines.end();
      if (!is_known && lines.size() < SkippedLines::kNamed) lines.push_back(std::move(line));
    }
    SetSkipped(name, std::move(lines));
    return;
  }
  Service now{PortsOf(service), service.health_check_port};
  SetSkipped(name, std::move(service.skipped));
  const auto known = known_.find(name);
  // All entries of this name share one reference.
  const core::ServiceRef shared = known != known_.end() ? known->first : name;
  const Service before = known != known_.end() ? std::move(known->second) : Service{};
  ReplacePorts(shared, before.ports, now.ports);
  ReplaceHealthCheck(before.health_check_port, now.health_check_port);
  if (now.ports.empty() && now.health_check_port == 0) {
    if (known != known_.end()) known_.erase(known);
  } else if (known != known_.end()) {
    known->second = std::move(now);
  } else {
    known_.emplace(shared, std::move(now));
  }
}

void ServiceStore::Remove(const core::ServiceRef& service) {
  SetSkipped(service, {});
  const auto known = known_.find(service);
  if (known == known_.end()) return;
  const core::ServiceRef name = known->first;
  const Service before = std::move(known->second);
  known_.erase(known);
  ReplacePorts(name, before.ports, {});
  ReplaceHealthCheck(before.health_check_port, 0);
}

void ServiceStore::Replace(ServiceStore other) {
  const bool same = reading_->ports == other.reading_->ports &&
                    reading_->skipped == other.reading_->skipped && facts_ == other.facts_;
  const bool changed = changed_ || !same;
  *this = std::move(other);
  changed_ = changed;
}

}  // namespace npg::sources

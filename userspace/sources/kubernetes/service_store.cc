// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/service_store.h"

#include <algorithm>
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

void ServiceStore::Claim(core::PortKey key, const core::ServiceRef& name) {
  claims_.emplace(key, name);
  const core::ServiceRef& owner = claims_.lower_bound({key, {}})->second;
  core::ServiceRef& entry = reading_->ports[key];
  if (entry == owner) return;
  entry = owner;
  changed_ = true;
}

void ServiceStore::Unclaim(core::PortKey key, const core::ServiceRef& name) {
  claims_.erase({key, name});
  const auto next = claims_.lower_bound({key, {}});
  if (next == claims_.end() || next->first != key) {
    reading_->ports.erase(key);
    changed_ = true;
    return;
  }
  core::ServiceRef& entry = reading_->ports[key];
  if (entry == next->second) return;
  entry = next->second;
  changed_ = true;
}

void ServiceStore::RemovePorts(const core::ServiceRef& name, const Service& service) {
  for (const core::PortKey& key : service.ports) Unclaim(key, name);
  if (!service.ports.empty()) --with_ports_;
  if (service.health_check_port != 0) --health_check_ports_;
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
  Service now{{service.ports.begin(), service.ports.end()}, service.health_check_port};
  std::sort(now.ports.begin(), now.ports.end());
  now.ports.erase(std::unique(now.ports.begin(), now.ports.end()), now.ports.end());
  SetSkipped(name, std::move(service.skipped));
  const auto known = known_.find(name);
  if (known != known_.end() && known->second.ports == now.ports &&
      known->second.health_check_port == now.health_check_port) {
    return;
  }
  // All entries of this name share one reference.
  const core::ServiceRef shared = known != known_.end() ? known->first : name;
  for (const core::PortKey& key : now.ports) Claim(key, shared);
  if (!now.ports.empty()) ++with_ports_;
  if (now.health_check_port != 0) ++health_check_ports_;
  if (known != known_.end()) {
    Service before = std::move(known->second);
    const auto still_there = [&now](const core::PortKey& key) {
      return std::binary_search(now.ports.begin(), now.ports.end(), key);
    };
    if (!before.ports.empty()) --with_ports_;
    if (before.health_check_port != 0) --health_check_ports_;
    for (const core::PortKey& key : before.ports) {
      if (!still_there(key)) Unclaim(key, shared);
    }
  }
  if (now.ports.empty() && now.health_check_port == 0) {
    if (known != known_.end()) known_.erase(known);
  } else {
    known_[shared] = std::move(now);
  }
}

void ServiceStore::Remove(const core::ServiceRef& service) {
  SetSkipped(service, {});
  const auto known = known_.find(service);
  if (known == known_.end()) return;
  RemovePorts(known->first, known->second);
  known_.erase(known);
}

void ServiceStore::Replace(ServiceStore other) {
  const bool same =
      reading_->ports == other.reading_->ports && reading_->skipped == other.reading_->skipped;
  const bool changed = changed_ || !same;
  *this = std::move(other);
  changed_ = changed;
}

}  // namespace npg::sources

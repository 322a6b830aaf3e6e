// SPDX-License-Identifier: Apache-2.0
#include "abi/convert.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/bind_facts.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "guard_abi.h"

namespace npg::abi {
namespace {

absl::Time TimeOf(uint64_t seconds) { return absl::FromUnixSeconds(static_cast<int64_t>(seconds)); }

// Before the epoch is never.
uint64_t Seconds(absl::Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixSeconds(time), 0));
}

uint32_t Number(size_t value) {
  return static_cast<uint32_t>(std::min<size_t>(value, std::numeric_limits<uint32_t>::max()));
}

// An unknown value is of a later version: it claims less than all.
core::Coverage CoverageOf(uint32_t value) {
  return static_cast<core::Coverage>(std::min(value, static_cast<uint32_t>(core::Coverage::kNone)));
}

}  // namespace

void SetField(std::span<char> field, absl::string_view text) {
  const size_t length = std::min(text.size(), field.size() - 1);
  std::fill(std::copy_n(text.begin(), length, field.begin()), field.end(), '\0');
}

core::PortKey FromC(const npg_port_key& key) {
  return {key.port, static_cast<core::Protocol>(key.protocol)};
}

NodePort FromC(const npg_nodeport& value) {
  return {value.sources, TimeOf(value.since), std::string(FieldText(value.service))};
}

ListenerKey FromC(const npg_listener_key& key) {
  return {{key.port, static_cast<core::Protocol>(key.protocol)}, std::to_array(key.address)};
}

core::Binder FromC(const npg_socket_owner& value) {
  core::Binder binder;
  binder.pid = static_cast<pid_t>(value.pid);
  binder.comm = std::string(FieldText(value.comm));
  binder.uid = value.uid;
  binder.cgroup_id = value.cgroup_id;
  binder.asked_port = static_cast<uint16_t>(value.asked_port);
  binder.on_socket = value.on_socket != 0;
  return binder;
}

std::string FromC(const npg_policy_key& key) { return std::string(FieldText(key.comm)); }

OwnerVerdict FromC(const npg_policy& value) { return static_cast<OwnerVerdict>(value.verdict); }

PortStats FromC(const npg_port_stats& value) {
  return {value.exempted, value.observed, value.last};
}

Event FromC(const npg_event& event) {
  Event result;
  result.boot_ns = event.time;
  result.cgroup_id = event.cgroup_id;
  result.pid = event.pid;
  result.uid = event.uid;
  result.comm = std::string(FieldText(event.comm));
  result.port = {event.port, static_cast<core::Protocol>(event.protocol)};
  result.address = std::to_array(event.address);
  result.listener_address = std::to_array(event.listener_address);
  result.owner = FromC(event.owner);
  result.observed = event.observed != 0;
  return result;
}

Source FromC(const npg_source_key& key) { return static_cast<Source>(key.source); }

SourceState FromC(const npg_source_state& value) {
  SourceState state;
  state.connected = value.connected != 0;
  state.since = TimeOf(value.since);
  state.last_event = TimeOf(value.last_event);
  state.last_reading = TimeOf(value.last_reading);
  state.resource_version = std::string(FieldText(value.resource_version));
  state.services = value.services;
  state.ports = value.ports;
  state.health_check_ports = value.health_check_ports;
  state.skipped = value.skipped;
  state.coverage = CoverageOf(value.coverage);
  for (const auto& row : kSourceErrors) {
    state.errors[row.value] = value.errors[static_cast<size_t>(row.value)];
  }
  state.last_error = std::string(FieldText(value.last_error));
  state.detail = std::string(FieldText(value.detail));
  return state;
}

Config FromC(const npg_config& value) {
  Config config;
  config.abi_version = value.abi_version;
  config.mode = static_cast<Mode>(value.mode);
  config.mark = value.mark;
  config.mark_mask = value.mark_mask;
  config.netns_cookie = value.netns_cookie;
  config.started = TimeOf(value.started);
  config.version = std::string(FieldText(value.version));
  config.scope = static_cast<Scope>(value.scope);
  config.default_verdict = static_cast<OwnerVerdict>(value.default_verdict);
  config.any_uid = value.any_uid != 0;
  config.standing_aside = value.standing_aside;
  return config;
}

core::LocalAddress FromC(const npg_address& key, const npg_local_address& value) {
  return {std::to_array(key.address), value.ifindex};
}

uint32_t FromC(const npg_refusable& value) { return value.families; }

core::PortHolder FromC(const npg_holder_key& key) {
  return {{key.port, static_cast<core::Protocol>(key.protocol)}, key.uid};
}

Protection FromC(const npg_protection& value) {
  Protection protection;
  protection.bind = static_cast<BindProtection>(value.bind);
  protection.refusal_errno = static_cast<int>(value.refusal_errno);
  protection.reserve = static_cast<ReservePorts>(value.reserve);
  protection.reserve_state = static_cast<ReserveState>(value.reserve_state);
  protection.reserved_ports = value.reserved_ports;
  protection.loopback_assumed = value.loopback != 0;
  protection.since = TimeOf(value.since);
  protection.error = std::string(FieldText(value.error));
  return protection;
}

BindStats FromC(const npg_bind_stats& value) {
  return {value.warned, value.refused, value.last, FromC(value.binder)};
}

BindEvent FromC(const npg_bind_event& event) {
  BindEvent result;
  result.boot_ns = event.time;
  result.cgroup_id = event.cgroup_id;
  result.pid = event.pid;
  result.uid = event.uid;
  result.comm = std::string(FieldText(event.comm));
  result.port = {event.port, static_cast<core::Protocol>(event.protocol)};
  result.address = std::to_array(event.address);
  result.outcome = static_cast<BindOutcome>(event.outcome);
  result.error = static_cast<int>(event.error);
  return result;
}

npg_port_key ToC(const core::PortKey& key) {
  return {key.port, static_cast<uint8_t>(key.protocol), 0};
}

npg_listener_key ToC(const ListenerKey& key) {
  npg_listener_key result{};
  std::copy(key.address.begin(), key.address.end(), result.address);
  result.port = key.port.port;
  result.protocol = static_cast<uint8_t>(key.port.protocol);
  return result;
}

npg_socket_owner ToC(const core::Binder& value) {
  npg_socket_owner result{};
  result.cgroup_id = value.cgroup_id;
  result.uid = value.uid;
  result.pid = static_cast<uint32_t>(value.pid);
  SetField(result.comm, value.comm);
  result.asked_port = value.asked_port;
  result.on_socket = value.on_socket ? 1 : 0;
  return result;
}

npg_policy_key PolicyKeyOf(absl::string_view comm) {
  npg_policy_key key{};
  SetField(key.comm, comm);
  return key;
}

npg_source_key ToC(Source source) { return {Bit(source)}; }

npg_source_state ToC(const SourceState& state) {
  npg_source_state result{};
  result.connected = state.connected ? 1 : 0;
  result.services = Number(state.services);
  result.ports = Number(state.ports);
  result.health_check_ports = Number(state.health_check_ports);
  result.skipped = Number(state.skipped);
  result.coverage = static_cast<uint32_t>(state.coverage);
  result.since = Seconds(state.since);
  result.last_event = Seconds(state.last_event);
  result.last_reading = Seconds(state.last_reading);
  std::copy(state.errors.begin(), state.errors.end(), result.errors);
  SetField(result.resource_version, state.resource_version);
  SetField(result.last_error, state.last_error);
  SetField(result.detail, state.detail);
  return result;
}

SourceState AsStored(const SourceState& state) { return FromC(ToC(state)); }

npg_config ToC(const Config& config) {
  npg_config result{};
  result.abi_version = config.abi_version;
  result.mode = static_cast<uint32_t>(config.mode);
  result.mark = config.mark;
  result.mark_mask = config.mark_mask;
  result.netns_cookie = config.netns_cookie;
  result.started = Seconds(config.started);
  SetField(result.version, config.version);
  result.scope = static_cast<uint32_t>(config.scope);
  result.default_verdict = static_cast<uint32_t>(config.default_verdict);
  result.any_uid = config.any_uid ? 1 : 0;
  result.standing_aside = config.standing_aside;
  return result;
}

npg_address AddressKeyOf(const Address& address) {
  npg_address key{};
  std::copy(address.begin(), address.end(), key.address);
  return key;
}

npg_holder_key ToC(const core::PortHolder& holder) {
  return {holder.port.port, static_cast<uint8_t>(holder.port.protocol), 0, holder.uid};
}

npg_protection ToC(const Protection& protection) {
  npg_protection result{};
  result.bind = static_cast<uint32_t>(protection.bind);
  result.refusal_errno = static_cast<uint32_t>(protection.refusal_errno);
  result.reserve = static_cast<uint32_t>(protection.reserve);
  result.reserve_state = static_cast<uint32_t>(protection.reserve_state);
  result.reserved_ports = Number(protection.reserved_ports);
  result.loopback = protection.loopback_assumed ? 1 : 0;
  result.since = Seconds(protection.since);
  SetField(result.error, protection.error);
  return result;
}

}  // namespace npg::abi

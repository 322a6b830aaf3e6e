// SPDX-License-Identifier: Apache-2.0
#include "sources/service_bind_facts.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "kubernetes/json_value.h"

namespace npg::sources {
namespace {

using simdjson::ondemand::json_type;
using simdjson::ondemand::value;

bool IsZeroPort(absl::string_view number) {
  int64_t parsed = 0;
  return absl::SimpleAtoi(number, &parsed) && parsed == 0;
}

}  // namespace

absl::Status TargetPort::Read(value member) {
  kind = Kind::kUnknown;
  if (const absl::string_view text = kubernetes::NumberText(member); !text.empty()) {
    const absl::StatusOr<uint16_t> parsed = kubernetes::ParsePortNumber(text);
    if (parsed.ok()) {
      kind = Kind::kNumber;
      number = *parsed;
    } else if (IsZeroPort(text)) {
      kind = Kind::kAbsent;
    }
    return absl::OkStatus();
  }
  absl::string_view name;
  NPG_RETURN_IF_ERROR(kubernetes::ReadText(member, name));
  if (name.data() != nullptr && name.empty()) kind = Kind::kAbsent;
  return absl::OkStatus();
}

// A selector is a map of texts, in which null is an empty one. Without an element, it selects
// nothing, and the endpoints are made by others.
absl::Status ServiceBindFacts::ReadSelector(value member) {
  if (!kubernetes::IsObject(member)) return absl::OkStatus();
  simdjson::ondemand::object labels;
  if (const auto error = member.get_object().get(labels); error) {
    return kubernetes::JsonError(error);
  }
  bool valid = true;
  bool empty = true;
  for (simdjson::simdjson_result<simdjson::ondemand::field> label : labels) {
    json_type type{};
    if (const auto error = label.value().type().get(type); error) {
      return kubernetes::JsonError(error);
    }
    empty = false;
    if (type != json_type::string && type != json_type::null) valid = false;
  }
  has_selector_ = valid && !empty;
  return absl::OkStatus();
}

absl::Status ServiceBindFacts::ReadIpFamilies(value member) {
  simdjson::ondemand::array list;
  const auto error = member.get_array().get(list);
  if (error == simdjson::INCORRECT_TYPE) {
    families_ = 0;
    return absl::OkStatus();
  }
  if (error != simdjson::SUCCESS) return kubernetes::JsonError(error);
  uint32_t families = 0;
  bool valid = true;
  bool empty = true;
  for (simdjson::simdjson_result<value> element : list) {
    value family;
    if (const auto wrong = element.get(family); wrong) return kubernetes::JsonError(wrong);
    absl::string_view text;
    NPG_RETURN_IF_ERROR(kubernetes::ReadText(family, text));
    empty = false;
    if (text == "IPv4") {
      families |= core::kServiceV4;
    } else if (text == "IPv6") {
      families |= core::kServiceV6;
    } else {
      valid = false;
    }
  }
  if (!empty) families_ = valid ? families : 0;
  return absl::OkStatus();
}

void ServiceBindFacts::AddPort(core::PortKey node_port, const TargetPort& target,
                               absl::string_view port) {
  uint16_t number = target.number;
  if (target.kind == TargetPort::Kind::kAbsent) {
    const absl::StatusOr<uint16_t> parsed = kubernetes::ParsePortNumber(port);
    number = parsed.ok() ? *parsed : uint16_t{0};
  }
  if (target.kind != TargetPort::Kind::kUnknown && number != 0) {
    targets_.push_back({number, node_port.protocol});
  } else if (node_port.port != 0) {
    shared_.push_back(node_port);
  }
}

std::vector<core::PortKey> ServiceBindFacts::Shared(
    const std::vector<core::PortKey>& node_ports) && {
  std::sort(targets_.begin(), targets_.end());
  // A backend listens on the targets of all entries, also of those with another nodePort.
  for (const core::PortKey& key : node_ports) {
    if (std::binary_search(targets_.begin(), targets_.end(), key)) shared_.push_back(key);
  }
  return std::move(shared_);
}

}  // namespace npg::sources

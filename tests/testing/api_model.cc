// SPDX-License-Identifier: Apache-2.0
#include "testing/api_model.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "testing/api_object.h"
#include "testing/api_query.h"
#include "testing/api_status.h"
#include "testing/json_spans.h"

namespace npg::testing {

bool ApiModel::Selector::Matches(const ApiObject& object) const {
  return !type.has_value() || (object.type() == *type) == equal;
}

uint64_t ApiModel::Put(const ServiceSpec& spec) {
  // As in a real store, the uid stays with a Service until it is deleted.
  std::string uid = absl::StrFormat("00000000-0000-4000-8000-%012x", version_ + 1);
  const auto old = state_.find(absl::StrCat(spec.ns, "/", spec.name));
  if (old != state_.end()) {
    std::string json;
    old->second.object->AppendItem(0, json);
    const absl::string_view kept = JsonString(JsonValue(JsonValue(json, "metadata"), "uid"));
    if (!kept.empty()) uid = std::string(kept);
  }
  const std::string json = ServiceJson(spec, uid);
  auto object = ApiObject::Parse(json);
  // A spec whose strings break the JSON is stored broken.
  return Store(object.ok() ? *std::move(object) : ApiObject::Verbatim(spec.ns, spec.name, json));
}

absl::StatusOr<uint64_t> ApiModel::PutJson(absl::string_view json) {
  auto object = ApiObject::Parse(json);
  if (!object.ok()) return object.status();
  return Store(*std::move(object));
}

absl::StatusOr<uint64_t> ApiModel::PutRecorded(absl::string_view json) {
  auto object = ApiObject::Parse(json);
  if (!object.ok()) return object.status();
  if (!object->recorded_version().has_value() || *object->recorded_version() <= version_) {
    return absl::InvalidArgumentError(
        absl::StrCat(object->key(), " was not recorded after ", version_, ", where the model is"));
  }
  version_ = *object->recorded_version() - 1;
  return Store(*std::move(object));
}

uint64_t ApiModel::PutVerbatim(const std::string& ns, const std::string& name,
                               absl::string_view text) {
  return Store(ApiObject::Verbatim(ns, name, text));
}

uint64_t ApiModel::Store(ApiObject object) {
  const auto stored = std::make_shared<const ApiObject>(std::move(object));
  Event event{++version_, stored, std::nullopt};
  Stored& slot = state_[stored->key()];
  if (slot.object != nullptr) event.old = std::move(slot);
  slot = {stored, version_};
  events_.push_back(std::move(event));
  return version_;
}

absl::StatusOr<uint64_t> ApiModel::Delete(const std::string& ns, const std::string& name) {
  const auto it = state_.find(absl::StrCat(ns, "/", name));
  if (it == state_.end()) {
    return absl::NotFoundError(absl::StrCat("services \"", name, "\" not found in ", ns));
  }
  events_.push_back({++version_, nullptr, std::move(it->second)});
  state_.erase(it);
  return version_;
}

void ApiModel::AdvanceTo(uint64_t version) { version_ = std::max(version_, version); }

void ApiModel::Compact(uint64_t version) {
  compacted_ = std::max(compacted_, std::min(version, version_));
}

void ApiModel::RestoreTo(uint64_t version) {
  if (version > version_) return;
  state_ = StateAt(version);
  while (!events_.empty() && events_.back().version > version) events_.pop_back();
  version_ = version;
  compacted_ = std::min(compacted_, version);
  ++restores_;
}

std::map<std::string, std::string> ApiModel::Services() const {
  std::map<std::string, std::string> services;
  for (const auto& [key, stored] : state_) {
    stored.object->AppendItem(stored.version, services[key]);
  }
  return services;
}

ApiModel::State ApiModel::StateAt(uint64_t version) const {
  State state = state_;
  for (auto event = events_.rbegin(); event != events_.rend() && event->version > version;
       ++event) {
    if (event->old.has_value()) {
      state[event->old->object->key()] = *event->old;
    } else {
      state.erase(event->object->key());
    }
  }
  return state;
}

std::optional<ApiAnswer> ApiModel::ParseSelector(const ApiQuery& query, Selector& selector) const {
  absl::string_view text;
  const std::string value = QueryValue(query, "fieldSelector");
  text = value;
  if (text.empty()) return std::nullopt;
  const std::string field(text.substr(0, text.find_first_of("!=")));
  absl::ConsumePrefix(&text, field);
  selector.equal = !absl::ConsumePrefix(&text, "!");
  if (!absl::ConsumePrefix(&text, "=")) {
    return BadRequest(
        absl::StrCat("invalid selector: '", value, "'; can't understand '", value, "'"));
  }
  if (selector.equal) absl::ConsumePrefix(&text, "=");
  if (!options_.selects_by_type) {
    return BadRequest(absl::StrCat(JsonQuote(field),
                                   " is not a known field selector: only \"metadata.name\", "
                                   "\"metadata.namespace\""));
  }
  if (field != "spec.type" || absl::StrContains(text, ",")) {
    return BadRequest(absl::StrCat("field label not supported: ", field));
  }
  selector.type = std::string(text);
  return std::nullopt;
}

}  // namespace npg::testing

// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/kubeconfig_section.h"

#include <simdjson.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/service_name.h"
#include "kubernetes/json_value.h"

namespace npg::kubernetes {
namespace {

// The kind of a value, without the value.
absl::string_view KindOf(simdjson::dom::element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "a list";
    case simdjson::dom::element_type::OBJECT:
      return "a mapping";
    case simdjson::dom::element_type::STRING:
      return "text";
    case simdjson::dom::element_type::BOOL:
      return "true or false";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

// The remedy for a value that should be text.
absl::string_view HowToBeText(simdjson::dom::element value) {
  return value.is_array() || value.is_object() ? "" : "; put it in quotes";
}

bool HasControl(absl::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

}  // namespace

std::string QuotedName(absl::string_view name) {
  return absl::StrCat("\"", core::Printable(name), "\"");
}

Section::Section(std::optional<simdjson::dom::object> object, std::string where)
    : object_(object), where_(std::move(where)) {}

absl::StatusOr<Section> Section::Of(simdjson::dom::element value, std::string where) {
  if (value.is_null()) return Section(std::nullopt, std::move(where));
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    return Section(std::nullopt, std::move(where))
        .Error(absl::StrCat("is ", KindOf(value), ", not a mapping"));
  }
  Section section(object, std::move(where));
  absl::btree_set<absl::string_view> keys;
  for (const simdjson::dom::key_value_pair member : object) {
    const absl::string_view key(member.key.data(), member.key.size());
    // The message omits the key: with a missing brace, it may be a secret.
    if (!keys.insert(key).second) return section.Error("has a key twice; remove one of them");
  }
  return section;
}

absl::Status Section::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, where_.empty() ? "" : ": ", what));
}

std::optional<simdjson::dom::element> Section::Get(absl::string_view key) const {
  return object_ ? Member(*object_, key) : std::nullopt;
}

bool Section::Has(absl::string_view key) const {
  const std::optional<simdjson::dom::element> value = Get(key);
  if (!value) return false;
  simdjson::dom::array array;
  simdjson::dom::object object;
  std::string_view text;
  if (value->get(array) == simdjson::SUCCESS) return array.size() > 0;
  if (value->get(object) == simdjson::SUCCESS) return object.size() > 0;
  if (value->get(text) == simdjson::SUCCESS) return !text.empty();
  return true;
}

absl::StatusOr<absl::string_view> Section::RawText(absl::string_view key) const {
  const std::optional<simdjson::dom::element> value = Get(key);
  if (!value) return "";
  std::string_view text;
  if (value->get(text) != simdjson::SUCCESS) {
    return Error(absl::StrCat(key, " is ", KindOf(*value), ", not text", HowToBeText(*value)));
  }
  return absl::string_view(text.data(), text.size());
}

absl::StatusOr<std::string> Section::Text(absl::string_view key) const {
  const absl::StatusOr<absl::string_view> text = RawText(key);
  if (!text.ok()) return text.status();
  if (HasControl(*text)) {
    return Error(absl::StrCat(key, " has a control character in it; write it on one line"));
  }
  return std::string(*text);
}

absl::StatusOr<std::string> Section::Base64(absl::string_view key) const {
  const absl::StatusOr<absl::string_view> text = RawText(key);
  if (!text.ok()) return text.status();
  std::string bytes;
  if (absl::Base64Unescape(*text, &bytes)) return bytes;
  return Error(absl::StrCat(key, " is not base64; encode the file with base64 -w0"));
}

absl::StatusOr<bool> Section::IsTrue(absl::string_view key) const {
  const std::optional<simdjson::dom::element> value = Get(key);
  bool is_true = false;
  if (!value || value->get(is_true) == simdjson::SUCCESS) return is_true;
  return Error(absl::StrCat(key, " is ", KindOf(*value), ", not true or false"));
}

absl::StatusOr<NamedSections> Section::Named(absl::string_view list, absl::string_view item) const {
  NamedSections sections;
  const std::optional<simdjson::dom::element> value = Get(list);
  if (!value) return sections;
  simdjson::dom::array items;
  if (value->get(items) != simdjson::SUCCESS) {
    return Error(absl::StrCat(list, " is ", KindOf(*value), ", not a list"));
  }
  size_t number = 0;
  for (const simdjson::dom::element entry : items) {
    const absl::StatusOr<Section> outer = Of(entry, absl::StrCat(list, ": item ", ++number));
    if (!outer.ok()) return outer.status();
    const absl::StatusOr<std::string> name = outer->Text("name");
    if (!name.ok()) return name.status();
    if (name->empty()) return outer->Error("has no name");
    const std::optional<simdjson::dom::element> body = outer->Get(item);
    const std::string where = absl::StrCat(item, " ", QuotedName(*name));
    absl::StatusOr<Section> inner =
        body ? Of(*body, where) : absl::StatusOr<Section>(Section(std::nullopt, where));
    if (!inner.ok()) return inner.status();
    if (!sections.emplace(*name, *std::move(inner)).second) {
      return outer->Error(absl::StrCat("has the name ", QuotedName(*name),
                                       " of an earlier one; remove or rename one of them"));
    }
  }
  return sections;
}

}  // namespace npg::kubernetes

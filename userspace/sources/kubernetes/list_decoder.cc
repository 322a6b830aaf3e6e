// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/list_decoder.h"

#include <simdjson.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/service_name.h"
#include "kubernetes/api_status.h"
#include "kubernetes/json_value.h"
#include "kubernetes/parse_object.h"
#include "sources/kubernetes/object_splitter.h"
#include "sources/service_decoder.h"

namespace npg::sources {
namespace {

// "list of Services" before an error, which goes on "was cut: ...".
absl::Status InList(const absl::Status& status) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("list of Services ", status.message())};
}

absl::Status Invalid(absl::string_view why) { return InList(absl::InvalidArgumentError(why)); }

// A list without "items" may be empty, but an unknown member could be misspelt items: a
// ServiceList has only kind, apiVersion and metadata besides.
absl::Status CheckItems(simdjson::dom::object envelope) {
  size_t found = 0;
  absl::Status strange;
  for (const simdjson::dom::key_value_pair member : envelope) {
    if (member.key == "items") {
      ++found;
      simdjson::dom::array items;
      // The splitter has removed the elements of the array, unless this is another one,
      // with escapes in its name.
      const bool is_array = member.value.get(items) == simdjson::SUCCESS;
      if (is_array ? items.size() > 0 : !member.value.is_null()) {
        return Invalid(
            absl::StrCat("has items that are ", kubernetes::Describe(member.value), ", no list"));
      }
    } else if (member.key != "kind" && member.key != "apiVersion" && member.key != "metadata") {
      strange =
          Invalid(absl::StrCat(R"(has no "items" but ")",
                               core::Printable({member.key.data(), member.key.size()}), "\""));
    }
  }
  if (found > 1) return Invalid("has \"items\" twice");
  return found == 0 ? strange : absl::OkStatus();
}

absl::Status CheckKind(simdjson::dom::object envelope, absl::string_view text) {
  const absl::string_view kind = kubernetes::StringMember(envelope, "kind");
  const absl::string_view version = kubernetes::StringMember(envelope, "apiVersion");
  if (kind == "ServiceList" && (version.empty() || version == "v1")) return absl::OkStatus();
  if (kind == "Status") {
    const kubernetes::ApiStatus status = kubernetes::DecodeStatus(text);
    return Invalid(
        absl::StrCat("is a Status: ", status.code, " ", status.reason, ": ", status.message));
  }
  return Invalid(absl::StrCat("is of kind \"", core::Printable(kind), "\", apiVersion \"",
                              core::Printable(version), "\", not a v1 ServiceList"));
}

absl::StatusOr<ServicePorts> DecodeItem(simdjson::ondemand::document& document) {
  const absl::StatusOr<simdjson::ondemand::value> item = kubernetes::RootObject(document);
  if (!item.ok()) return item.status();
  return DecodeService(*item);
}

}  // namespace

ListDecoder::ListDecoder(std::function<void(ServicePorts&&)> on_service)
    : on_service_(std::move(on_service)), splitter_(ObjectSplitter::Mode::kList) {}

absl::Status ListDecoder::Feed(absl::string_view bytes) {
  return InList(
      splitter_.Feed(bytes, [this](simdjson::padded_string_view json) { return AddItem(json); }));
}

absl::Status ListDecoder::AddItem(simdjson::padded_string_view json) {
  ++items_;
  absl::StatusOr<ServicePorts> service = kubernetes::ParseObject(parser_, json, DecodeItem);
  if (!service.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("has an item ", items_, " that is ", service.status().message()));
  }
  on_service_(*std::move(service));
  return absl::OkStatus();
}

absl::StatusOr<ListDecoder::Page> ListDecoder::Finish() {
  const absl::StatusOr<absl::string_view> text = splitter_.Finish();
  if (!text.ok()) return InList(text.status());
  simdjson::dom::parser parser;
  simdjson::dom::object envelope, metadata;
  if (const auto error = parser.parse(text->data(), text->size()).get(envelope); error) {
    return Invalid(absl::StrCat("is ", kubernetes::JsonError(error).message()));
  }
  if (absl::Status status = CheckKind(envelope, *text); !status.ok()) return status;
  if (absl::Status status = CheckItems(envelope); !status.ok()) return status;
  Page page;
  page.items = items_;
  if (const std::optional<simdjson::dom::element> member = kubernetes::Member(envelope, "metadata");
      member && member->get(metadata) == simdjson::SUCCESS) {
    page.resource_version = std::string(kubernetes::StringMember(metadata, "resourceVersion"));
    page.continue_token = std::string(kubernetes::StringMember(metadata, "continue"));
  }
  if (page.resource_version.empty()) return Invalid("has no metadata.resourceVersion");
  return page;
}

}  // namespace npg::sources

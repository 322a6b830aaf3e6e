// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/watch_decoder.h"

#include <simdjson.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/service_name.h"
#include "kubernetes/api_status.h"
#include "kubernetes/json_value.h"
#include "kubernetes/parse_object.h"
#include "sources/kubernetes/object_splitter.h"
#include "sources/service_decoder.h"

namespace npg::sources {
namespace {

using simdjson::ondemand::value;
using Type = WatchEvent::Type;

constexpr absl::string_view kInitialEventsEnd = "k8s.io/initial-events-end";

absl::Status InWatch(const absl::Status& status) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("watch of Services ", status.message())};
}

Type ParseType(absl::string_view type) {
  if (type == "ADDED") return Type::kAdded;
  if (type == "MODIFIED") return Type::kModified;
  if (type == "DELETED") return Type::kDeleted;
  if (type == "BOOKMARK") return Type::kBookmark;
  if (type == "ERROR") return Type::kError;
  return Type::kUnknown;
}

// Turns the event into one that changes nothing.
void Skip(WatchEvent& event, std::string why) {
  event.type = Type::kUnknown;
  event.service.skipped.push_back(std::move(why));
}

absl::Status ReadService(value object, WatchEvent& event) {
  absl::StatusOr<ServicePorts> service = DecodeService(object);
  if (!service.ok()) return service.status();
  event.service = *std::move(service);
  event.resource_version = event.service.resource_version;
  if (event.service.service.empty()) event.type = Type::kUnknown;  // the reason is in `skipped`
  return absl::OkStatus();
}

absl::Status ReadBookmark(value object, WatchEvent& event) {
  absl::string_view version, end;
  const auto read_end = [&](value member) { return kubernetes::ReadText(member, end); };
  NPG_RETURN_IF_ERROR(kubernetes::WalkObject(
      object,
      {{"metadata", [&](value metadata) {
          return kubernetes::WalkObject(
              metadata,
              {{"resourceVersion",
                [&](value member) { return kubernetes::ReadText(member, version); }},
               {"annotations", [&](value annotations) {
                  return kubernetes::WalkObject(annotations, {{kInitialEventsEnd, read_end}});
                }}});
        }}}));
  event.resource_version = std::string(version);
  event.initial_events_end = end == "true";
  if (version.empty()) Skip(event, "BOOKMARK without metadata.resourceVersion");
  return absl::OkStatus();
}

absl::Status ReadError(value object, WatchEvent& event) {
  if (!kubernetes::IsObject(object)) return absl::OkStatus();
  simdjson::ondemand::object status;
  if (const auto error = object.get_object().get(status); error)
    return kubernetes::JsonError(error);
  std::string_view json;
  if (const auto error = status.raw_json().get(json); error) return kubernetes::JsonError(error);
  event.status = kubernetes::DecodeStatus({json.data(), json.size()});
  return absl::OkStatus();
}

absl::Status ReadObject(value object, WatchEvent& event) {
  switch (event.type) {
    case Type::kAdded:
    case Type::kModified:
    case Type::kDeleted:
      return ReadService(object, event);
    case Type::kBookmark:
      return ReadBookmark(object, event);
    case Type::kError:
      return ReadError(object, event);
    case Type::kUnknown:
      break;
  }
  return absl::OkStatus();
}

// Two walks: "object" may precede "type", without which it has no meaning.
absl::StatusOr<WatchEvent> DecodeEvent(simdjson::ondemand::document& document) {
  absl::StatusOr<value> root = kubernetes::RootObject(document);
  if (!root.ok()) return root.status();
  absl::string_view type;
  bool has_object = false;
  const auto note_object = [&](value /*object*/) {
    has_object = true;
    return absl::OkStatus();
  };
  NPG_RETURN_IF_ERROR(kubernetes::WalkObject(
      *root, {{"type", [&](value member) { return kubernetes::ReadText(member, type); }},
              {"object", note_object}}));
  WatchEvent event;
  event.type = ParseType(type);
  if (event.type == Type::kUnknown) {
    Skip(event, absl::StrCat("event of unknown type \"", core::Printable(type), "\""));
    return event;
  }
  if (event.type != Type::kError && !has_object) {
    Skip(event, absl::StrCat(type, " without an object"));
    return event;
  }
  document.rewind();
  root = kubernetes::RootObject(document);
  if (!root.ok()) return root.status();
  NPG_RETURN_IF_ERROR(kubernetes::WalkObject(
      *root, {{"object", [&](value object) { return ReadObject(object, event); }}}));
  return event;
}

}  // namespace

WatchDecoder::WatchDecoder() : splitter_(ObjectSplitter::Mode::kStream) {}

absl::Status WatchDecoder::Feed(absl::string_view bytes,
                                absl::FunctionRef<absl::Status(WatchEvent&&)> on_event) {
  if (!status_.ok()) return status_;
  bool refused = false;  // by on_event: that error is not ours to annotate
  status_ = splitter_.Feed(bytes, [&](simdjson::padded_string_view json) -> absl::Status {
    ++events_;
    absl::StatusOr<WatchEvent> event = kubernetes::ParseObject(parser_, json, DecodeEvent);
    if (!event.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("has an event ", events_, " that is ", event.status().message()));
    }
    absl::Status status = on_event(*std::move(event));
    refused = !status.ok();
    return status;
  });
  if (!refused) status_ = InWatch(status_);
  return status_;
}

absl::Status WatchDecoder::Finish() {
  return status_.ok() ? InWatch(splitter_.Finish().status()) : status_;
}

}  // namespace npg::sources

// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_WATCH_DECODER_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_WATCH_DECODER_H_

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kubernetes/api_status.h"
#include "sources/kubernetes/object_splitter.h"
#include "sources/service_decoder.h"

namespace npg::sources {

// One event of a watch of Services.
struct WatchEvent {
  enum class Type : uint8_t {
    kAdded,
    kModified,
    kDeleted,   // `service` is the former object
    kBookmark,  // only resource_version, and initial_events_end
    kError,     // only status: the watch is over
    kUnknown,   // nothing to apply: service.skipped has the reasons, one per line
  };

  Type type = Type::kUnknown;
  ServicePorts service;  // has a name, if type is kAdded, kModified or kDeleted
  // metadata.resourceVersion of the object, from which a watch can resume. Opaque. Empty
  // when the object lacks it; never empty in a kBookmark.
  std::string resource_version;
  bool initial_events_end = false;  // the bookmark that ends the list of a WatchList
  kubernetes::ApiStatus status;
};

// Decodes a watch while it arrives: holds one event at a time.
class WatchDecoder {
 public:
  WatchDecoder();

  // Takes the next bytes of the body, split anywhere, and calls `on_event` for each
  // event that they complete, in order. INVALID_ARGUMENT, in one line, for invalid JSON,
  // RESOURCE_EXHAUSTED for an event that is too large; or the error of `on_event`. After
  // an error, every call returns it again: the rest of the stream cannot be trusted.
  //
  // An event of unknown type, or whose object is no Service or has no name, is a
  // kUnknown: the stream continues.
  absl::Status Feed(absl::string_view bytes,
                    absl::FunctionRef<absl::Status(WatchEvent&&)> on_event);

  // Call it at the end of the body. INVALID_ARGUMENT when that is inside an event.
  absl::Status Finish();

 private:
  ObjectSplitter splitter_;
  simdjson::ondemand::parser parser_;
  size_t events_ = 0;
  absl::Status status_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_WATCH_DECODER_H_

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
    kDeleted,   // `service` is what it was
    kBookmark,  // only resource_version, and initial_events_end
    kError,     // only status: the watch is over
    kUnknown,   // nothing to apply: service.skipped says in one line each why
  };

  Type type = Type::kUnknown;
  ServicePorts service;  // has a name, if type is kAdded, kModified or kDeleted
  // metadata.resourceVersion of the object: from here a watch can resume.
  // Opaque. Empty when the object does not say, never so in a kBookmark.
  std::string resource_version;
  bool initial_events_end = false;  // the bookmark that ends the list of a WatchList
  kubernetes::ApiStatus status;
};

// Decodes a watch while it arrives: holds one event at a time.
class WatchDecoder {
 public:
  WatchDecoder();

  // Takes the next bytes of the body, cut anywhere, and calls `on_event` for
  // each event that they complete, in order. In one line INVALID_ARGUMENT for
  // what is not JSON, RESOURCE_EXHAUSTED for an event that is larger than any
  // can be; or the error of `on_event`. After either the same again ever after:
  // what follows in the stream cannot be trusted.
  //
  // An event of a type that nobody knows, or with an object that is no Service
  // or has no name, is a kUnknown: the stream goes on.
  absl::Status Feed(absl::string_view bytes,
                    absl::FunctionRef<absl::Status(WatchEvent&&)> on_event);

  // Says that the body has ended, as a watch does sooner or later.
  // INVALID_ARGUMENT when that was inside an event.
  absl::Status Finish();

 private:
  ObjectSplitter splitter_;
  simdjson::ondemand::parser parser_;
  size_t events_ = 0;
  absl::Status status_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_WATCH_DECODER_H_

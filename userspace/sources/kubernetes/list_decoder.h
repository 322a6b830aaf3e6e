// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_LIST_DECODER_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_LIST_DECODER_H_

#include <simdjson.h>

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sources/kubernetes/object_splitter.h"
#include "sources/service_decoder.h"

namespace npg::sources {

// Decodes one page of a ServiceList while it arrives: holds one Service at a
// time, never the page. Every byte is validated.
//
// Services are passed on before the page is known to be complete. They are valid only
// once Finish() returns a Page: a truncated list must not count as a shorter one.
class ListDecoder {
 public:
  struct Page {
    std::string resource_version;  // metadata.resourceVersion of the list, opaque, not empty
    std::string continue_token;    // metadata.continue, opaque; empty on the last page
    size_t items = 0;              // what the page listed, skipped ones included
  };

  // `on_service` is called from Feed(), once for each item in order, also for
  // those that have no name or no ports (see ServicePorts::skipped).
  explicit ListDecoder(std::function<void(ServicePorts&&)> on_service);

  // Takes the next bytes of the body, split anywhere. INVALID_ARGUMENT, in one line, as
  // soon as they cannot become a list, RESOURCE_EXHAUSTED for an item that is too large.
  // After an error, every call returns it again.
  absl::Status Feed(absl::string_view bytes);

  // Call it at the end of the body. INVALID_ARGUMENT, in one line, when it ended too
  // early, is not a ServiceList (the message has kind and message of a Status), or lacks
  // metadata.resourceVersion. Only in a ServiceList may "items" be null or absent.
  absl::StatusOr<Page> Finish();

 private:
  absl::Status AddItem(simdjson::padded_string_view json);

  std::function<void(ServicePorts&&)> on_service_;
  ObjectSplitter splitter_;
  simdjson::ondemand::parser parser_;
  size_t items_ = 0;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_LIST_DECODER_H_

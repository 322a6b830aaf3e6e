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
// Services are handed over before the page is known to be whole. They count for
// nothing until Finish() returns a Page: a list that was cut must not pass for
// a shorter one.
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

  // Takes the next bytes of the body, cut anywhere. In one line
  // INVALID_ARGUMENT as soon as they cannot become a list, RESOURCE_EXHAUSTED for
  // an item that is larger than any can be; the same again ever after.
  absl::Status Feed(absl::string_view bytes);

  // Says that the body has ended. INVALID_ARGUMENT, in one line, when it ended
  // too early, when it is something else than a ServiceList (kind and message
  // of a Status are named), or when it lacks metadata.resourceVersion. "items"
  // may be null or absent in a ServiceList, not in anything else.
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

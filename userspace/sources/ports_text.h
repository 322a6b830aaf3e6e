// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_PORTS_TEXT_H_
#define NODEPORT_GUARD_SOURCES_PORTS_TEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "sources/source.h"

namespace npg::sources {

// Decodes the text of a ports file: YAML or JSON, whichever it is, with the
// documents that ports_decoder.h describes; of YAML also several, separated
// by "---". INVALID_ARGUMENT, with the line where it is known, when the text is
// neither, is cut off, or holds no document at all: nobody means "no ports" by
// writing nothing ("[]" does), but a file that is being written looks like that.
// RESOURCE_EXHAUSTED for more YAML (32 MiB) than can be read in a few seconds.
absl::StatusOr<Reading> DecodePortsText(const std::string& text);

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_PORTS_TEXT_H_

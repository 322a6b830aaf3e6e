// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_PORTS_TEXT_H_
#define NODEPORT_GUARD_SOURCES_PORTS_TEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "core/bind_facts.h"
#include "sources/source.h"

namespace npg::sources {

// Decodes the text of a ports file: YAML or JSON, with the documents of
// ports_decoder.h; YAML may have several, separated by "---". INVALID_ARGUMENT, with the
// line if known, when the text is neither, is truncated, or has no document: an empty
// file may be one that is being written, so "no ports" is written "[]".
// RESOURCE_EXHAUSTED for more YAML (32 MiB) than can be parsed in a few seconds. Sets `facts`, if
// it is not null, when it returns a reading.
absl::StatusOr<Reading> DecodePortsText(const std::string& text, core::BindFacts* facts = nullptr);

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_PORTS_TEXT_H_

// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_SPLIT_H_
#define NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_SPLIT_H_

#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sources/kubernetes/object_splitter.h"
#include "unit/sources/kubernetes_chunks.h"

namespace npg::sources {

struct Split {
  std::vector<std::string> objects;
  std::string envelope;
  absl::Status status;  // the result of Feed() or Finish()
};

inline Split SplitChunks(ObjectSplitter::Mode mode, const Chunks& chunks) {
  Split split;
  ObjectSplitter splitter(mode);
  const auto keep = [&](simdjson::padded_string_view json) {
    EXPECT_GE(json.padding(), simdjson::SIMDJSON_PADDING);
    split.objects.emplace_back(json.data(), json.size());
    return absl::OkStatus();
  };
  for (const absl::string_view chunk : chunks) {
    split.status = splitter.Feed(chunk, keep);
    if (!split.status.ok()) return split;
  }
  const absl::StatusOr<absl::string_view> envelope = splitter.Finish();
  split.status = envelope.status();
  if (envelope.ok()) split.envelope = std::string(*envelope);
  return split;
}

// Splits `text` cut in many ways, and expects the same result.
inline Split SplitText(ObjectSplitter::Mode mode, absl::string_view text) {
  Split whole = SplitChunks(mode, {text});
  for (const Chunks& chunks : ManyCuts(text)) {
    const Split cut = SplitChunks(mode, chunks);
    EXPECT_EQ(cut.status.code(), whole.status.code())
        << text << "\nin " << chunks.size() << " pieces: " << cut.status
        << "\nwhole: " << whole.status;
    EXPECT_EQ(cut.objects, whole.objects) << text;
    EXPECT_EQ(cut.envelope, whole.envelope) << text;
  }
  return whole;
}

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_SPLIT_H_

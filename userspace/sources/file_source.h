// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_FILE_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_FILE_SOURCE_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "sources/change_reporter.h"
#include "sources/file_watch.h"
#include "sources/source.h"

namespace npg::sources {

// The ports that a file lists, in the form that ports_text.h describes.
//
// Reading fails, with a one-line remedy, when the file is missing, not a regular file,
// not readable, larger than kMaxBytes, empty, or truncated. Follow() reports the first
// reading unless Read() has returned the same; it reads a file that is being written
// when that is complete, and a file that is there and cannot be read every two seconds.
class FileSource : public Source {
 public:
  static constexpr size_t kMaxBytes = size_t{128} << 20;

  explicit FileSource(std::string path, const FileWatch::Options& options = {});

  abi::Source id() const override { return abi::Source::kFile; }
  absl::StatusOr<Reading> Read() override;
  absl::Status Follow(base::EventLoop& loop, Callback callback) override;
  // Null before the first reading that succeeds.
  const core::BindFacts* bind_facts() const override { return facts_ ? &*facts_ : nullptr; }
  SourceState State() const override { return reporter_.state(); }

 private:
  struct Attempt {
    absl::StatusOr<Reading> reading;
    bool may_work_later = false;  // although the file does not change
    core::BindFacts facts = {};
  };
  Attempt ReadNow() const;
  // Takes over the facts of a reading that succeeded; returns whether they differ.
  bool TakeFacts(Attempt& attempt);

  const std::string path_;
  const FileWatch::Options options_;
  ChangeReporter reporter_;
  std::optional<core::BindFacts> facts_;
  Callback callback_;
  std::unique_ptr<FileWatch> watch_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_FILE_SOURCE_H_

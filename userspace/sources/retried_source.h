// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_RETRIED_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_RETRIED_SOURCE_H_

#include <functional>
#include <memory>
#include <optional>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "sources/reading_state.h"
#include "sources/source.h"

namespace npg::sources {

// A source that it may not be possible to follow yet. After an error it is made and followed again
// until that succeeds. Until then the callback receives an error for each new reason, and State()
// has the last one, beside the counts of what was read before.
class RetriedSource : public Source {
 public:
  // Makes the source; never null.
  using Make = std::function<std::unique_ptr<Source>()>;

  // `retry`: between two attempts.
  RetriedSource(Make make, absl::Duration retry);
  ~RetriedSource() override;
  RetriedSource(const RetriedSource&) = delete;
  RetriedSource& operator=(const RetriedSource&) = delete;

  abi::Source id() const override { return source_->id(); }
  bool local() const override { return source_->local(); }
  absl::StatusOr<Reading> Read() override { return source_->Read(); }
  void HurryFirstReading() override;
  // Always OK.
  absl::Status Follow(base::EventLoop& loop, Callback callback) override;
  core::PortSnapshot PartialPorts() const override { return source_->PartialPorts(); }
  const core::BindFacts* bind_facts() const override;
  // The errors count those of the attempts, too.
  SourceState State() const override;

 private:
  // Follows the source. After an error there is a new one.
  absl::Status TryToFollow();
  // Tries again later.
  void Failed(const absl::Status& status);

  const Make make_;
  const absl::Duration retry_;
  std::unique_ptr<Source> source_;
  ReadingState failures_;  // of the attempts
  bool failing_ = false;   // the last attempt
  // Of a source that was read and could not be followed: its ports are still in use.
  std::optional<SourceState> read_;
  std::optional<core::BindFacts> read_facts_;
  bool hurry_ = false;

  base::EventLoop* loop_ = nullptr;  // set by Follow()
  Callback callback_;
  base::EventLoop::TimerId timer_ = 0;  // 0 = not armed
  absl::Status reported_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_RETRIED_SOURCE_H_

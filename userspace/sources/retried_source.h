// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_RETRIED_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_RETRIED_SOURCE_H_

#include <functional>
#include <memory>
#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/port.h"
#include "sources/reading_state.h"
#include "sources/source.h"

namespace npg::sources {

// A source that may not be possible yet: its kubeconfig is missing, or it cannot be followed.
// It is created, and followed, again until that succeeds. Until then the callback receives an
// error for each new reason, and State() has the last one.
class RetriedSource : public Source {
 public:
  // Creates the source. Called until the source can be followed, also again after Read().
  using Make = std::function<absl::StatusOr<std::unique_ptr<Source>>()>;

  struct Options {
    bool local = true;                        // Source::local()
    std::string detail;                       // SourceState::detail while there is no source
    absl::Duration retry = absl::Seconds(5);  // between two attempts
  };

  RetriedSource(abi::Source id, Make make, const Options& options);
  ~RetriedSource() override;
  RetriedSource(const RetriedSource&) = delete;
  RetriedSource& operator=(const RetriedSource&) = delete;

  abi::Source id() const override { return id_; }
  bool local() const override { return local_; }
  absl::StatusOr<Reading> Read() override;
  // Always OK.
  absl::Status Follow(base::EventLoop& loop, Callback callback) override;
  core::PortSnapshot PartialPorts() const override {
    return source_ ? source_->PartialPorts() : core::PortSnapshot();
  }
  // The errors count those before there was a source, too.
  SourceState State() const override;

 private:
  // Creates the source unless there is one.
  absl::Status Create();
  // Creates and follows the source. After an error there is none.
  absl::Status CreateAndFollow();
  void TryAgain();
  // Tries again later.
  void Failed(const absl::Status& status);

  const abi::Source id_;
  const Make make_;
  const bool local_;
  const absl::Duration retry_;
  ReadingState failures_;  // without a source
  std::unique_ptr<Source> source_;

  base::EventLoop* loop_ = nullptr;  // set by Follow()
  Callback callback_;
  base::EventLoop::TimerId timer_ = 0;  // 0 = not armed
  absl::Status reported_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_RETRIED_SOURCE_H_

// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/binds_reader.h"

#include <bpf/libbpf.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"

namespace npg::dataplane {

absl::StatusOr<std::unique_ptr<BindsReader>> BindsReader::Start(base::EventLoop& loop, int map_fd,
                                                                std::function<void()> bound) {
  std::unique_ptr<BindsReader> reader(new BindsReader(loop, std::move(bound)));
  // The records are ignored: they only trigger a list of all sockets.
  const ring_buffer_sample_fn skip = [](void* /*context*/, void* /*data*/, size_t /*size*/) {
    return 0;
  };
  reader->ring_.reset(ring_buffer__new(map_fd, skip, nullptr, nullptr));
  if (!reader->ring_) return base::ErrnoStatus(errno, "read the ring buffer binds");
  ring_buffer* ring = reader->ring_.get();
  const absl::Status added = loop.AddFd(ring_buffer__epoll_fd(ring), EPOLLIN,
                                        [ring, owner = reader.get()](uint32_t /*events*/) {
                                          if (ring_buffer__consume(ring) > 0) owner->bound_();
                                        });
  if (!added.ok()) return added;
  return reader;
}

BindsReader::~BindsReader() {
  if (ring_) loop_.RemoveFd(ring_buffer__epoll_fd(ring_.get()));
}

}  // namespace npg::dataplane

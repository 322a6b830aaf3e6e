// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_UNIQUE_FD_H_
#define NODEPORT_GUARD_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace npg::base {

// Owns a file descriptor and closes it. Empty when default-constructed or
// moved from; get() is then -1.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { Reset(); }

  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // Gives the descriptor up to the caller.
  int Release() { return std::exchange(fd_, -1); }

  // Closes what is held and takes fd, if any.
  void Reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_UNIQUE_FD_H_

// SPDX-License-Identifier: Apache-2.0
#include "base/service_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace npg::base::service_manager_test {
namespace {

using ::testing::HasSubstr;

// The socket of a service manager. A name that begins with '@' is abstract.
class Manager {
 public:
  explicit Manager(const std::string& name) : name_(name), fd_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (name[0] == '@') address.sun_path[0] = '\0';
    const size_t length = offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '@' ? 0 : 1);
    listens_ = bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address),
                    static_cast<socklen_t>(length)) == 0;
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~Manager() {
    unsetenv("NOTIFY_SOCKET");
    if (name_[0] != '@') unlink(name_.c_str());
  }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  bool listens() const { return listens_; }
  // Returns the next message, or nothing.
  std::string Received() const {
    std::array<char, 256> text{};
    const ssize_t size = recv(fd_.get(), text.data(), text.size(), MSG_DONTWAIT);
    return size < 0 ? "" : std::string(text.data(), static_cast<size_t>(size));
  }

 private:
  std::string name_;
  UniqueFd fd_;
  bool listens_ = false;
};

TEST(ServiceManager, NotifiesASocketWithAPath) {
  const Manager manager(absl::StrCat(::testing::TempDir(), "npg-notify.", getpid()));
  ASSERT_TRUE(manager.listens());
  EXPECT_TRUE(NotifyServiceManager("READY=1\nSTATUS=guarding").ok());
  EXPECT_EQ(manager.Received(), "READY=1\nSTATUS=guarding");
  EXPECT_EQ(manager.Received(), "") << "sent once";
}

TEST(ServiceManager, NotifiesAnAbstractSocket) {
  const Manager manager(absl::StrCat("@npg-notify.", getpid()));
  ASSERT_TRUE(manager.listens());
  EXPECT_TRUE(NotifyServiceManager("STOPPING=1").ok());
  EXPECT_EQ(manager.Received(), "STOPPING=1");
}

TEST(ServiceManager, SucceedsWithoutAServiceManager) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(NotifyServiceManager("READY=1").ok());
}

TEST(ServiceManager, FailsIfTheSocketDoesNotExist) {
  setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
  const absl::Status status = NotifyServiceManager("READY=1");
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/socket"));
}

TEST(ServiceManager, RefusesAddressesThatAreNoPath) {
  for (const std::string& name : {std::string("vsock:2:1234"), "/" + std::string(200, 'x')}) {
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    EXPECT_TRUE(absl::IsInvalidArgument(NotifyServiceManager("READY=1"))) << name;
  }
  unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace npg::base::service_manager_test

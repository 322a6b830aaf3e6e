// SPDX-License-Identifier: Apache-2.0
#include "node/ip_vs_services.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::node::ip_vs_services_test {
namespace {

using testing::Tcp;
using testing::TempFolder;
using testing::Udp;
using testing::WriteFile;

using ::testing::ElementsAre;

constexpr absl::string_view kHeader =
    "IP Virtual Server version 1.2.1 (size=4096)\n"
    "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

// Services as the kernel lists them, none on a loopback address.
constexpr absl::string_view kOthers =
    "TCP  0A600001:01BB rr \n"
    "  -> 7F000001:192B      Masq    1      0          0         \n"
    "UDP  0A60000A:0035 rr persistent 10800 FFFFFFFF\n"
    "  -> 0AF40102:0035      Masq    1      0          0         \n"
    "TCP  [0000:0000:0000:0000:0000:0000:0000:0002]:8335 rr \n"
    "  -> [fd00:0010:0244:0000:0000:0000:0000:0002]:1F90      Masq    1      0          0         "
    "\n"
    "FWM  7F000001 rr \n"
    "SCTP 7F000001:8335 rr \n";

const core::AddressSet& None() {
  static const auto* const kNone = new core::AddressSet();
  return *kNone;
}

bool OnLoopback(absl::string_view text) {
  IpVsServices services(None());
  services.Feed(text);
  return services.found();
}

TEST(IpVsServicesTest, FindsAServiceOnLoopback) {
  for (const std::string line :
       {"TCP  7F000001:8335 rr \n", "UDP  7F000001:8335 rr \n",
        "TCP  7F420001:0000 wlc persistent 360 FFFFFFFF\n", "TCP  7FFFFFFF:FFFF sh \n",
        "TCP  7F000001:8335\n", "UDP  [0000:0000:0000:0000:0000:0000:0000:0001]:8335 rr \n"}) {
    EXPECT_TRUE(OnLoopback(absl::StrCat(kHeader, line))) << line;
    EXPECT_TRUE(OnLoopback(absl::StrCat(kHeader, kOthers, line, kOthers))) << line;
  }
}

TEST(IpVsServicesTest, IgnoresServicesOnOtherAddresses) {
  EXPECT_FALSE(OnLoopback(""));
  EXPECT_FALSE(OnLoopback(kHeader));
  EXPECT_FALSE(OnLoopback(absl::StrCat(kHeader, kOthers)));
}

TEST(IpVsServicesTest, FindsAServiceOnAnOwnAddress) {
  const core::AddressSet own = {
      {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0x60, 0, 2},
      {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab},
  };
  for (const absl::string_view line :
       {"TCP  0A600002:01BB rr \n", "UDP  [2001:0db8:0000:0000:0000:0000:0000:00ab]:0035 rr \n"}) {
    EXPECT_FALSE(OnLoopback(line)) << line;
    IpVsServices services(own);
    services.Feed(absl::StrCat(kHeader, kOthers));
    EXPECT_FALSE(services.found());
    services.Feed(line);
    EXPECT_TRUE(services.found()) << line;
  }
}

TEST(IpVsServicesTest, IgnoresGarbage) {
  const std::string nul(
      "TCP  7F0\0"
      "0001:8335 rr\n",
      22);
  for (const std::string& text :
       {std::string("TCP\n"), std::string("TCP \n"), std::string("TCP  7F000001\n"),
        std::string("TCP  7F000001:\n"), std::string("TCP  7F000001:833\n"),
        std::string("TCP  7F00001:83351 rr\n"), std::string("TCP  7F000001:83351 rr\n"),
        std::string("TCP  7F00000G:8335 rr\n"), std::string("TCP  7F000001;8335 rr\n"),
        std::string("TCP  007F000001:8335 rr\n"), std::string("xTCP  7F000001:8335 rr\n"),
        std::string("TCP7F000001:8335 rr\n"), std::string("  TCP  7F000001:8335 rr\n"),
        std::string("TCP  [0000:0000:0000:0000:0000:0000:0000:0001:8335 rr\n"),
        std::string("TCP  [::1]:8335 rr\n"), std::string("TCP  [\n"),
        std::string("TCP  [00000000:0000:0000:0000:0000:0000:0000001]:8335 rr\n"),
        std::string("\n\n\r\n \n"), nul}) {
    EXPECT_FALSE(OnLoopback(text)) << text;
    EXPECT_TRUE(OnLoopback(absl::StrCat(text, "TCP  7F000001:8335 rr \n"))) << text;
  }
}

// The port may continue in the next chunk.
TEST(IpVsServicesTest, IgnoresALineWithoutItsEnd) {
  IpVsServices services(None());
  services.Feed("TCP  7F000001:8335 rr ");
  EXPECT_FALSE(services.found());
  services.Feed("\n");
  EXPECT_TRUE(services.found());
}

TEST(IpVsServicesTest, MayBeCutAnywhere) {
  const std::string text = absl::StrCat(kHeader, kOthers, "TCP  7F000001:8335 rr \n", kOthers);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    IpVsServices services(None());
    services.Feed(absl::string_view(text).substr(0, cut));
    services.Feed(absl::string_view(text).substr(cut));
    EXPECT_TRUE(services.found()) << cut;
  }
  IpVsServices others(None());
  IpVsServices all(None());
  for (const char c : absl::StrCat(kHeader, kOthers)) others.Feed({&c, 1});
  for (const char c : text) all.Feed({&c, 1});
  EXPECT_FALSE(others.found());
  EXPECT_TRUE(all.found());
}

TEST(IpVsServicesTest, DropsEndlessLines) {
  IpVsServices services(None());
  const std::string much(1 << 20, 'T');
  for (int i = 0; i < 16; ++i) services.Feed(much);
  // This is not the beginning of a line, although it looks like one.
  services.Feed("TCP  7F000001:8335 rr \n");
  EXPECT_FALSE(services.found());
  services.Feed("TCP  7F000001:8335 rr \n");
  EXPECT_TRUE(services.found());
}

TEST(IpVsServicesTest, RandomBytesDoNotHideAService) {
  std::mt19937 random(5);
  const std::string alphabet("TCPUDFWM 7F0:8335rr[]->\n\0\xff", 26);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t size = random() % 300; size > 0; --size) {
      text += alphabet[random() % alphabet.size()];
    }
    IpVsServices services(None());
    services.Feed(text);
    services.Feed("\nTCP  7F000001:8335 rr \n");
    EXPECT_TRUE(services.found());
  }
}

TEST(HasIpVsServiceTest, ReadsTheFile) {
  const TempFolder folder;
  NPG_ASSERT_OK_AND_ASSIGN(bool found, HasIpVsService(None(), folder / "absent"));
  EXPECT_FALSE(found);
  std::string text(kHeader);
  while (text.size() < 100000) absl::StrAppend(&text, kOthers);
  WriteFile(folder / "ip_vs", text);
  NPG_ASSERT_OK_AND_ASSIGN(found, HasIpVsService(None(), folder / "ip_vs"));
  EXPECT_FALSE(found);
  WriteFile(folder / "ip_vs", text + "TCP  7F000001:8335 rr \n");
  NPG_ASSERT_OK_AND_ASSIGN(found, HasIpVsService(None(), folder / "ip_vs"));
  EXPECT_TRUE(found);
}

TEST(HasIpVsServiceTest, FailsIfTheFileCannotBeRead) {
  const TempFolder folder;
  const absl::Status status = HasIpVsService(None(), folder / "").status();
  EXPECT_FALSE(status.ok());
  // An endless file, which consists of NULs.
  EXPECT_TRUE(absl::IsResourceExhausted(HasIpVsService(None(), "/dev/zero").status()));
}

TEST(IpVsPortsTest, ListsThePortsOfServicesOnOwnAddresses) {
  const TempFolder folder;
  const core::AddressSet own = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0x60, 0, 2}};
  EXPECT_TRUE(absl::IsNotFound(IpVsPorts(own, folder / "absent").status()));
  // The last one is for all ports of its address.
  WriteFile(folder / "ip_vs",
            absl::StrCat(kHeader, "TCP  7F000001:8335 rr \n", kOthers, "UDP  0A600002:7533 rr \n",
                         "TCP  0A600002:8335 rr \n", "TCP  7F000001:0000 rr persistent 360\n"));
  NPG_ASSERT_OK_AND_ASSIGN(auto ports, IpVsPorts(own, folder / "ip_vs"));
  EXPECT_THAT(ports, ElementsAre(Udp(30003), Tcp(33589)));
  NPG_ASSERT_OK_AND_ASSIGN(ports, IpVsPorts(None(), folder / "ip_vs"));
  EXPECT_THAT(ports, ElementsAre(Tcp(33589)));
  EXPECT_TRUE(absl::IsResourceExhausted(IpVsPorts(None(), "/dev/zero").status()));
}

}  // namespace
}  // namespace npg::node::ip_vs_services_test

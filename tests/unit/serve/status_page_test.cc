// SPDX-License-Identifier: Apache-2.0
#include "serve/status_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>
#include <string>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "serve/html.h"
#include "unit/inspect/facts.h"

namespace npg::serve::status_page_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

PageInput Input(const inspect::Status& status) {
  PageInput input;
  input.status = &status;
  input.live = {true, {"ok   main loop: came round 0.2 s ago", "ok   self-probe: done"}};
  input.ready = {true, {"ok   programs: attached"}};
  input.node = "node-1";
  input.kernel = "6.12.48 x86_64";
  input.now = absl::FromUnixSeconds(inspect::kNow);
  return input;
}

std::string Render(const inspect::GuardFacts& facts) {
  const inspect::Status status = inspect::MakeStatus(facts);
  return RenderStatusPage(Input(status));
}

size_t Find(const std::string& page, absl::string_view what) {
  const size_t at = page.find(std::string(what));
  EXPECT_NE(at, std::string::npos) << what;
  return at;
}

TEST(EscapeHtmlTest, EscapesMarkup) {
  EXPECT_EQ(EscapeHtml("<script>alert('1' & \"2\")</script>"),
            "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;");
  EXPECT_EQ(EscapeHtml("Gr\xc3\xbc\xc3\x9f"
                       "e \xe2\x82\xac \xf0\x9f\x98\x80"),
            "Gr\xc3\xbc\xc3\x9f"
            "e \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(EscapeHtml(absl::string_view("a\0b\x1b\x7f\n", 6)), "a\\x00b\\x1b\\x7f\\n");
  // Cut, overlong, surrogate, beyond Unicode, a byte in the middle alone, and marks
  // that would reorder the page.
  for (const char* text : {"\xc3", "\xe2\x82", "\xc0\xbc", "\xe0\x80\xbc", "\xed\xa0\x80",
                           "\xf4\x90\x80\x80", "\xf8", "\xbc", "\u202e", "\u2067", "\u061c"}) {
    EXPECT_EQ(EscapeHtml(absl::StrCat(text, "<")), absl::StrCat(absl::CHexEscape(text), "&lt;"));
  }
}

TEST(StatusPageTest, ShowsAConflict) {
  const std::string page = Render(inspect::MakeFacts());
  for (const char* part :
       {"<th scope=\"row\"><span class=\"nowrap\">33589/tcp</span></th>", ">default/web<",
        "<code>127.0.0.1</code>", "<strong>containerd</strong> pid&nbsp;812",
        "<code>/usr/bin/containerd</code>", "containerd.service", "><span>42</span>", "2m ago",
        "3d ago", "Guarding 1 NodePort", "6.12.48 x86_64", "node-1",
        "4 of 4 attached to <code>/sys/fs/cgroup</code>", "enforce", "loopback",
        "<code>0x1000/0x1000</code>", "/sys/fs/bpf/nodeport-guard", "main loop: came round"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, HasSubstr("<title>1 conflict: node-1: NodePort Guard</title>"));
}

TEST(StatusPageTest, ShowsAQueueInWhichConnectionsWait) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(Render(facts), Not(HasSubstr("to be accepted")));
  facts.listeners[0].accept_queue = 3;
  facts.listeners[0].accept_limit = 128;
  EXPECT_THAT(Render(facts), HasSubstr("3 connections wait to be accepted (backlog 128)"));
}

TEST(StatusPageTest, ConflictsComeFirst) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  inspect::AddSource(facts, abi::Source::kKubernetes, "https://10.96.0.1:443");
  const std::string page = Render(facts);
  size_t before = 0;
  for (const char* section : {"id=\"verdict\"", "id=\"conflicts\"", "id=\"health\"",
                              "id=\"sources\"", "id=\"guard\"", "id=\"counters\""}) {
    const size_t at = Find(page, section);
    EXPECT_GT(at, before) << section;
    before = at;
  }
}

TEST(StatusPageTest, ForeignNamesStayText) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  const std::string evil = "<script>x('\"&</script>";
  facts.nodeports.clear();
  inspect::AddNodePort(facts, 33589, "a/" + evil);
  core::Owner& owner = facts.listeners[0].owner;
  owner.comm = evil;
  owner.executable = evil;
  owner.cgroup = evil;
  owner.workload = {evil, evil, evil, evil};
  facts.config.version = "<script>";
  abi::SourceState& source = inspect::AddSource(facts, abi::Source::kKubernetes, evil);
  source.connected = false;
  source.last_error = evil;
  for (inspect::LinkFact& fact : facts.links) fact.cgroup = evil;
  facts.bpffs = evil;
  const inspect::Status status = inspect::MakeStatus(facts);
  PageInput input = Input(status);
  input.node = evil;
  input.kernel = evil;
  input.live = {false, {"FAIL " + evil}};
  const std::string page = RenderStatusPage(input);
  // The only script is that of the page; each of these names is text.
  EXPECT_EQ(page.find("<script>", Find(page, "<script>") + 1), std::string::npos);
  EXPECT_THAT(page, Not(HasSubstr(evil)));
  EXPECT_THAT(page, HasSubstr("<strong>&lt;script&gt;x(&#39;&quot;&amp;&lt;/script&gt;</strong>"));
  EXPECT_THAT(page, HasSubstr("a/&lt;script&gt;"));
  EXPECT_THAT(page, HasSubstr("last error: &lt;script&gt;"));
}

TEST(StatusPageTest, ShowsProblems) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nft = dataplane::NftTableState{};
  facts.links.pop_back();
  const std::string broken = Render(facts);
  EXPECT_THAT(broken, HasSubstr("The guard is broken"));
  EXPECT_THAT(broken, HasSubstr("nft table inet nodeport_guard is missing"));
  EXPECT_THAT(broken, HasSubstr("missing: npg_bind6"));
  EXPECT_THAT(broken, HasSubstr("<title>Problem: "));

  const inspect::Status status = inspect::MakeStatus(inspect::MakeFacts());
  PageInput input = Input(status);
  input.ready = {false, {"FAIL source kubernetes: no answer yet"}};
  EXPECT_THAT(RenderStatusPage(input), HasSubstr("The guard is not ready yet"));
  EXPECT_THAT(RenderStatusPage(input), HasSubstr("source kubernetes: no answer yet"));
  input.live.ok = false;
  EXPECT_THAT(RenderStatusPage(input), HasSubstr("The guard is not healthy"));

  input.status = nullptr;
  input.error = "list listeners: Permission denied";
  EXPECT_THAT(RenderStatusPage(input), HasSubstr("list listeners: Permission denied"));
  EXPECT_THAT(RenderStatusPage(input), HasSubstr("source kubernetes: no answer yet"));
}

TEST(StatusPageTest, ShowsThatObserveModeExemptsNothing) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.config.mode = abi::Mode::kObserve;
  const std::string page = Render(facts);
  EXPECT_THAT(page, HasSubstr("Only observing 1 NodePort: nothing is exempted"));
  EXPECT_THAT(page, HasSubstr("><span>7</span>"));
  EXPECT_THAT(page, HasSubstr(">Observed</th>"));
}

TEST(StatusPageTest, ShowsWhetherAConflictIsGuarded) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  const std::string guarded = " guarded</span>", unguarded = " unguarded</span>";
  EXPECT_THAT(Render(facts), AllOf(HasSubstr(guarded), Not(HasSubstr(unguarded))));
  facts.nft = absl::InternalError("read the nft table: Input/output error");
  EXPECT_THAT(Render(facts), AllOf(HasSubstr(" not known</span>"), Not(HasSubstr(guarded)),
                                   Not(HasSubstr(unguarded))));
  facts.nft = dataplane::NftTableState{};
  EXPECT_THAT(Render(facts), AllOf(HasSubstr(unguarded), Not(HasSubstr(guarded))));
}

TEST(StatusPageTest, IsCompleteWithMissingFacts) {
  const std::string page = Render(inspect::GuardFacts());
  EXPECT_TRUE(absl::EndsWith(page, "</html>\n"));
  EXPECT_THAT(page, HasSubstr("The guard is broken")) << "no program is attached";
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  EXPECT_THAT(Render(facts), HasSubstr("No conflicts"));
  facts.same_netns = false;
  EXPECT_THAT(Render(facts), HasSubstr("Not visible from here"));
}

TEST(StatusPageTest, StaysUsableWithManyConflicts) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  for (uint16_t port = 30000; port < 32000; ++port) {
    inspect::AddNodePort(facts, port, "default/web");
    facts.listeners.push_back(inspect::MakeListener("127.0.0.1", port, "many", 77));
  }
  const std::string page = Render(facts);
  EXPECT_THAT(page, HasSubstr("Conflicts: 2001 listeners on the port of a NodePort"));
  EXPECT_THAT(page, HasSubstr("1501 more are in <a href=\"/api/v1/status\">"));
  EXPECT_LT(page.size(), 500'000U);
}

TEST(StatusPageTest, SocketsThatShareAnAddressAreOneRow) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  const core::Listener listener = facts.listeners[0];
  facts.listeners.assign(64, listener);
  const std::string page = Render(facts);
  EXPECT_THAT(page, AllOf(HasSubstr("Conflicts: 64 listeners on the port of a NodePort"),
                          HasSubstr("64 sockets")));
  EXPECT_EQ(page.find("33589/tcp"), page.rfind("33589/tcp"));
}

TEST(StatusPageTest, CannotTellWhereNodePortsMayBeUnknown) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  abi::SourceState& source = inspect::AddSource(facts, abi::Source::kNetfilter);
  EXPECT_THAT(Render(facts), AllOf(HasSubstr("No conflicts"), Not(HasSubstr("Cannot tell"))));
  source.coverage = core::Coverage::kNone;
  const auto cannot_tell = AllOf(HasSubstr("<p>Cannot tell"), HasSubstr("there can be more"),
                                 Not(HasSubstr("No conflicts")));
  EXPECT_THAT(Render(facts), cannot_tell);
  source.coverage = core::Coverage::kAll;
  source.connected = false;
  EXPECT_THAT(Render(facts), cannot_tell);
}

TEST(StatusPageTest, ClaimsNoGuardBesideCiliumsSocketLoadBalancer) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.cilium_socket_lb = true;
  EXPECT_THAT(Render(facts),
              AllOf(HasSubstr("Not guarding: Cilium"), Not(HasSubstr("Guarding 1 NodePort"))));
}

std::string Between(const std::string& text, absl::string_view from, absl::string_view to) {
  const size_t begin = Find(text, from) + from.size();
  return text.substr(begin, text.find(std::string(to), begin) - begin);
}

std::string Sha256(const std::string& text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  std::array<unsigned char, 64> base64{};
  const int length = EVP_EncodeBlock(base64.data(), digest.data(), digest.size());
  return absl::StrCat("'sha256-", std::string(base64.begin(), base64.begin() + length), "'");
}

TEST(StatusPageTest, ThePolicyAllowsOnlyItsOwnStyleAndScript) {
  const std::string page = Render(inspect::MakeFacts());
  const std::string policy = StatusPagePolicy();
  EXPECT_THAT(policy, HasSubstr("default-src 'none';"));
  EXPECT_THAT(policy,
              HasSubstr(absl::StrCat("style-src ", Sha256(Between(page, "<style>", "</style>")))));
  EXPECT_THAT(policy, HasSubstr(absl::StrCat("script-src ",
                                             Sha256(Between(page, "<script>", "</script>")))));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  // The page loads nothing, and has no inline code that the policy would not cover.
  for (const char* part :
       {" src=", "url(", "@import", "style=\"", "onclick", "http://", "https://"}) {
    EXPECT_THAT(page, Not(HasSubstr(part)));
  }
}

TEST(StatusPageTest, ShowsWhatKeepsOthersOffNodePorts) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  for (const char* name : {"Port range", "Reserved ports", "Binds"}) {
    EXPECT_THAT(Render(facts), Not(HasSubstr(absl::StrCat(name, "</dt>")))) << "it is off";
  }
  facts.overlap = core::JudgeOverlap({{32768, 60999}, {}, {33589}, {}});
  facts.protection.reserve = abi::ReservePorts::kAllocated;
  facts.protection.reserve_state = abi::ReserveState::kFailed;
  facts.protection.error = "<b>Read-only file system";
  facts.protection.bind = abi::BindProtection::kWarn;
  facts.refusable = {{{33589, core::Protocol::kTcp}, abi::kFamilyV4}};
  EXPECT_THAT(Render(facts),
              AllOf(HasSubstr("Port range</dt>"), HasSubstr("1 of the 28232 ports"),
                    HasSubstr("Reserved ports</dt>"), HasSubstr("Binds</dt>"),
                    HasSubstr("warn: a bind of an allocated NodePort is reported; 1 NodePort,"),
                    HasSubstr("&lt;b&gt;Read-only file system"), Not(HasSubstr("<b>Read-only"))));
}

}  // namespace
}  // namespace npg::serve::status_page_test

// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <CLI/CLI.hpp>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/args/command_line.h"
#include "cli/args/help.h"
#include "cli/args/man_page.h"
#include "cli/args/shell_completion.h"

namespace npg::cli::docs_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(DocsTest, EveryDocumentHasEveryCommandAndFlag) {
  const CommandLine command_line;
  const std::string man = ManPage(command_line.app(), "0.1.0");
  const std::string bash = BashCompletion(command_line.app());
  const std::string zsh = ZshCompletion(command_line.app());
  for (const CLI::App* command : Commands(command_line.app())) {
    EXPECT_THAT(man, HasSubstr(absl::StrCat(".SS nodeport\\-guard ", command->get_name())));
    EXPECT_THAT(bash, HasSubstr(absl::StrCat("    ", command->get_name(), ")\n")));
    EXPECT_THAT(zsh, HasSubstr(absl::StrCat("    ", command->get_name(), ")\n")));
    for (const CLI::Option* flag : Flags(*command)) {
      const std::string name = absl::StrCat("--", flag->get_lnames().front());
      EXPECT_THAT(bash, HasSubstr(name));
      EXPECT_THAT(zsh, HasSubstr(name));
      if (flag == command->get_help_ptr()) continue;
      EXPECT_THAT(man, HasSubstr(absl::StrReplaceAll(name, {{"-", "\\-"}})));
    }
  }
}

TEST(DocsTest, CommandsThatUseTheApiServerExplainHow) {
  const CommandLine command_line;
  for (const CLI::App* command : Commands(command_line.app())) {
    if (command->get_name() != "run" && command->get_name() != "scan" &&
        command->get_name() != "doctor") {
      continue;
    }
    const std::string help = HelpText(*command);
    for (const char* text : {"auto|kubernetes|netfilter|file", "--kubeconfig FILE",
                             "--kube-context NAME", "--kube-api-server URL"}) {
      EXPECT_THAT(help, HasSubstr(text)) << command->get_name();
    }
  }
}

TEST(DocsTest, ProtectionIsDocumentedWithItsValuesAndAnExample) {
  const CommandLine command_line;
  const std::string bash = BashCompletion(command_line.app());
  EXPECT_THAT(bash, HasSubstr("compgen -W 'off allocated'"));
  EXPECT_THAT(bash, HasSubstr("compgen -W 'off warn deny'"));
  EXPECT_THAT(ZshCompletion(command_line.app()), HasSubstr(":bind-protection:(off warn deny)"));
  for (const CLI::App* command : Commands(command_line.app())) {
    if (command->get_name() != "run") continue;
    const std::string help = HelpText(*command);
    for (const char* text : {"--reserve-ports off|allocated", "--bind-protection off|warn|deny",
                             "--bind-allow-uid UID", "--bind-allow-cgroup GLOB",
                             "--bind-allow-process NAME", "nodeport-guard run --bind-protection"}) {
      EXPECT_THAT(help, HasSubstr(text));
    }
  }
}

TEST(DocsTest, ManPageHasTheUsualSections) {
  const CommandLine command_line;
  const std::string man = ManPage(command_line.app(), "0.1.0");
  for (const char* section : {"NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "ENVIRONMENT", "FILES",
                              "EXIT STATUS", "EXAMPLES", "SEE ALSO"}) {
    EXPECT_THAT(man, HasSubstr(absl::StrCat(".SH ", section, "\n")));
  }
  EXPECT_THAT(man, Not(HasSubstr("\n'"))) << "roff would read such a line as a request";
}

}  // namespace
}  // namespace npg::cli::docs_test

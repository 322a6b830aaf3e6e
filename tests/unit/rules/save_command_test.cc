// SPDX-License-Identifier: Apache-2.0
#include "rules/save_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "testing/testdata.h"

namespace npg::rules::save_command_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;
using testing::WriteScript;

using ::testing::ElementsAre;

class SaveCommandTest : public ::testing::Test {
 protected:
  void Program(const std::string& name) { WriteScript(folder_ / name, ":"); }
  void Link(const std::string& name, const std::string& target) {
    std::filesystem::create_symlink(target, folder_ / name);
  }
  std::string Find() { return FindLegacySaveCommand("iptables", {"/nowhere", folder_.path()}); }

  const TempFolder folder_;
};

TEST_F(SaveCommandTest, VariantsByName) {
  EXPECT_EQ(Find(), "");
  Program("iptables-save");
  Program("iptables-nft-save");
  EXPECT_EQ(Find(), "");
  Program("iptables-legacy-save");
  EXPECT_EQ(Find(), folder_ / "iptables-legacy-save");
}

TEST_F(SaveCommandTest, ThePlainCommandHasTheVariantOfItsTarget) {
  for (const char* program : {"xtables-nft-multi", "xtables-legacy-multi", "xtables-multi"}) {
    Program(program);
  }
  const std::string plain = folder_ / "iptables-save";
  Link("iptables-save", "xtables-nft-multi");
  EXPECT_EQ(Find(), "");
  std::filesystem::remove(plain);
  Link("alternative", "xtables-legacy-multi");
  Link("iptables-save", "alternative");
  EXPECT_EQ(Find(), plain);
  std::filesystem::remove(plain);
  // Before there were two variants, this was the only program.
  Link("iptables-save", "xtables-multi");
  EXPECT_EQ(Find(), plain);
  std::filesystem::remove(plain);
  Program("iptables-save");
  EXPECT_EQ(Find(), plain);
}

TEST_F(SaveCommandTest, IgnoresFilesThatAreNotExecutable) {
  WriteFile(folder_ / "iptables-legacy-save", "text");
  EXPECT_EQ(Find(), "");
}

TEST(CommandFoldersTest, OmitsRelativeFolders) {
  setenv("PATH", "bin::/opt/bin:.:/usr/bin", 1);
  EXPECT_THAT(CommandFolders(), ElementsAre("/usr/sbin", "/sbin", "/opt/bin", "/usr/bin"));
  unsetenv("PATH");
  EXPECT_THAT(CommandFolders(), ElementsAre("/usr/sbin", "/sbin"));
}

}  // namespace
}  // namespace npg::rules::save_command_test

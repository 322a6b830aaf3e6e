// SPDX-License-Identifier: Apache-2.0
#include "sources/file_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "sources/file_watch.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::file_source_test {
namespace {

using testing::Tcp;
using testing::TempFolder;
using testing::TestdataPath;
using testing::WriteFile;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

// How long a test waits for an expected report, and for an unexpected one.
constexpr absl::Duration kMustCome = absl::Seconds(20);
constexpr absl::Duration kMustNotCome = absl::Milliseconds(400);

// Slower than kMustCome, so that every report is due to inotify.
constexpr FileWatch::Options kNoPoll = {.poll = absl::Hours(1)};

std::string ErrorOf(const std::string& path) {
  FileSource source(path);
  const absl::StatusOr<Reading> reading = source.Read();
  EXPECT_FALSE(reading.ok());
  EXPECT_FALSE(absl::StrContains(reading.status().message(), "\n"));
  return std::string(reading.status().message());
}

TEST(FileSourceTest, NameAndBit) {
  const FileSource source("/nowhere");
  EXPECT_EQ(source.name(), "file");
  EXPECT_EQ(source.id(), abi::Source::kFile);
}

TEST(FileSourceTest, ReadsOutputOfKubectl) {
  for (const char* name : {"services-list.json", "services-list.yaml"}) {
    FileSource source(TestdataPath(name));
    NPG_ASSERT_OK_AND_ASSIGN(const Reading reading, source.Read());
    EXPECT_THAT(reading.ports,
                ElementsAre(Pair(Tcp(34567), "default/web"), Pair(Tcp(35924), "default/load-0"),
                            Pair(Tcp(46121), "default/load-1")));
  }
}

TEST(FileSourceTest, EveryFailureIsOneLineWithARemedy) {
  const TempFolder folder;
  EXPECT_THAT(ErrorOf(folder / "missing"),
              AllOf(StartsWith("ports file " + (folder / "missing") + ": No such file"),
                    HasSubstr("create it")));
  EXPECT_THAT(ErrorOf(folder.path().string()), HasSubstr("is a directory; name a file"));
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(ErrorOf(folder / "pipe"), HasSubstr("is not a regular file; name a file"));
  WriteFile(folder / "empty", "");
  EXPECT_THAT(ErrorOf(folder / "empty"), HasSubstr("is empty; write \"[]\" if no port is meant"));
  WriteFile(folder / "half", "[30080,\n{\"port\":");
  EXPECT_THAT(ErrorOf(folder / "half"),
              StartsWith("ports file " + (folder / "half") + ": line 2: not valid JSON"));
  WriteFile(folder / "file", "[1]");
  EXPECT_THAT(ErrorOf(folder / "file/below"), HasSubstr("Not a directory"));
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_THAT(ErrorOf(folder / "loop"), HasSubstr("symbolic link"));
}

TEST(FileSourceTest, RefusesAHugeFileUnread) {
  const TempFolder folder;
  const std::string path = folder / "huge";
  WriteFile(path, "[");
  std::filesystem::resize_file(path, 200 << 20);
  EXPECT_EQ(ErrorOf(path), "ports file " + path +
                               ": is 200 MiB, more than the 128 MiB that are read; list the ports "
                               "alone");
}

TEST(FileSourceTest, ReportsAFileWithoutReadPermission) {
  // Root may read every file, so another user tries.
  const TempFolder folder;
  WriteFile(folder / "secret", "[1]");
  std::filesystem::permissions(folder / "secret", std::filesystem::perms::none);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  const uid_t user = geteuid();
  ASSERT_TRUE(user != 0 || seteuid(65534) == 0);
  const std::string error = ErrorOf(folder / "secret");
  ASSERT_TRUE(user != 0 || seteuid(0) == 0);
  EXPECT_THAT(error, AllOf(HasSubstr("Permission denied"), HasSubstr("let the user")));
}

// A followed FileSource and its reports.
class FileFollowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    NPG_ASSERT_OK(loop);
    loop_ = *std::move(loop);
    path_ = folder_ / "ports.json";
  }
  void TearDown() override { source_.reset(); }

  void Follow(const FileWatch::Options& options = kNoPoll) {
    source_ = std::make_unique<FileSource>(path_, options);
    NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
      reports_.push_back(reading);
      loop_->Stop();
    }));
  }

  // The next report: "30080/tcp 30081/udp", or its error.
  std::string Next() {
    const size_t before = reports_.size();
    const auto timer = loop_->After(kMustCome, [this] { loop_->Stop(); });
    NPG_EXPECT_OK(loop_->Run());
    loop_->Cancel(timer);
    if (reports_.size() == before) return "(nothing)";
    const absl::StatusOr<Reading>& reading = reports_.back();
    if (!reading.ok()) return std::string(reading.status().message());
    std::string text;
    for (const auto& [key, service] : reading->ports) {
      if (!text.empty()) text += ' ';
      text += core::ToString(key);
    }
    return text;
  }

  bool ReportsNothing(absl::Duration time = kMustNotCome) {
    const size_t before = reports_.size();
    const auto timer = loop_->After(time, [this] { loop_->Stop(); });
    NPG_EXPECT_OK(loop_->Run());
    loop_->Cancel(timer);
    return reports_.size() == before;
  }

  void Replace(absl::string_view text) {
    WriteFile(path_ + ".new", text);
    std::filesystem::rename(path_ + ".new", path_);
  }

  const TempFolder folder_;
  std::string path_;
  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<FileSource> source_;
  std::vector<absl::StatusOr<Reading>> reports_;
};

TEST_F(FileFollowTest, ReportsTheFirstReading) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  EXPECT_TRUE(ReportsNothing());
}

TEST_F(FileFollowTest, DoesNotRepeatTheReadingOfRead) {
  WriteFile(path_, "[30080]");
  source_ = std::make_unique<FileSource>(path_, kNoPoll);
  NPG_ASSERT_OK(source_->Read());
  NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
    reports_.push_back(reading);
    loop_->Stop();
  }));
  EXPECT_TRUE(ReportsNothing());
  WriteFile(path_, "[30081]");
  EXPECT_EQ(Next(), "30081/tcp");
}

TEST_F(FileFollowTest, RewrittenInPlace) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  WriteFile(path_, "[30081]");
  EXPECT_EQ(Next(), "30081/tcp");
  WriteFile(path_, "[30082]");
  EXPECT_EQ(Next(), "30082/tcp");
}

TEST_F(FileFollowTest, ReplacedByRename) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  Replace("[30081]");
  EXPECT_EQ(Next(), "30081/tcp");
  Replace("[30082]");
  EXPECT_EQ(Next(), "30082/tcp");
}

TEST_F(FileFollowTest, EditorThatKeepsABackup) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  std::filesystem::rename(path_, path_ + "~");
  WriteFile(path_, "[30081]");
  EXPECT_EQ(Next(), "30081/tcp");
}

TEST_F(FileFollowTest, ConfigMapVolume) {
  // ports.json -> ..data/ports.json, ..data -> ..1, and later ..data -> ..2.
  for (const char* name : {"..1", "..2"}) std::filesystem::create_directory(folder_ / name);
  WriteFile(folder_ / "..1/ports.json", "[30080]");
  WriteFile(folder_ / "..2/ports.json", "[30081]");
  std::filesystem::create_symlink("..1", folder_ / "..data");
  std::filesystem::create_symlink("..data/ports.json", path_);
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  std::filesystem::create_symlink("..2", folder_ / "..data_tmp");
  std::filesystem::rename(folder_ / "..data_tmp", folder_ / "..data");
  std::filesystem::remove_all(folder_ / "..1");
  EXPECT_EQ(Next(), "30081/tcp");
  WriteFile(folder_ / "..2/ports.json", "[30082]");
  EXPECT_EQ(Next(), "30082/tcp");
}

TEST_F(FileFollowTest, TargetOfASymbolicLinkElsewhere) {
  const TempFolder elsewhere;
  WriteFile(elsewhere / "real", "[30080]");
  std::filesystem::create_symlink(elsewhere / "real", path_);
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  WriteFile(elsewhere / "new", "[30081]");
  std::filesystem::rename(elsewhere / "new", elsewhere / "real");
  EXPECT_EQ(Next(), "30081/tcp");
}

TEST_F(FileFollowTest, RemovedAndBack) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  std::filesystem::remove(path_);
  EXPECT_THAT(Next(), HasSubstr("No such file"));
  EXPECT_TRUE(ReportsNothing());  // the error is reported once
  WriteFile(path_, "[30080]");
  EXPECT_EQ(Next(), "30080/tcp");
}

TEST_F(FileFollowTest, AppearsLater) {
  Follow();
  EXPECT_THAT(Next(), HasSubstr("No such file"));
  WriteFile(path_, "[30080]");
  EXPECT_EQ(Next(), "30080/tcp");
}

TEST_F(FileFollowTest, HalfWrittenThenCompleted) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  WriteFile(path_, "[30080, 300");
  EXPECT_THAT(Next(), HasSubstr("line 1: not valid JSON"));
  WriteFile(path_, "[30080, 30081]");
  EXPECT_EQ(Next(), "30080/tcp 30081/tcp");
}

TEST_F(FileFollowTest, ReportsAnErrorAgainWhenItChanges) {
  WriteFile(path_, "[30080");
  Follow();
  EXPECT_THAT(Next(), HasSubstr("line 1"));
  WriteFile(path_, "[30081");
  EXPECT_TRUE(ReportsNothing());
  WriteFile(path_, "[\n30081");
  EXPECT_THAT(Next(), HasSubstr("line 2"));
}

TEST_F(FileFollowTest, DoesNotReadAFileWhileItIsWritten) {
  WriteFile(path_, "- 30080\n- 30081\n");
  Follow({.poll = absl::Milliseconds(20), .patience = absl::Hours(1)});
  EXPECT_EQ(Next(), "30080/tcp 30081/tcp");
  base::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  ASSERT_TRUE(fd);
  EXPECT_TRUE(ReportsNothing());
  ASSERT_EQ(write(fd.get(), "- 30080\n", 8), 8);  // valid, but not complete
  EXPECT_TRUE(ReportsNothing());
  ASSERT_EQ(write(fd.get(), "- 30082\n", 8), 8);
  fd.Reset();
  EXPECT_EQ(Next(), "30080/tcp 30082/tcp");
}

TEST_F(FileFollowTest, DoesNotReadANewFileBeforeItIsClosed) {
  Follow();
  EXPECT_THAT(Next(), HasSubstr("No such file"));
  base::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd);
  EXPECT_TRUE(ReportsNothing());
  ASSERT_EQ(write(fd.get(), "[30080]", 7), 7);
  EXPECT_TRUE(ReportsNothing());
  fd.Reset();
  EXPECT_EQ(Next(), "30080/tcp");
}

TEST_F(FileFollowTest, ReadsAfterAWhileIfTheWriterDoesNotClose) {
  WriteFile(path_, "[30080]");
  Follow({.poll = absl::Milliseconds(20), .patience = absl::Milliseconds(200)});
  EXPECT_EQ(Next(), "30080/tcp");
  const base::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  ASSERT_EQ(write(fd.get(), "[30081]", 7), 7);
  EXPECT_EQ(Next(), "30081/tcp");
}

TEST_F(FileFollowTest, ReadsTheReplacementOfAFileThatIsBeingWritten) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  const base::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(write(fd.get(), "[", 1), 1);
  EXPECT_TRUE(ReportsNothing());
  Replace("[30081]");
  EXPECT_EQ(Next(), "30081/tcp");
}

TEST_F(FileFollowTest, ThePollFindsChangesThatInotifyMisses) {
  // A symbolic link in the path changes to another folder.
  std::filesystem::create_directory(folder_ / "a");
  std::filesystem::create_directory(folder_ / "b");
  WriteFile(folder_ / "a/ports.json", "[30080]");
  WriteFile(folder_ / "b/ports.json", "[30081]");
  std::filesystem::create_symlink("a", folder_ / "current");
  path_ = folder_ / "current/ports.json";
  Follow({.poll = absl::Milliseconds(20)});
  EXPECT_EQ(Next(), "30080/tcp");
  std::filesystem::create_symlink("b", folder_ / "next");
  std::filesystem::rename(folder_ / "next", folder_ / "current");
  EXPECT_EQ(Next(), "30081/tcp");
}

TEST_F(FileFollowTest, AFolderThatAppearsLater) {
  path_ = folder_ / "later/ports.json";
  Follow({.poll = absl::Milliseconds(20)});
  EXPECT_THAT(Next(), HasSubstr("No such file"));
  std::filesystem::create_directory(folder_ / "later");
  WriteFile(path_, "[30080]");
  EXPECT_EQ(Next(), "30080/tcp");
}

TEST_F(FileFollowTest, IgnoresOtherFilesOfTheFolder) {
  WriteFile(path_, "[30080]");
  Follow();
  EXPECT_EQ(Next(), "30080/tcp");
  WriteFile(folder_ / "other", "[30081]");
  std::filesystem::rename(folder_ / "other", folder_ / "another");
  EXPECT_TRUE(ReportsNothing());
}

TEST_F(FileFollowTest, BecomesReadable) {
  WriteFile(path_, "[30080]");
  std::filesystem::permissions(path_, std::filesystem::perms::none);
  std::filesystem::permissions(folder_.path(), std::filesystem::perms::all);
  const uid_t user = geteuid();
  ASSERT_TRUE(user != 0 || seteuid(65534) == 0);
  Follow();
  EXPECT_THAT(Next(), HasSubstr("Permission denied"));
  ASSERT_TRUE(user != 0 || seteuid(0) == 0);
  std::filesystem::permissions(path_, std::filesystem::perms::owner_read);
  EXPECT_EQ(Next(), "30080/tcp");
}

// A file with one Service, a/web with nodePort 30080.
std::string ServiceWithTarget(absl::string_view target) {
  return absl::StrCat(R"({"kind":"Service","metadata":{"namespace":"a","name":"web"},"spec":{)",
                      R"("type":"NodePort","selector":{"app":"web"},"ports":[{"targetPort":)",
                      target, R"(,"nodePort":30080}]}})");
}

TEST_F(FileFollowTest, ReportsAChangeOfTheBindFactsAlone) {
  WriteFile(path_, ServiceWithTarget("8080"));
  Follow();
  EXPECT_EQ(source_->bind_facts(), nullptr);
  EXPECT_EQ(Next(), "30080/tcp");
  const core::BindFacts* const facts = source_->bind_facts();
  ASSERT_NE(facts, nullptr);
  EXPECT_THAT(facts->refusable, ElementsAre(Pair(Tcp(30080), core::kServiceV4)));
  Replace(ServiceWithTarget(R"("http")"));
  EXPECT_EQ(Next(), "30080/tcp");
  EXPECT_EQ(source_->bind_facts(), facts);
  EXPECT_TRUE(facts->refusable.empty());
  EXPECT_THAT(facts->shared, ElementsAre(Tcp(30080)));
  Replace(ServiceWithTarget(R"("https")"));
  EXPECT_TRUE(ReportsNothing());
  Replace("[30080");
  EXPECT_THAT(Next(), HasSubstr("not valid JSON"));
  EXPECT_THAT(source_->bind_facts()->shared, ElementsAre(Tcp(30080))) << "of the last reading";
}

TEST(FileSourceTest, ReadHasTheBindFacts) {
  const TempFolder folder;
  FileSource source(folder / "ports.json");
  EXPECT_FALSE(source.Read().ok());
  EXPECT_EQ(source.bind_facts(), nullptr);
  WriteFile(folder / "ports.json", "[30080]");
  NPG_ASSERT_OK(source.Read());
  ASSERT_NE(source.bind_facts(), nullptr);
  EXPECT_THAT(source.bind_facts()->refusable,
              ElementsAre(Pair(Tcp(30080), core::kServiceV4 | core::kServiceV6)));
}

// What kept it from being read need not show in the file.
TEST_F(FileFollowTest, IsReadAgainAfterAnErrorOfTheSystem) {
  WriteFile(path_, "[30080]");
  Follow({.poll = absl::Milliseconds(20)});
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string error = Next();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(error, HasSubstr("Too many open files"));
  EXPECT_EQ(Next(), "30080/tcp");
}

}  // namespace
}  // namespace npg::sources::file_source_test

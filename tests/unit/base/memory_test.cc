// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace npg::base::memory_test {
namespace {

constexpr size_t kPages = 16;

size_t PageSize() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// A private mapping of a file that has one letter on each page: 'a', 'b', ...
class FileMapping {
 public:
  FileMapping() {
    std::string path = ::testing::TempDir() + "/memory_test.XXXXXX";
    const UniqueFd file(mkstemp(path.data()));
    EXPECT_TRUE(file) << path;
    unlink(path.c_str());
    for (size_t page = 0; page < kPages; ++page) {
      const std::string text(PageSize(), Letter(page));
      EXPECT_EQ(write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    void* const mapped = mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
    EXPECT_NE(mapped, MAP_FAILED);
    data_ = static_cast<char*>(mapped);
  }
  ~FileMapping() { munmap(data_, size()); }
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  static char Letter(size_t page) { return static_cast<char>('a' + page); }
  static size_t size() { return kPages * PageSize(); }

  void Write(size_t page, char letter) { data_[page * PageSize()] = letter; }
  void MakeReadOnly() { EXPECT_EQ(mprotect(data_, size(), PROT_READ), 0); }

  // The first letter of each page, which also makes it resident.
  std::string Letters() const {
    std::string letters;
    for (size_t page = 0; page < kPages; ++page) {
      letters += *static_cast<const volatile char*>(data_ + page * PageSize());
    }
    return letters;
  }

  // How much of it is resident in this process. mincore() would tell of the
  // page cache.
  size_t ResidentKib() const {
    const std::string begin = absl::StrCat(absl::Hex(reinterpret_cast<uintptr_t>(data_)), "-");
    std::ifstream smaps("/proc/self/smaps");
    std::string line;
    while (std::getline(smaps, line) && !absl::StartsWith(line, begin)) {
    }
    while (std::getline(smaps, line)) {
      size_t kib = 0;
      if (std::sscanf(line.c_str(), "Rss: %zu kB", &kib) == 1) return kib;
    }
    ADD_FAILURE() << "no Rss of " << begin;
    return 0;
  }

 private:
  char* data_ = nullptr;
};

std::string AllLetters() {
  std::string letters;
  for (size_t page = 0; page < kPages; ++page) letters += FileMapping::Letter(page);
  return letters;
}

TEST(ReleaseUnusedMemory, DropsPagesThatAreInTheFileToo) {
  FileMapping mapping;
  mapping.MakeReadOnly();
  ASSERT_EQ(mapping.Letters(), AllLetters());
  ASSERT_EQ(mapping.ResidentKib() * 1024, FileMapping::size());
  ReleaseUnusedMemory();
  EXPECT_EQ(mapping.ResidentKib(), 0U);
  EXPECT_EQ(mapping.Letters(), AllLetters());
}

TEST(ReleaseUnusedMemory, KeepsWhatWasWrittenBeforeItBecameReadOnly) {
  FileMapping mapping;
  mapping.Write(3, 'X');
  mapping.MakeReadOnly();
  ReleaseUnusedMemory();
  std::string expected = AllLetters();
  expected[3] = 'X';
  EXPECT_EQ(mapping.Letters(), expected);
}

TEST(ReleaseUnusedMemory, KeepsWhatMayBeWritten) {
  FileMapping mapping;
  mapping.Write(3, 'X');
  ReleaseUnusedMemory();
  std::string expected = AllLetters();
  expected[3] = 'X';
  EXPECT_EQ(mapping.Letters(), expected);
}

// Code, constants and relocated tables of this program and its libraries.
TEST(ReleaseUnusedMemory, TheProgramGoesOn) {
  for (int i = 0; i < 3; ++i) {
    ReleaseUnusedMemory();
    std::ostringstream text;
    text << std::string(1000, 'x') << 1.5;
    EXPECT_EQ(text.str().size(), 1003U);
    EXPECT_EQ(absl::StrCat("a", i), std::string("a") + static_cast<char>('0' + i));
  }
}

// One mapping of smaps, with its lines that are of interest.
struct Entry {
  std::string mapping = "1000-3000 r-xp 00000000 fe:00 1234   /usr/lib/libc.so.6";
  std::string anonymous = "Anonymous:             0 kB";
  std::string swap = "Swap:                  0 kB";
};

std::vector<MemoryRange> Clean(const std::vector<Entry>& entries) {
  std::string text;
  for (const Entry& entry : entries) {
    absl::StrAppend(&text, entry.mapping, "\nSize:     8 kB\n", entry.anonymous, "\n",
                    "AnonHugePages:         0 kB\n", entry.swap, "\nSwapPss:     0 kB\n",
                    "VmFlags: rd ex mr mw me \n");
  }
  std::istringstream smaps(text);
  return CleanFileMappings(smaps);
}

TEST(CleanFileMappings, FindsThoseWithoutPagesOfTheirOwn) {
  const MemoryRange range = {0x1000, 0x3000};
  EXPECT_EQ(Clean({{}}), std::vector{range});
  EXPECT_EQ(Clean({{.mapping = "1000-3000 r--p 00001000 fe:00 1234   /usr/lib/a b.so (deleted)"}}),
            std::vector{range});
  const MemoryRange other = {0x7f0000000000, 0x7fffffffe000};
  EXPECT_EQ(Clean({{}, {.mapping = "7f0000000000-7fffffffe000 r--p 0 fe:00 7   /bin/x"}}),
            (std::vector{range, other}));
}

TEST(CleanFileMappings, LeavesAllOthers) {
  const std::vector<std::pair<std::string, Entry>> cases = {
      {"written to", {.anonymous = "Anonymous:             4 kB"}},
      {"written to and swapped out", {.swap = "Swap:                  4 kB"}},
      {"not known", {.anonymous = "Anonymous:"}},
      {"not told", {.anonymous = ""}},
      {"may be written to", {.mapping = "1000-3000 rw-p 00000000 fe:00 1234   /usr/lib/libc.so.6"}},
      {"shared", {.mapping = "1000-3000 r--s 00000000 fe:00 1234   /usr/lib/libc.so.6"}},
      {"no file", {.mapping = "1000-3000 r--p 00000000 00:00 0 "}},
      {"vdso", {.mapping = "1000-3000 r-xp 00000000 00:00 0   [vdso]"}},
      {"no access", {.mapping = "1000-3000 ---p 00000000 fe:00 1234   /usr/lib/libc.so.6"}},
      {"no addresses", {.mapping = "x-y r-xp 00000000 fe:00 1234   /usr/lib/libc.so.6"}}};
  for (const auto& [what, entry] : cases) {
    EXPECT_TRUE(Clean({entry}).empty()) << what;
    EXPECT_EQ(Clean({{}, entry}).size(), 1U) << what << ", after another";
  }
}

}  // namespace
}  // namespace npg::base::memory_test

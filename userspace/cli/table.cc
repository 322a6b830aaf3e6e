// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/printable.h"
#include "cli/args/text.h"

namespace npg::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kNarrowestWrap = 16;

absl::string_view ColourCode(Tone tone) {
  switch (tone) {
    case Tone::kPlain:
      return "";
    case Tone::kHeading:
      return "\x1b[1m";
    case Tone::kGood:
      return "\x1b[32m";
    case Tone::kWarn:
      return "\x1b[33m";
    case Tone::kBad:
      return "\x1b[1;31m";
  }
  return "";
}

// Appends one line, of the cells' parts for it.
void AppendLine(std::string& out, const std::vector<Column>& columns,
                const std::vector<size_t>& widths, const std::vector<Cell>& cells,
                absl::string_view indent, const Style& style) {
  std::string blanks(indent);
  for (size_t i = 0; i < columns.size(); ++i) {
    const size_t padding = widths[i] - std::min(widths[i], DisplayWidth(cells[i].text));
    if (columns[i].right) blanks.append(padding, ' ');
    // Pending blanks are written only before text, so that no line ends in one.
    if (!cells[i].text.empty()) {
      absl::StrAppend(&out, blanks, Paint(cells[i].text, cells[i].tone, style));
      blanks.clear();
    }
    blanks.append((columns[i].right ? 0 : padding) + kGap, ' ');
  }
  out += '\n';
}

}  // namespace

Style StyleOfStdout() {
  Style style;
  if (isatty(STDOUT_FILENO) == 0) return style;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    style.width = std::max<size_t>(style.width, size.ws_col);
  }
  const char* no_color = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): never set here
  const char* term = std::getenv("TERM");          // NOLINT(concurrency-mt-unsafe): as above
  style.colour = (no_color == nullptr || *no_color == '\0') && term != nullptr &&
                 absl::string_view(term) != "dumb";
  return style;
}

std::string Paint(absl::string_view text, Tone tone, const Style& style) {
  if (!style.colour || tone == Tone::kPlain) return std::string(text);
  return absl::StrCat(ColourCode(tone), text, "\x1b[0m");
}

void Table::AddRow(std::vector<Cell> cells) {
  cells.resize(columns_.size(), "");
  for (Cell& cell : cells) cell.text = base::Printable(cell.text);
  rows_.push_back(std::move(cells));
}

std::vector<size_t> Table::Widths(const Style& style, size_t indent) const {
  std::vector<size_t> widths;
  size_t total = indent + (columns_.empty() ? 0 : (columns_.size() - 1) * kGap);
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = DisplayWidth(columns_[i].title);
    for (const std::vector<Cell>& row : rows_) width = std::max(width, DisplayWidth(row[i].text));
    widths.push_back(width);
    total += width;
  }
  for (size_t i = 0; i < columns_.size() && total > style.width; ++i) {
    if (!columns_[i].wrap) continue;
    const size_t excess = total - style.width;
    const size_t narrowest = std::min(widths[i], kNarrowestWrap);
    widths[i] = std::max(narrowest, widths[i] - std::min(widths[i], excess));
  }
  return widths;
}

std::string Table::Render(const Style& style, absl::string_view indent) const {
  const std::vector<size_t> widths = Widths(style, indent.size());
  std::string out;
  std::vector<Cell> titles;
  bool titled = false;
  for (const Column& column : columns_) {
    titles.emplace_back(column.title, Tone::kHeading);
    titled = titled || !column.title.empty();
  }
  if (titled) AppendLine(out, columns_, widths, titles, indent, style);
  for (const std::vector<Cell>& row : rows_) {
    // parts[i]: the lines of cell i.
    std::vector<std::vector<std::string>> parts;
    size_t lines = 1;
    for (size_t i = 0; i < row.size(); ++i) {
      parts.push_back(columns_[i].wrap ? Wrap(row[i].text, widths[i])
                                       : std::vector<std::string>{row[i].text});
      lines = std::max(lines, parts.back().size());
    }
    for (size_t line = 0; line < lines; ++line) {
      std::vector<Cell> cells;
      for (size_t i = 0; i < row.size(); ++i) {
        cells.emplace_back(line < parts[i].size() ? parts[i][line] : "", row[i].tone);
      }
      AppendLine(out, columns_, widths, cells, indent, style);
    }
  }
  return out;
}

}  // namespace npg::cli

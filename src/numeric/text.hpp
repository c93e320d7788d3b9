// SPDX-License-Identifier: Apache-2.0
// Numbers in messages, without streams and locales.
#pragma once

#include <array>
#include <charconv>
#include <string>

namespace fastkmeans {

// The shortest text that reads back as the same number.
inline std::string text_of(double value) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

}  // namespace fastkmeans

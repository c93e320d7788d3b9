// SPDX-License-Identifier: Apache-2.0
// A program that uses the shared library. Exceptions cross its border in both directions: each must arrive as what it
// was, also where the library has a C++ run time of its own.
#include <cstdio>
#include <stdexcept>

#include "fastkmeans/fastkmeans.hpp"

namespace {

// Whether `call` throws an E.
template <class E, class Call>
bool throws(const char* what, const Call& call) {
  try {
    call();
  } catch (const E&) {
    return true;
  } catch (...) {
  }
  std::printf("%s did not arrive\n", what);
  return false;
}

struct Own {};

}  // namespace

int main() {
  const float values[] = {0, 1, 5, 6, 9, 2};
  const fastkmeans::MatrixView x(values, 6, 1);
  fastkmeans::Params good;
  good.k = 2;
  fastkmeans::Params no_clusters, own = good, interrupted = good;
  own.callback = [](const fastkmeans::IterationStats&) -> bool { throw Own(); };
  interrupted.callback = [](const fastkmeans::IterationStats&) -> bool { throw fastkmeans::Interrupted(); };
  const bool all = throws<std::invalid_argument>("invalid_argument", [&] { fit(x, no_clusters); }) &&
                   throws<Own>("a callback's own", [&] { fit(x, own); }) &&
                   throws<fastkmeans::Interrupted>("Interrupted", [&] { fit(x, interrupted); });
  return all && fit(x, good).labels.size() == 6 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// What goes wrong on a device.
#pragma once

#include <stdexcept>

namespace fastkmeans::cuda {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
class OutOfMemory : public Error {
 public:
  using Error::Error;
};
// CUDA refuses an argument: to copy what is not all of one allocation, for one.
class InvalidValue : public Error {
 public:
  using Error::Error;
};

}  // namespace fastkmeans::cuda

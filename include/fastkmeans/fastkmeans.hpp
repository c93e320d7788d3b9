// SPDX-License-Identifier: Apache-2.0
// fastkmeans: exact k-means. The same bits for any thread count, chunk size, instruction set and input layout;
// docs/algorithm.md has the rules and their proofs.
//
// Thread-safe: any number of fits may run at once. Errors are thrown in the calling thread:
//   std::invalid_argument  a parameter or the data is wrong (names it, the value and what is allowed)
//   std::runtime_error     FASTKMEANS_ISA or Execution::isa cannot be had; or, with FASTKMEANS_VERIFY=1 in the
//   environment,
//                          an assignment of which 1,000 rows are checked is not that of the scalar oracle
//   Interrupted            Execution::interrupt returned true
//   std::bad_alloc         out of memory
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "fastkmeans/export.hpp"
#include "fastkmeans/matrix_view.hpp"
#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "fastkmeans/version.hpp"

namespace fastkmeans {

class FASTKMEANS_API Interrupted : public std::runtime_error {
 public:
  Interrupted();
  ~Interrupted() override;
};

// Lloyd's algorithm on the rows of x (n, d). Memory beyond x: 12 bytes a row, 8 more for labels; with the int8 filter
// K + 16 bytes a row, K being d rounded up to a multiple of 16 (64 with AMX); with lower bounds 4 bytes a row and group
// of centroids, but at most 4 d, and never more than 1024 bytes a row (or 64 if d is below 16), the last rows counting
// up to a multiple of 16; 28 bytes an element of the centroids (36 where the sums need two limbs) and some 60 a
// centroid, in 4 of which fewer than 32 centroids count as 32; up to 64 MiB for rows being converted; a subsample is
// copied in x's dtype.
FASTKMEANS_API Result fit(const MatrixView& x, const Params& params);

// The nearest centroid, by D, of each row of x (n, d); centroids (k, d); ties to the lowest index. x may have no rows,
// and then no address; all else is checked as ever.
FASTKMEANS_API Prediction predict(const MatrixView& x, const MatrixView& centroids, const PredictParams& params = {});

struct InstructionSet {
  std::string name;
  bool available;  // built in, and this CPU and operating system have it
};
// All names that FASTKMEANS_ISA knows, the plain ones first.
FASTKMEANS_API std::vector<InstructionSet> instruction_sets();
// The instruction set a call would use; throws std::runtime_error if `isa`, or FASTKMEANS_ISA, cannot be had.
FASTKMEANS_API std::string chosen_isa(const std::string& isa = {});
// The number of threads a call with n_threads = 0 would use.
FASTKMEANS_API int default_threads();
// Version of the library at run time, compiler and flags.
FASTKMEANS_API std::string version();
FASTKMEANS_API std::string build_info();

}  // namespace fastkmeans

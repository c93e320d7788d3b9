// SPDX-License-Identifier: Apache-2.0
// fastkmeans: exact k-means. The same bits for any thread count, chunk size, instruction set and input layout;
// docs/algorithm.md has the rules and their proofs.
//
// Thread-safe: any number of fits may run at once. Errors are thrown in the calling thread:
//   std::invalid_argument  a parameter or the data is wrong (names it, the value and what is allowed)
//   std::runtime_error     FASTKMEANS_ISA, Execution::isa or Execution::device cannot be had; CUDA failed; or, with
//                          FASTKMEANS_VERIFY=1 in the environment, an assignment of which 1,000 rows are checked is not
//                          that of the scalar oracle
//   Interrupted            Execution::interrupt returned true
//   std::bad_alloc         out of memory
#pragma once

#include <span>
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

// Lloyd's algorithm on the rows of x (n, d). Memory beyond x: 12 bytes a row, 8 more for labels, 8 for weights; with
// the int8 filter K + 16 bytes a row, K being d rounded up to a multiple of 16 (64 with AMX), or 256 at most if they
// are narrow, and 16 MiB for the directions; with lower bounds 2 bytes a row and group of centroids, but at most 4 d,
// and never more than 1024 bytes a row (or 64 if d is below 16), the last rows counting up to a multiple of 16; 29
// bytes an element of the centroids (37 where the sums need two limbs) and some 60 a centroid, in 4 of which fewer than
// 32 centroids count as 32; up to 64 MiB for rows being converted; a subsample is copied in x's dtype.
FASTKMEANS_API Result fit(const MatrixView& x, const Params& params);

// A fit of each of B problems, (n_b, d), bit for bit as fit() makes it with params.each; B may be 0. Small problems run
// side by side, a thread each, in memory that follows from those that run; large ones one after the other, with all
// threads. On a CUDA device large ones run, one after the other, and many small ones whose rows lie there, together: 4
// bytes a row and 12 an element of the centroids, and 4 an element of rows that are not fp32. Other small ones run on
// the CPU, whatever device is named: rows that lie on a device are copied to the host for them, 256 MiB at a time.
// Errors name the problem, the first that is wrong.
FASTKMEANS_API BatchResult fit_batch(std::span<const MatrixView> problems, const BatchParams& params);

// The nearest centroid, by D, of each row of x (n, d); centroids (k, d), in host memory; ties to the lowest index. x
// may have no rows, and then no address; all else is checked as ever.
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

// What this process can do with CUDA.
enum class CudaStatus {
  ready,               // at least one device can be used
  not_built,           // this library was built without CUDA
  no_driver,           // no NVIDIA driver
  old_driver,          // it knows an older CUDA than ours
  no_device,           // a driver, but no device
  unsupported_device,  // no device has compute capability 8.0
  after_fork,          // the process was forked after CUDA had begun; CUDA needs the start method spawn
  failed,              // the driver reports an error
};
struct CudaDevice {
  int number = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  std::int64_t memory = 0;   // bytes in all
  bool usable = false;
};
struct CudaState {
  CudaStatus status = CudaStatus::not_built;
  std::string problem;  // one line for people, with "CUDA" in it, unless ready
  int driver = 0;       // the CUDA version that the driver knows, 1000 major + 10 minor; 0: no driver
  std::vector<CudaDevice> devices;
};
// Asks the driver once a process; no device is set up for it.
FASTKMEANS_API CudaState cuda_state();
// Where a call with this Execution::device would run, "cpu" or "cuda:N", if the work is worth it; throws
// std::runtime_error if it cannot.
FASTKMEANS_API std::string chosen_device(const std::string& device = {});
// All names that FASTKMEANS_CUDA_KERNEL knows; none where this library was built without CUDA.
FASTKMEANS_API std::vector<std::string> cuda_kernels();

// Version of the library at run time, compiler and flags.
FASTKMEANS_API std::string version();
FASTKMEANS_API std::string build_info();

}  // namespace fastkmeans

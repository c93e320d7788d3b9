// SPDX-License-Identifier: Apache-2.0
// fastkmeans._core: arrays in, arrays out, the GIL released while the core works. Checks, defaults and messages for
// people are in python/fastkmeans; the core throws std::invalid_argument (ValueError) for what they let through.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fastkmeans/fastkmeans.hpp"

namespace nb = nanobind;
using namespace nb::literals;
namespace fk = fastkmeans;

namespace {

fk::DType dtype_from_name(std::string_view name) {
  using enum fk::DType;
  static constexpr std::array<std::pair<std::string_view, fk::DType>, 12> dtypes{{
      {"float32", f32},
      {"float64", f64},
      {"float16", f16},
      {"bfloat16", bf16},
      {"int8", i8},
      {"uint8", u8},
      {"int16", i16},
      {"uint16", u16},
      {"int32", i32},
      {"uint32", u32},
      {"int64", i64},
      {"uint64", u64},
  }};
  for (const auto& [known, dtype] : dtypes) {
    if (known == name) return dtype;
  }
  throw std::invalid_argument("unknown dtype name '" + std::string(name) + "'");
}

// One number for each row.
using Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// An array, held for as long as the core reads it: a buffer, or a _device_input.DeviceMatrix (in the memory of a CUDA
// device), whose owner the caller's arguments hold. Byte strides are taken as they are, so every view is read in place.
// The dtype comes by name, since the buffer protocol has no bfloat16.
class Rows {
 public:
  Rows(nb::handle array, std::string_view dtype_name) : dtype_(dtype_from_name(dtype_name)) {
    if (PyTuple_Check(array.ptr())) {
      address_ = reinterpret_cast<const char*>(nb::cast<std::uintptr_t>(array.attr("address")));
      shape_ = nb::cast<std::vector<std::int64_t>>(array.attr("shape"));
      strides_ = nb::cast<std::vector<std::int64_t>>(array.attr("strides"));
      cuda_device_ = nb::cast<int>(array.attr("device"));
      stream_ = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(array.attr("stream")));
      return;
    }
    if (PyObject_GetBuffer(array.ptr(), &buffer_, PyBUF_STRIDES) != 0) throw nb::python_error();
    if (static_cast<std::size_t>(buffer_.itemsize) != fk::item_size(dtype_)) {
      PyBuffer_Release(&buffer_);
      throw std::invalid_argument("expected a buffer of " + std::string(dtype_name));
    }
    address_ = static_cast<const char*>(buffer_.buf);
    shape_.assign(buffer_.shape, buffer_.shape + buffer_.ndim);
    strides_.assign(buffer_.strides, buffer_.strides + buffer_.ndim);
  }
  ~Rows() { PyBuffer_Release(&buffer_); }  // of a buffer that was never filled, nothing
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  // All of a matrix.
  fk::MatrixView view() const {
    require_dimensions(2);
    return part(0, shape_[0], 0);
  }
  // The matrices of a three-dimensional array; with offsets, rows [offsets[b], offsets[b + 1]) of one matrix.
  std::vector<fk::MatrixView> views(const std::optional<Integers>& offsets) const {
    require_dimensions(offsets ? 2 : 3);
    std::vector<fk::MatrixView> parts;
    parts.reserve(offsets ? offsets->size() : static_cast<std::size_t>(shape_[0]));
    if (offsets)
      for (std::size_t b = 0; b + 1 < offsets->size(); ++b)
        parts.push_back(part(offsets->data()[b] * strides_[0], offsets->data()[b + 1] - offsets->data()[b], 0));
    else
      for (std::int64_t b = 0; b < shape_[0]; ++b) parts.push_back(part(b * strides_[0], shape_[1], 1));
    return parts;
  }
  void* stream() const { return stream_; }

 private:
  void require_dimensions(std::size_t wanted) const {
    if (shape_.size() != wanted)
      throw std::invalid_argument("expected an array of " + std::to_string(wanted) + " dimensions, given " +
                                  std::to_string(shape_.size()));
  }
  // So many rows, from these bytes on; row_axis: the axis along which they lie.
  fk::MatrixView part(std::int64_t bytes, std::int64_t rows, std::size_t row_axis) const {
    fk::MatrixView view(address_ + bytes, rows, shape_[row_axis + 1], dtype_, strides_[row_axis],
                        strides_[row_axis + 1]);
    view.cuda_device = cuda_device_;
    return view;
  }

  fk::DType dtype_;
  Py_buffer buffer_{};
  const char* address_ = nullptr;
  std::vector<std::int64_t> shape_, strides_;
  int cuda_device_ = fk::MatrixView::kHost;
  void* stream_ = nullptr;
};

// A numpy array that owns the vector's memory.
template <typename T>
nb::object to_numpy(std::vector<T>&& values, std::initializer_list<std::size_t> shape) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  owned.release();
  return nb::cast(nb::ndarray<nb::numpy, T>(data, shape, owner));
}

template <typename T>
nb::object to_numpy_or_none(std::vector<T>&& values, bool wanted) {
  if (!wanted) return nb::none();
  const std::size_t n = values.size();
  return to_numpy(std::move(values), {n});
}

// Names in the order of the values.
constexpr const char* kMetrics[] = {"euclidean", "cosine", "inner_product"};
constexpr const char* kInitMethods[] = {"random", "k-means++", "k-means||", "afk-mc2"};
constexpr const char* kEmptyClusters[] = {"farthest", "split", "random"};

template <class Value, std::size_t n>
Value from_name(const char* option, std::string_view name, const char* const (&names)[n]) {
  std::string allowed;
  for (std::size_t i = 0; i < n; ++i) {
    if (name == names[i]) return static_cast<Value>(i);
    allowed += std::string(i ? ", '" : "'") + names[i] + "'";
  }
  throw std::invalid_argument(std::string(option) + " is '" + std::string(name) + "'; it must be one of " + allowed);
}

const char* kind_name(fk::Warning::Kind kind) {
  switch (kind) {
    case fk::Warning::Kind::subsampled: return "subsampled";
    case fk::Warning::Kind::empty_clusters: return "empty_clusters";
    case fk::Warning::Kind::precision: return "precision";
    case fk::Warning::Kind::few_points: return "few_points";
    case fk::Warning::Kind::zero_rows: return "zero_rows";
  }
  return "";
}

// A daemon thread that wants the GIL when the interpreter is being finalised never gets it. CPython before 3.14 ends
// the thread by a forced unwind, which a destructor or a catch (...) above turns into an abort of the process. So every
// call that may wait for the GIL goes through here: the unwind stops at once, and the thread sleeps until the process
// ends, as CPython 3.14 has it. Looking at Py_IsFinalizing first would not do: finalisation may begin during the wait.
template <typename Call>
auto or_sleep_for_ever(Call&& call) {
  try {
    return call();
  } catch (...) {  // the calls are C: they throw nothing themselves
    for (;;) pause();
  }
}

class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased() {
    or_sleep_for_ever([this] { PyEval_RestoreThread(state_); });
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

 private:
  PyThreadState* state_;
};

class GilHeld {
 public:
  GilHeld() : state_(or_sleep_for_ever(&PyGILState_Ensure)) {}
  ~GilHeld() { PyGILState_Release(state_); }
  GilHeld(const GilHeld&) = delete;
  GilHeld& operator=(const GilHeld&) = delete;

 private:
  PyGILState_STATE state_;
};

// Raw pointers, since Python code runs here, which may wait for the GIL: an unwind must meet no destructor.
bool on_main_thread() {
  const bool same = or_sleep_for_ever([] {
    PyObject* threading = PyImport_ImportModule("threading");
    PyObject* main = threading ? PyObject_CallMethod(threading, "main_thread", nullptr) : nullptr;
    PyObject* ident = main ? PyObject_GetAttrString(main, "ident") : nullptr;
    const bool same_ident = ident && PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
    Py_XDECREF(ident);
    Py_XDECREF(main);
    Py_XDECREF(threading);
    return same_ident;
  });
  if (PyErr_Occurred()) throw nb::python_error();  // Ctrl-C just now
  return same;
}

fk::Execution execution(const Rows& x, std::string device, std::int64_t memory_limit, int n_threads,
                        std::int64_t chunk_size_data, std::int64_t chunk_size_centroids) {
  if (device != "cpu") fk::chosen_device(device);  // one that cannot be had is an error, however small the work
  fk::Execution execution;
  execution.device = std::move(device);
  execution.memory_limit = memory_limit;
  execution.cuda_stream = x.stream();
  execution.n_threads = n_threads;
  execution.chunk_size_data = chunk_size_data;
  execution.chunk_size_centroids = chunk_size_centroids;
  // Python handles signals on no other thread.
  if (on_main_thread()) {
    execution.interrupt = [] {  // Ctrl-C: KeyboardInterrupt travels through the core as the python_error thrown here
      const GilHeld gil;
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      return false;
    };
  }
  return execution;
}

// What the fits of one problem and of many have in common.
fk::Params options(int niter, double tol, double inertia_tol, double changed_tol, double max_runtime_secs,
                   std::uint64_t seed, std::optional<std::int64_t> max_points_per_centroid, int nredo,
                   std::string_view metric, bool frozen_centroids, bool int_centroids,
                   std::optional<std::int64_t> min_points_per_centroid, std::string_view empty_clusters,
                   std::string_view init_method, bool labels) {
  fk::Params params;
  params.niter = niter;
  params.tol = tol;
  params.inertia_tol = inertia_tol;
  params.changed_tol = changed_tol;
  params.max_runtime_secs = max_runtime_secs;
  params.seed = seed;
  params.max_points_per_centroid = max_points_per_centroid;
  params.nredo = nredo;
  params.metric = from_name<fk::MetricType>("metric", metric, kMetrics);
  params.frozen_centroids = frozen_centroids;
  params.int_centroids = int_centroids;
  params.min_points_per_centroid = min_points_per_centroid;
  params.empty_clusters = from_name<fk::EmptyClusters>("empty_clusters", empty_clusters, kEmptyClusters);
  params.init_method = from_name<fk::InitMethod>("init_method", init_method, kInitMethods);
  params.labels = labels;
  return params;
}

nb::dict fit(nb::handle data, std::string_view dtype, std::int64_t k, int niter, double tol, double inertia_tol,
             double changed_tol, double max_runtime_secs, std::uint64_t seed,
             std::optional<std::int64_t> max_points_per_centroid, int nredo, std::string_view metric,
             bool frozen_centroids, bool int_centroids, std::optional<std::int64_t> min_points_per_centroid,
             std::string_view empty_clusters, std::string_view init_method, nb::handle init,
             std::string_view init_dtype, std::optional<Vector> weights, bool labels, std::string device,
             std::int64_t memory_limit, int n_threads, std::int64_t chunk_size_data, std::int64_t chunk_size_centroids,
             nb::handle callback, std::uintptr_t device_centroids, std::uintptr_t device_labels) {
  const Rows x(data, dtype);
  std::optional<Rows> initial;
  fk::Params params =
      options(niter, tol, inertia_tol, changed_tol, max_runtime_secs, seed, max_points_per_centroid, nredo, metric,
              frozen_centroids, int_centroids, min_points_per_centroid, empty_clusters, init_method, labels);
  params.k = k;
  if (!init.is_none()) params.init = initial.emplace(init, init_dtype).view();
  if (weights) params.weights = {weights->data(), weights->size()};
  params.on_device = {reinterpret_cast<float*>(device_centroids), reinterpret_cast<std::int64_t*>(device_labels)};
  const bool on_host = device_centroids == 0;
  params.execution = execution(x, std::move(device), memory_limit, n_threads, chunk_size_data, chunk_size_centroids);
  if (!callback.is_none()) {
    params.callback = [callback](const fk::IterationStats& stats) {
      const GilHeld gil;
      const nb::object copy = nb::cast(stats);
      PyObject* answer = or_sleep_for_ever([&] { return PyObject_CallOneArg(callback.ptr(), copy.ptr()); });
      const int stop = answer ? or_sleep_for_ever([&] { return PyObject_IsTrue(answer); }) : -1;
      Py_XDECREF(answer);
      if (stop < 0) throw nb::python_error();
      return stop != 0;
    };
  }
  fk::Result result;
  {
    const GilReleased no_gil;
    result = fk::fit(x.view(), params);
  }
  nb::list iterations;
  for (const auto& stats : result.iterations) iterations.append(stats);
  nb::list warnings;
  for (const auto& warning : result.warnings) {
    warnings.append(nb::make_tuple(kind_name(warning.kind), warning.message));
  }
  nb::dict out;
  const auto rows = static_cast<std::size_t>(result.k), columns = static_cast<std::size_t>(result.d);
  out["centroids"] = on_host ? to_numpy(std::move(result.centroids), {rows, columns}) : nb::none();
  out["labels"] = to_numpy_or_none(std::move(result.labels), on_host && labels);
  out["inertia"] = result.inertia;
  out["n_iter"] = result.n_iter;
  out["converged"] = result.converged;
  out["timed_out"] = result.timed_out;
  out["n_used"] = result.n_used;
  out["n_zero"] = result.n_zero;
  out["iterations"] = std::move(iterations);
  out["warnings"] = std::move(warnings);
  return out;
}

nb::dict fit_batch(nb::handle data, std::string_view dtype, std::optional<Integers> offsets, Integers k, int niter,
                   double tol, double inertia_tol, double changed_tol, double max_runtime_secs, std::uint64_t seed,
                   std::optional<std::int64_t> max_points_per_centroid, int nredo, std::string_view metric,
                   bool frozen_centroids, bool int_centroids, std::optional<std::int64_t> min_points_per_centroid,
                   std::string_view empty_clusters, std::string_view init_method, nb::handle init,
                   std::string_view init_dtype, std::optional<Integers> init_offsets, std::optional<Vector> weights,
                   bool labels, std::string device, std::int64_t memory_limit, int n_threads,
                   std::int64_t chunk_size_data, std::int64_t chunk_size_centroids, std::uintptr_t device_centroids,
                   std::uintptr_t device_labels) {
  const Rows x(data, dtype);
  const std::vector<fk::MatrixView> problems = x.views(offsets);
  std::optional<Rows> initial;
  std::vector<fk::MatrixView> starts;
  fk::BatchParams params;
  params.each =
      options(niter, tol, inertia_tol, changed_tol, max_runtime_secs, seed, max_points_per_centroid, nredo, metric,
              frozen_centroids, int_centroids, min_points_per_centroid, empty_clusters, init_method, labels);
  params.k = {k.data(), k.size()};
  if (!init.is_none()) params.init = starts = initial.emplace(init, init_dtype).views(init_offsets);
  if (weights) params.each.weights = {weights->data(), weights->size()};
  params.each.on_device = {reinterpret_cast<float*>(device_centroids), reinterpret_cast<std::int64_t*>(device_labels)};
  const bool on_host = device_centroids == 0;
  params.each.execution =
      execution(x, std::move(device), memory_limit, n_threads, chunk_size_data, chunk_size_centroids);
  fk::BatchResult result;
  {
    const GilReleased no_gil;
    result = fk::fit_batch(problems, params);
  }
  nb::list warnings;
  for (const auto& [problem, warning] : result.warnings)
    warnings.append(nb::make_tuple(problem, kind_name(warning.kind), warning.message));
  nb::dict out;
  out["centroids"] = to_numpy_or_none(std::move(result.centroids), on_host);
  out["labels"] = to_numpy_or_none(std::move(result.labels), on_host && labels);
  out["inertia"] = to_numpy_or_none(std::move(result.inertia), true);
  out["n_iter"] = to_numpy_or_none(std::vector<std::int64_t>(result.n_iter.begin(), result.n_iter.end()), true);
  out["converged"] = to_numpy_or_none(std::move(result.converged), true);
  out["timed_out"] = to_numpy_or_none(std::move(result.timed_out), true);
  out["n_used"] = to_numpy_or_none(std::move(result.n_used), true);
  out["n_zero"] = to_numpy_or_none(std::move(result.n_zero), true);
  out["n_empty"] = to_numpy_or_none(std::move(result.n_empty), true);
  out["warnings"] = std::move(warnings);
  return out;
}

nb::dict predict(nb::handle data, std::string_view dtype, nb::handle centroids, std::string_view centroids_dtype,
                 bool distances, std::string_view metric, std::string device, std::int64_t memory_limit, int n_threads,
                 std::int64_t chunk_size_data, std::int64_t chunk_size_centroids) {
  const Rows x(data, dtype);
  const Rows c(centroids, centroids_dtype);
  fk::PredictParams params;
  params.distances = distances;
  params.metric = from_name<fk::MetricType>("metric", metric, kMetrics);
  params.execution = execution(x, std::move(device), memory_limit, n_threads, chunk_size_data, chunk_size_centroids);
  fk::Prediction prediction;
  {
    const GilReleased no_gil;
    prediction = fk::predict(x.view(), c.view(), params);
  }
  nb::dict out;
  out["labels"] = to_numpy_or_none(std::move(prediction.labels), true);
  out["distances"] = to_numpy_or_none(std::move(prediction.distances), distances);
  return out;
}

// The bits of a bfloat16 array that speaks DLPack, in place, as uint16; None for anything else. numpy has no such
// dtype.
nb::object bfloat16_bits(nb::handle data) {
  using Array = nb::ndarray<nb::ro, nb::device::cpu>;
  auto array = std::make_unique<Array>();
  if (!nb::try_cast(data, *array)) return nb::none();
  const nb::dlpack::dtype dtype = array->dtype();
  if (dtype.code != static_cast<std::uint8_t>(nb::dlpack::dtype_code::Bfloat) || dtype.bits != 16 || dtype.lanes != 1) {
    return nb::none();
  }
  const std::size_t ndim = array->ndim();
  std::vector<std::size_t> shape(ndim);
  std::vector<std::int64_t> strides(ndim);
  for (std::size_t i = 0; i < ndim; ++i) {
    shape[i] = array->shape(i);
    strides[i] = array->stride(i);
  }
  const void* bits = array->data();
  const nb::capsule owner(array.get(), [](void* p) noexcept { delete static_cast<Array*>(p); });
  array.release();
  return nb::cast(nb::ndarray<nb::numpy, nb::ro, const std::uint16_t>(bits, ndim, shape.data(), owner, strides.data()));
}

nb::dict instruction_sets() {
  nb::dict out;
  for (const auto& isa : fk::instruction_sets()) out[nb::str(isa.name.c_str())] = isa.available;
  return out;
}

const char* status_name(fk::CudaStatus status) {
  using enum fk::CudaStatus;
  switch (status) {
    case ready: return "ready";
    case not_built: return "not_built";
    case no_driver: return "no_driver";
    case old_driver: return "old_driver";
    case no_device: return "no_device";
    case unsupported_device: return "unsupported_device";
    case after_fork: return "after_fork";
    case failed: return "failed";
  }
  return "";
}

nb::dict cuda_state() {
  const fk::CudaState state = fk::cuda_state();
  nb::list devices;
  for (const fk::CudaDevice& found : state.devices) {
    nb::dict device;
    device["number"] = found.number;
    device["name"] = found.name;
    device["major"] = found.major;
    device["minor"] = found.minor;
    device["memory"] = found.memory;
    device["usable"] = found.usable;
    devices.append(std::move(device));
  }
  nb::dict out;
  out["status"] = status_name(state.status);
  out["problem"] = state.problem;
  out["driver"] = state.driver;
  out["devices"] = std::move(devices);
  return out;
}

}  // namespace

NB_MODULE(_core, m) {
  // A daemon thread that sleeps in a callback as the interpreter ends keeps what it holds: nothing to print of.
  nb::set_leak_warnings(false);

  using Stats = fk::IterationStats;
  nb::class_<Stats>(m, "IterationStats")
      .def_ro("redo", &Stats::redo)
      .def_ro("iteration", &Stats::iteration)
      .def_ro("inertia", &Stats::inertia)
      .def_ro("shift", &Stats::shift)
      .def_ro("changed", &Stats::changed)
      .def_ro("empty", &Stats::empty)
      .def_ro("relocated", &Stats::relocated)
      .def_ro("seconds", &Stats::seconds)
      .def_prop_ro("filter", [](const Stats& s) { return s.filter.filter; })
      .def_prop_ro("scored", [](const Stats& s) { return s.filter.scored; })
      .def_prop_ro("refined", [](const Stats& s) { return s.filter.refined; })
      .def_prop_ro("isa", [](const Stats& s) { return s.filter.isa; });

  const fk::Execution defaults;
  m.def("fit", &fit, "data"_a, "dtype"_a, nb::kw_only(), "k"_a, "niter"_a, "tol"_a, "inertia_tol"_a = 0.0,
        "changed_tol"_a = 0.0, "max_runtime_secs"_a = 0.0, "seed"_a, "max_points_per_centroid"_a.none(), "nredo"_a,
        "metric"_a = "euclidean", "frozen_centroids"_a = false, "int_centroids"_a = false,
        "min_points_per_centroid"_a.none() = nb::none(), "empty_clusters"_a = "farthest", "init_method"_a = "random",
        "init"_a.none(), "init_dtype"_a, "weights"_a.none() = nb::none(), "labels"_a, "device"_a, "memory_limit"_a,
        "n_threads"_a, "chunk_size_data"_a, "chunk_size_centroids"_a, "callback"_a.none(), "device_centroids"_a = 0,
        "device_labels"_a = 0);
  m.def("fit_batch", &fit_batch, "data"_a, "dtype"_a, nb::kw_only(), "offsets"_a.none(), "k"_a, "niter"_a, "tol"_a,
        "inertia_tol"_a, "changed_tol"_a, "max_runtime_secs"_a, "seed"_a, "max_points_per_centroid"_a.none(), "nredo"_a,
        "metric"_a, "frozen_centroids"_a, "int_centroids"_a, "min_points_per_centroid"_a.none(), "empty_clusters"_a,
        "init_method"_a, "init"_a.none(), "init_dtype"_a, "init_offsets"_a.none(), "weights"_a.none(), "labels"_a,
        "device"_a, "memory_limit"_a, "n_threads"_a, "chunk_size_data"_a, "chunk_size_centroids"_a,
        "device_centroids"_a = 0, "device_labels"_a = 0);
  m.def("predict", &predict, "data"_a, "dtype"_a, "centroids"_a, "centroids_dtype"_a, nb::kw_only(),
        "distances"_a = false, "metric"_a = "euclidean", "device"_a = "cpu", "memory_limit"_a = defaults.memory_limit,
        "n_threads"_a = defaults.n_threads, "chunk_size_data"_a = defaults.chunk_size_data,
        "chunk_size_centroids"_a = defaults.chunk_size_centroids);
  m.def("bfloat16_bits", &bfloat16_bits, "data"_a);
  m.def("instruction_sets", &instruction_sets);
  m.def("chosen_isa", [] { return fk::chosen_isa(); });
  m.def("default_threads", &fk::default_threads);
  m.def("build_info", &fk::build_info);
  m.def("cuda_state", &cuda_state);
  m.def("chosen_device", &fk::chosen_device, "device"_a = "");
  m.def("cuda_kernels", &fk::cuda_kernels);
}

// SPDX-License-Identifier: Apache-2.0
// fastkmeans._core: arrays in, arrays out, the GIL released while the core works. Checks, defaults and messages for
// people are in python/fastkmeans; the core throws std::invalid_argument (ValueError) for what they let through.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <array>
#include <initializer_list>
#include <memory>
#include <optional>
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

// A two-dimensional buffer, held for as long as the core reads it. Byte strides are taken as they are, so every numpy
// view is read in place. The dtype comes by name, since the buffer protocol has no bfloat16.
class Rows {
 public:
  Rows(nb::handle array, std::string_view dtype_name) {
    const fk::DType dtype = dtype_from_name(dtype_name);
    if (PyObject_GetBuffer(array.ptr(), &buffer_, PyBUF_STRIDES) != 0) throw nb::python_error();
    if (buffer_.ndim != 2 || static_cast<std::size_t>(buffer_.itemsize) != fk::item_size(dtype)) {
      PyBuffer_Release(&buffer_);
      throw std::invalid_argument("expected a two-dimensional buffer of " + std::string(dtype_name));
    }
    view_ =
        fk::MatrixView(buffer_.buf, buffer_.shape[0], buffer_.shape[1], dtype, buffer_.strides[0], buffer_.strides[1]);
  }
  ~Rows() { PyBuffer_Release(&buffer_); }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  const fk::MatrixView& view() const { return view_; }

 private:
  Py_buffer buffer_{};
  fk::MatrixView view_;
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

// In the order of fastkmeans.kmeans.IterationStats.
nb::tuple to_tuple(const fk::IterationStats& s) {
  return nb::make_tuple(s.redo, s.iteration, s.inertia, s.shift, s.changed, s.empty, s.relocated, s.seconds);
}

const char* kind_name(fk::Warning::Kind kind) {
  switch (kind) {
    case fk::Warning::Kind::subsampled: return "subsampled";
    case fk::Warning::Kind::empty_clusters: return "empty_clusters";
    case fk::Warning::Kind::precision: return "precision";
  }
  return "";
}

fk::Execution execution(int n_threads, std::int64_t chunk_size_data, std::int64_t chunk_size_centroids) {
  fk::Execution execution;
  execution.n_threads = n_threads;
  execution.chunk_size_data = chunk_size_data;
  execution.chunk_size_centroids = chunk_size_centroids;
  execution.interrupt = [] {  // Ctrl-C: KeyboardInterrupt travels through the core as the python_error thrown here
    nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    return false;
  };
  return execution;
}

nb::dict fit(nb::handle data, std::string_view dtype, std::int64_t k, int niter, double tol, std::uint64_t seed,
             std::optional<std::int64_t> max_points_per_centroid, int nredo, nb::handle init,
             std::string_view init_dtype, bool labels, int n_threads, std::int64_t chunk_size_data,
             std::int64_t chunk_size_centroids, nb::handle callback) {
  const Rows x(data, dtype);
  std::optional<Rows> initial;
  fk::Params params;
  params.k = k;
  params.niter = niter;
  params.tol = tol;
  params.seed = seed;
  params.max_points_per_centroid = max_points_per_centroid;
  params.nredo = nredo;
  if (!init.is_none()) params.init = initial.emplace(init, init_dtype).view();
  params.labels = labels;
  params.execution = execution(n_threads, chunk_size_data, chunk_size_centroids);
  if (!callback.is_none()) {
    params.callback = [callback](const fk::IterationStats& stats) {
      nb::gil_scoped_acquire gil;
      const int stop = PyObject_IsTrue(callback(to_tuple(stats)).ptr());
      if (stop < 0) throw nb::python_error();
      return stop != 0;
    };
  }
  fk::Result result;
  {
    nb::gil_scoped_release no_gil;
    result = fk::fit(x.view(), params);
  }
  nb::list iterations;
  for (const auto& stats : result.iterations) iterations.append(to_tuple(stats));
  nb::list warnings;
  for (const auto& warning : result.warnings) {
    warnings.append(nb::make_tuple(kind_name(warning.kind), warning.message));
  }
  nb::dict out;
  out["centroids"] =
      to_numpy(std::move(result.centroids), {static_cast<std::size_t>(result.k), static_cast<std::size_t>(result.d)});
  out["labels"] = to_numpy_or_none(std::move(result.labels), labels);
  out["inertia"] = result.inertia;
  out["n_iter"] = result.n_iter;
  out["converged"] = result.converged;
  out["n_used"] = result.n_used;
  out["iterations"] = std::move(iterations);
  out["warnings"] = std::move(warnings);
  return out;
}

nb::tuple predict(nb::handle data, std::string_view dtype, nb::handle centroids, std::string_view centroids_dtype,
                  bool distances, int n_threads, std::int64_t chunk_size_data, std::int64_t chunk_size_centroids) {
  const Rows x(data, dtype);
  const Rows c(centroids, centroids_dtype);
  fk::PredictParams params;
  params.distances = distances;
  params.execution = execution(n_threads, chunk_size_data, chunk_size_centroids);
  fk::Prediction prediction;
  {
    nb::gil_scoped_release no_gil;
    prediction = fk::predict(x.view(), c.view(), params);
  }
  return nb::make_tuple(to_numpy_or_none(std::move(prediction.labels), true),
                        to_numpy_or_none(std::move(prediction.distances), distances));
}

nb::dict instruction_sets() {
  nb::dict out;
  for (const auto& isa : fk::instruction_sets()) out[nb::str(isa.name.c_str())] = isa.available;
  return out;
}

}  // namespace

NB_MODULE(_core, m) {
  const fk::Execution defaults;
  m.def("fit", &fit, "data"_a, "dtype"_a, nb::kw_only(), "k"_a, "niter"_a, "tol"_a, "seed"_a,
        "max_points_per_centroid"_a.none(), "nredo"_a, "init"_a.none(), "init_dtype"_a, "labels"_a, "n_threads"_a,
        "chunk_size_data"_a, "chunk_size_centroids"_a, "callback"_a.none());
  m.def("predict", &predict, "data"_a, "dtype"_a, "centroids"_a, "centroids_dtype"_a, nb::kw_only(),
        "distances"_a = false, "n_threads"_a = defaults.n_threads, "chunk_size_data"_a = defaults.chunk_size_data,
        "chunk_size_centroids"_a = defaults.chunk_size_centroids);
  m.def("instruction_sets", &instruction_sets);
  m.def("chosen_isa", [] { return fk::chosen_isa(); });
  m.def("default_threads", &fk::default_threads);
  m.def("build_info", &fk::build_info);
}

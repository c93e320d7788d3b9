// SPDX-License-Identifier: Apache-2.0
#include "cpu/survey.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/centroids.hpp"
#include "cpu/products.hpp"
#include "plan/survey.hpp"
#include "sketch/projection.hpp"

namespace fastkmeans::cpu {
namespace {

constexpr std::int64_t kBlock = Sketcher::kBatch, kSlab = Products::kChunk;
// Centroids looked at for survivors; the nearest is looked for among all.
constexpr std::int64_t kCounted = 8192;

// Vectors, of rows or of centroids, as sketches of each width see them.
struct Seen {
  double sq_length;
  std::vector<double> head, tail, error;  // for each width: |y|^2, the tail's length, the errors of the bound
};

class Surveyor {
 public:
  Surveyor(const CentredSample& sample, const Basis& basis, const std::vector<std::int64_t>& sizes,
           CentroidsView centroids, const float* mu, const Kernels& kernels, Workers& workers)
      : sample_(sample),
        sizes_(sizes),
        centroids_(centroids),
        mu_(mu),
        kernels_(kernels),
        workers_(workers),
        loss_(typical_quantisation(kernels.sketch->levels)),
        heads_(sizes.back()),
        rows_(sample.d, sample.count, kernels.panel_width,
              [&](std::int64_t j, std::int64_t i) { return sample.row(i)[j]; }),
        w_(packed(basis, basis.directions, kernels)),
        tails_(sizes.size()) {
    for (const std::int64_t size : sizes)
      bounds_.emplace_back(basis, std::min(size, basis.directions), Products::roundings(basis.d));
  }

  Survey run() {
    see_rows();
    find_nearest();
    count();
    return found_;
  }

 private:
  struct Scratch {
    Scratch(const Kernels& kernels, std::int64_t ld, std::int64_t heads, std::int64_t rows)
        : products(kernels, kBlock),
          row(ld),
          centred(kBlock * ld),
          head(kBlock * heads),
          dots(kBlock * rows),
          part(kBlock * rows) {}
    Products products;
    Buffer<float> row, centred, head, dots, part;
    double sq_norms[kBlock];
  };
  Scratch scratch() const { return {kernels_, sample_.ld, heads_, sample_.count}; }

  // Coordinates (kBlock, heads_) of vectors in blocks of kBlock, zeros beyond the basis.
  void project(Scratch& s, const float* points) const {
    std::fill_n(s.head.data(), kBlock * heads_, 0.0f);
    s.products.multiply(points, sample_.ld, kBlock, w_, w_.columns(), s.head.data(), heads_);
  }

  Seen see(const float* head, double sq_length) const {
    Seen seen = {.sq_length = sq_length, .head = {}, .tail = {}, .error = {}};
    double sum = 0;
    for (std::int64_t j = 0, w = 0; w < std::ssize(sizes_); ++w) {
      for (; j < sizes_[static_cast<std::size_t>(w)]; ++j)
        sum += static_cast<double>(head[j]) * static_cast<double>(head[j]);
      const ProjectionBound::Tail tail = bounds_[static_cast<std::size_t>(w)].tail(sq_length, sum);
      seen.head.push_back(sum);
      seen.tail.push_back(static_cast<double>(tail.norm));
      seen.error.push_back(tail.error);
    }
    return seen;
  }
  double error(const Seen& seen, std::size_t w) const {
    const double off = seen.tail[w] - tails_[w];
    return seen.error[w] + loss_ * std::sqrt(seen.head[w] + off * off);
  }

  void see_rows() {
    Scratch s = scratch();
    heads_of_rows_.resize(whole_groups(sample_.count, kBlock) * heads_);
    for (std::int64_t first = 0; first < sample_.count; first += kBlock) {
      const std::int64_t count = std::min(kBlock, sample_.count - first);
      std::fill_n(s.centred.data(), kBlock * sample_.ld, 0.0f);
      std::copy_n(sample_.row(first), count * sample_.ld, s.centred.data());
      project(s, s.centred.data());
      for (std::int64_t i = 0; i < count; ++i) {
        seen_.push_back(see(&s.head[i * heads_], sample_.sq_lengths[static_cast<std::size_t>(first + i)]));
        std::copy_n(&s.head[i * heads_], heads_, &heads_of_rows_[(first + i) * heads_]);
      }
    }
    for (std::size_t w = 0; w < sizes_.size(); ++w) {
      if (seen_.empty()) break;  // every row looked at was a bad one
      std::vector<double> tails;
      for (const Seen& row : seen_) tails.push_back(row.tail[w]);
      std::nth_element(tails.begin(), tails.begin() + std::ssize(tails) / 2, tails.end());
      tails_[w] = tails[tails.size() / 2];
    }
    for (std::int64_t first = 0; first < heads_; first += kSlab)
      slabs_.emplace_back(kSlab, sample_.count, kernels_.panel_width,
                          [&](std::int64_t j, std::int64_t i) { return heads_of_rows_[i * heads_ + first + j]; });
  }

  // Centroids from `first` on, `stride` apart, less mu; dots with all rows of the sample.
  std::int64_t load(Scratch& s, std::int64_t first, std::int64_t stride) const {
    std::int64_t count = 0;
    for (std::int64_t c = first; c < centroids_.k && count < kBlock; c += stride, ++count) {
      write_padded(centroids_.row(c), centroids_.d, 1.0f, s.row.data());
      s.sq_norms[count] = kernels_.centre(s.row.data(), mu_, sample_.ld, &s.centred[count * sample_.ld]);
    }
    std::fill_n(s.centred.data() + count * sample_.ld, (kBlock - count) * sample_.ld, 0.0f);
    s.products.multiply(s.centred.data(), sample_.ld, kBlock, rows_, sample_.count, s.dots.data(), sample_.count);
    return count;
  }
  double sq_distance_of(const Scratch& s, std::int64_t c, std::int64_t i) const {
    const double dot = static_cast<double>(s.dots[c * sample_.count + i]);
    return std::max(0.0, s.sq_norms[c] + seen_[static_cast<std::size_t>(i)].sq_length - 2 * dot);
  }

  template <class Body>
  void for_blocks(std::int64_t stride, double width, const Body& body) {
    const std::int64_t considered = (centroids_.k + stride - 1) / stride;
    const double operations = 2.0 * static_cast<double>(considered * sample_.count) * width;
    std::vector<std::unique_ptr<Scratch>> scratches(static_cast<std::size_t>(workers_.count()));
    workers_.for_blocks(considered, kBlock, operations, [&](std::int64_t first, std::int64_t, int worker) {
      auto& s = scratches[static_cast<std::size_t>(worker)];
      if (!s) s = std::make_unique<Scratch>(scratch());
      workers_.checkpoint(worker);
      body(*s, load(*s, first * stride, stride), static_cast<std::size_t>(worker));
    });
  }

  void find_nearest() {
    const auto rows = static_cast<std::size_t>(sample_.count);
    std::vector<std::vector<double>> nearest(static_cast<std::size_t>(workers_.count()),
                                             std::vector<double>(rows, std::numeric_limits<double>::infinity()));
    for_blocks(1, static_cast<double>(sample_.d), [&](const Scratch& s, std::int64_t count, std::size_t worker) {
      for (std::int64_t c = 0; c < count; ++c)
        for (std::size_t i = 0; i < rows; ++i)
          nearest[worker][i] = std::min(nearest[worker][i], sq_distance_of(s, c, static_cast<std::int64_t>(i)));
    });
    for (std::size_t i = 0; i < rows; ++i) {
      double least = nearest[0][i];
      for (const auto& part : nearest) least = std::min(least, part[i]);
      radii_.push_back(std::sqrt(least));
    }
  }

  void count() {
    const std::size_t widths = sizes_.size();
    const std::int64_t stride = (centroids_.k + kCounted - 1) / kCounted;
    std::vector<std::vector<double>> counts(static_cast<std::size_t>(workers_.count()),
                                            std::vector<double>(widths + 1));
    for_blocks(stride, static_cast<double>(sample_.d + 2 * heads_),
               [&](Scratch& s, std::int64_t block, std::size_t worker) { count_block(s, block, counts[worker]); });
    std::vector<double> sums(widths + 1);
    for (const auto& part : counts)
      for (std::size_t w = 0; w <= widths; ++w) sums[w] += part[w];
    const double weight = static_cast<double>(stride) / std::max(1.0, static_cast<double>(sample_.count));
    found_.full = sums[widths] * weight;
    for (std::size_t w = 0; w < widths; ++w)
      found_.narrow.push_back({sizes_[w], static_cast<float>(tails_[w]), sums[w] * weight});
  }

  void count_block(Scratch& s, std::int64_t block, std::vector<double>& counts) const {
    const std::int64_t rows = sample_.count;
    project(s, s.centred.data());
    std::vector<Seen> seen;
    for (std::int64_t c = 0; c < block; ++c) seen.push_back(see(&s.head[c * heads_], s.sq_norms[c]));
    for (std::int64_t c = 0; c < block; ++c)
      for (std::int64_t i = 0; i < rows; ++i) {
        const double lengths = std::sqrt(s.sq_norms[c]) + std::sqrt(seen_[static_cast<std::size_t>(i)].sq_length);
        const double apart = radii_[static_cast<std::size_t>(i)] + loss_ * lengths;
        counts.back() += sq_distance_of(s, c, i) <= apart * apart;
      }
    // Dots of heads, slab by slab: at the end of each width's last slab it is looked at.
    std::fill_n(s.dots.data(), kBlock * rows, 0.0f);
    std::size_t w = 0;
    for (std::size_t slab = 0; slab < slabs_.size(); ++slab) {
      s.products.multiply(s.head.data() + static_cast<std::int64_t>(slab) * kSlab, heads_, kBlock, slabs_[slab], rows,
                          s.part.data(), rows);
      for (std::int64_t i = 0; i < kBlock * rows; ++i) s.dots[i] += s.part[i];
      if (static_cast<std::int64_t>(slab + 1) * kSlab != sizes_[w]) continue;
      for (std::int64_t c = 0; c < block; ++c) {
        const Seen& centroid = seen[static_cast<std::size_t>(c)];
        const double of_centroid = error(centroid, w);
        for (std::int64_t i = 0; i < rows; ++i) {
          const Seen& row = seen_[static_cast<std::size_t>(i)];
          const double tails = centroid.tail[w] - row.tail[w];
          const double square =
              centroid.head[w] + row.head[w] - 2 * static_cast<double>(s.dots[c * rows + i]) + tails * tails;
          const double apart = radii_[static_cast<std::size_t>(i)] + of_centroid + error(row, w);
          counts[w] += square <= apart * apart;
        }
      }
      ++w;
    }
  }

  const CentredSample& sample_;
  const std::vector<std::int64_t>& sizes_;
  const CentroidsView centroids_;
  const float* mu_;
  const Kernels& kernels_;
  Workers& workers_;
  double loss_;  // quantisation's share of a row's length
  std::int64_t heads_;
  PackedMatrix rows_, w_;
  std::vector<ProjectionBound> bounds_;  // for each width
  std::vector<double> tails_;            // likewise, a typical one
  std::vector<double> radii_;            // for each row: its distance to the nearest
  std::vector<Seen> seen_;               // the sample's rows
  Buffer<float> heads_of_rows_;
  std::vector<PackedMatrix> slabs_;  // of these heads
  Survey found_;
};

}  // namespace

Survey survey(const CentredSample& sample, const Basis& basis, const std::vector<std::int64_t>& sizes,
              CentroidsView centroids, const float* mu, const Kernels& kernels, Workers& workers) {
  return Surveyor(sample, basis, sizes, centroids, mu, kernels, workers).run();
}

}  // namespace fastkmeans::cpu

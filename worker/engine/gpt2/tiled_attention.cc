#include "worker/engine/gpt2/tiled_attention.h"

#include <ATen/ATen.h>
#include <ATen/native/CPUBlas.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "worker/engine/gpt2/torch_threads.h"

namespace graft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kPositions = 64;
constexpr int64_t kSquare = kPositions * kPositions;

// c [64, n] = a [64, k] b [k, n], or added to it.
void Multiply(int64_t n, int64_t k, const float* a, int64_t row_of_a, const float* b,
              int64_t row_of_b, float* c, int64_t row_of_c, bool add) {
  at::native::cpublas::brgemm(kPositions, n, k, row_of_a, row_of_b, row_of_c, add, a, b, c);
}

// Without AVX2, brgemm is MKL's product on small tiles.
bool HasSmallFloatProduct() {
  static const bool has = at::hasMKLDNN() && __builtin_cpu_supports("avx2");
  return has;
}

// e^x for x <= 0, to about a unit in the last place: 2^n e^r, |r| <= ln 2 / 2, e^r by a polynomial
// (Cephes, expf). Nothing that a vectoriser could not take.
inline float Exp(float x) {
  x = x < -87.0F ? -87.0F : x;
  const float n = std::floor(x * 1.44269504088896341F + 0.5F);
  const float r = x - n * 0.693359375F + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

// In the widest instructions that the processor has.
#define GRAFT_EVERY_WIDTH \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

// Sums and maxima are over so many places beside each other, whatever instructions there are.
constexpr int64_t kLanes = 16;
static_assert(kPositions % kLanes == 0);

// Scores of one position, some tiles of them, become probabilities; returns
// log(sum(exp(scale * score))).
GRAFT_EVERY_WIDTH float Softmax(float* scores, int64_t count, float scale) {
  float greatest[kLanes], sums[kLanes] = {};
  std::copy_n(scores, kLanes, greatest);
  for (int64_t i = 0; i < count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      greatest[lane] = greatest[lane] < scores[i + lane] ? scores[i + lane] : greatest[lane];
    }
  }
  const float top = *std::max_element(greatest, greatest + kLanes);
  for (int64_t i = 0; i < count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float power = Exp((scores[i + lane] - top) * scale);
      scores[i + lane] = power;
      sums[lane] += power;
    }
  }
  float sum = 0;
  for (const float of_lane : sums) sum += of_lane;
  const float factor = 1 / sum;
  for (int64_t i = 0; i < count; ++i) scores[i] *= factor;
  return top * scale + std::log(sum);
}

// A row of probabilities [64], of one key to 64 queries, from their scores.
GRAFT_EVERY_WIDTH void Probabilities(float* scores, const float* log_sums, float scale) {
  for (int64_t i = 0; i < kPositions; ++i) {
    const float power = scores[i] * scale - log_sums[i];
    scores[i] = Exp(power > 0 ? 0 : power);
  }
}

// of_scores = p (of_p - d) scale.
GRAFT_EVERY_WIDTH void ScoreGradients(float* of_p, const float* p, const float* d, float scale) {
  for (int64_t i = 0; i < kPositions; ++i) of_p[i] = p[i] * (of_p[i] - d[i]) * scale;
}

// [rows, columns] with rows `row` apart → [columns, rows] with rows `to_row` apart.
void Transpose(const float* from, int64_t rows, int64_t columns, int64_t row, float* to,
               int64_t to_row) {
  constexpr int64_t kBlock = 16;
  for (int64_t i = 0; i < rows; i += kBlock) {
    for (int64_t j = 0; j < columns; j += kBlock) {
      for (int64_t y = j; y < std::min(j + kBlock, columns); ++y) {
        for (int64_t x = i; x < std::min(i + kBlock, rows); ++x) {
          to[y * to_row + x] = from[x * row + y];
        }
      }
    }
  }
}

// Where the heads of texts lie.
struct Shape {
  int64_t batch = 0;
  int64_t length = 0;
  int64_t heads = 0;
  int64_t width = 0;  // Of a head.

  int64_t tiles() const { return (length + kPositions - 1) / kPositions; }
  int64_t padded() const { return tiles() * kPositions; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(width)); }
};

// One head's [length, width] as [padded, width], with zeros below.
class Rows {
 public:
  explicit Rows(const Shape& shape) : shape_(shape), values_(shape.padded() * shape.width) {}

  void Read(const float* from, int64_t row) {
    for (int64_t i = 0; i < shape_.length; ++i) {
      std::copy_n(from + i * row, shape_.width, tile(0) + i * shape_.width);
    }
  }
  void Write(float* to, int64_t row) const {
    for (int64_t i = 0; i < shape_.length; ++i) {
      std::copy_n(values_.data() + i * shape_.width, shape_.width, to + i * row);
    }
  }
  float* tile(int64_t i) { return values_.data() + i * kPositions * shape_.width; }
  const float* tile(int64_t i) const { return values_.data() + i * kPositions * shape_.width; }
  // [width, padded]
  void TransposeInto(std::vector<float>& to) const {
    Transpose(values_.data(), shape_.padded(), shape_.width, shape_.width, to.data(),
              shape_.padded());
  }

 private:
  const Shape& shape_;
  std::vector<float> values_;
};

struct ForwardHead {
  explicit ForwardHead(const Shape& of)
      : shape(of),
        q(of),
        k(of),
        v(of),
        out(of),
        keys(of.width * of.padded()),
        scores(kPositions * of.padded()) {}

  // q, k and v are read; fills `out` and log_sums [length].
  void Compute(float* log_sums) {
    k.TransposeInto(keys);
    const int64_t row = shape.padded();
    for (int64_t i = 0; i < shape.tiles(); ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        Multiply(kPositions, shape.width, q.tile(i), shape.width, keys.data() + j * kPositions, row,
                 scores.data() + j * kPositions, row, false);
      }
      for (int64_t r = 0; r < kPositions; ++r) {
        const int64_t position = i * kPositions + r;
        float* own = scores.data() + r * row;
        float* const end = own + (i + 1) * kPositions;
        std::fill(own + position + 1, end, -std::numeric_limits<float>::infinity());
        const float log_sum = Softmax(own, end - own, shape.scale());
        if (position < shape.length) log_sums[position] = log_sum;
        std::fill(own + position + 1, end, 0.0F);
      }
      for (int64_t j = 0; j <= i; ++j) {
        Multiply(shape.width, kPositions, scores.data() + j * kPositions, row, v.tile(j),
                 shape.width, out.tile(i), shape.width, j > 0);
      }
    }
  }

  const Shape& shape;
  Rows q, k, v, out;
  std::vector<float> keys;    // [width, padded]
  std::vector<float> scores;  // [64, padded], of a tile of queries.
};

struct BackwardHead {
  explicit BackwardHead(const Shape& of)
      : shape(of),
        q(of),
        k(of),
        v(of),
        of_out(of),
        of_q(of),
        of_k(of),
        of_v(of),
        queries(of.width * of.padded()),
        of_outs(of.width * of.padded()),
        d(of.padded()),
        log_sums(of.padded()),
        p(kSquare),
        of_p(kSquare),
        turned(kSquare) {}

  // q, k, v, of_out, d and log_sums are read; fills of_q, of_k and of_v.
  void Compute() {
    q.TransposeInto(queries);
    of_out.TransposeInto(of_outs);
    const int64_t row = shape.padded(), width = shape.width;
    for (int64_t j = 0; j < shape.tiles(); ++j) {
      for (int64_t i = j; i < shape.tiles(); ++i) {
        Multiply(kPositions, width, k.tile(j), width, queries.data() + i * kPositions, row,
                 p.data(), kPositions, false);
        Multiply(kPositions, width, v.tile(j), width, of_outs.data() + i * kPositions, row,
                 of_p.data(), kPositions, false);
        for (int64_t r = 0; r < kPositions; ++r) {
          float* own = p.data() + r * kPositions;
          Probabilities(own, log_sums.data() + i * kPositions, shape.scale());
          if (i == j) std::fill(own, own + r, 0.0F);  // Queries before the key.
          ScoreGradients(of_p.data() + r * kPositions, own, d.data() + i * kPositions,
                         shape.scale());
        }
        Multiply(width, kPositions, p.data(), kPositions, of_out.tile(i), width, of_v.tile(j),
                 width, i > j);
        Multiply(width, kPositions, of_p.data(), kPositions, q.tile(i), width, of_k.tile(j), width,
                 i > j);
        Transpose(of_p.data(), kPositions, kPositions, kPositions, turned.data(), kPositions);
        Multiply(width, kPositions, turned.data(), kPositions, k.tile(j), width, of_q.tile(i),
                 width, j > 0);
      }
    }
  }

  const Shape& shape;
  Rows q, k, v, of_out, of_q, of_k, of_v;
  std::vector<float> queries, of_outs;  // [width, padded]
  std::vector<float> d;                 // [padded]: of_out times out, summed over the width.
  std::vector<float> log_sums;          // [padded]
  std::vector<float> p, of_p, turned;   // Tiles: [keys, queries], but for the last.
};

// [B * T, H * D] and log sums [B, H, T].
std::pair<at::Tensor, at::Tensor> Forward(const at::Tensor& qkv, const Shape& shape) {
  const int64_t width = shape.heads * shape.width;
  at::Tensor out = at::empty({qkv.size(0), width}, qkv.options());
  at::Tensor log_sums = at::empty({shape.batch, shape.heads, shape.length}, qkv.options());
  const auto* in = qkv.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  auto* sums = log_sums.mutable_data_ptr<float>();
  ForEachOnTorchThreads(shape.batch * shape.heads, [&](int64_t begin, int64_t end) {
    ForwardHead head(shape);
    for (int64_t at = begin; at < end; ++at) {
      const int64_t text = at / shape.heads, place = at % shape.heads * shape.width;
      const float* own = in + text * shape.length * 3 * width + place;
      head.q.Read(own, 3 * width);
      head.k.Read(own + width, 3 * width);
      head.v.Read(own + 2 * width, 3 * width);
      head.Compute(sums + at * shape.length);
      head.out.Write(to + text * shape.length * width + place, width);
    }
  });
  return {out, log_sums};
}

at::Tensor Backward(const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& log_sums,
                    const at::Tensor& of_out, const Shape& shape) {
  const int64_t width = shape.heads * shape.width;
  at::Tensor of_qkv = at::empty_like(qkv);
  // [B, H, T]
  const at::Tensor d = (out * of_out)
                           .view({shape.batch, shape.length, shape.heads, shape.width})
                           .sum(3)
                           .transpose(1, 2)
                           .contiguous();
  const auto* in = qkv.const_data_ptr<float>();
  const auto* gradient = of_out.const_data_ptr<float>();
  const auto* sums = log_sums.const_data_ptr<float>();
  const auto* of_sums = d.const_data_ptr<float>();
  auto* to = of_qkv.mutable_data_ptr<float>();
  ForEachOnTorchThreads(shape.batch * shape.heads, [&](int64_t begin, int64_t end) {
    BackwardHead head(shape);
    for (int64_t at = begin; at < end; ++at) {
      const int64_t text = at / shape.heads, place = at % shape.heads * shape.width;
      const int64_t first = text * shape.length * 3 * width + place;
      head.q.Read(in + first, 3 * width);
      head.k.Read(in + first + width, 3 * width);
      head.v.Read(in + first + 2 * width, 3 * width);
      head.of_out.Read(gradient + text * shape.length * width + place, width);
      std::copy_n(sums + at * shape.length, shape.length, head.log_sums.data());
      std::copy_n(of_sums + at * shape.length, shape.length, head.d.data());
      head.Compute();
      head.of_q.Write(to + first, 3 * width);
      head.of_k.Write(to + first + width, 3 * width);
      head.of_v.Write(to + first + 2 * width, 3 * width);
    }
  });
  return of_qkv;
}

class TiledAttentionFunction : public torch::autograd::Function<TiledAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& qkv, int64_t batch,
                            int64_t length, int64_t heads) {
    const at::Tensor rows = qkv.contiguous();
    const Shape shape = {batch, length, heads, qkv.size(1) / 3 / heads};
    const auto [out, log_sums] = Forward(rows, shape);
    context->save_for_backward({rows, out, log_sums});
    context->saved_data["batch"] = batch;
    context->saved_data["length"] = length;
    context->saved_data["heads"] = heads;
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
    const Shape shape = {number("batch"), number("length"), number("heads"),
                         saved[1].size(1) / number("heads")};
    variable_list result(4);
    result[0] = Backward(saved[0], saved[1], saved[2], gradients[0].contiguous(), shape);
    return result;
  }
};

}  // namespace

bool HasTiledAttention(const at::Tensor& qkv) {
  return qkv.scalar_type() == at::kFloat && qkv.is_cpu() && HasSmallFloatProduct();
}

at::Tensor TiledAttention(const at::Tensor& qkv, int64_t batch, int64_t length, int64_t heads) {
  return TiledAttentionFunction::apply(qkv, batch, length, heads);
}

}  // namespace graft

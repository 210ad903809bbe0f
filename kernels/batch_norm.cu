// Batch normalisation of each channel of x (batch, channels, inner):
//   y = (x - mean) invstd weight + bias,  invstd = 1 / sqrt(variance + eps),
// optionally followed by ReLU. With z = (x - mean) invstd and n elements in a channel,
//   dweight = sum of dy z,  dbias = sum of dy,
//   dx = weight invstd (dy - dbias / n - z dweight / n).
//
// Training takes two launches forward, one that reads x for the statistics and one that reads x and
// writes y; backward, one that reads x and dy for the sums and one that writes dx as well. Where a
// channel is divided into parts, a third launch adds these in order. The number of parts follows
// from the shapes alone.
//
// A block owns a part of a channel. In the variants *_columns, for planes of few elements, it owns
// a part of 32 channels: neighbours in memory are then elements of neighbouring channels.

#include "normalization.cuh"

// What becomes of the statistics of a channel.
struct Statistics {
    real* mean;
    real* invstd;
    real* running_mean;
    real* running_var;
    const int64* batches;
    real eps, momentum;
    int cumulative;

    // Running statistics that would become NaN or infinite stay as they are: after a step that
    // failed, those of a checkpoint are still finite.
    //
    // The mean is relative to `shift`, the channel's first element.
    __device__ void write(int c, const Moments& found, real shift) const {
        mean[c] = shift + found.mean;
        invstd[c] = 1 / sqrt(found.squares / found.count + eps);
        if (!running_mean) return;
        const real share = cumulative ? (real)1 / (real)(batches[0] + 1) : momentum;
        const real variance = found.squares / (found.count - 1);
        const real new_mean = (1 - share) * running_mean[c] + share * mean[c];
        const real new_var = (1 - share) * running_var[c] + share * variance;
        if (!is_finite(new_mean) || !is_finite(new_var)) return;
        running_mean[c] = new_mean;
        running_var[c] = new_var;
    }
};

template <int COUNT, int WIDTH>
__device__ inline void write_statistics(const real* input, real* partials, const Maps& maps,
                                        const Statistics& statistics) {
    constexpr int LOADS = 4;  // in flight at once
    Walk<COUNT, WIDTH> walk(maps);
    const real shift = walk.inside() ? input[(int64)walk.channel * maps.inner] : 0;
    Moments found = {0, 0, 0};
    while (walk.inside()) {
        real values[LOADS * COUNT];
        int size = 0;
#pragma unroll
        for (int l = 0; l < LOADS; ++l) {
            if (!walk.inside()) break;
            const Vector<COUNT> vector = load<COUNT>(input + walk.index());
#pragma unroll
            for (int i = 0; i < COUNT; ++i) values[l * COUNT + i] = vector.at[i] - shift;
            size += COUNT;
            walk.advance();
        }
        found.add(values, size);
    }
    found = walk.merge(found);
    if (!walk.writes()) return;
    if (partials) {
        real* own = partials + 3 * ((int64)blockIdx.y * maps.channels + walk.channel);
        own[0] = found.count;
        own[1] = found.mean;
        own[2] = found.squares;
    } else {
        statistics.write(walk.channel, found, shift);
    }
}

// Mean, invstd and running statistics (channels) of a grid (channels); with more parts, a grid
// (channels, parts), partials (parts, channels, 3): count, mean and squared deviations.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_statistics(const real* __restrict__ input, real* __restrict__ NULLABLE partials,
                      real* __restrict__ mean, real* __restrict__ invstd,
                      real* __restrict__ NULLABLE running_mean,
                      real* __restrict__ NULLABLE running_var,
                      const int64* __restrict__ NULLABLE batches, Maps maps, real eps,
                      real momentum, int cumulative) {
    const Statistics statistics = {mean, invstd,   running_mean, running_var, batches,
                                   eps,  momentum, cumulative};
    if (has_vectors(maps, input)) {
        write_statistics<VECTOR, 1>(input, partials, maps, statistics);
    } else {
        write_statistics<1, 1>(input, partials, maps, statistics);
    }
}

extern "C" __global__ void __launch_bounds__(256)
batch_norm_statistics_columns(const real* __restrict__ input, real* __restrict__ NULLABLE partials,
                              real* __restrict__ mean, real* __restrict__ invstd,
                              real* __restrict__ NULLABLE running_mean,
                              real* __restrict__ NULLABLE running_var,
                              const int64* __restrict__ NULLABLE batches, Maps maps, real eps,
                              real momentum, int cumulative) {
    const Statistics statistics = {mean, invstd,   running_mean, running_var, batches,
                                   eps,  momentum, cumulative};
    write_statistics<1, 32>(input, partials, maps, statistics);
}

// The same from the partial statistics. A thread owns a channel.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_finish(const real* __restrict__ input, const real* __restrict__ partials,
                  real* __restrict__ mean, real* __restrict__ invstd,
                  real* __restrict__ NULLABLE running_mean,
                  real* __restrict__ NULLABLE running_var,
                  const int64* __restrict__ NULLABLE batches, Maps maps, real eps, real momentum,
                  int cumulative, int parts) {
    const int64 c = thread_index();
    if (c >= maps.channels) return;
    Moments found = {0, 0, 0};
    for (int part = 0; part < parts; ++part) {
        const real* own = partials + 3 * ((int64)part * maps.channels + c);
        found.merge(Moments{own[0], own[1], own[2]});
    }
    const Statistics statistics = {mean, invstd,   running_mean, running_var, batches,
                                   eps,  momentum, cumulative};
    statistics.write((int)c, found, input[c * maps.inner]);
}

// --- y -------------------------------------------------------------------------------------------

template <int COUNT, int WIDTH>
__device__ inline void normalize(const real* input, const real* mean, const real* spread,
                                 const real* weight, const real* bias, real* output,
                                 const Maps& maps, real eps, int is_variance, int with_relu) {
    Walk<COUNT, WIDTH> walk(maps);
    if (!walk.inside()) return;
    const int c = walk.channel;
    const real scale = is_variance ? 1 / sqrt(spread[c] + eps) : spread[c];
    const real factor = weight ? scale * weight[c] : scale, centre = mean[c];
    for (; walk.inside(); walk.advance()) {
        const int64 i = walk.index();
        Vector<COUNT> vector = load<COUNT>(input + i);
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            vector.at[j] = finish((vector.at[j] - centre) * factor, bias, c, with_relu);
        }
        *(Vector<COUNT>*)(output + i) = vector;
    }
}

// y, given the mean and invstd of each channel or, if is_variance, its variance. Adds one to the
// number of batches, which no other thread reads.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_forward(const real* __restrict__ input, const real* __restrict__ mean,
                   const real* __restrict__ spread, const real* __restrict__ NULLABLE weight,
                   const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                   int64* __restrict__ NULLABLE batches, Maps maps, real eps, int is_variance,
                   int with_relu) {
    if (batches && blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) batches[0] += 1;
    if (has_vectors(maps, input, output)) {
        normalize<VECTOR, 1>(input, mean, spread, weight, bias, output, maps, eps, is_variance,
                             with_relu);
    } else {
        normalize<1, 1>(input, mean, spread, weight, bias, output, maps, eps, is_variance,
                        with_relu);
    }
}

extern "C" __global__ void __launch_bounds__(256)
batch_norm_forward_columns(const real* __restrict__ input, const real* __restrict__ mean,
                           const real* __restrict__ spread,
                           const real* __restrict__ NULLABLE weight,
                           const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                           int64* __restrict__ NULLABLE batches, Maps maps, real eps,
                           int is_variance, int with_relu) {
    if (batches && blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) batches[0] += 1;
    normalize<1, 32>(input, mean, spread, weight, bias, output, maps, eps, is_variance, with_relu);
}

// Weight (channels, size) and bias (channels) of a convolution or linear layer that include the
// normalisation of its outputs by running statistics: factor weight and (bias - mean) factor + bias
// of the normalisation, where factor = invstd weight of it. A thread owns an element of the weight.
extern "C" __global__ void __launch_bounds__(256)
fold_batch_norm_forward(const real* __restrict__ input_weight, const real* __restrict__ mean,
                        const real* __restrict__ variance,
                        const real* __restrict__ NULLABLE input_bias,
                        const real* __restrict__ NULLABLE weight,
                        const real* __restrict__ NULLABLE bias,
                        real* __restrict__ output_weight, real* __restrict__ output_bias,
                        int64 n, int64 size, real eps) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Division at = divide(i, size);
    const int64 c = at.quotient;
    const real invstd = 1 / sqrt(variance[c] + eps), factor = weight ? invstd * weight[c] : invstd;
    output_weight[i] = input_weight[i] * factor;
    if (at.remainder == 0) {
        const real shift = ((input_bias ? input_bias[c] : 0) - mean[c]) * factor;
        output_bias[c] = bias ? shift + bias[c] : shift;
    }
}

// --- gradients -----------------------------------------------------------------------------------

// dweight and dbias (channels) of a grid (channels); with more parts, partials (parts, channels, 2)
// of a grid (channels, parts), which sum_splits adds.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward_weight(const real* __restrict__ grad, const real* __restrict__ input,
                           const real* __restrict__ mean, const real* __restrict__ invstd,
                           const real* __restrict__ NULLABLE relu_output,
                           real* __restrict__ NULLABLE partials, real* __restrict__ weight_grad,
                           real* __restrict__ bias_grad, Maps maps) {
    if (has_vectors(maps, grad, input, relu_output)) {
        write_products<VECTOR, 1>(grad, input, mean, invstd, relu_output, partials, weight_grad,
                                  bias_grad, maps, 0);
    } else {
        write_products<1, 1>(grad, input, mean, invstd, relu_output, partials, weight_grad,
                             bias_grad, maps, 0);
    }
}

extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward_weight_columns(const real* __restrict__ grad, const real* __restrict__ input,
                                   const real* __restrict__ mean, const real* __restrict__ invstd,
                                   const real* __restrict__ NULLABLE relu_output,
                                   real* __restrict__ NULLABLE partials,
                                   real* __restrict__ weight_grad, real* __restrict__ bias_grad,
                                   Maps maps) {
    write_products<1, 32>(grad, input, mean, invstd, relu_output, partials, weight_grad, bias_grad,
                          maps, 0);
}

template <int COUNT, int WIDTH>
__device__ inline void input_gradient(const real* grad, const real* input, const real* mean,
                                      const real* invstd, const real* weight,
                                      const real* relu_output, const real* weight_grad,
                                      const real* bias_grad, real* input_grad, const Maps& maps) {
    Walk<COUNT, WIDTH> walk(maps);
    if (!walk.inside()) return;
    const int c = walk.channel;
    const real scale = invstd[c], factor = weight ? scale * weight[c] : scale, centre = mean[c];
    const real slope = scale * (weight_grad[c] / maps.count()), shift = bias_grad[c] / maps.count();
    for (; walk.inside(); walk.advance()) {
        const int64 i = walk.index();
        const Vector<COUNT> x = load<COUNT>(input + i);
        Vector<COUNT> dx = load<COUNT>(grad + i);
        if (relu_output) {
            const Vector<COUNT> y = load<COUNT>(relu_output + i);
#pragma unroll
            for (int j = 0; j < COUNT; ++j) dx.at[j] = y.at[j] > 0 ? dx.at[j] : 0;
        }
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            dx.at[j] = factor * (dx.at[j] - shift - (x.at[j] - centre) * slope);
        }
        *(Vector<COUNT>*)(input_grad + i) = dx;
    }
}

// dx, given dweight and dbias.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward_input(const real* __restrict__ grad, const real* __restrict__ input,
                          const real* __restrict__ mean, const real* __restrict__ invstd,
                          const real* __restrict__ NULLABLE weight,
                          const real* __restrict__ NULLABLE relu_output,
                          const real* __restrict__ weight_grad,
                          const real* __restrict__ bias_grad, real* __restrict__ input_grad,
                          Maps maps) {
    if (has_vectors(maps, grad, input, relu_output, input_grad)) {
        input_gradient<VECTOR, 1>(grad, input, mean, invstd, weight, relu_output, weight_grad,
                                  bias_grad, input_grad, maps);
    } else {
        input_gradient<1, 1>(grad, input, mean, invstd, weight, relu_output, weight_grad,
                             bias_grad, input_grad, maps);
    }
}

extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward_input_columns(const real* __restrict__ grad, const real* __restrict__ input,
                                  const real* __restrict__ mean, const real* __restrict__ invstd,
                                  const real* __restrict__ NULLABLE weight,
                                  const real* __restrict__ NULLABLE relu_output,
                                  const real* __restrict__ weight_grad,
                                  const real* __restrict__ bias_grad,
                                  real* __restrict__ input_grad, Maps maps) {
    input_gradient<1, 32>(grad, input, mean, invstd, weight, relu_output, weight_grad, bias_grad,
                          input_grad, maps);
}

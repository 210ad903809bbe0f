// Group normalisation: a group of channels of a sample is a row of adjacent elements,
//   y = (x - mean) invstd weight + bias,  invstd = 1 / sqrt(variance + eps)
// with the row's mean and variance, and weight and bias of each channel. Layer normalisation is one
// group whose channels have one element each. With z = (x - mean) invstd and h = dy weight,
//   dx = invstd (h - mean of h - z mean of h z),  dweight = sum of dy z,  dbias = sum of dy.
//
// A row is `channels` of `inner` elements; row r is group r % groups of its sample. Forward and dx
// are one launch each, in which a block owns a row and reads it twice; in the variants *_short,
// eight rows, 32 threads each. The sums of dweight are those of batch normalisation
// (normalization.cuh): a block owns a part of a channel, or in *_columns of 32 channels.

#include "normalization.cuh"

struct Rows {
    int groups, channels, inner;

    __device__ int size() const { return channels * inner; }

    // The channel, in the whole array, of an element of a row.
    __device__ int channel(int64 row, int i) const {
        return (int)divide(row, groups).remainder * channels + (int)divide(i, inner).quotient;
    }
};

// OWNERS threads of a block have a row. The last blocks may have none.
template <int OWNERS>
struct Row {
    static constexpr int IN_BLOCK = THREADS / OWNERS;

    int64 number;
    int first, end;  // the thread's first element of the row, and the row's end

    __device__ Row(int64 count, int size)
        : number((int64)blockIdx.x * IN_BLOCK + threadIdx.x / OWNERS),
          first(threadIdx.x % OWNERS),
          end(number < count ? size : 0) {}

    template <typename T>
    __device__ T merge(const T& value) const {
        return merged(value, (int)threadIdx.x, OWNERS);
    }
};

template <int OWNERS>
__device__ inline void normalize_row(const real* input, const real* weight, const real* bias,
                                     real* output, real* mean, real* invstd, int64 count,
                                     const Rows& rows, real eps) {
    constexpr int LOADS = 8;  // in flight at once
    const Row<OWNERS> row(count, rows.size());
    const int64 start = row.number * rows.size();
    const real shift = row.end ? input[start] : 0;
    Moments found = {0, 0, 0};
    for (int i = row.first; i < row.end; i += LOADS * OWNERS) {
        real values[LOADS];
        int size = 0;
#pragma unroll
        for (int l = 0; l < LOADS; ++l) {
            if (i + l * OWNERS >= row.end) break;
            values[l] = input[start + i + l * OWNERS] - shift;
            size += 1;
        }
        found.add(values, size);
    }
    found = row.merge(found);
    if (row.first >= row.end) return;
    const real scale = 1 / sqrt(found.squares / found.count + eps), centre = shift + found.mean;
    if (row.first == 0) {
        mean[row.number] = centre;
        invstd[row.number] = scale;
    }
    for (int i = row.first; i < row.end; i += OWNERS) {
        const int c = rows.channel(row.number, i);
        const real z = (input[start + i] - centre) * scale;
        output[start + i] = finish(weight ? z * weight[c] : z, bias, c, 0);
    }
}

// Grids of `count` blocks, or of an eighth.
extern "C" __global__ void __launch_bounds__(256)
group_norm_forward(const real* __restrict__ input, const real* __restrict__ NULLABLE weight,
                   const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                   real* __restrict__ mean, real* __restrict__ invstd, int64 count, Rows rows,
                   real eps) {
    normalize_row<256>(input, weight, bias, output, mean, invstd, count, rows, eps);
}

extern "C" __global__ void __launch_bounds__(256)
group_norm_forward_short(const real* __restrict__ input, const real* __restrict__ NULLABLE weight,
                         const real* __restrict__ NULLABLE bias, real* __restrict__ output,
                         real* __restrict__ mean, real* __restrict__ invstd, int64 count,
                         Rows rows, real eps) {
    normalize_row<32>(input, weight, bias, output, mean, invstd, count, rows, eps);
}

template <int OWNERS>
__device__ inline void row_gradient(const real* grad, const real* input, const real* mean,
                                    const real* invstd, const real* weight, real* input_grad,
                                    int64 count, const Rows& rows) {
    const Row<OWNERS> row(count, rows.size());
    const int64 start = row.number * rows.size();
    const real centre = row.end ? mean[row.number] : 0, scale = row.end ? invstd[row.number] : 0;
    TwoSums sums = {0, 0};
    for (int i = row.first; i < row.end; i += OWNERS) {
        const real own = weight ? weight[rows.channel(row.number, i)] : 1;
        const real h = grad[start + i] * own;
        sums.first += h * ((input[start + i] - centre) * scale);
        sums.second += h;
    }
    sums = row.merge(sums);
    const real slope = sums.first / rows.size(), shift = sums.second / rows.size();
    for (int i = row.first; i < row.end; i += OWNERS) {
        const real own = weight ? weight[rows.channel(row.number, i)] : 1;
        const real z = (input[start + i] - centre) * scale;
        input_grad[start + i] = scale * (grad[start + i] * own - shift - z * slope);
    }
}

extern "C" __global__ void __launch_bounds__(256)
group_norm_backward_input(const real* __restrict__ grad, const real* __restrict__ input,
                          const real* __restrict__ mean, const real* __restrict__ invstd,
                          const real* __restrict__ NULLABLE weight, real* __restrict__ input_grad,
                          int64 count, Rows rows) {
    row_gradient<256>(grad, input, mean, invstd, weight, input_grad, count, rows);
}

extern "C" __global__ void __launch_bounds__(256)
group_norm_backward_input_short(const real* __restrict__ grad, const real* __restrict__ input,
                                const real* __restrict__ mean, const real* __restrict__ invstd,
                                const real* __restrict__ NULLABLE weight,
                                real* __restrict__ input_grad, int64 count, Rows rows) {
    row_gradient<32>(grad, input, mean, invstd, weight, input_grad, count, rows);
}

// As batch_norm_backward_weight (batch_norm.cu), with the statistics of a sample's groups.
extern "C" __global__ void __launch_bounds__(256)
group_norm_backward_weight(const real* __restrict__ grad, const real* __restrict__ input,
                           const real* __restrict__ mean, const real* __restrict__ invstd,
                           real* __restrict__ NULLABLE partials, real* __restrict__ weight_grad,
                           real* __restrict__ bias_grad, Maps maps, int groups) {
    write_products<1, 1>(grad, input, mean, invstd, nullptr, partials, weight_grad, bias_grad,
                         maps, groups);
}

extern "C" __global__ void __launch_bounds__(256)
group_norm_backward_weight_columns(const real* __restrict__ grad, const real* __restrict__ input,
                                   const real* __restrict__ mean, const real* __restrict__ invstd,
                                   real* __restrict__ NULLABLE partials,
                                   real* __restrict__ weight_grad, real* __restrict__ bias_grad,
                                   Maps maps, int groups) {
    write_products<1, 32>(grad, input, mean, invstd, nullptr, partials, weight_grad, bias_grad,
                          maps, groups);
}

// LeNet-5's linear layers, forward and backward, and its loss: see lenet5.cuh.

#include "lenet5.cuh"

// Activations of a block's samples in shared memory, feature by feature. Behind every four features
// four reals are left out: eight lanes whose features are four apart read from different banks.
template <int SAMPLES>
struct Rows {
    __device__ static constexpr int size(int features) { return features * SAMPLES + features; }

    __device__ static int at(int feature, int sample) {
        return feature * SAMPLES + feature / 4 * 4 + sample;
    }

    // The first of four features, whose number is a multiple of 4; the others follow SAMPLES apart.
    __device__ static const real* four(const real* rows, int feature) {
        return rows + feature * (SAMPLES + 1);
    }

    // All samples' values of a feature.
    __device__ static void load(const real* from, real (&values)[SAMPLES]) {
#pragma unroll
        for (int s = 0; s < SAMPLES; ++s) values[s] = ((const Four*)from)[s / 4].at[s % 4];
    }
};

// outputs = inputs weight^T + bias, through ReLU if asked for, in shared memory and, if `saved`, in
// global memory. Eight lanes own two outputs and a share of the features: a warp reads 128 bytes
// of each of eight rows of the weight, two at a time.
template <int SAMPLES>
__device__ inline void linear_forward(const real* weight, const real* bias, const real* inputs,
                                      real* outputs, int features, int rows, bool relu,
                                      real* saved, int samples) {
    const int lane = threadIdx.x % 8, row = threadIdx.x / 8 * 2;
    real sum[2 * SAMPLES] = {};
    if (row < rows) {
        const real* first = weight + row * features;
        const real* second = row + 1 < rows ? first + features : first;
#pragma unroll(16 / SAMPLES)
        for (int k = 4 * lane; k < features; k += 32) {
            const Four a = *(const Four*)(first + k), b = *(const Four*)(second + k);
            const real* four = Rows<SAMPLES>::four(inputs, k);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                real x[SAMPLES];
                Rows<SAMPLES>::load(four + j * SAMPLES, x);
#pragma unroll
                for (int s = 0; s < SAMPLES; ++s) {
                    sum[s] += a.at[j] * x[s];
                    sum[SAMPLES + s] += b.at[j] * x[s];
                }
            }
        }
    }
    sum_lanes<8, 2 * SAMPLES>(sum);
#pragma unroll
    for (int i = 0; i < SAMPLES / 4; ++i) {
        const int which = lane * (SAMPLES / 4) + i, s = which % SAMPLES;
        const int output = row + which / SAMPLES;
        if (output >= rows) continue;
        const real value = finish(sum[i], bias, output, relu);
        outputs[Rows<SAMPLES>::at(output, s)] = value;
        if (saved && s < samples) saved[s * rows + output] = value;
    }
}

// Goes backward through a linear layer: gradients (terms) times weight (terms, columns). If there
// is a ReLU before the layer, `layer` holds its outputs and is overwritten by the gradients of its
// inputs. A thread owns two columns and a split: every splits-th term. `parts` holds the sums of
// all splits but the first; there is room for MOST_INPUTS columns.
template <int SAMPLES>
__device__ inline void linear_backward(const real* weight, const real* grads, real* layer,
                                       real* parts, int terms, int columns, real* saved,
                                       int samples) {
    const int pairs = columns / 2, column = threadIdx.x % pairs * 2, split = threadIdx.x / pairs;
    const int splits = min((int)blockDim.x / pairs, 1 + MOST_INPUTS / columns);
    real sum[2][SAMPLES] = {};
    if (split < splits) {
#pragma unroll 8
        for (int term = split; term < terms; term += splits) {
            const Two two = *(const Two*)(weight + term * columns + column);
            real x[SAMPLES];
            Rows<SAMPLES>::load(grads + Rows<SAMPLES>::at(term, 0), x);
#pragma unroll
            for (int s = 0; s < SAMPLES; ++s) {
                sum[0][s] += two.at[0] * x[s];
                sum[1][s] += two.at[1] * x[s];
            }
        }
    }
    real* own = parts + column / 2;
    const int step = 2 * SAMPLES * pairs;  // from split to split
    if (split > 0 && split < splits) {
#pragma unroll
        for (int i = 0; i < 2 * SAMPLES; ++i) {
            own[(split - 1) * step + i * pairs] = sum[i / SAMPLES][i % SAMPLES];
        }
    }
    __syncthreads();
    if (split == 0) {
#pragma unroll 1
        for (int other = 0; other < splits - 1; ++other) {
#pragma unroll
            for (int i = 0; i < 2 * SAMPLES; ++i) {
                sum[i / SAMPLES][i % SAMPLES] += own[other * step + i * pairs];
            }
        }
#pragma unroll
        for (int i = 0; i < 2 * SAMPLES; ++i) {
            const int s = i % SAMPLES, j = i / SAMPLES, at = Rows<SAMPLES>::at(column + j, s);
            real value = sum[j][s];
            if (layer) layer[at] = value = layer[at] > 0 ? value : 0;
            if (s < samples) saved[s * columns + column + j] = value;
        }
    }
    __syncthreads();
}

// What a warp makes of a sample's scores, a class a lane: loss, whether the greatest score is at
// the target, and the gradient, which takes the scores' place.
template <int SAMPLES>
__device__ inline void score(real* scores, int classes, int batch, int64 target, bool in_batch,
                             int s, real* loss, int* right, real* saved) {
    const int c = threadIdx.x % 32;
    const real x = scores[Rows<SAMPLES>::at(c < classes ? c : 0, s)];
    real greatest = x;
    for (int step = 16; step > 0; step /= 2) {
        const real other = __shfl_xor_sync(WARP, greatest, step);
        if (other > greatest || is_nan(other)) greatest = other;
    }
    const real power = c < classes ? exp(x - greatest) : 0;
    real total = power;
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(WARP, total, step);
    const bool known = target >= 0 && target < classes;
    const real at_target = __shfl_sync(WARP, x, known ? (int)target : 0);
    const int best = __ffs(__ballot_sync(WARP, c < classes && x == greatest)) - 1;  // -1 with NaN
    __syncwarp();  // the scores have been read
    if (!in_batch) return;
    if (c == 0) {
        *loss = known ? log(total) + greatest - at_target : not_a_number();
        *right = best == target && known;
    }
    const real hit = c == target ? 1 : 0;
    const real grad = known ? (power / total - hit) / batch : not_a_number();
    if (c < classes) scores[Rows<SAMPLES>::at(c, s)] = grad;
    if (c < (classes + 3) / 4 * 4) saved[c] = c < classes ? grad : 0;
}

// Everything that lenet5_linear_N does; a block has 512 threads.
template <int SAMPLES>
__device__ inline void linear_layers(const real* parameters, const int64* targets,
                                     const real* pooled2, real* pooled2_grad, real* hidden1,
                                     real* hidden2, real* grads1, real* grads2, real* grads3,
                                     real* losses, int* right, int batch, Network network) {
    using Shared = Rows<SAMPLES>;
    alignas(16) __shared__ real inputs[Shared::size(MOST_INPUTS)];
    alignas(16) __shared__ real layer1[Shared::size(MOST_FEATURES1)];
    alignas(16) __shared__ real layer2[Shared::size(MOST_FEATURES2)];
    alignas(16) __shared__ real scores[Shared::size(MOST_CLASSES)];
    const int features = network.inputs(), features1 = network.features1;
    const int features2 = network.features2, classes = network.classes;
    const int64 first = (int64)blockIdx.x * SAMPLES;
    const int samples = (int)min((int64)SAMPLES, batch - first);
    const real* weight3 = parameters + network.weight3();
    const real* weight4 = parameters + network.weight4();
    const real* weight5 = parameters + network.weight5();
    hidden1 += first * features1;
    hidden2 += first * features2;
    for (int i = threadIdx.x; i < SAMPLES * features; i += blockDim.x) {
        const int s = i / features;
        inputs[Shared::at(i % features, s)] = s < samples ? pooled2[first * features + i] : 0;
    }
    __syncthreads();
    linear_forward<SAMPLES>(weight3, weight3 + features1 * features, inputs, layer1, features,
                            features1, true, hidden1, samples);
    __syncthreads();
    linear_forward<SAMPLES>(weight4, weight4 + features2 * features1, layer1, layer2, features1,
                            features2, true, hidden2, samples);
    __syncthreads();
    linear_forward<SAMPLES>(weight5, weight5 + classes * features2, layer2, scores, features2,
                            classes, false, nullptr, samples);
    __syncthreads();
    const int s = threadIdx.x / 32;
    if (s < SAMPLES) {
        const int64 n = first + s;
        const bool in_batch = s < samples;
        score<SAMPLES>(scores, classes, batch, in_batch ? targets[n] : 0, in_batch, s, losses + n,
                       right + n, grads3 + n * ((classes + 3) / 4 * 4));
    }
    __syncthreads();
    linear_backward<SAMPLES>(weight5, scores, layer2, inputs, classes, features2,
                             grads2 + first * features2, samples);
    linear_backward<SAMPLES>(weight4, layer2, layer1, inputs, features2, features1,
                             grads1 + first * features1, samples);
    linear_backward<SAMPLES>(weight3, layer1, nullptr, inputs, features1, features,
                             pooled2_grad + first * features, samples);
}

extern "C" __global__ void __launch_bounds__(512, 1)
lenet5_linear_4(const real* __restrict__ parameters, const int64* __restrict__ targets,
                const real* __restrict__ pooled2, real* __restrict__ pooled2_grad,
                real* __restrict__ hidden1, real* __restrict__ hidden2, real* __restrict__ grads1,
                real* __restrict__ grads2, real* __restrict__ grads3, real* __restrict__ losses,
                int* __restrict__ right, int batch, int channels1, int channels2, int features1,
                int features2, int classes) {
    linear_layers<4>(parameters, targets, pooled2, pooled2_grad, hidden1, hidden2, grads1, grads2,
                     grads3, losses, right, batch,
                     {channels1, channels2, features1, features2, classes});
}

extern "C" __global__ void __launch_bounds__(512, 1)
lenet5_linear_8(const real* __restrict__ parameters, const int64* __restrict__ targets,
                const real* __restrict__ pooled2, real* __restrict__ pooled2_grad,
                real* __restrict__ hidden1, real* __restrict__ hidden2, real* __restrict__ grads1,
                real* __restrict__ grads2, real* __restrict__ grads3, real* __restrict__ losses,
                int* __restrict__ right, int batch, int channels1, int channels2, int features1,
                int features2, int classes) {
    linear_layers<8>(parameters, targets, pooled2, pooled2_grad, hidden1, hidden2, grads1, grads2,
                     grads3, losses, right, batch,
                     {channels1, channels2, features1, features2, classes});
}

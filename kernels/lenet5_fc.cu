// LeNet-5's fully connected layers (lenet5.cuh): forward, the loss, and backward to the gradient of
// fc1's input. A block computes N samples (4 or 8): N decides how often the weights are read, and
// changes no result.

#include "lenet5.cuh"

constexpr int THREADS = 512;

// Activations of a block's samples in shared memory: feature by feature, samples side by side. Four
// unused reals follow every four features: eight lanes that read features four apart then read
// different banks.
template <int SAMPLES>
struct Activations {
    __device__ static constexpr int size(int features) { return features * SAMPLES + features; }

    __device__ static int at(int feature, int sample) {
        return feature * SAMPLES + feature / PACK * PACK + sample;
    }

    // The first of four features; `feature` is a multiple of 4. The others follow SAMPLES apart.
    __device__ static const real* four(const real* activations, int feature) {
        return activations + feature * (SAMPLES + 1);
    }

    // Loads one feature of all samples.
    __device__ static void load(const real* from, real (&values)[SAMPLES]) {
#pragma unroll
        for (int n = 0; n < SAMPLES; ++n) values[n] = ((const Real4*)from)[n / PACK].at[n % PACK];
    }
};

// y = x w^T + b, through ReLU if asked for: w (outputs, inputs). y is written to shared memory and,
// if `saved` is not null, to global memory. Eight lanes own two outputs and split the inputs: a
// warp reads 128 bytes of each of eight rows of w, two rows at a time.
static_assert(MAX_FEATURES1 <= THREADS / 8 * 2, "two outputs for eight lanes");
static_assert(MAX_FEATURES2 <= THREADS / 8 * 2, "two outputs for eight lanes");

template <int SAMPLES>
__device__ inline void fc_forward(const real* weight, const real* bias, const real* input,
                                  real* output, int inputs, int outputs, bool relu, real* saved,
                                  int samples) {
    const int lane = threadIdx.x % 8, row = threadIdx.x / 8 * 2;
    real sum[2 * SAMPLES] = {};
    if (row < outputs) {
        const real* first = weight + row * inputs;
        const real* second = row + 1 < outputs ? first + inputs : first;
#pragma unroll(16 / SAMPLES)
        for (int c = PACK * lane; c < inputs; c += 8 * PACK) {
            const Real4 a = *(const Real4*)(first + c), b = *(const Real4*)(second + c);
            const real* four = Activations<SAMPLES>::four(input, c);
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                real x[SAMPLES];
                Activations<SAMPLES>::load(four + j * SAMPLES, x);
#pragma unroll
                for (int n = 0; n < SAMPLES; ++n) {
                    sum[n] += a.at[j] * x[n];
                    sum[SAMPLES + n] += b.at[j] * x[n];
                }
            }
        }
    }
    sum_lanes<8, 2 * SAMPLES>(sum);
#pragma unroll
    for (int i = 0; i < SAMPLES / 4; ++i) {
        const int which = lane * (SAMPLES / 4) + i, n = which % SAMPLES;
        const int k = row + which / SAMPLES;
        if (k >= outputs) continue;
        const real value = finish(sum[i], bias, k, relu);
        output[Activations<SAMPLES>::at(k, n)] = value;
        if (saved && n < samples) saved[n * outputs + k] = value;
    }
}

// dx = dy w: w (outputs, inputs). dx is written to `saved` in global memory. If a ReLU precedes
// the layer, `x` holds the layer's input, and dx times the ReLU's derivative overwrites it there
// and goes to `saved`. A thread owns two inputs and a share of the outputs, every splits-th.
// `partials` holds the sums of all shares but the first; it has room for MAX_INPUTS inputs.
template <int SAMPLES>
__device__ inline void fc_backward(const real* weight, const real* dy, real* x, real* partials,
                                   int outputs, int inputs, real* saved, int samples) {
    const int pairs = inputs / 2, column = threadIdx.x % pairs * 2, split = threadIdx.x / pairs;
    const int splits = min((int)blockDim.x / pairs, 1 + MAX_INPUTS / inputs);
    real sum[2][SAMPLES] = {};
    if (split < splits) {
#pragma unroll 8
        for (int k = split; k < outputs; k += splits) {
            const Real2 two = *(const Real2*)(weight + k * inputs + column);
            real grad[SAMPLES];
            Activations<SAMPLES>::load(dy + Activations<SAMPLES>::at(k, 0), grad);
#pragma unroll
            for (int n = 0; n < SAMPLES; ++n) {
                sum[0][n] += two.at[0] * grad[n];
                sum[1][n] += two.at[1] * grad[n];
            }
        }
    }
    real* own = partials + column / 2;
    const int stride = 2 * SAMPLES * pairs;  // from share to share
    if (split > 0 && split < splits) {
#pragma unroll
        for (int i = 0; i < 2 * SAMPLES; ++i) {
            own[(split - 1) * stride + i * pairs] = sum[i / SAMPLES][i % SAMPLES];
        }
    }
    __syncthreads();
    if (split == 0) {
#pragma unroll 1
        for (int other = 0; other < splits - 1; ++other) {
#pragma unroll
            for (int i = 0; i < 2 * SAMPLES; ++i) {
                sum[i / SAMPLES][i % SAMPLES] += own[other * stride + i * pairs];
            }
        }
#pragma unroll
        for (int i = 0; i < 2 * SAMPLES; ++i) {
            const int n = i % SAMPLES, c = column + i / SAMPLES;
            real value = sum[i / SAMPLES][n];
            if (x) {
                const int at = Activations<SAMPLES>::at(c, n);
                x[at] = value = x[at] > 0 ? value : 0;
            }
            if (n < samples) saved[n * inputs + c] = value;
        }
    }
    __syncthreads();
}

// The softmax cross-entropy of sample n of the block, computed by a warp: the loss, whether the
// greatest score (the first of equal ones) is at the target, and the gradient of the mean loss,
// which overwrites the scores and goes to `saved`. A NaN among the scores is no correct answer.
static_assert(MAX_CLASSES <= 32, "a lane for each class");

template <int SAMPLES>
__device__ inline void cross_entropy(real* scores, int classes, int batch, int64 target,
                                     bool in_batch, int n, real* loss, int* correct, real* saved,
                                     int pitch) {
    const int c = threadIdx.x % 32;
    const real x = scores[Activations<SAMPLES>::at(c < classes ? c : 0, n)];
    real greatest = x;
    for (int step = 16; step > 0; step /= 2) {
        const real other = __shfl_xor_sync(FULL_MASK, greatest, step);
        if (other > greatest || is_nan(other)) greatest = other;
    }
    // As in cross_entropy.cu: the other classes' exponentials are added separately, so that
    // neither the loss nor a gradient is a difference of nearly equal numbers.
    const real power = c < classes ? exp(x - greatest) : 0;
    real rest = c == target ? 0 : power;
    for (int step = 16; step > 0; step /= 2) rest += __shfl_xor_sync(FULL_MASK, rest, step);
    const bool valid = target >= 0 && target < classes;
    const int source = valid ? (int)target : 0;
    const real difference = __shfl_sync(FULL_MASK, x - greatest, source);
    const real target_power = __shfl_sync(FULL_MASK, power, source);
    // The first class with the greatest score; -1 if a score is NaN.
    const int best = __ffs(__ballot_sync(FULL_MASK, c < classes && x == greatest)) - 1;
    __syncwarp();  // all lanes have read the scores
    if (!in_batch) return;
    if (c == 0) {
        *loss = valid ? log1p(rest + (target_power - 1)) - difference : not_a_number();
        *correct = best == target && valid;
    }
    const real share = (c == target ? -rest : power) / (rest + target_power);
    const real grad = valid ? share / batch : not_a_number();
    if (c < classes) scores[Activations<SAMPLES>::at(c, n)] = grad;
    if (c < pitch) saved[c] = c < classes ? grad : 0;
}

// What lenet5_fc_N computes.
template <int SAMPLES>
__device__ inline void fc_layers(const real* parameters, const int64* targets, const real* pool2,
                                 real* pool2_grad, real* fc1, real* fc2, real* fc1_grad,
                                 real* fc2_grad, real* fc3_grad, real* losses, int* correct,
                                 const LeNet5& net, int batch) {
    using Shared = Activations<SAMPLES>;
    alignas(16) __shared__ real input[Shared::size(MAX_INPUTS)];
    alignas(16) __shared__ real layer1[Shared::size(MAX_FEATURES1)];
    alignas(16) __shared__ real layer2[Shared::size(MAX_FEATURES2)];
    alignas(16) __shared__ real scores[Shared::size(MAX_CLASSES)];
    static_assert(sizeof(input) + sizeof(layer1) + sizeof(layer2) + sizeof(scores) <= SHARED_BYTES,
                  "limits the sum of the layers' sizes");
    const int inputs = net.inputs(), features1 = net.features1, features2 = net.features2;
    const int classes = net.classes;
    const int64 first = (int64)blockIdx.x * SAMPLES;
    const int samples = (int)min((int64)SAMPLES, batch - first);
    const real* weight1 = parameters + net.fc1_weight;
    const real* weight2 = parameters + net.fc2_weight;
    const real* weight3 = parameters + net.fc3_weight;
    for (int i = threadIdx.x; i < SAMPLES * inputs; i += blockDim.x) {
        const int n = i / inputs;
        input[Shared::at(i % inputs, n)] = n < samples ? pool2[first * inputs + i] : 0;
    }
    __syncthreads();
    fc_forward<SAMPLES>(weight1, parameters + net.fc1_bias, input, layer1, inputs, features1, true,
                        fc1 + first * features1, samples);
    __syncthreads();
    fc_forward<SAMPLES>(weight2, parameters + net.fc2_bias, layer1, layer2, features1, features2,
                        true, fc2 + first * features2, samples);
    __syncthreads();
    fc_forward<SAMPLES>(weight3, parameters + net.fc3_bias, layer2, scores, features2, classes,
                        false, nullptr, samples);
    __syncthreads();
    const int warp = threadIdx.x / 32;
    if (warp < SAMPLES) {
        const int64 n = first + warp;
        const bool in_batch = warp < samples;
        cross_entropy<SAMPLES>(scores, classes, batch, in_batch ? targets[n] : 0, in_batch, warp,
                               losses + n, correct + n, fc3_grad + n * net.fc3_pitch,
                               net.fc3_pitch);
    }
    __syncthreads();
    // The input has been read: its memory serves for partial sums.
    fc_backward<SAMPLES>(weight3, scores, layer2, input, classes, features2,
                         fc2_grad + first * features2, samples);
    fc_backward<SAMPLES>(weight2, layer2, layer1, input, features2, features1,
                         fc1_grad + first * features1, samples);
    fc_backward<SAMPLES>(weight1, layer1, nullptr, input, features1, inputs,
                         pool2_grad + first * inputs, samples);
}

extern "C" __global__ void __launch_bounds__(512, 1)
lenet5_fc_4(const real* __restrict__ parameters, const int64* __restrict__ targets,
            const real* __restrict__ pool2, real* __restrict__ pool2_grad,
            real* __restrict__ fc1, real* __restrict__ fc2, real* __restrict__ fc1_grad,
            real* __restrict__ fc2_grad, real* __restrict__ fc3_grad, real* __restrict__ losses,
            int* __restrict__ correct, LeNet5 net, int batch) {
    fc_layers<4>(parameters, targets, pool2, pool2_grad, fc1, fc2, fc1_grad, fc2_grad, fc3_grad,
                 losses, correct, net, batch);
}

extern "C" __global__ void __launch_bounds__(512, 1)
lenet5_fc_8(const real* __restrict__ parameters, const int64* __restrict__ targets,
            const real* __restrict__ pool2, real* __restrict__ pool2_grad,
            real* __restrict__ fc1, real* __restrict__ fc2, real* __restrict__ fc1_grad,
            real* __restrict__ fc2_grad, real* __restrict__ fc3_grad, real* __restrict__ losses,
            int* __restrict__ correct, LeNet5 net, int batch) {
    fc_layers<8>(parameters, targets, pool2, pool2_grad, fc1, fc2, fc1_grad, fc2_grad, fc3_grad,
                 losses, correct, net, batch);
}

// LeNet-5 forward through its convolutions: see lenet5.cuh.

#include "lenet5.cuh"

constexpr int FILTER = 28;  // a filter's 25 weights in whole packs
// Rows lie in pairs, such that the patches of windows i and j begin 2 (i - j) reals apart, modulo
// 32: lanes of neighbouring windows read from different banks.
constexpr int ROW1 = 46, PAIR1 = 92, ROW2 = 16, PAIR2 = 42;
constexpr int PLANE2 = PAIR2 * POOLED1 / 2;

// The 6x6 numbers that the four outputs of a pooling window depend on.
template <int ROW, int PAIR>
__device__ inline void load_patch(const real* corner, real (&patch)[6][6]) {
#pragma unroll
    for (int y = 0; y < 6; ++y) {
#pragma unroll
        for (int x = 0; x < 6; x += 2) {
            const Two two = *(const Two*)(corner + y / 2 * PAIR + y % 2 * ROW + x);
            patch[y][x] = two.at[0];
            patch[y][x + 1] = two.at[1];
        }
    }
}

// Adds a filter's products with a patch to the window's four outputs.
__device__ inline void add_products(const real (&patch)[6][6], const real* filter,
                                    real (&sum)[4]) {
    Four weight[FILTER / 4];
#pragma unroll
    for (int i = 0; i < FILTER / 4; ++i) weight[i] = ((const Four*)filter)[i];
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sum[i] += patch[i / 2 + tap / 5][i % 2 + tap % 5] * weight[tap / 4].at[tap % 4];
        }
    }
}

// Writes the greatest of a window's four outputs, after ReLU, and its place.
__device__ inline void pool(const real (&sum)[4], real bias, real* output, uint8* place) {
    real best = sum[0] + bias;
    int where = 0;
#pragma unroll
    for (int i = 1; i < 4; ++i) {
        const real value = sum[i] + bias;
        if (value > best || (is_nan(value) && !is_nan(best))) {
            best = value;
            where = i;
        }
    }
    *output = best <= 0 ? 0 : best;
    *place = (uint8)(best > 0 ? where : CLOSED);
}

__device__ inline void load_filters(const real* weight, int filters, real* shared) {
    for (int i = threadIdx.x; i < filters * FILTER; i += blockDim.x) {
        shared[i] = i % FILTER < TAPS ? weight[i / FILTER * TAPS + i % FILTER] : 0;
    }
}

// conv1: a thread owns a pooling window and goes through the channels.
__device__ inline void convolve1(const real* picture, const real* weight, const real* bias,
                                 int channels, real* shared_output, real* output, uint8* places) {
    const int window = threadIdx.x, y = window / POOLED1, x = window % POOLED1;
    if (window >= WINDOWS1) return;
    real patch[6][6];
    load_patch<ROW1, PAIR1>(picture + y * PAIR1 + 2 * x, patch);
#pragma unroll 1
    for (int c = 0; c < channels; ++c) {
        real sum[4] = {};
        add_products(patch, weight + c * FILTER, sum);
        const int at = c * WINDOWS1 + window;
        real value;
        pool(sum, bias[c], &value, places + at);
        output[at] = value;
        shared_output[c * PLANE2 + y / 2 * PAIR2 + y % 2 * ROW2 + x] = value;
    }
}

// conv2: a warp owns four output channels and half of the input channels, its lanes the windows. A
// thread thus uses each number of its patch 100 times, and shared memory keeps up.
__device__ inline void convolve2(const real* input, real* weight, const real* bias, int channels1,
                                 int channels2, real* output, uint8* places) {
    const int window = threadIdx.x % 32, first = threadIdx.x / 32 % 4 * 4;
    const int half = threadIdx.x / 128, column = first / 4 * WINDOWS2 + window;
    const bool owns = window < WINDOWS2 && first < channels2;
    real sum[4][4] = {};
    if (owns) {
        const real* corner = input + window / POOLED2 * PAIR2 + window % POOLED2 * 2;
#pragma unroll 1
        for (int c = half * channels1 / 2; c < (half + 1) * channels1 / 2; ++c) {
            real patch[6][6];
            load_patch<ROW2, PAIR2>(corner + c * PLANE2, patch);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                add_products(patch, weight + ((first + i) * channels1 + c) * FILTER, sum[i]);
            }
        }
    }
    __syncthreads();
    real* other = weight;  // the second half's sums, where nobody needs the weights any more
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        if (owns && half == 1) other[i * (4 * WINDOWS2) + column] = sum[i / 4][i % 4];
    }
    __syncthreads();
    if (!owns || half == 1) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += other[(i * 4 + j) * (4 * WINDOWS2) + column];
        const int at = (first + i) * WINDOWS2 + window;
        pool(sum[i], bias[first + i], output + at, places + at);
    }
}

// On a multiprocessor, for the compiler; doubles need the registers of one or two.
constexpr int BLOCKS = sizeof(real) == 4 ? 3 : 1;

extern "C" __global__ void __launch_bounds__(256, BLOCKS)
lenet5_convolve(const uint8* __restrict__ images, const int64* __restrict__ indices,
                const real* __restrict__ scale, const real* __restrict__ shift,
                const real* __restrict__ parameters, real* __restrict__ pooled1,
                uint8* __restrict__ places1, real* __restrict__ pooled2,
                uint8* __restrict__ places2, int64 items, int channels1, int channels2) {
    alignas(16) __shared__ real picture[PADDED * ROW1];
    alignas(16) __shared__ real weight1[MOST_CHANNELS1 * FILTER];
    alignas(16) __shared__ real weight2[MOST_CHANNELS2 * MOST_CHANNELS1 * FILTER];
    alignas(16) __shared__ real input2[MOST_CHANNELS1 * PLANE2];
    const Network network = {channels1, channels2, 0, 0, 0};
    const int64 sample = blockIdx.x, item = indices[sample];
    const real times = scale[0], plus = shift[0];
    for (int i = threadIdx.x; i < PADDED * PADDED; i += blockDim.x) {
        picture[i / PADDED * ROW1 + i % PADDED] = pixel(images, item, items, times, plus, i);
    }
    load_filters(parameters, channels1, weight1);
    load_filters(parameters + network.weight2(), channels2 * channels1, weight2);
    __syncthreads();
    const int64 at1 = sample * channels1 * WINDOWS1, at2 = sample * channels2 * WINDOWS2;
    convolve1(picture, weight1, parameters + network.bias1(), channels1, input2, pooled1 + at1,
              places1 + at1);
    __syncthreads();
    convolve2(input2, weight2, parameters + network.bias2(), channels1, channels2, pooled2 + at2,
              places2 + at2);
}

// LeNet-5 forward through its convolutions and poolings (lenet5.cuh). A block computes one sample.

#include "lenet5.cuh"

constexpr int THREADS = 512;
constexpr int FILTER = 28;  // reals from filter to filter in shared memory: 25 in whole packs
// Reals from row to row, and from a pair of rows to the next, in shared memory. The 6x6 patches of
// pooling windows i and j start 2 (i - j) reals apart modulo 32: lanes with neighbouring windows
// read different banks.
constexpr int IMAGE_ROW = 46, IMAGE_PAIR = 92, POOL1_ROW = 16, POOL1_PAIR = 42;
constexpr int POOL1_PLANE = POOL1_PAIR * POOL1_SIZE / 2;

// Loads the 6x6 inputs that the four outputs of a pooling window depend on.
template <int ROW, int PAIR>
__device__ inline void load_patch(const real* first, real (&patch)[6][6]) {
#pragma unroll
    for (int y = 0; y < 6; ++y) {
#pragma unroll
        for (int x = 0; x < 6; x += 2) {
            const Real2 two = *(const Real2*)(first + y / 2 * PAIR + y % 2 * ROW + x);
            patch[y][x] = two.at[0];
            patch[y][x + 1] = two.at[1];
        }
    }
}

// Adds a filter's products with a patch to the four outputs of the window.
__device__ inline void add_products(const real (&patch)[6][6], const real* filter,
                                    real (&sum)[4]) {
    Real4 weight[FILTER / PACK];
#pragma unroll
    for (int i = 0; i < FILTER / PACK; ++i) weight[i] = ((const Real4*)filter)[i];
#pragma unroll
    for (int rs = 0; rs < KERNEL_AREA; ++rs) {
        const int r = rs / KERNEL_SIZE, s = rs % KERNEL_SIZE;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sum[i] += patch[i / 2 + r][i % 2 + s] * weight[rs / PACK].at[rs % PACK];
        }
    }
}

// Writes the maximum of a window's four outputs after ReLU, and its position.
__device__ inline void max_pool(const real (&sum)[4], real bias, real* output, uint8* argmax) {
    real best = sum[0] + bias;
    int position = 0;
#pragma unroll
    for (int i = 1; i < 4; ++i) {
        const real value = sum[i] + bias;
        if (value > best || (is_nan(value) && !is_nan(best))) {
            best = value;
            position = i;
        }
    }
    *output = best <= 0 ? 0 : best;
    *argmax = (uint8)(best > 0 ? position : CLOSED);
}

// What a thread loads of up to MAX_FILTERS filters. Loads come before all stores, so that a thread
// waits for memory once.
template <int MAX_FILTERS>
struct Filters {
    static constexpr int COUNT = (MAX_FILTERS * FILTER + THREADS - 1) / THREADS;
    real values[COUNT];

    __device__ Filters(const real* weight, int filters) {
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            const int i = j * THREADS + threadIdx.x, k = i / FILTER, rs = i % FILTER;
            values[j] = k < filters && rs < KERNEL_AREA ? weight[k * KERNEL_AREA + rs] : 0;
        }
    }

    __device__ void store(real* shared) const {
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            const int i = j * THREADS + threadIdx.x;
            if (i < MAX_FILTERS * FILTER) shared[i] = values[j];
        }
    }
};

// conv1, ReLU and pool1: each thread owns a pooling window in some of the channels.
constexpr int SHARES1 = THREADS / 256;
static_assert(POOL1_AREA <= 256, "a thread for each window of pool1 and share of the channels");
static_assert(CHANNELS_PER_BLOCK % SHARES1 == 0, "the shares are equal");

__device__ inline void convolve1(const real* image, const real* weight, const real* bias,
                                 int channels, real* shared_output, real* output, uint8* argmax) {
    const int share = threadIdx.x / 256, window = threadIdx.x % 256;
    const int y = window / POOL1_SIZE, x = window % POOL1_SIZE;
    if (window >= POOL1_AREA) return;
    real patch[6][6];
    load_patch<IMAGE_ROW, IMAGE_PAIR>(image + y * IMAGE_PAIR + 2 * x, patch);
#pragma unroll 1
    for (int k = share * channels / SHARES1; k < (share + 1) * channels / SHARES1; ++k) {
        real sum[4] = {};
        add_products(patch, weight + k * FILTER, sum);
        const int i = k * POOL1_AREA + window;
        real value;
        max_pool(sum, bias[k], &value, argmax + i);
        output[i] = value;
        shared_output[k * POOL1_PLANE + y / 2 * POOL1_PAIR + y % 2 * POOL1_ROW + x] = value;
    }
}

// conv2, ReLU and pool2: each warp owns some output channels and one half of the input channels,
// its lanes the pooling windows. So a thread uses each value of its patch in many products, and
// shared memory keeps up.
constexpr int OWNED = MAX_CHANNELS2 / (THREADS / 32 / 2);  // output channels of a warp
static_assert(POOL2_AREA <= 32, "a lane for each window of pool2");
static_assert(PACK % OWNED == 0, "channels2 is a multiple");
static_assert(CHANNELS_PER_BLOCK % 2 == 0, "conv1's channels have two halves");

__device__ inline void convolve2(const real* input, real* weight, const real* bias, int channels1,
                                 int channels2, real* output, uint8* argmax) {
    const int window = threadIdx.x % 32, first = threadIdx.x / 32 * OWNED % MAX_CHANNELS2;
    const int half = threadIdx.x / (THREADS / 2);
    const bool owns = window < POOL2_AREA && first < channels2;
    real sum[OWNED][4] = {};
    if (owns) {
        const int y = window / POOL2_SIZE, x = window % POOL2_SIZE;
        const real* corner = input + y * POOL1_PAIR + 2 * x;
#pragma unroll 1
        for (int c = half * channels1 / 2; c < (half + 1) * channels1 / 2; ++c) {
            real patch[6][6];
            load_patch<POOL1_ROW, POOL1_PAIR>(corner + c * POOL1_PLANE, patch);
#pragma unroll
            for (int i = 0; i < OWNED; ++i) {
                add_products(patch, weight + ((first + i) * channels1 + c) * FILTER, sum[i]);
            }
        }
    }
    __syncthreads();
    real* second = weight;  // the second half's sums overwrite the weights, which have been read
    const int at = first * POOL2_AREA + window;
#pragma unroll
    for (int i = 0; i < OWNED * 4; ++i) {
        if (owns && half == 1) {
            second[(i % 4 * MAX_CHANNELS2 + i / 4) * POOL2_AREA + at] = sum[i / 4][i % 4];
        }
    }
    __syncthreads();
    if (!owns || half == 1) return;
#pragma unroll
    for (int i = 0; i < OWNED; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            sum[i][j] += second[(j * MAX_CHANNELS2 + i) * POOL2_AREA + at];
        }
        max_pool(sum[i], bias[first + i], output + at + i * POOL2_AREA,
                 argmax + at + i * POOL2_AREA);
    }
}

// Blocks on a multiprocessor that the compiler allots registers for; doubles take twice as many.
constexpr int BLOCKS = sizeof(real) == 4 ? 2 : 1;

extern "C" __global__ void __launch_bounds__(512, BLOCKS)
lenet5_conv_forward(const uint8* __restrict__ images, const int64* __restrict__ indices,
                    const real* __restrict__ scale, const real* __restrict__ shift,
                    const real* __restrict__ parameters, real* __restrict__ pool1,
                    uint8* __restrict__ argmax1, real* __restrict__ pool2,
                    uint8* __restrict__ argmax2, LeNet5 net, int64 items) {
    alignas(16) __shared__ real image[PADDED * IMAGE_ROW];
    alignas(16) __shared__ real weight1[MAX_CHANNELS1 * FILTER];
    alignas(16) __shared__ real weight2[MAX_CHANNELS2 * MAX_CHANNELS1 * FILTER];
    alignas(16) __shared__ real input2[MAX_CHANNELS1 * POOL1_PLANE];
    __shared__ real bias1[MAX_CHANNELS1], bias2[MAX_CHANNELS2];
    static_assert(sizeof(image) + sizeof(weight1) + sizeof(weight2) + sizeof(input2) +
                  sizeof(bias1) + sizeof(bias2) <= SHARED_BYTES,
                  "limits channels1 times channels2");
    static_assert(MAX_CHANNELS2 * 4 * POOL2_AREA <= sizeof(weight2) / sizeof(real),
                  "convolve2's sums fit");
    const int64 sample = blockIdx.x, item = indices[sample];
    const real factor = scale[0], offset = shift[0];
    const Filters<MAX_CHANNELS1> filters1(parameters + net.conv1_weight, net.channels1);
    const Filters<MAX_CHANNELS2 * MAX_CHANNELS1> filters2(parameters + net.conv2_weight,
                                                          net.channels2 * net.channels1);
    const int k = threadIdx.x;
    const real b1 = k < net.channels1 ? parameters[net.conv1_bias + k] : 0;
    const real b2 = k < net.channels2 ? parameters[net.conv2_bias + k] : 0;
    ImageShare<THREADS> share(threadIdx.x);
    share.load(images, item, items);
    filters1.store(weight1);
    filters2.store(weight2);
    if (k < MAX_CHANNELS1) bias1[k] = b1;
    if (k < MAX_CHANNELS2) bias2[k] = b2;
    share.store(image, IMAGE_ROW, factor, offset);
    __syncthreads();
    const int64 at1 = sample * net.channels1 * POOL1_AREA;
    const int64 at2 = sample * net.channels2 * POOL2_AREA;
    convolve1(image, weight1, bias1, net.channels1, input2, pool1 + at1, argmax1 + at1);
    __syncthreads();
    convolve2(input2, weight2, bias2, net.channels1, net.channels2, pool2 + at2, argmax2 + at2);
}

// LeNet-5 backward through its convolutions and poolings: part of lenet5_backward.cu. A block sums
// the gradients of two channels of conv1, and those of conv2's weights for these input channels,
// over every parts-th sample.
//
// Max-pooling passes a gradient to one of four outputs. So weight gradients go through the windows,
// and add each window's gradient times the 5x5 inputs of its maximum. Only the gradient of pool1's
// output needs the gradients of all of conv2's outputs, zeros included (conv2_grad).

// Reals from row to row: the 25 elements of a filter then lie in different banks.
constexpr int IMAGE_ROW = 37, POOL1_ROW = 19, POOL1_PLANE = POOL1_SIZE * POOL1_ROW;
constexpr int CONV2_SIZE = 2 * POOL2_SIZE;  // height and width of conv2's outputs
constexpr int CONV2_ROW = 12, CONV2_PLANE = CONV2_SIZE * CONV2_ROW + 4;
constexpr int POOL2_LIST = 28;  // pool2's 25 windows in whole packs
constexpr int CHANNELS = CHANNELS_PER_BLOCK;

// Shared memory of a block, for one sample. The patch of a window is where the 5x5 inputs of its
// maximum start, an offset in a plane of the convolution's input.
struct alignas(16) ConvMemory {
    real conv2_grad[MAX_CHANNELS2 * CONV2_PLANE];
    real pool2_grad[MAX_CHANNELS2 * POOL2_LIST];
    real pool1_grad[CHANNELS * POOL1_AREA];
    int pool2_patch[MAX_CHANNELS2 * POOL2_LIST];
    int pool1_patch[CHANNELS * POOL1_AREA];  // -1 where ReLU passes no gradient
    real conv2_weight[CHANNELS * MAX_CHANNELS2 * KERNEL_AREA];  // input channels first
    real pool1[CHANNELS * POOL1_PLANE];
    real image[PADDED * IMAGE_ROW];
};

static_assert(POOL1_AREA % PACK == 0 && POOL2_LIST % PACK == 0, "windows are read in packs");

// Sets to zero what no sample writes.
__device__ inline void clear(ConvMemory& m) {
    for (int i = threadIdx.x; i < MAX_CHANNELS2 * CONV2_PLANE; i += THREADS) m.conv2_grad[i] = 0;
    for (int i = threadIdx.x; i < MAX_CHANNELS2 * POOL2_LIST; i += THREADS) {
        m.pool2_grad[i] = 0;
        m.pool2_patch[i] = 0;
    }
}

// A thread's share of conv2's weights for input channels `first` and first + 1.
struct WeightShare {
    static constexpr int FILTERS = MAX_CHANNELS2 * KERNEL_AREA;  // for one input channel
    static constexpr int COUNT = (CHANNELS * FILTERS + THREADS - 1) / THREADS;
    real values[COUNT];

    __device__ WeightShare(const real* weight, const LeNet5& net, int first) {
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            const int i = j * THREADS + threadIdx.x, c = first + i / FILTERS;
            const int k = i % FILTERS / KERNEL_AREA, rs = i % KERNEL_AREA;
            const int at = (k * net.channels1 + c) * KERNEL_AREA + rs;
            values[j] = i < CHANNELS * FILTERS && k < net.channels2 ? weight[at] : 0;
        }
    }

    __device__ void store(ConvMemory& m) const {
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            const int i = j * THREADS + threadIdx.x;
            if (i < CHANNELS * FILTERS) m.conv2_weight[i] = values[j];
        }
    }
};

// A thread's share of a sample: outputs of pool1, and gradients of pool2's outputs. As those of the
// image, its values are loaded before the first is used.
struct SampleShare {
    static constexpr int COUNT1 = (CHANNELS * POOL1_AREA + THREADS - 1) / THREADS;
    static constexpr int COUNT2 = (MAX_CHANNELS2 * POOL2_AREA + THREADS - 1) / THREADS;
    int thread;
    ImageShare<THREADS> image;
    real pool1[COUNT1], pool2_grad[COUNT2];
    int argmax1[COUNT1], argmax2[COUNT2];

    __device__ explicit SampleShare(int thread) : thread(thread), image(thread) {}

    __device__ void load(const real* pool1_at, const uint8* argmax1_at, const real* pool2_grad_at,
                         const uint8* argmax2_at, int outputs2) {
#pragma unroll
        for (int j = 0; j < COUNT1; ++j) {
            const int i = j * THREADS + thread;
            if (i >= CHANNELS * POOL1_AREA) continue;
            pool1[j] = pool1_at[i];
            argmax1[j] = argmax1_at[i];
        }
#pragma unroll
        for (int j = 0; j < COUNT2; ++j) {
            const int i = j * THREADS + thread;
            if (i >= outputs2) continue;
            pool2_grad[j] = pool2_grad_at[i];
            argmax2[j] = argmax2_at[i];
        }
    }

    __device__ void store(ConvMemory& m, real scale, real shift, int outputs2) const {
        image.store(m.image, IMAGE_ROW, scale, shift);
#pragma unroll
        for (int j = 0; j < COUNT1; ++j) {
            const int i = j * THREADS + thread;
            if (i < CHANNELS * POOL1_AREA) store1(m, i, pool1[j], argmax1[j]);
        }
#pragma unroll
        for (int j = 0; j < COUNT2; ++j) {
            const int i = j * THREADS + thread;
            if (i < outputs2) store2(m, i, argmax2[j] == CLOSED ? 0 : pool2_grad[j], argmax2[j]);
        }
    }

    __device__ static void store1(ConvMemory& m, int i, real output, int argmax) {
        const int y = i % POOL1_AREA / POOL1_SIZE, x = i % POOL1_SIZE;
        m.pool1[i / POOL1_AREA * POOL1_PLANE + y * POOL1_ROW + x] = output;
        const int patch = (2 * y + argmax / 2) * IMAGE_ROW + 2 * x + argmax % 2;
        m.pool1_patch[i] = argmax == CLOSED ? -1 : patch;
    }

    __device__ static void store2(ConvMemory& m, int i, real grad, int argmax) {
        const int k = i / POOL2_AREA, window = i % POOL2_AREA;
        const int y = 2 * (window / POOL2_SIZE), x = 2 * (window % POOL2_SIZE);
        m.pool2_grad[k * POOL2_LIST + window] = grad;
        m.pool2_patch[k * POOL2_LIST + window] =
            argmax == CLOSED ? 0 : (y + argmax / 2) * POOL1_ROW + x + argmax % 2;
        real* outputs = m.conv2_grad + k * CONV2_PLANE + y * CONV2_ROW + x;
        *(Real2*)outputs = {argmax == 0 ? grad : 0, argmax == 1 ? grad : 0};
        *(Real2*)(outputs + CONV2_ROW) = {argmax == 2 ? grad : 0, argmax == 3 ? grad : 0};
    }
};

// Computes row y of the gradient of pool1's outputs: a half of the warp for each input channel, a
// lane of it for each output channel of conv2. Windows that ReLU closed get zero, and a patch that
// may be read.
static_assert(MAX_CHANNELS2 <= 16 && CHANNELS == 2, "a lane for each pair of channels of conv2");

__device__ inline void set_pool1_grad(ConvMemory& m, int y) {
    const int lane = threadIdx.x % 32, k = lane % 16;
    real sum[16] = {};
#pragma unroll 1
    for (int r = max(0, y - CONV2_SIZE + 1); r <= min(KERNEL_SIZE - 1, y); ++r) {
        const Real4* row = (const Real4*)(m.conv2_grad + k * CONV2_PLANE + (y - r) * CONV2_ROW);
        const Real4 grads[3] = {row[0], row[1], row[2]};
        real weight[KERNEL_SIZE];
#pragma unroll
        for (int s = 0; s < KERNEL_SIZE; ++s) {
            weight[s] = m.conv2_weight[lane * KERNEL_AREA + r * KERNEL_SIZE + s];
        }
#pragma unroll
        for (int s = 0; s < KERNEL_SIZE; ++s) {
#pragma unroll
            for (int q = 0; q < CONV2_SIZE; ++q) {
                sum[q + s] += grads[q / PACK].at[q % PACK] * weight[s];
            }
        }
    }
    sum_lanes<16, 16>(sum);
    const int x = k;  // the lane now has the sum of a column
    if (x >= POOL1_SIZE) return;
    const int at = lane / 16 * POOL1_AREA + y * POOL1_SIZE + x;
    const bool open = m.pool1_patch[at] >= 0;
    m.pool1_grad[at] = open ? sum[0] : 0;
    if (!open) m.pool1_patch[at] = 0;
}

// Adds the products of four windows' gradients with one element of their patches, in as many planes
// as there are sums, and the gradients to `bias`. `element` is that element of a patch at offset 0.
template <int PLANES>
__device__ inline void add_windows(const real* grads, const int* patches, const real* element,
                                   real (&sum)[PLANES], real& bias) {
    const Real4 grad = *(const Real4*)grads;
    const Int4 patch = *(const Int4*)patches;
#pragma unroll
    for (int i = 0; i < PACK; ++i) {
#pragma unroll
        for (int c = 0; c < PLANES; ++c) {
            sum[c] += grad.at[i] * element[c * POOL1_PLANE + patch.at[i]];
        }
        bias += grad.at[i];
    }
}

// A lane's sums over all samples of the block. A lane owns element (r, s) of the filters: for conv2
// two output channels k, for conv1 both channels and some of the windows.
static_assert(MAX_CHANNELS2 <= 2 * WARPS, "two output channels of conv2 for each warp");
static_assert(KERNEL_AREA < 32, "a lane for each element of a filter, one for the bias");

struct ConvGrads {
    real weight2[2][CHANNELS], bias2[2], weight1[CHANNELS][1], bias1[CHANNELS];

    __device__ void add_conv2(const ConvMemory& m, int channels2) {
        const int lane = threadIdx.x % 32, rs = lane < KERNEL_AREA ? lane : 0;
        const real* element = m.pool1 + rs / KERNEL_SIZE * POOL1_ROW + rs % KERNEL_SIZE;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int k = threadIdx.x / 32 + i * WARPS;
            if (k >= channels2) continue;
#pragma unroll 1
            for (int at = k * POOL2_LIST; at < (k + 1) * POOL2_LIST; at += PACK) {
                add_windows(m.pool2_grad + at, m.pool2_patch + at, element, weight2[i], bias2[i]);
            }
        }
    }

    __device__ void add_conv1(const ConvMemory& m) {
        const int lane = threadIdx.x % 32, rs = lane < KERNEL_AREA ? lane : 0;
        const real* element = m.image + rs / KERNEL_SIZE * IMAGE_ROW + rs % KERNEL_SIZE;
        for (int window = threadIdx.x / 32 * PACK; window < POOL1_AREA; window += PACK * WARPS) {
#pragma unroll
            for (int k = 0; k < CHANNELS; ++k) {
                const int at = k * POOL1_AREA + window;
                add_windows(m.pool1_grad + at, m.pool1_patch + at, element, weight1[k], bias1[k]);
            }
        }
    }

    // Writes the block's gradients to `out`, a row of `partials`, at the offsets in `parameters`.
    __device__ void write(ConvMemory& m, real* out, const LeNet5& net, int first) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < 2 * CHANNELS; ++i) {
            const int k = warp + i / CHANNELS * WARPS, c = i % CHANNELS;
            if (k >= net.channels2) continue;
            const int at = (k * net.channels1 + first + c) * KERNEL_AREA + lane;
            if (lane < KERNEL_AREA) out[net.conv2_weight + at] = weight2[i / CHANNELS][c];
            if (lane == KERNEL_AREA && c == 0 && first == 0) {
                out[net.conv2_bias + k] = bias2[i / CHANNELS];
            }
        }
        // The warps' sums for conv1, the bias last. They overwrite conv2_grad, which has been read.
        real* sums = m.conv2_grad;
#pragma unroll
        for (int k = 0; k < CHANNELS; ++k) {
            const int at = (warp * CHANNELS + k) * 32 + lane;
            sums[at] = lane < KERNEL_AREA ? weight1[k][0] : bias1[k];
        }
        __syncthreads();
        if (warp >= CHANNELS || lane > KERNEL_AREA) return;
        real sum = 0;
        for (int i = 0; i < WARPS; ++i) sum += sums[(i * CHANNELS + warp) * 32 + lane];
        const int k = first + warp;
        const int weight = net.conv1_weight + k * KERNEL_AREA + lane;
        out[lane < KERNEL_AREA ? weight : net.conv1_bias + k] = sum;
    }
};

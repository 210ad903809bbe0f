// The gradients of a training step of LeNet-5 in four launches; operation by operation it takes
// thirty, and at its sizes a GPU waits for launches. The network: 5x5 convolution with padding 2,
// ReLU, 2x2 max-pooling, 5x5 convolution, ReLU, 2x2 max-pooling, three linear layers with ReLU
// between them, the mean cross-entropy; pictures of one channel, 28 by 28.
//
// lenet5_convolve   a block a sample: both convolutions and poolings.
// lenet5_linear_N   a block N samples: the linear layers, the loss, and backward to the gradient of
//                   the first one's input. N decides how often the weights are read, no result.
// lenet5_backward   two kinds of blocks: the convolutions' backward, for every part-th sample and
//                   two channels of the first convolution, and 16x32 tiles of the linear layers'
//                   weight gradients over the whole batch.
// lenet5_finish     adds up the parts of the convolutions' gradients, the loss and the metrics.
//
// Shapes: images (items, 1, 28, 28) of bytes; indices, the batch's items, and targets (batch);
// scale and shift (1), what makes a pixel a number; parameters and grads flat, layer by layer,
// weight before bias (Network); pooled1 and places1 (batch, channels1, 14, 14), pooled2, places2
// and pooled2_grad (batch, channels2, 5, 5); hidden1 and grads1 (batch, features1), hidden2 and
// grads2 (batch, features2), where grads are those of the outputs before ReLU; grads3 (batch,
// classes, rounded up to a multiple of 4); losses and right (batch); partials (parts, parameters of
// the convolutions); totals (2), failed (1) and step (1) as in metrics.cu and finite.cu.
//
// A place says which of a window's four outputs was the greatest, the first of equal ones in
// row-major order or the first NaN; CLOSED, that it was not positive and passes no gradient. An
// index outside the items gives NaN pixels, a class outside the row a NaN loss. A loss or gradient
// that is not finite writes step to failed, unless a step stands there.
//
// channels1 must be even, channels2 and the features multiples of 4: filters and rows are read in
// packs (gpucnn/backends/lenet5.py has the limits). How sums are divided follows from the batch
// size alone: samples by part, and within a block warps and lanes, joined by fixed trees.

constexpr int SIDE = 28, PADDED = 32, POOLED1 = 14, POOLED2 = 5, TAPS = 25;
constexpr int WINDOWS1 = POOLED1 * POOLED1, WINDOWS2 = POOLED2 * POOLED2;
constexpr int MOST_CHANNELS1 = 6, MOST_CHANNELS2 = 16, MOST_INPUTS = MOST_CHANNELS2 * WINDOWS2;
constexpr int MOST_FEATURES1 = 128, MOST_FEATURES2 = 96, MOST_CLASSES = 32;
constexpr int CLOSED = 4;
constexpr unsigned int WARP = 0xffffffffu;

// Numbers that travel together, 16 bytes at a time.
struct alignas(16) Four {
    real at[4];
};

struct alignas(2 * sizeof(real)) Two {
    real at[2];
};

struct alignas(16) FourPlaces {
    int at[4];
};

// The network's sizes, and where its parameters lie in the flat vectors.
struct Network {
    int channels1, channels2, features1, features2, classes;

    __device__ int inputs() const { return channels2 * WINDOWS2; }
    __device__ int bias1() const { return channels1 * TAPS; }
    __device__ int weight2() const { return bias1() + channels1; }
    __device__ int bias2() const { return weight2() + channels2 * channels1 * TAPS; }
    __device__ int convolutions() const { return bias2() + channels2; }
    __device__ int weight3() const { return convolutions(); }
    __device__ int weight4() const { return weight3() + features1 * (inputs() + 1); }
    __device__ int weight5() const { return weight4() + features2 * (features1 + 1); }
};

// A pixel of a picture that is padded by 2 and made numbers.
__device__ inline real pixel(const uint8* images, int64 item, int64 items, real scale, real shift,
                             int at) {
    const int y = at / PADDED - 2, x = at % PADDED - 2;
    if (y < 0 || y >= SIDE || x < 0 || x >= SIDE) return 0;
    if (item < 0 || item >= items) return not_a_number();
    return images[item * (SIDE * SIDE) + y * SIDE + x] * scale + shift;
}

// Adds each of COUNT numbers over LANES neighbouring lanes. A lane is left with COUNT / LANES of
// the sums, in values[0], ...: the first lane with the first ones. Half of the numbers go to the
// other half of the lanes, and so on: COUNT shuffles, where summing one at a time takes
// COUNT log LANES.
template <int LANES, int COUNT>
__device__ inline void sum_lanes(real* values) {
    if constexpr (LANES > 1) {
        constexpr int HALF = COUNT / 2;
        const bool second = threadIdx.x & (LANES / 2);
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const real kept = second ? values[HALF + i] : values[i];
            const real given = second ? values[i] : values[HALF + i];
            values[i] = kept + __shfl_xor_sync(WARP, given, LANES / 2);
        }
        sum_lanes<LANES / 2, HALF>(values);
    }
}

// --- forward through the convolutions ------------------------------------------------------------

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


// Blocks on a multiprocessor, for the compiler; doubles need the registers of one or two.
constexpr int FORWARD_BLOCKS = sizeof(real) == 4 ? 3 : 1;
constexpr int BACKWARD_BLOCKS = sizeof(real) == 4 ? 4 : 1;

extern "C" __global__ void __launch_bounds__(256, FORWARD_BLOCKS)
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

// --- the linear layers ---------------------------------------------------------------------------

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

// --- backward through the convolutions, and the linear layers' weights ---------------------------

// Reals from row to row, such that the 25 taps of a filter lie in different banks.
constexpr int PICTURE_ROW = 37, POOLED_ROW = 19, POOLED_PLANE = POOLED1 * POOLED_ROW;
constexpr int LIST = 28;                              // 25 windows in whole packs
constexpr int OUTPUTS2 = 2 * POOLED2;                 // conv2 has 10x10 outputs
constexpr int DENSE_ROW = 12, DENSE_PLANE = OUTPUTS2 * DENSE_ROW + 4;
constexpr int CHANNELS = 2;                           // of conv1 that a block owns
constexpr int WARPS = 8;

// What a block that goes backward through the convolutions keeps of a sample. Lists have a gradient
// and a place for each pooling window, first the gradients of the greatest outputs, then where the
// taps of these outputs begin in the layer's input.
struct alignas(16) Convolutions {
    real dense[MOST_CHANNELS2 * DENSE_PLANE];         // gradients of conv2's outputs
    real grads2[MOST_CHANNELS2 * LIST];
    real grads1[CHANNELS * WINDOWS1];
    int places2[MOST_CHANNELS2 * LIST];
    int places1[CHANNELS * WINDOWS1];                 // -1 where none passes a gradient
    real weight[CHANNELS * MOST_CHANNELS2 * TAPS];    // of conv2, channel of conv1 by channel
    real pooled[CHANNELS * POOLED_PLANE];
    real picture[PADDED * PICTURE_ROW];
};

constexpr int TILE_ROWS = 16, TILE_COLUMNS = 32, TILE = TILE_ROWS * TILE_COLUMNS;

// What a block that owns a tile of a linear layer's gradients keeps: each warp's sums.
struct alignas(16) TileSums {
    real weight[WARPS][TILE];
    real bias[WARPS][TILE_ROWS];
};

union BackwardMemory {
    Convolutions convolutions;
    TileSums tile;
};

// Sets what stays as it is from sample to sample, zeros above all.
__device__ inline void prepare(Convolutions& m, const real* weight2, Network network, int first) {
    const int filters = MOST_CHANNELS2 * TAPS;
    for (int i = threadIdx.x; i < MOST_CHANNELS2 * DENSE_PLANE; i += blockDim.x) m.dense[i] = 0;
    for (int i = threadIdx.x; i < MOST_CHANNELS2 * LIST; i += blockDim.x) {
        m.grads2[i] = 0;
        m.places2[i] = 0;
    }
    for (int i = threadIdx.x; i < CHANNELS * filters; i += blockDim.x) {
        const int c = first + i / filters, k = i % filters / TAPS;
        const int at = (k * network.channels1 + c) * TAPS + i % TAPS;
        m.weight[i] = k < network.channels2 ? weight2[at] : 0;
    }
}

// Lays out what conv1 gave and the gradients that reach conv2's outputs.
__device__ inline void load_sample(Convolutions& m, const real* pooled1, const uint8* places1,
                                   const real* pooled2_grad, const uint8* places2, int channels2) {
    for (int i = threadIdx.x; i < CHANNELS * WINDOWS1; i += blockDim.x) {
        const int y = i % WINDOWS1 / POOLED1, x = i % POOLED1, place = places1[i];
        m.pooled[i / WINDOWS1 * POOLED_PLANE + y * POOLED_ROW + x] = pooled1[i];
        const int corner = (2 * y + place / 2) * PICTURE_ROW + 2 * x + place % 2;
        m.places1[i] = place == CLOSED ? -1 : corner;
    }
    for (int i = threadIdx.x; i < channels2 * WINDOWS2; i += blockDim.x) {
        const int k = i / WINDOWS2, window = i % WINDOWS2, place = places2[i];
        const int y = 2 * (window / POOLED2), x = 2 * (window % POOLED2);
        const real grad = place == CLOSED ? 0 : pooled2_grad[i];
        m.grads2[k * LIST + window] = grad;
        m.places2[k * LIST + window] =
            place == CLOSED ? 0 : (y + place / 2) * POOLED_ROW + x + place % 2;
        real* outputs = m.dense + k * DENSE_PLANE + y * DENSE_ROW + x;
        *(Two*)outputs = {place == 0 ? grad : 0, place == 1 ? grad : 0};
        *(Two*)(outputs + DENSE_ROW) = {place == 2 ? grad : 0, place == 3 ? grad : 0};
    }
}

// The gradients of row y of conv1's pooled outputs, for both channels: lanes 0 to 15 own a channel
// of conv2 each and go along its rows, lanes 16 to 31 do so for the second channel of conv1.
// Closed windows get none, and a place that may be read.
__device__ inline void pooled_grads(Convolutions& m, int y) {
    const int lane = threadIdx.x % 32, k = lane % 16;
    real sum[16] = {};
#pragma unroll 1
    for (int tap_y = max(0, y - OUTPUTS2 + 1); tap_y <= min(4, y); ++tap_y) {
        const Four* row = (const Four*)(m.dense + k * DENSE_PLANE + (y - tap_y) * DENSE_ROW);
        const Four grads[3] = {row[0], row[1], row[2]};
        real weight[5];
#pragma unroll
        for (int tap = 0; tap < 5; ++tap) weight[tap] = m.weight[lane * TAPS + tap_y * 5 + tap];
#pragma unroll
        for (int tap = 0; tap < 5; ++tap) {
#pragma unroll
            for (int x = 0; x < OUTPUTS2; ++x) {
                sum[x + tap] += grads[x / 4].at[x % 4] * weight[tap];
            }
        }
    }
    sum_lanes<16, 16>(sum);
    if (k >= POOLED1) return;
    const int at = lane / 16 * WINDOWS1 + y * POOLED1 + k;
    const bool open = m.places1[at] >= 0;
    m.grads1[at] = open ? sum[0] : 0;
    if (!open) m.places1[at] = 0;
}

// Adds the products of four windows' gradients with what lies under a tap, in as many planes as
// there are sums, and the gradients to `bias`.
template <int PLANES>
__device__ inline void add_windows(const real* grads, const int* places, const real* tap,
                                   real (&sum)[PLANES], real& bias) {
    const Four grad = *(const Four*)grads;
    const FourPlaces place = *(const FourPlaces*)places;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int c = 0; c < PLANES; ++c) sum[c] += grad.at[i] * tap[c * POOLED_PLANE + place.at[i]];
        bias += grad.at[i];
    }
}

// A lane's sums over all of the block's samples: it owns a tap of two of conv2's filters, for both
// channels, and the same tap of conv1's two filters for some of the windows.
struct Sums {
    real weight2[2][CHANNELS], bias2[2], weight1[CHANNELS][1], bias1[CHANNELS];

    __device__ void add2(const Convolutions& m, int channels2) {
        const int lane = threadIdx.x % 32, tap = lane < TAPS ? lane : 0;
        const real* under = m.pooled + tap / 5 * POOLED_ROW + tap % 5;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int k = threadIdx.x / 32 + i * WARPS;
            if (k >= channels2) continue;
#pragma unroll 1
            for (int at = k * LIST; at < (k + 1) * LIST; at += 4) {
                add_windows(m.grads2 + at, m.places2 + at, under, weight2[i], bias2[i]);
            }
        }
    }

    __device__ void add1(const Convolutions& m) {
        const int lane = threadIdx.x % 32, tap = lane < TAPS ? lane : 0;
        const real* under = m.picture + tap / 5 * PICTURE_ROW + tap % 5;
        for (int window = threadIdx.x / 32 * 4; window < WINDOWS1; window += 4 * WARPS) {
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) {
                const int at = c * WINDOWS1 + window;
                add_windows(m.grads1 + at, m.places1 + at, under, weight1[c], bias1[c]);
            }
        }
    }

    // Writes the block's gradients to its places in the convolutions' vector.
    __device__ void write(Convolutions& m, real* out, Network network, int first) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < 2 * CHANNELS; ++i) {
            const int k = warp + i / CHANNELS * WARPS, c = i % CHANNELS;
            if (k >= network.channels2) continue;
            const int at = network.weight2() + (k * network.channels1 + first + c) * TAPS + lane;
            if (lane < TAPS) out[at] = weight2[i / CHANNELS][c];
            if (lane == TAPS && c == 0 && first == 0) out[network.bias2() + k] = bias2[i / CHANNELS];
        }
        // conv1's gradients of each warp, those of a bias last; m.dense is no longer needed.
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) {
            const int at = (warp * CHANNELS + c) * 32 + lane;
            m.dense[at] = lane < TAPS ? weight1[c][0] : bias1[c];
        }
        __syncthreads();
        if (warp >= CHANNELS || lane > TAPS) return;
        real sum = 0;
        for (int i = 0; i < WARPS; ++i) sum += m.dense[(i * CHANNELS + warp) * 32 + lane];
        const int channel = first + warp;
        out[lane < TAPS ? channel * TAPS + lane : network.bias1() + channel] = sum;
    }
};

// A linear layer, as far as its gradients go: outputs (rows) by inputs (columns), the gradients of
// the outputs `pitch` apart from sample to sample; `weight` says where its parameters lie.
struct Layer {
    const real* grads;
    const real* inputs;
    int rows, columns, pitch, weight;

    __device__ int tiles_wide() const { return (columns + TILE_COLUMNS - 1) / TILE_COLUMNS; }

    __device__ int tiles() const {
        return (rows + TILE_ROWS - 1) / TILE_ROWS * tiles_wide();
    }

    // Sums a 4x4 part of a tile, and its rows' biases, over a warp's samples, in order.
    __device__ void add(TileSums& m, int tile, int batch) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int y = lane / 8 * 4, x = lane % 8 * 4;
        const int row = tile / tiles_wide() * TILE_ROWS + y;
        const int column = tile % tiles_wide() * TILE_COLUMNS + x;
        const int each = (batch + WARPS - 1) / WARPS, begin = warp * each;
        real sum[4][4] = {}, bias[4] = {};
        if (row < pitch && column < columns) {
            const real* left = grads + (int64)begin * pitch + row;
            const real* right = inputs + (int64)begin * columns + column;
#pragma unroll 4
            for (int n = begin; n < min(batch, begin + each); ++n) {
                const Four grad = *(const Four*)left, input = *(const Four*)right;
                left += pitch;
                right += columns;
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum[i][j] += grad.at[i] * input.at[j];
                    bias[i] += grad.at[i];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            Four four;
#pragma unroll
            for (int j = 0; j < 4; ++j) four.at[j] = sum[i][j];
            *(Four*)(m.weight[warp] + (y + i) * TILE_COLUMNS + x) = four;
            if (x == 0) m.bias[warp][y + i] = bias[i];
        }
    }

    // Joins the warps' sums; returns whether the thread's gradients are all finite.
    __device__ bool write(const TileSums& m, int tile, real* out) const {
        const int first_row = tile / tiles_wide() * TILE_ROWS;
        const int first_column = tile % tiles_wide() * TILE_COLUMNS;
        bool finite = true;
        for (int i = threadIdx.x; i < TILE + TILE_ROWS; i += blockDim.x) {
            const bool is_bias = i >= TILE;
            const int row = first_row + (is_bias ? i - TILE : i / TILE_COLUMNS);
            const int column = first_column + (is_bias ? 0 : i % TILE_COLUMNS);
            if (row >= rows || column >= columns || (is_bias && first_column > 0)) continue;
            real sum = 0;
#pragma unroll
            for (int warp = 0; warp < WARPS; ++warp) {
                sum += is_bias ? m.bias[warp][i - TILE] : m.weight[warp][i];
            }
            const int at = is_bias ? rows * columns + row : row * columns + column;
            out[weight + at] = sum;
            finite = finite && is_finite(sum);
        }
        return finite;
    }
};

extern "C" __global__ void __launch_bounds__(256, BACKWARD_BLOCKS)
lenet5_backward(const uint8* __restrict__ images, const int64* __restrict__ indices,
                const real* __restrict__ scale, const real* __restrict__ shift,
                const real* __restrict__ parameters, const real* __restrict__ pooled1,
                const uint8* __restrict__ places1, const real* __restrict__ pooled2,
                const uint8* __restrict__ places2, const real* __restrict__ pooled2_grad,
                const real* __restrict__ hidden1, const real* __restrict__ hidden2,
                const real* __restrict__ grads1, const real* __restrict__ grads2,
                const real* __restrict__ grads3, real* __restrict__ partials,
                real* __restrict__ grads, int64* __restrict__ failed,
                const int64* __restrict__ step, int64 items, int parts, int batch, int channels1,
                int channels2, int features1, int features2, int classes) {
    __shared__ BackwardMemory memory;
    const Network network = {channels1, channels2, features1, features2, classes};
    int tile = (int)blockIdx.x - parts * (channels1 / CHANNELS);
    if (tile >= 0) {
        const int inputs = network.inputs();
        Layer layer = {grads1, pooled2, features1, inputs, features1, network.weight3()};
        if (tile >= layer.tiles()) {
            tile -= layer.tiles();
            layer = {grads2, hidden1, features2, features1, features2, network.weight4()};
        }
        if (layer.grads == grads2 && tile >= layer.tiles()) {
            tile -= layer.tiles();
            const int pitch = (classes + 3) / 4 * 4;
            layer = {grads3, hidden2, classes, features2, pitch, network.weight5()};
        }
        layer.add(memory.tile, tile, batch);
        __syncthreads();
        if (!layer.write(memory.tile, tile, grads)) set_failed(failed, step[0]);
        return;
    }
    Convolutions& m = memory.convolutions;
    const int part = blockIdx.x % parts, first = blockIdx.x / parts * CHANNELS;
    const real times = scale[0], plus = shift[0];
    Sums sums = {};
    prepare(m, parameters + network.weight2(), network, first);
    for (int64 n = part; n < batch; n += parts) {
        const int64 item = indices[n], at1 = (n * channels1 + first) * WINDOWS1;
        const int64 at2 = n * network.inputs();
        __syncthreads();  // what is overwritten now has been read
        for (int i = threadIdx.x; i < PADDED * PADDED; i += blockDim.x) {
            m.picture[i / PADDED * PICTURE_ROW + i % PADDED] =
                pixel(images, item, items, times, plus, i);
        }
        load_sample(m, pooled1 + at1, places1 + at1, pooled2_grad + at2, places2 + at2, channels2);
        __syncthreads();
        for (int y = threadIdx.x / 32; y < POOLED1; y += WARPS) pooled_grads(m, y);
        sums.add2(m, channels2);
        __syncthreads();
        sums.add1(m);
    }
    sums.write(m, partials + (int64)part * network.convolutions(), network, first);
}

// --- the end -------------------------------------------------------------------------------------

// Adds the batch's losses and right answers to the totals.
__device__ inline void add_totals(const real* losses, const int* right, double* totals,
                                  int64* failed, const int64* step, int batch) {
    real loss = 0;
    int hits = 0;
    for (int n = threadIdx.x; n < batch; n += blockDim.x) {
        loss += losses[n];
        hits += right[n];
    }
    loss = block_sum(loss) * ((real)1 / batch);
    hits = block_sum(hits);
    if (threadIdx.x > 0) return;
    totals[0] += (double)loss * batch;
    totals[1] += hits;
    if (!is_finite(loss)) set_failed(failed, step[0]);
}

// A warp adds every eighth part of 32 gradients, in order, and then the block the warps. The last
// block adds up the losses.
extern "C" __global__ void __launch_bounds__(256)
lenet5_finish(const real* __restrict__ partials, const real* __restrict__ losses,
              const int* __restrict__ right, real* __restrict__ grads, double* __restrict__ totals,
              int64* __restrict__ failed, const int64* __restrict__ step, int parts, int count,
              int batch) {
    __shared__ real warps[WARPS][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = blockIdx.x * 32 + lane;
    if (blockIdx.x == gridDim.x - 1) {
        add_totals(losses, right, totals, failed, step, batch);
        return;
    }
    real sum = 0;
    if (at < count) {
#pragma unroll 8
        for (int part = warp; part < parts; part += WARPS) {
            sum += partials[(int64)part * count + at];
        }
    }
    warps[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || at >= count) return;
    for (int i = 1; i < WARPS; ++i) sum += warps[i][lane];
    grads[at] = sum;
    if (!is_finite(sum)) set_failed(failed, step[0]);
}

// LeNet-5's fully connected layers (lenet5.cuh): forward, the loss, and backward to the gradient of
// fc1's input. A block computes N samples (2 or 4): N decides how often the weights are read, and
// changes no result.
//
// A block reads all weights through one multiprocessor, and waits for each layer before the next.
// So loads are 16 bytes wide, many are in flight, and the next layer's are issued in advance.

#include "lenet5.cuh"

constexpr int THREADS = 512;
constexpr bool IS_FLOAT = sizeof(real) == 4;
// Of FcRows: what registers have room for.
constexpr int FC1_STEPS = IS_FLOAT ? 7 : 2, FC2_STEPS = IS_FLOAT ? 4 : 2;
constexpr int FC3_STEPS = IS_FLOAT ? 3 : 2;
constexpr int ROWS = IS_FLOAT ? 8 : 2;  // of FcColumns

// Activations of a block's samples in shared memory: feature by feature, samples side by side. Four
// unused reals follow every four features: eight lanes that read features four apart then read
// different banks.
template <int SAMPLES>
struct Activations {
    __device__ static constexpr int size(int features) { return features * SAMPLES + features; }

    __device__ static int at(int feature, int sample) {
        return feature * SAMPLES + feature / PACK * PACK + sample;
    }

    // Loads four features of all samples; `feature` is a multiple of 4.
    __device__ static void load_four(const real* activations, int feature,
                                     real (&values)[PACK * SAMPLES]) {
        const Real4* from = (const Real4*)(activations + at(feature, 0));
#pragma unroll
        for (int i = 0; i < PACK * SAMPLES; ++i) values[i] = from[i / PACK].at[i % PACK];
    }

    // Loads one feature of all samples.
    __device__ static void load(const real* activations, int feature, real (&values)[SAMPLES]) {
        const Real2* from = (const Real2*)(activations + at(feature, 0));
#pragma unroll
        for (int n = 0; n < SAMPLES; ++n) values[n] = from[n / 2].at[n % 2];
    }
};

// y = x w^T + b, through ReLU if asked for: w (outputs, inputs). Eight lanes own two rows of w and
// split the inputs, four at a time: a step is 32 columns, of which a warp reads 128 bytes in each
// of its eight rows. The weights of STEPS steps are in registers or on their way.
static_assert(MAX_FEATURES1 <= THREADS / 8 * 2, "two outputs for eight lanes");
static_assert(MAX_FEATURES2 <= THREADS / 8 * 2, "two outputs for eight lanes");

template <int SAMPLES, int STEPS, int MAX_COLUMNS>
struct FcRows {
    static constexpr int STEP = 8 * PACK, WIDTH = STEPS * STEP;
    static constexpr int LANES_PER_SUM = 2 * SAMPLES < 8 ? 8 / (2 * SAMPLES) : 1;

    const real *first, *second;
    int inputs, outputs, row, lane;
    real bias;  // of the output whose sum the lane ends with
    Real4 a[STEPS], b[STEPS];
    real sum[2 * SAMPLES] = {};

    // Loads the first steps.
    __device__ FcRows(const real* weight, const real* biases, int inputs, int outputs)
        : inputs(inputs), outputs(outputs), row(threadIdx.x / 8 * 2), lane(threadIdx.x % 8) {
        first = weight + row * inputs;
        second = row + 1 < outputs ? first + inputs : first;
        bias = output() < outputs ? biases[output()] : 0;
#pragma unroll
        for (int i = 0; i < STEPS; ++i) load(i, PACK * lane + i * STEP);
    }

    // The sums of a lane are those of the first row for each sample, then those of the second. In
    // the end it has one of them: of this output and sample.
    __device__ int output() const { return row + lane / LANES_PER_SUM / SAMPLES; }
    __device__ int sample() const { return lane / LANES_PER_SUM % SAMPLES; }

    __device__ void load(int i, int column) {
        if (row >= outputs || column >= inputs) return;
        a[i] = *(const Real4*)(first + column);
        b[i] = *(const Real4*)(second + column);
    }

    __device__ void multiply(const real* x) {
#pragma unroll 1
        for (int start = 0; start < inputs; start += WIDTH) {
#pragma unroll
            for (int i = 0; i < STEPS; ++i) {
                const int column = start + PACK * lane + i * STEP;
                if (row < outputs && column < inputs) add(i, x, column);
                if (WIDTH < MAX_COLUMNS) load(i, column + WIDTH);
            }
            if (WIDTH >= MAX_COLUMNS) break;
        }
    }

    // Writes y to shared memory and, if `saved` is not null, to global memory.
    __device__ void write(real* y, bool with_relu, real* saved, int samples) {
        sum_lanes<8, 2 * SAMPLES>(sum);
        const int k = output(), n = sample();
        if (k >= outputs || lane % LANES_PER_SUM) return;
        const real value = relu(sum[0] + bias, with_relu);
        y[Activations<SAMPLES>::at(k, n)] = value;
        if (saved && n < samples) saved[n * outputs + k] = value;
    }

    __device__ void add(int i, const real* x, int column) {
        real four[PACK * SAMPLES];
        Activations<SAMPLES>::load_four(x, column, four);
#pragma unroll
        for (int j = 0; j < PACK; ++j) {
#pragma unroll
            for (int n = 0; n < SAMPLES; ++n) {
                sum[n] += a[i].at[j] * four[j * SAMPLES + n];
                sum[SAMPLES + n] += b[i].at[j] * four[j * SAMPLES + n];
            }
        }
    }
};

// dx = dy w: w (outputs, inputs). A thread owns four inputs and a share of the outputs, every
// shares-th. The weights of ROWS outputs are in registers or on their way.
constexpr int MAX_SHARES = 4;  // of MAX_INPUTS inputs; more of fewer inputs

// Of how many samples there is room for the shares in shared memory.
__host__ __device__ constexpr int group(int samples) { return IS_FLOAT ? samples : 2; }

template <int SAMPLES>
struct FcColumns {
    static constexpr int GROUP = group(SAMPLES);

    const real* weight;
    int inputs, outputs, column, share, shares;
    Real4 w[ROWS];

    // Loads the first rows.
    __device__ FcColumns(const real* weight, int inputs, int outputs)
        : weight(weight), inputs(inputs), outputs(outputs) {
        const int quads = inputs / PACK;
        column = threadIdx.x % quads * PACK, share = threadIdx.x / quads;
        shares = min(min(THREADS / quads, MAX_SHARES * MAX_INPUTS / inputs), outputs);
#pragma unroll
        for (int i = 0; i < ROWS; ++i) load(i, share + i * shares);
    }

    __device__ void load(int i, int k) {
        if (share < shares && k < outputs) w[i] = *(const Real4*)(weight + k * inputs + column);
    }

    // Writes dx to `saved` in global memory. If a ReLU precedes the layer, `x` holds the layer's
    // input, and dx times the ReLU's derivative overwrites it there and goes to `saved`. `memory`
    // serves for the shares.
    __device__ void multiply(const real* dy, real* x, real* memory, real* saved, int samples) {
        real sum[SAMPLES][PACK] = {};
#pragma unroll 1
        for (int first = share; first < outputs; first += ROWS * shares) {
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                const int k = first + i * shares;
                if (share < shares && k < outputs) add(i, dy, k, sum);
                load(i, k + ROWS * shares);
            }
        }
#pragma unroll
        for (int sample = 0; sample < SAMPLES; sample += GROUP) {
            if (share < shares) write_share(sum + sample, memory);
            __syncthreads();
            for (int i = threadIdx.x; i < inputs * GROUP; i += THREADS) {
                const int c = i / GROUP, n = sample + i % GROUP;
                real value = add_shares(memory + Activations<GROUP>::at(c, i % GROUP));
                if (x) {
                    real& own = x[Activations<SAMPLES>::at(c, n)];
                    own = value = own > 0 ? value : 0;
                }
                if (n < samples) saved[n * inputs + c] = value;
            }
            __syncthreads();
        }
    }

    __device__ void add(int i, const real* dy, int k, real (&sum)[SAMPLES][PACK]) const {
        real grad[SAMPLES];
        Activations<SAMPLES>::load(dy, k, grad);
#pragma unroll
        for (int n = 0; n < SAMPLES; ++n) {
#pragma unroll
            for (int j = 0; j < PACK; ++j) sum[n][j] += w[i].at[j] * grad[n];
        }
    }

    __device__ void write_share(const real (*sum)[PACK], real* memory) const {
        real* own = memory + share * Activations<GROUP>::size(inputs);
#pragma unroll
        for (int i = 0; i < GROUP; ++i) {
            Real4 four;
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                four.at[j] = sum[(i * PACK + j) % GROUP][(i * PACK + j) / GROUP];
            }
            ((Real4*)(own + Activations<GROUP>::at(column, 0)))[i] = four;
        }
    }

    __device__ real add_shares(const real* from) const {
        real sum = 0;
#pragma unroll 4
        for (int s = 0; s < shares; ++s) sum += from[s * Activations<GROUP>::size(inputs)];
        return sum;
    }
};

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
    constexpr int SHARES = MAX_SHARES * Activations<group(SAMPLES)>::size(MAX_INPUTS);
    alignas(16) __shared__ real memory[SHARES];
    alignas(16) __shared__ real layer1[Shared::size(MAX_FEATURES1)];
    alignas(16) __shared__ real layer2[Shared::size(MAX_FEATURES2)];
    alignas(16) __shared__ real scores[Shared::size(MAX_CLASSES)];
    static_assert(sizeof(memory) + sizeof(layer1) + sizeof(layer2) + sizeof(scores) <=
                  SHARED_BYTES, "limits the sum of the layers' sizes");
    static_assert(Shared::size(MAX_INPUTS) <= SHARES, "the input fits");
    static_assert(SAMPLES * MAX_INPUTS / PACK <= THREADS, "a thread for each pack of the input");
    const int inputs = net.inputs(), features1 = net.features1, features2 = net.features2;
    const int classes = net.classes, warp = threadIdx.x / 32;
    const int64 first = (int64)blockIdx.x * SAMPLES;
    const int samples = (int)min((int64)SAMPLES, batch - first);
    const real* weight1 = parameters + net.fc1_weight;
    const real* weight2 = parameters + net.fc2_weight;
    const real* weight3 = parameters + net.fc3_weight;
    FcRows<SAMPLES, FC1_STEPS, MAX_INPUTS> rows1(weight1, parameters + net.fc1_bias, inputs,
                                                features1);
    const int64 target = warp < samples ? targets[first + warp] : 0;
    real* input = memory;  // until all have read it
    if (threadIdx.x < SAMPLES * inputs / PACK) {
        const int n = threadIdx.x % SAMPLES, c = threadIdx.x / SAMPLES * PACK;
        Real4 four = {};
        if (n < samples) four = *(const Real4*)(pool2 + (first + n) * inputs + c);
#pragma unroll
        for (int j = 0; j < PACK; ++j) input[Shared::at(c + j, n)] = four.at[j];
    }
    __syncthreads();
    rows1.multiply(input);
    FcRows<SAMPLES, FC2_STEPS, MAX_FEATURES1> rows2(weight2, parameters + net.fc2_bias, features1,
                                                   features2);
    rows1.write(layer1, true, fc1 + first * features1, samples);
    __syncthreads();
    rows2.multiply(layer1);
    FcRows<SAMPLES, FC3_STEPS, MAX_FEATURES2> rows3(weight3, parameters + net.fc3_bias, features2,
                                                   classes);
    rows2.write(layer2, true, fc2 + first * features2, samples);
    __syncthreads();
    rows3.multiply(layer2);
    rows3.write(scores, false, nullptr, samples);
    FcColumns<SAMPLES> columns3(weight3, features2, classes);
    __syncthreads();
    if (warp < SAMPLES) {
        const int64 n = first + warp;
        cross_entropy<SAMPLES>(scores, classes, batch, target, warp < samples, warp, losses + n,
                               correct + n, fc3_grad + n * net.fc3_pitch, net.fc3_pitch);
    }
    FcColumns<SAMPLES> columns2(weight2, features1, features2);
    __syncthreads();
    columns3.multiply(scores, layer2, memory, fc2_grad + first * features2, samples);
    FcColumns<SAMPLES> columns1(weight1, inputs, features1);
    columns2.multiply(layer2, layer1, memory, fc1_grad + first * features1, samples);
    columns1.multiply(layer1, nullptr, memory, pool2_grad + first * inputs, samples);
}

extern "C" __global__ void __launch_bounds__(512, 1)
lenet5_fc_2(const real* __restrict__ parameters, const int64* __restrict__ targets,
            const real* __restrict__ pool2, real* __restrict__ pool2_grad,
            real* __restrict__ fc1, real* __restrict__ fc2, real* __restrict__ fc1_grad,
            real* __restrict__ fc2_grad, real* __restrict__ fc3_grad, real* __restrict__ losses,
            int* __restrict__ correct, LeNet5 net, int batch) {
    fc_layers<2>(parameters, targets, pool2, pool2_grad, fc1, fc2, fc1_grad, fc2_grad, fc3_grad,
                 losses, correct, net, batch);
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

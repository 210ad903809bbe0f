// Means and variances, and the elements of a channel of an array (batch, channels, inner).
//
// Variances are not differences of mean squares, which cancel where the mean is far from zero: a
// thread takes the mean and the squared deviations of a few elements in registers, and adds them to
// those before by the formula of Chan, Golub and LeVeque (1983). The sums of threads are merged in
// a fixed tree, and those of blocks in order. The first element is subtracted from all others
// before, so that means are not rounded to the digits of one far from zero.

constexpr int THREADS = 256;

// The elements in a load of 16 bytes.
constexpr int VECTOR = 16 / sizeof(real);

// The number of elements, their mean, and the sum of their squared deviations from it.
struct Moments {
    real count, mean, squares;

    __device__ void merge(const Moments& other) {
        if (other.count == 0) return;
        const real total = count + other.count, share = other.count / total;
        const real distance = other.mean - mean;
        mean += distance * share;
        squares += other.squares + distance * distance * (count * share);
        count = total;
    }

    // Adds the first `size` values, at least one.
    template <int COUNT>
    __device__ void add(const real (&values)[COUNT], int size) {
        real sum = 0, squares = 0;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) sum += i < size ? values[i] : 0;
        const real mean = sum / size;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const real deviation = i < size ? values[i] - mean : 0;
            squares += deviation * deviation;
        }
        merge(Moments{(real)size, mean, squares});
    }
};

struct TwoSums {
    real first, second;

    __device__ void merge(const TwoSums& other) {
        first += other.first;
        second += other.second;
    }
};

// Merges the values of the threads whose slots are in the same segment, `length` slots, a power of
// two, in a fixed tree. Every thread of the block must call it, with a slot of its own.
template <typename T>
__device__ T merged(const T& value, int slot, int length) {
    __shared__ T tree[THREADS];
    tree[slot] = value;
    __syncthreads();
    for (int half = length / 2; half > 0; half /= 2) {
        if (slot % length < half) tree[slot].merge(tree[slot + half]);
        __syncthreads();
    }
    const T result = tree[slot - slot % length];
    __syncthreads();  // before the next call writes
    return result;
}

// Sizes of an array (batch, channels, inner).
struct Maps {
    int batch, channels, inner;

    __device__ int64 count() const { return (int64)batch * inner; }  // of a channel
};

// A thread's way through the elements of a channel that its block visits: blockIdx.y of gridDim.y
// parts of equal length, COUNT adjacent elements at a time. WIDTH channels are side by side in a
// block, 256 / WIDTH threads each: one channel where its elements are adjacent in memory, 32 where
// those of its neighbours are, as in (batch, features).
template <int COUNT, int WIDTH>
struct Walk {
    static constexpr int OWNERS = THREADS / WIDTH, STEP = OWNERS * COUNT;

    Maps maps;
    int channel, sample, rest;  // the current element: `rest` of the channel in a sample
    int64 k, end;               // its number in the channel, and the end of the part
    int samples_on, rest_on;    // from an element to the next

    __device__ explicit Walk(const Maps& sizes)
        : maps(sizes), channel(blockIdx.x * WIDTH + threadIdx.x % WIDTH) {
        const int64 length = ceil_divide(maps.count(), (int64)gridDim.y * COUNT) * COUNT;
        const int64 start = blockIdx.y * length;
        k = start + threadIdx.x / WIDTH * COUNT;
        end = start + length < maps.count() ? start + length : maps.count();
        if (channel >= maps.channels) end = 0;
        const Division at = divide(k, maps.inner);
        sample = (int)at.quotient;
        rest = (int)at.remainder;
        samples_on = STEP / maps.inner;
        rest_on = STEP % maps.inner;
    }

    __device__ bool inside() const { return k < end; }

    __device__ void advance() {
        k += STEP;
        sample += samples_on;
        rest += rest_on;
        if (rest >= maps.inner) {
            rest -= maps.inner;
            sample += 1;
        }
    }

    // The index of the current element in the array.
    __device__ int64 index() const {
        return ((int64)sample * maps.channels + channel) * maps.inner + rest;
    }

    // Whether the thread writes what belongs to the channel.
    __device__ bool writes() const { return threadIdx.x < WIDTH && channel < maps.channels; }

    // Merges the values of the threads that own the channel; all of the block must call it.
    template <typename T>
    __device__ T merge(const T& value) const {
        const int slot = threadIdx.x % WIDTH * OWNERS + threadIdx.x / WIDTH;
        return merged(value, slot, OWNERS);
    }
};

template <int COUNT>
__device__ inline Vector<COUNT> load(const real* at) {
    return *(const Vector<COUNT>*)at;
}

// Whether arrays of these sizes can be read in vectors: none lies in two channels.
__device__ inline bool has_vectors(const Maps& maps, const real* a, const real* b = nullptr,
                                   const real* c = nullptr, const real* d = nullptr) {
    return maps.inner % VECTOR == 0 && is_aligned<VECTOR>(a) && is_aligned<VECTOR>(b) &&
           is_aligned<VECTOR>(c) && is_aligned<VECTOR>(d);
}

// The sums over a channel's part of dy z and of dy, where z = (x - mean) invstd: the gradients of
// weight and bias. They are written to partials (parts, channels, 2) or, if there are none, to the
// gradients. With relu_output, dy counts only where that is positive. Statistics are those of the
// channel or, if groups is not 0, of the sample's group that the channel belongs to.
template <int COUNT, int WIDTH>
__device__ inline void write_products(const real* grad, const real* input, const real* mean,
                                      const real* invstd, const real* relu_output, real* partials,
                                      real* weight_grad, real* bias_grad, const Maps& maps,
                                      int groups) {
    Walk<COUNT, WIDTH> walk(maps);
    TwoSums sums = {0, 0};
    const int group = groups ? walk.channel / (maps.channels / groups) : 0;
    for (; walk.inside(); walk.advance()) {
        const int64 i = walk.index();
        const int64 at = groups ? (int64)walk.sample * groups + group : walk.channel;
        const Vector<COUNT> x = load<COUNT>(input + i), dy = load<COUNT>(grad + i);
        Vector<COUNT> y = dy;
        if (relu_output) y = load<COUNT>(relu_output + i);
        const real centre = mean[at], scale = invstd[at];
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            const real own = !relu_output || y.at[j] > 0 ? dy.at[j] : 0;
            sums.first += own * ((x.at[j] - centre) * scale);
            sums.second += own;
        }
    }
    sums = walk.merge(sums);
    if (!walk.writes()) return;
    const int64 own = (int64)blockIdx.y * maps.channels + walk.channel;
    *(partials ? partials + 2 * own : weight_grad + own) = sums.first;
    *(partials ? partials + 2 * own + 1 : bias_grad + own) = sums.second;
}

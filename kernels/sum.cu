// Sums: the second stages of sums that were divided into parts, whose number follows from the
// shapes alone, and the gradient of a bias.

// The sum of `count` partial sums, as one number. One block: a thread adds every 256th of them in
// order, and a fixed tree adds the threads' sums.
extern "C" __global__ void __launch_bounds__(256)
sum_partials(const real* __restrict__ partials, real* __restrict__ output, int count) {
    real sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) output[0] = sum;
}

// The sum over the first axis of partials (count, rows, pitch), as output (rows, columns) and, of
// the column after those, last (rows). A thread owns one element and adds its parts in order.
// There may be many parts of few elements, so that loads of several parts are in flight at once.
extern "C" __global__ void __launch_bounds__(256)
sum_splits(const real* __restrict__ partials, real* __restrict__ output,
           real* __restrict__ NULLABLE last, int count, int rows, int pitch, int columns) {
    constexpr int AT_ONCE = 32;
    const int64 i = thread_index(), n = (int64)rows * pitch;
    if (i >= n) return;
    const Division at = divide(i, pitch);
    const int column = (int)at.remainder;
    if (column > columns || (column == columns && !last)) return;
    real sum = 0;
    for (int first = 0; first < count; first += AT_ONCE) {
        real values[AT_ONCE];
#pragma unroll
        for (int part = 0; part < AT_ONCE; ++part) {
            if (first + part < count) values[part] = partials[(first + part) * n + i];
        }
#pragma unroll
        for (int part = 0; part < AT_ONCE; ++part) {
            if (first + part < count) sum += values[part];
        }
    }
    *(column < columns ? output + at.quotient * columns + column : last + at.quotient) = sum;
}

// The sum of each channel of grad (batch, channels, area), as output (channels): the gradient of a
// bias. A block owns a channel: each thread adds every 1024th element in order, and a fixed tree
// adds the threads' sums.
extern "C" __global__ void __launch_bounds__(1024)
sum_channels(const real* __restrict__ grad, real* __restrict__ output, int batch, int channels,
             int area) {
    const int c = blockIdx.x;
    real sum = 0;
    for (int64 k = threadIdx.x; k < (int64)batch * area; k += blockDim.x) {
        const Division at = divide(k, area);
        sum += grad[(at.quotient * channels + c) * area + at.remainder];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) output[c] = sum;
}

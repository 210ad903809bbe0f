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

// The sum over the first axis of partials (count, n), as output (first) and, where there are more,
// rest (n - first). A thread owns one element and adds its parts in order.
extern "C" __global__ void __launch_bounds__(256)
sum_splits(const real* __restrict__ partials, real* __restrict__ output,
           real* __restrict__ NULLABLE rest, int count, int64 n, int64 first) {
    const int64 i = thread_index();
    if (i >= n) return;
    real sum = 0;
    for (int part = 0; part < count; ++part) sum += partials[part * n + i];
    *(i < first ? output + i : rest + i - first) = sum;
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

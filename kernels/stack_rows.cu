// The rows of one matrix, then those of another, each times a factor. With the factors -1 / rows
// and 1 / rows, products of such matrices are differences of means: one product instead of two.
//
// Arrays of `split` and n - split elements, and of n. A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
stack_rows_forward(const real* __restrict__ first, const real* __restrict__ second,
                   real* __restrict__ output, int64 split, int64 n, real first_factor,
                   real second_factor) {
    const int64 i = thread_index();
    if (i >= n) return;
    output[i] = i < split ? first_factor * first[i] : second_factor * second[i - split];
}

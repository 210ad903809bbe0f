// One-hot rows: 1 at each sample's class, else 0. A class outside the row makes the row NaN, as the
// host does not wait to look at labels.
//
// Shapes: target (rows), output (rows, classes). A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
one_hot_forward(const int64* __restrict__ target, real* __restrict__ output, int64 rows,
                int classes) {
    const int64 i = thread_index();
    if (i >= rows * classes) return;
    const int64 right = target[i / classes];
    const bool known = right >= 0 && right < classes;
    output[i] = !known ? not_a_number() : i % classes == right ? 1 : 0;
}

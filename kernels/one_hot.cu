// One-hot rows: 1 at each sample's class, else 0. The host does not wait to look at labels: a class
// out of range makes its row NaN.
//
// Shapes: target (rows), output (rows, classes). A thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
one_hot_forward(const int64* __restrict__ target, real* __restrict__ output, int64 rows,
                int classes) {
    const int64 i = thread_index();
    if (i >= rows * classes) return;
    const int64 label = target[i / classes];
    const bool valid = label >= 0 && label < classes;
    output[i] = !valid ? not_a_number() : i % classes == label ? 1 : 0;
}

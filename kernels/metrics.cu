// Running totals of an epoch: totals[0] += rows * loss, and totals[1] += the number of rows whose
// maximum, the first of equals, is at their class. A row with a NaN never counts as correct.
//
// Shapes: totals (2) of double, loss (1), the mean over the rows, scores (rows, classes), target
// (rows). One block: a thread counts every 256th row, and integers add up in any order.

extern "C" __global__ void __launch_bounds__(256)
add_metrics(double* __restrict__ totals, const real* __restrict__ loss,
            const real* __restrict__ scores, const int64* __restrict__ target, int rows,
            int classes) {
    int correct = 0;
    for (int64 n = threadIdx.x; n < rows; n += blockDim.x) {
        const real* row = scores + n * classes;
        int argmax = 0;  // the first NaN, if there is one
        for (int c = 1; c < classes; ++c) {
            if (exceeds(row[c], row[argmax])) argmax = c;
        }
        if (argmax == target[n] && !is_nan(row[argmax])) ++correct;
    }
    correct = block_sum(correct);
    if (threadIdx.x == 0) {
        totals[0] += (double)loss[0] * rows;
        totals[1] += correct;
    }
}

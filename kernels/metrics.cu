// Running totals of an epoch: totals[0] += rows * loss and totals[1] += the number of rows whose
// greatest score, the first of equals, is at their class. A row with a NaN is never right.
//
// Shapes: totals (2) of double, loss (1), the mean over the rows, scores (rows, classes), target
// (rows). One block: a thread counts every 256th row, and whole numbers add up in any order.

extern "C" __global__ void __launch_bounds__(256)
add_metrics(double* __restrict__ totals, const real* __restrict__ loss,
            const real* __restrict__ scores, const int64* __restrict__ target, int rows,
            int classes) {
    int right = 0;
    for (int64 n = threadIdx.x; n < rows; n += blockDim.x) {
        const real* row = scores + n * classes;
        int best = 0;
        bool numbers = !is_nan(row[0]);
        for (int c = 1; c < classes; ++c) {
            if (row[c] > row[best]) best = c;
            if (is_nan(row[c])) numbers = false;
        }
        if (numbers && best == target[n]) ++right;
    }
    right = block_sum(right);
    if (threadIdx.x == 0) {
        totals[0] += (double)loss[0] * rows;
        totals[1] += right;
    }
}

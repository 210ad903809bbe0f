// Running totals of an epoch: totals[0] += repeats * loss, and totals[1] += the number of rows
// whose maximum, the first of equals, is at their class. A row with a NaN never counts as correct,
// nor does one whose class is ignore_index.
//
// Shapes: totals (2) of double, loss (1), scores (rows, classes), target (rows). The loss is the
// mean over the rows, and repeats their number, or their sum, and repeats 1. One block: a thread
// counts every 256th row, and integers add up in any order. Its accesses are as those of
// cross_entropy.cu: a sector is loaded once, and its other elements come from the L1 cache.

extern "C" __global__ void __launch_bounds__(256)
add_metrics(double* __restrict__ totals, const real* __restrict__ loss,
            const real* __restrict__ scores, const int64* __restrict__ target, int rows,
            int classes, int repeats, int64 ignore_index) {
    int correct = 0;
    for (int64 n = threadIdx.x; n < rows; n += blockDim.x) {
        const real* row = scores + n * classes;
        int argmax = 0;  // the first NaN, if there is one
        for (int c = 1; c < classes; ++c) {
            if (exceeds(row[c], row[argmax])) argmax = c;
        }
        const bool counts = target[n] != ignore_index && !is_nan(row[argmax]);
        if (counts && argmax == target[n]) ++correct;
    }
    correct = block_sum(correct);
    if (threadIdx.x == 0) {
        totals[0] += (double)loss[0] * repeats;
        totals[1] += correct;
    }
}

// Running totals of an epoch of regression: totals[0] += rows * loss, then the sums of (x - t)^2 of
// each column, then those of |x - t|, in double.
//
// Shapes: totals (1 + 2 columns) of double, loss (1), outputs and target (rows, columns). The loss
// is the mean over the rows. One block: a thread adds every 256th row in order, then block_sum.

extern "C" __global__ void __launch_bounds__(256)
add_errors(double* __restrict__ totals, const real* __restrict__ loss,
           const real* __restrict__ outputs, const real* __restrict__ target, int rows,
           int columns) {
    for (int k = 0; k < columns; ++k) {
        double squares = 0, sizes = 0;
        for (int64 n = threadIdx.x; n < rows; n += blockDim.x) {
            const double error = (double)outputs[n * columns + k] - target[n * columns + k];
            squares += error * error;
            sizes += fabs(error);
        }
        squares = block_sum(squares);
        sizes = block_sum(sizes);
        if (threadIdx.x == 0) {
            totals[1 + k] += squares;
            totals[1 + columns + k] += sizes;
        }
    }
    if (threadIdx.x == 0) totals[0] += (double)loss[0] * rows;
}

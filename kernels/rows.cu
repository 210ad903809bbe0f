// Rows of images as sequences: two axes change places, input (batch, channels, height, width) and
// output (batch, height, channels, width). The gradient is the same with the two axes exchanged,
// and a matrix (1, channels, height, 1) is transposed.
//
// Each thread owns one of n elements of the output.

extern "C" __global__ void __launch_bounds__(256)
rows_forward(const real* __restrict__ input, real* __restrict__ output, int64 n, int channels,
             int height, int width) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Division by_row = divide(i, width), by_channel = divide(by_row.quotient, channels);
    const Division by_image = divide(by_channel.quotient, height);
    const int64 channel = by_image.quotient * channels + by_channel.remainder;
    output[i] = input[(channel * height + by_image.remainder) * width + by_row.remainder];
}

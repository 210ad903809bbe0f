// Some channels of feature maps, or features of vectors: written, which joins the maps of several
// layers to one array, and read, which is the gradient of that.
//
// Shapes: `all` is (N, width) and `some` (N, part), where width and part are products of channels
// and pixels; those of `some` begin at `first` in each row of `all`. n = N part. A thread copies
// one element, so each is written once.

extern "C" __global__ void __launch_bounds__(256)
write_channels(real* __restrict__ all, const real* __restrict__ some, int64 n, int64 width,
               int64 part, int64 first) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Division at = divide(i, part);
    all[at.quotient * width + first + at.remainder] = some[i];
}

extern "C" __global__ void __launch_bounds__(256)
read_channels(const real* __restrict__ all, real* __restrict__ some, int64 n, int64 width,
              int64 part, int64 first) {
    const int64 i = thread_index();
    if (i >= n) return;
    const Division at = divide(i, part);
    some[i] = all[at.quotient * width + first + at.remainder];
}

// One step of an exponential moving average of parameters (Polyak & Juditsky, 1992, with PyTorch's
// decay), in place: average += rate (param - average), with rate = 1 - decay.
//
// Arrays of n elements; rates (1): rate; failed (1): if not 0, nothing changes (finite.cu). A
// thread owns one element.

extern "C" __global__ void __launch_bounds__(256)
ema_step(real* __restrict__ average, const real* __restrict__ param,
         const real* __restrict__ rates, const int64* __restrict__ NULLABLE failed, int64 n) {
    const int64 i = thread_index();
    if (i >= n || (failed && failed[0] != 0)) return;
    average[i] += rates[0] * (param[i] - average[i]);
}

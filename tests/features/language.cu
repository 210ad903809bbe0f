// Keywords, types and macros of CUDA C++.

// feature: `__CUDACC__`, `__CUDACC_RTC__` and `__CUDA_ARCH__`
// gives: 1, 1, 1
extern "C" __global__ void macros(int* out)
{
#ifdef __CUDACC__
    out[0] = 1;
#endif
    out[1] = __CUDACC_RTC__;
    out[2] = __CUDA_ARCH__ >= 750;
}

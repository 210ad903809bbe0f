// Qualifiers and statements for the compiler.

// feature: `__noinline__`, `__forceinline__`, `__launch_bounds__`, `#pragma unroll`
// launch: 1, 32
// gives: 12
__device__ __noinline__ int twice(int x) { return 2 * x; }
__device__ __forceinline__ int thrice(int x) { return 3 * x; }
extern "C" __global__ void __launch_bounds__(32) inlining(int* out)
{
    int sum = 0;
#pragma unroll 2
    for (int i = 0; i < 2; ++i) sum += twice(thrice(1));
    if (threadIdx.x == 0) out[0] = sum;
}

// feature: `__restrict__`, `volatile` and `const volatile` pointers
// gives: 5, 5
__device__ int volatile_sum(const volatile int* x, volatile int* y) { return x[0] + y[0]; }
extern "C" __global__ void pointers(int* __restrict__ out)
{
    out[0] = 5;
    out[1] = volatile_sum(out, out) - 5;
}

// feature: `__builtin_assume`, `__builtin_expect`, `__builtin_unreachable`
// gives: 1
extern "C" __global__ void assumptions(int* out)
{
    __builtin_assume(threadIdx.x < 1024);
    if (__builtin_expect(blockDim.x == 0, 0)) __builtin_unreachable();
    out[0] = 1;
}

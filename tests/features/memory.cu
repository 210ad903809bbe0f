// Loads, stores, atomic operations, clocks.

// feature: `__ldg`, `__ldca`, `__ldcg`, `__ldcs`, `__ldlu`, `__ldcv`
// gives: 7, 7, 7, 7, 7, 7, 7
extern "C" __global__ void hinted_loads(int* out)
{
    out[0] = 7;
    out[1] = __ldg(out);
    out[2] = __ldca(out);
    out[3] = __ldcg(out);
    out[4] = __ldcs(out);
    out[5] = __ldlu(out);
    out[6] = __ldcv(out);
}

// feature: `__stwb`, `__stcg`, `__stcs`, `__stwt`
// gives: 1, 2, 3, 4, 5, 6
extern "C" __global__ void hinted_stores(int* out)
{
    __stwb(out, 1);
    __stcg(out + 1, 2);
    __stcs((int2*)(out + 2), make_int2(3, 4));
    __stwt(out + 4, 5);
    __stwb(out + 5, 6);
}

// feature: `atomicAdd`, `atomicSub`, `atomicMin`, `atomicMax`, `atomicExch`
// launch: 2, 32
// gives: 64, -64, -31, 31, 5
extern "C" __global__ void atomic_sums(int* out)
{
    atomicAdd(&out[0], 1);
    atomicSub(&out[1], 1);
    atomicMin(&out[2], -(int)threadIdx.x);
    atomicMax(&out[3], threadIdx.x);
    atomicExch(&out[4], 5);
}

// feature: `atomicInc`, `atomicDec`, `atomicAnd`, `atomicOr`, `atomicXor`
// launch: 1, 10
// gives: 2, 6, 0, 1023, 1023
extern "C" __global__ void atomic_bits(unsigned* out)
{
    atomicInc(&out[0], 3);
    atomicDec(&out[1], 7);
    atomicAnd(&out[2], ~(1u << threadIdx.x));
    atomicOr(&out[3], 1u << threadIdx.x);
    atomicXor(&out[4], 1u << threadIdx.x);
}

// feature: `atomicAdd` of float, double and unsigned long long
// launch: 2, 32
// gives: 32, 16, 64
extern "C" __global__ void atomic_types(double* out)
{
    __shared__ float sum;
    __shared__ unsigned long long count;
    if (threadIdx.x == 0) sum = 0, count = 0;
    __syncthreads();
    atomicAdd(&sum, 0.5f);
    atomicAdd(&out[1], 0.25);
    atomicAdd(&count, 1ull);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(&out[0], (double)sum);
    if (threadIdx.x == 0) atomicAdd(&out[2], (double)count);
}

// feature: `atomicCAS` of 16, 32 and 64 bits
// gives: 5, 0, 6
extern "C" __global__ void compare_and_swap(unsigned long long* out)
{
    atomicCAS((unsigned short*)&out[0], (unsigned short)0, (unsigned short)5);
    out[1] = atomicCAS((unsigned*)&out[2], 0u, 4u);
    atomicCAS(&out[2], 4ull, 6ull);
}

// feature: `atomicAdd_block`, `atomicAdd_system` and the other scopes
// launch: 2, 32
// gives: 64, 64, 31, 1
extern "C" __global__ void atomic_scopes(int* out)
{
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    atomicAdd_block(&sum, 1);
    atomicAdd_system(&out[1], 1);
    atomicMax_system(&out[2], threadIdx.x);
    atomicCAS_system(&out[3], 0, 1);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(&out[0], sum);
}

// feature: `__threadfence`, `__threadfence_block`, `__threadfence_system`
// gives: 1
extern "C" __global__ void fences(int* out)
{
    __threadfence_block();
    __threadfence();
    __threadfence_system();
    out[0] = 1;
}

// feature: `clock`, `clock64`, `__nanosleep`
// gives: 1, 1
extern "C" __global__ void clocks(int* out)
{
    const long long before = clock64();
    const clock_t short_before = clock();
    __nanosleep(100);
    out[0] = clock64() >= before;
    out[1] = clock() != short_before;
}

// feature: `__isGlobal`, `__isShared`, `__isLocal`, `__isConstant`
// gives: 1, 1, 1, 0, 1, 1, 0
__constant__ int constant_number = 1;
__device__ int device_number = 1;
extern "C" __global__ void spaces(int* out)
{
    __shared__ int shared[1];
    int local[1];
    out[0] = __isGlobal(out) != 0;
    out[1] = __isShared(shared) != 0;
    out[2] = __isLocal(local) != 0;
    out[3] = __isGlobal(shared) != 0;
    out[4] = __isConstant(&constant_number) != 0;
    out[5] = __isGlobal(&device_number) != 0;
    out[6] = __isConstant(&device_number) != 0;
}

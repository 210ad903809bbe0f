// Vector types.

// feature: `char4`, `uchar4`, `short2`, `ushort4`, `int3`, `uint4` and their `make_` functions
// gives: 4, 255, 2, 8, 12, 16
extern "C" __global__ void small_vectors(int* out)
{
    const char4 a = make_char4(1, 2, 3, 4);
    const uchar4 b = make_uchar4(255, 0, 0, 0);
    const short2 c = make_short2(1, 2);
    out[0] = a.w;
    out[1] = b.x;
    out[2] = c.y;
    out[3] = sizeof(ushort4);
    out[4] = sizeof(int3);
    out[5] = alignof(uint4);
}

// feature: `float2`, `float4`, `double2`, `longlong2`, `long2`, `ulong4` and their `make_` functions
// gives: 2, 4, 5, 6, 7, 8, 16, 16
extern "C" __global__ void large_vectors(double* out)
{
    const float4 vector = make_float4(1, 2, 3, 4);
    out[0] = vector.y;
    out[1] = vector.w;
    out[2] = make_double2(5, 0).x;
    out[3] = (double)make_longlong2(0, 6).y;
    out[4] = (double)make_long2(7, 0).x;
    out[5] = (double)make_ulong4(0, 0, 8, 0).z;
    out[6] = alignof(float4);
    out[7] = alignof(double2);
}

// feature: `dim3` and the built-in variables
// launch: (2, 3), (2, 2)
// gives: 1, 2, 1, 1, 2, 2, 2, 3, 6
extern "C" __global__ void variables(int* out)
{
    const dim3 grid = gridDim;
    if (blockIdx.x + 2 * blockIdx.y != 5 || threadIdx.x + threadIdx.y != 2) return;
    out[0] = blockIdx.x;
    out[1] = blockIdx.y;
    out[2] = threadIdx.x;
    out[3] = threadIdx.y;
    out[4] = blockDim.x;
    out[5] = blockDim.y;
    out[6] = grid.x;
    out[7] = grid.y;
    out[8] = grid.x * grid.y * grid.z;
}

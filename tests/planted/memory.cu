// Planted faults of memory accesses. The line to be found ends with "// fault".

extern "C" __global__ void read_past(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] +
                      x[i + 1];  // fault
}

extern "C" __global__ void read_before(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float left = x[i - 1];  // fault
    y[i] = x[i] - left;
}

extern "C" __global__ void write_past(float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = 1.0f;  // fault
}

extern "C" __global__ void far_outside(float *y)
{
    y[(long long)threadIdx.x << 32] = 1.0f;  // fault
}

extern "C" __global__ void past_view(const float *x, float *y, int n)
{
    int i = threadIdx.x;
    y[i] = x[i];  // fault
}

extern "C" __global__ void uninitialised(const float *x, float *y)
{
    y[threadIdx.x] = x[threadIdx.x];  // fault
}

extern "C" __global__ void misaligned(const float *x, float4 *y)
{
    const float4 *quads = reinterpret_cast<const float4 *>(x + 1);
    float4 quad = quads[threadIdx.x];  // fault
    y[threadIdx.x] = quad;
}

extern "C" __global__ void null_pointer(const float *bias, float *y)
{
    y[threadIdx.x] = bias[threadIdx.x];  // fault
}

extern "C" __global__ void wild_pointer(float **table)
{
    float *row = table[0];
    row[0] = 1.0f;  // fault
}

extern "C" __global__ void writes_const(const float *x)
{
    const_cast<float *>(x)[threadIdx.x] = 1.0f;  // fault
}

extern "C" __global__ void local_index(int *y, int k)
{
    int digits[4] = {1, 2, 3, 4};
    y[0] = digits[k];  // fault
}

extern "C" __global__ void shared_column(float *y, int column)
{
    __shared__ float tile[8][9];
    int t = threadIdx.x;
    for (int j = 0; j < 9; ++j) tile[t][j] = 0.0f;
    y[t] = tile[t][t + column];  // fault
}

extern "C" __global__ void shared_past(float *y, int k)
{
    __shared__ float first[64];
    __shared__ float second[64];
    first[threadIdx.x] = 1.0f;
    second[threadIdx.x] = 2.0f;
    __syncthreads();
    const float *p = first;
    y[threadIdx.x] = p[threadIdx.x + k] +  // fault
                     second[threadIdx.x];
}

extern "C" __global__ void dynamic_past(float *y)
{
    extern __shared__ float buffer[];
    buffer[threadIdx.x] = 1.0f;  // fault
    __syncthreads();
    y[threadIdx.x] = buffer[threadIdx.x];
}

extern "C" __global__ void uninitialised_shared(float *y)
{
    __shared__ float part[32];
    if (threadIdx.x < 16) part[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = part[threadIdx.x];  // fault
}

extern "C" __global__ void left_by_another_block(float *y)
{
    extern __shared__ float buffer[];
    if (blockIdx.x == 0) buffer[threadIdx.x] = 1.0f;
    __syncthreads();
    y[blockIdx.x * blockDim.x + threadIdx.x] = buffer[threadIdx.x];  // fault
}

extern "C" __global__ void copy_past(const float *x, float *y, int n)
{
    memcpy(y, x, n * sizeof(float));  // fault
}

extern "C" __global__ void misaligned_load(const float *x, float4 *y)
{
    float4 quad = __ldg(reinterpret_cast<const float4 *>(x + 1));  // fault
    y[0] = quad;
}

extern "C" __global__ void misaligned_atomic(int *x)
{
    atomicAdd(reinterpret_cast<unsigned long long *>(x + 1), 1ull);  // fault
}

extern "C" __global__ void long_index(int *y, long long k)
{
    int digits[4] = {1, 2, 3, 4};
    y[0] = digits[k];  // fault
}

extern "C" __global__ void unset_sum(const float *x, float *y, int n)
{
    float sum;
    for (int i = 0; i < n; ++i)
        sum += x[i];  // fault
    y[threadIdx.x] = sum;
}

extern "C" __global__ void unset_in_a_branch(const float *x, float *y)
{
    float scale;
    if (x[threadIdx.x] > 5.0f) scale = 2.0f;
    y[threadIdx.x] = x[threadIdx.x] * scale;  // fault
}

extern "C" __global__ void unset_element(const float *x, float *y, int n)
{
    float values[4];
    for (int i = 0; i < n; ++i) values[i] = x[i];
    float sum = 0.0f;
    for (int i = 0; i < 4; ++i)
        sum += values[i];  // fault
    y[threadIdx.x] = sum;
}

extern "C" __global__ void unset_field(const float *x, float4 *y)
{
    float4 value;
    value.x = value.y = value.z = x[threadIdx.x];
    y[threadIdx.x] = value;  // fault
}

extern "C" __global__ void local_of_another_thread(float *y)
{
    __shared__ float *first;
    float mine = threadIdx.x;
    if (threadIdx.x == 0) first = &mine;
    __syncthreads();
    y[threadIdx.x] = *first;  // fault
    __syncthreads();
}

__constant__ float coefficients[32];
extern "C" __global__ void writes_constant(const float *x)
{
    coefficients[threadIdx.x] = x[threadIdx.x];  // fault
}

extern "C" __global__ void past_variable_table(float **table, float *y)
{
    y[threadIdx.x] = table[0][threadIdx.x];  // fault
}

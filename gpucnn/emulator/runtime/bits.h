// The bits of a number as a number of another type.
#pragma once

template <class To, class From>
GPU_INLINE To gpu_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "the sizes must be equal");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
GPU_INLINE int __float_as_int(float x) { return gpu_bits<int>(x); }
GPU_INLINE unsigned __float_as_uint(float x) { return gpu_bits<unsigned>(x); }
GPU_INLINE float __int_as_float(int x) { return gpu_bits<float>(x); }
GPU_INLINE float __uint_as_float(unsigned x) { return gpu_bits<float>(x); }
GPU_INLINE long long __double_as_longlong(double x) { return gpu_bits<long long>(x); }
GPU_INLINE double __longlong_as_double(long long x) { return gpu_bits<double>(x); }
GPU_INLINE int __double2hiint(double x) { return (int)(gpu_bits<uint64_t>(x) >> 32); }
GPU_INLINE int __double2loint(double x) { return (int)gpu_bits<uint64_t>(x); }
GPU_INLINE double __hiloint2double(int high, int low)
{
    return gpu_bits<double>((uint64_t)(unsigned)high << 32 | (unsigned)low);
}

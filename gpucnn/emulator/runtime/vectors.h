// CUDA's vector types, such as float4, and the functions that make them.
#pragma once

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 other) : x(other.x), y(other.y), z(other.z) {}
    constexpr operator uint3() const { return uint3{x, y, z}; }
};

// As on a GPU, vectors of two and four elements are aligned to their size, at most 16 bytes.
#define GPU_VECTOR1(T, name)                                         \
    struct name##1 { T x; };                                         \
    GPU_INLINE name##1 make_##name##1(T x) { return name##1{x}; }
#define GPU_VECTOR2(T, name)                                         \
    struct __align__(2 * sizeof(T)) name##2 { T x, y; };             \
    GPU_INLINE name##2 make_##name##2(T x, T y) { return name##2{x, y}; }
#define GPU_VECTOR3(T, name)                                         \
    struct name##3 { T x, y, z; };                                   \
    GPU_MAKE3(T, name)
#define GPU_MAKE3(T, name)                                           \
    GPU_INLINE name##3 make_##name##3(T x, T y, T z) { return name##3{x, y, z}; }
#define GPU_VECTOR4(T, name)                                         \
    struct __align__(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
    GPU_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return name##4{x, y, z, w}; }
#define GPU_VECTORS(T, name) \
    GPU_VECTOR1(T, name) GPU_VECTOR2(T, name) GPU_VECTOR3(T, name) GPU_VECTOR4(T, name)

GPU_VECTORS(signed char, char)
GPU_VECTORS(unsigned char, uchar)
GPU_VECTORS(short, short)
GPU_VECTORS(unsigned short, ushort)
GPU_VECTORS(int, int)
GPU_VECTORS(long, long)
GPU_VECTORS(unsigned long, ulong)
GPU_VECTORS(float, float)
GPU_VECTORS(double, double)
GPU_VECTORS(long long, longlong)
GPU_VECTORS(unsigned long long, ulonglong)
GPU_VECTOR1(unsigned, uint)
GPU_VECTOR2(unsigned, uint)
GPU_MAKE3(unsigned, uint)   // uint3 itself is in abi.h
GPU_VECTOR4(unsigned, uint)

// Atomic operations on integers and floating-point numbers; each returns the old value.
#pragma once

template <int size> struct gpu_word;
template <> struct gpu_word<2> { typedef uint16_t type; };
template <> struct gpu_word<4> { typedef uint32_t type; };
template <> struct gpu_word<8> { typedef uint64_t type; };

// Lets atomicAdd(&count, 1) deduce its type from the pointer alone.
template <class T> struct gpu_same { typedef T type; };

#ifdef GPU_CHECK
// In check mode one thread runs at a time, so that the plain operation is atomic. It must
// not be inlined: its load and store would be checked as ordinary accesses.
template <class T, class Change>
GPU_UNCHECKED __noinline__ T gpu_update(T *address, Change change, bool compares = false)
{
    gpu_check_atomic(address, sizeof(T), compares, __builtin_return_address(0));
    T old = *address;
    *address = change(old);
    return old;
}
#else
template <class T, class Change>
GPU_INLINE T gpu_update(T *address, Change change, bool = false)
{
    typedef typename gpu_word<sizeof(T)>::type word;
    word seen = __atomic_load_n((word *)address, __ATOMIC_RELAXED), wanted;
    T old;
    do {
        __builtin_memcpy(&old, &seen, sizeof(T));
        T next = change(old);
        __builtin_memcpy(&wanted, &next, sizeof(T));
    } while (!__atomic_compare_exchange_n((word *)address, &seen, wanted, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return old;
}
#endif

// Operations whose scope is a block or the whole system are the same here.
#define GPU_SCOPES(name)                                                              \
    template <class T, class... Rest>                                                 \
    GPU_INLINE auto name##_block(T *address, Rest... rest)                            \
    {                                                                                 \
        return name(address, rest...);                                                \
    }                                                                                 \
    template <class T, class... Rest>                                                 \
    GPU_INLINE auto name##_system(T *address, Rest... rest)                           \
    {                                                                                 \
        return name(address, rest...);                                                \
    }
#define GPU_ATOMIC(name, result)                                                      \
    template <class T>                                                                \
    GPU_INLINE T name(T *address, typename gpu_same<T>::type value)                   \
    {                                                                                 \
        return gpu_update(address, [=](T old) GPU_UNCHECKED -> T { return result; }); \
    }                                                                                 \
    GPU_SCOPES(name)
GPU_INLINE float atomicAdd(float *address, float value)
{
    return gpu_update(address, [=](float old) GPU_UNCHECKED -> float {
        return gpu_atomic_sum(address, old, value);
    });
}
// Each element is added by an operation of its own.
GPU_INLINE float2 atomicAdd(float2 *address, float2 value)
{
    float x = atomicAdd(&address->x, value.x);
    return float2{x, atomicAdd(&address->y, value.y)};
}
GPU_INLINE float4 atomicAdd(float4 *address, float4 value)
{
    float x = atomicAdd(&address->x, value.x), y = atomicAdd(&address->y, value.y);
    float z = atomicAdd(&address->z, value.z);
    return float4{x, y, z, atomicAdd(&address->w, value.w)};
}
GPU_ATOMIC(atomicAdd, (T)(old + value))
GPU_ATOMIC(atomicSub, (T)(old - value))
GPU_ATOMIC(atomicMax, old < value ? value : old)
GPU_ATOMIC(atomicMin, value < old ? value : old)
GPU_ATOMIC(atomicExch, ((void)old, value))
GPU_ATOMIC(atomicAnd, old &value)
GPU_ATOMIC(atomicOr, old | value)
GPU_ATOMIC(atomicXor, old ^ value)
GPU_ATOMIC(atomicInc, old >= value ? T(0) : T(old + 1))
GPU_ATOMIC(atomicDec, old == 0 || old > value ? value : T(old - 1))
#undef GPU_ATOMIC

template <class T>
GPU_INLINE T atomicCAS(T *address, typename gpu_same<T>::type expected,
                       typename gpu_same<T>::type value)
{
    auto change = [=](T old) GPU_UNCHECKED -> T { return old == expected ? value : old; };
    return gpu_update(address, change, true);
}
GPU_SCOPES(atomicCAS)

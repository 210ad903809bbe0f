// What check mode adds to a kernel's code.
#pragma once

#ifdef GPU_CHECK
// Declared after a local variable that may be read before it is written (uninitialised.py): the
// runtime then follows the variable's bytes until the end of its scope. Taking the address also
// makes the compiler keep the variable in memory, where its accesses are checked.
struct gpu_local {
    void *own[4];   // the runtime's

    template <class T>
    __attribute__((always_inline)) gpu_local(T &variable, const char *name)
    {
        bool unset = __is_trivially_constructible(T);
        gpu_begin_local(this, (void *)&variable, unset ? sizeof(T) : 0, name);
    }
    __attribute__((always_inline)) ~gpu_local() { gpu_end_local(this); }
};

// The C library's functions do not report what they write.
#define GPU_TWO_RESULTS(name, T)                         \
    GPU_INLINE void gpu_checked_##name(T x, T *a, T *b) \
    {                                                    \
        T one, two;                                      \
        name(x, &one, &two);                             \
        *a = one;                                        \
        *b = two;                                        \
    }
#define GPU_SECOND_RESULT(name, T, U)                    \
    GPU_INLINE T gpu_checked_##name(T x, U *second)      \
    {                                                    \
        U result;                                        \
        T first = name(x, &result);                      \
        *second = result;                                \
        return first;                                    \
    }
GPU_TWO_RESULTS(sincosf, float)
GPU_TWO_RESULTS(sincos, double)
GPU_TWO_RESULTS(sincos, float)
GPU_SECOND_RESULT(modff, float, float)
GPU_SECOND_RESULT(modf, double, double)
GPU_SECOND_RESULT(modf, float, float)
GPU_SECOND_RESULT(frexpf, float, int)
GPU_SECOND_RESULT(frexp, double, int)
GPU_SECOND_RESULT(frexp, float, int)
GPU_INLINE float gpu_checked_remquof(float x, float y, int *quotient)
{
    int result;
    float rest = remquof(x, y, &result);
    *quotient = result;
    return rest;
}
GPU_INLINE double gpu_checked_remquo(double x, double y, int *quotient)
{
    int result;
    double rest = remquo(x, y, &result);
    *quotient = result;
    return rest;
}
#define sincosf gpu_checked_sincosf
#define sincos gpu_checked_sincos
#define modff gpu_checked_modff
#define modf gpu_checked_modf
#define frexpf gpu_checked_frexpf
#define frexp gpu_checked_frexp
#define remquof gpu_checked_remquof
#define remquo gpu_checked_remquo
#endif

// Arithmetic with a rounding mode: see rounding.h.

// The reciprocal square root of a number greater than zero, exactly rounded to the nearest.
static float reciprocal_root(float x)
{
    float guess = (float)(1 / sqrt((double)x));   // at most one unit off
    // Compares the point halfway between two neighbours with the exact result: x and the halfway
    // point are integers of at most 24 and 25 bits times powers of two.
    int exponent_x, exponent;
    uint64_t digits_x = (uint64_t)(frexpf(x, &exponent_x) * 0x1p24f);
    for (int turn = 0; turn < 2; ++turn) {
        float lower = turn ? guess : nextafterf(guess, 0);
        double half = ((double)lower + (double)nextafterf(lower, INFINITY)) / 2;
        unsigned __int128 digits = (uint64_t)(frexp(half, &exponent) * 0x1p25);
        // half * half * x against 1: digits * digits * digits_x against a power of two.
        int power = -(2 * (exponent - 25) + exponent_x - 24);
        bool below = digits * digits * digits_x < (unsigned __int128)1 << power;
        guess = below ? nextafterf(lower, INFINITY) : lower;
        if (!below) break;
    }
    return guess;
}

template <class T>
static T rounded(int operation, int mode, T a, T b, T c)
{
    Mxcsr scope(0x1f80u | (unsigned)mode);
    a = fixed(a), b = fixed(b), c = fixed(c);
    T result = 0;
    switch (operation) {
    case GPU_ADD: result = a + b; break;
    case GPU_SUBTRACT: result = a - b; break;
    case GPU_MULTIPLY: result = a * b; break;
    case GPU_DIVIDE: result = a / b; break;
    case GPU_FMA: result = std::fma(a, b, c); break;
    case GPU_SQUARE_ROOT: result = std::sqrt(a); break;
    case GPU_RECIPROCAL_ROOT:
        result = a > 0 && a < INFINITY ? (T)reciprocal_root((float)a) : 1 / std::sqrt(a);
    }
    return fixed(result);
}

GPU_API float gpu_round_float(int operation, int mode, int flushes, float a, float b, float c)
{
    if (!flushes) return rounded(operation, mode, a, b, c);
    return flush(rounded(operation, mode, flush(a), flush(b), flush(c)));
}

GPU_API double gpu_round_double(int operation, int mode, int, double a, double b, double c)
{
    return rounded(operation, mode, a, b, c);
}

GPU_API float gpu_narrow(int mode, int flushes, double x)
{
    Mxcsr scope(0x1f80u | (unsigned)mode);
    float result = fixed((float)fixed(x));
    return flushes ? flush(result) : result;
}

__device__ inline real clamp_to(real x, real limit, bool both) {
    return x > limit ? limit : both && x < -limit ? -limit : x;
}

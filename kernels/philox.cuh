// Philox 4x32-10, a counter-based generator of random numbers (Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). It has no state: ten rounds turn a counter of four words
// and a key of two into four random words. gpucnn.rng.philox returns the same bits.
//
// The low 64 bits of the counter are a block's index, the high ones the number of the training
// step. Element i of an array uses word i % 4 of block i / 4. So a number depends on the key, the
// step and the element alone, and not on the thread that draws it: backward draws a mask again.

struct Words {
    uint32 at[4];
};

__device__ inline Words philox(uint64 key, uint64 block, uint64 step) {
    uint32 key0 = (uint32)key, key1 = (uint32)(key >> 32);
    uint32 c0 = (uint32)block, c1 = (uint32)(block >> 32);
    uint32 c2 = (uint32)step, c3 = (uint32)(step >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 product0 = (uint64)0xD2511F53u * c0, product1 = (uint64)0xCD9E8D57u * c2;
        c0 = (uint32)(product1 >> 32) ^ c1 ^ key0;
        c1 = (uint32)product1;
        c2 = (uint32)(product0 >> 32) ^ c3 ^ key1;
        c3 = (uint32)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// A number from [0, 1): the upper 24 bits of a word, which float32 holds exactly.
__device__ inline real uniform(uint32 word) {
    return (real)(word >> 8) * (real)(1.0 / (1 << 24));
}

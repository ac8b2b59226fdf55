/*
 * CRC-32C in three forms: by table (slicing by 8), by the x86-64 SSE4.2 instruction chosen at run
 * time, by the AArch64 instruction chosen when the compiler targets it.
 *
 * Inside this file a "register" is the CRC without the inversions before and after. The register is
 * linear over GF(2): register(r, a b) = shift(register(r, a), |b|) ^ register(0, b), where
 * shift(r, n) runs n zero bytes through r. The instruction has a latency of three cycles and a
 * throughput of one, so long buffers run as three neighbouring streams whose registers are joined
 * with tables of shift(., n) for two fixed lengths n.
 */
#include "ccrc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define TALLY_CRC_INSTRUCTION 1
#define TALLY_CRC_TARGET __attribute__((target("sse4.2")))
#define TALLY_CRC_8(r, v) ((uint32_t)_mm_crc32_u64((r), (v)))
#define TALLY_CRC_1(r, v) _mm_crc32_u8((r), (v))
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define TALLY_CRC_INSTRUCTION 1
#define TALLY_CRC_TARGET
#define TALLY_CRC_8(r, v) __crc32cd((r), (v))
#define TALLY_CRC_1(r, v) __crc32cb((r), (v))
#else
#define TALLY_CRC_INSTRUCTION 0
#endif

#define POLYNOMIAL 0x82F63B78u

/* slices[k][b]: the register after byte b and then k zero bytes, from register 0. */
static uint32_t slices[8][256];

#if TALLY_CRC_INSTRUCTION

/* Bytes per stream. Multiples of 8. */
enum { longStream = 2048, shortStream = 256 };

/* shift[k][b]: b in byte k of a register, after `n` zero bytes. */
typedef uint32_t ShiftTable[4][256];
static ShiftTable longShift, shortShift;
static int hasInstruction;

static void makeShiftTable(ShiftTable table, size_t zeros) {
    uint32_t images[32];
    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t r = (uint32_t)1 << bit;
        for (size_t i = 0; i < zeros; i++) r = (r >> 8) ^ slices[0][r & 0xFF];
        images[bit] = r;
    }
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned b = 0; b < 256; b++) {
            uint32_t r = 0;
            for (unsigned bit = 0; bit < 8; bit++) {
                if (b >> bit & 1) r ^= images[8 * k + bit];
            }
            table[k][b] = r;
        }
    }
}

static inline uint32_t shiftBy(const ShiftTable table, uint32_t r) {
    return table[0][r & 0xFF] ^ table[1][r >> 8 & 0xFF] ^ table[2][r >> 16 & 0xFF]
        ^ table[3][r >> 24];
}

#endif

/* Runs before main, single-threaded, so the tables are constants to everything else. */
__attribute__((constructor)) static void makeTables(void) {
    for (unsigned b = 0; b < 256; b++) {
        uint32_t r = b;
        for (unsigned bit = 0; bit < 8; bit++) r = (r >> 1) ^ (r & 1 ? POLYNOMIAL : 0);
        slices[0][b] = r;
    }
    for (unsigned k = 1; k < 8; k++) {
        for (unsigned b = 0; b < 256; b++) {
            uint32_t r = slices[k - 1][b];
            slices[k][b] = (r >> 8) ^ slices[0][r & 0xFF];
        }
    }
#if TALLY_CRC_INSTRUCTION
#if defined(__x86_64__)
    __builtin_cpu_init();
    hasInstruction = __builtin_cpu_supports("sse4.2") != 0;
#else
    hasInstruction = 1;
#endif
    if (hasInstruction) {
        makeShiftTable(longShift, longStream);
        makeShiftTable(shortShift, shortStream);
    }
#endif
}

static inline uint32_t load4(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t tally_crc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    uint32_t r = ~crc;
    for (; count >= 8; count -= 8, p += 8) {
        uint32_t a = load4(p) ^ r, b = load4(p + 4);
        r = slices[7][a & 0xFF] ^ slices[6][a >> 8 & 0xFF] ^ slices[5][a >> 16 & 0xFF]
            ^ slices[4][a >> 24] ^ slices[3][b & 0xFF] ^ slices[2][b >> 8 & 0xFF]
            ^ slices[1][b >> 16 & 0xFF] ^ slices[0][b >> 24];
    }
    for (; count > 0; count--, p++) r = (r >> 8) ^ slices[0][(r ^ *p) & 0xFF];
    return ~r;
}

#if TALLY_CRC_INSTRUCTION

/* memcpy is one unaligned load; both processors here are little-endian. */
static inline uint64_t load8(const unsigned char *p) {
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
}

TALLY_CRC_TARGET
static inline uint32_t threeStreams(
    uint32_t r, const unsigned char *p, size_t stream, const ShiftTable shift) {
    uint32_t s = 0, t = 0;
    for (size_t i = 0; i < stream; i += 8) {
        r = TALLY_CRC_8(r, load8(p + i));
        s = TALLY_CRC_8(s, load8(p + stream + i));
        t = TALLY_CRC_8(t, load8(p + 2 * stream + i));
    }
    return shiftBy(shift, shiftBy(shift, r) ^ s) ^ t;
}

TALLY_CRC_TARGET
static uint32_t byInstruction(uint32_t crc, const unsigned char *p, size_t count) {
    uint32_t r = ~crc;
    for (; count >= 3 * longStream; count -= 3 * longStream, p += 3 * longStream) {
        r = threeStreams(r, p, longStream, longShift);
    }
    for (; count >= 3 * shortStream; count -= 3 * shortStream, p += 3 * shortStream) {
        r = threeStreams(r, p, shortStream, shortShift);
    }
    for (; count >= 8; count -= 8, p += 8) r = TALLY_CRC_8(r, load8(p));
    for (; count > 0; count--, p++) r = TALLY_CRC_1(r, *p);
    return ~r;
}

#endif

uint32_t tally_crc32c(uint32_t crc, const void *bytes, size_t count) {
#if TALLY_CRC_INSTRUCTION
    if (hasInstruction) return byInstruction(crc, bytes, count);
#endif
    return tally_crc32c_portable(crc, bytes, count);
}

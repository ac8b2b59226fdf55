#ifndef TALLY_CCRC32C_H
#define TALLY_CCRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32C (Castagnoli: polynomial 0x1EDC6F41, reflected 0x82F63B78, initial value and final
 * exclusive-or 0xFFFFFFFF).
 *
 * `crc` is 0 for the first part of a message and the previous result for each further part:
 *
 *     tally_crc32c(tally_crc32c(0, a), b) == tally_crc32c(0, a followed by b)
 *
 * The CRC-32C of the nine bytes "123456789" is 0xE3069283. `bytes` may have any alignment and may
 * be NULL when `count` is 0.
 */

/* By the processor's CRC instruction where it has one, else as tally_crc32c_portable. */
uint32_t tally_crc32c(uint32_t crc, const void *bytes, size_t count);

/* The same function by tables alone: the fallback, and the oracle of the tests. */
uint32_t tally_crc32c_portable(uint32_t crc, const void *bytes, size_t count);

#endif

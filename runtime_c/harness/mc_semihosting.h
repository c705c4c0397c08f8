/* SPDX-License-Identifier: Apache-2.0 */
/* Arm semihosting: calls that an emulator or a debugger serves ("Semihosting for AArch32 and AArch64"). */
#ifndef MC_SEMIHOSTING_H
#define MC_SEMIHOSTING_H

#include <stdint.h>

#define MC_SYS_OPEN 0x01
#define MC_SYS_CLOSE 0x02
#define MC_SYS_WRITE0 0x04
#define MC_SYS_WRITE 0x05
#define MC_SYS_READ 0x06
#define MC_SYS_EXIT 0x18

#define MC_EXIT_SUCCESS 0x20026u /* ADP_Stopped_ApplicationExit */
#define MC_EXIT_FAILURE 0x20023u /* ADP_Stopped_RunTimeErrorUnknown */

static inline int32_t mc_semihost(int32_t operation, const void *argument)
{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

#endif

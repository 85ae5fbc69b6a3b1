/* Says which system and machine it was compiled for, and which it finds itself on. */
#include <stdio.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/utsname.h>
#endif

#if defined __x86_64__
#define ARCHITECTURE "amd64"
#elif defined __aarch64__
#define ARCHITECTURE "arm64"
#elif defined __arm__
#define ARCHITECTURE "arm"
#elif defined __riscv
#define ARCHITECTURE "riscv64"
#else
#define ARCHITECTURE "unknown"
#endif

int main(void)
{
#ifdef _WIN32
    SYSTEM_INFO system;
    GetNativeSystemInfo(&system);
    printf("compiled for windows/%s, running on Windows, processor architecture %u\n", ARCHITECTURE,
           (unsigned)system.wProcessorArchitecture);
#else
    struct utsname system;
    if (uname(&system) != 0)
        return 1;
    printf("compiled for linux/%s, running on %s %s\n", ARCHITECTURE, system.sysname, system.machine);
#endif
    return 0;
}

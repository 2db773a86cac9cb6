/* Faults that a test asks for in RKFACE_TWIN_FAULTS (librknnrt.c lists them), and what the library prints. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The text after NAME= in RKFACE_TWIN_FAULTS, or NULL. */
static const char *fault(const char *name) {
    const char *faults = getenv("RKFACE_TWIN_FAULTS");
    size_t length = strlen(name);
    for (; faults && *faults; faults = strchr(faults, ',') ? strchr(faults, ',') + 1 : NULL)
        if (!strncmp(faults, name, length) && faults[length] == '=') return faults + length + 1;
    return NULL;
}

/* The number of the fault NAME=NUMBER@N for call number COUNT: 0 without the fault, and in calls before the Nth. */
static int broken(const char *name, long count) {
    const char *text = fault(name);
    char *end;
    if (!text) return 0;
    long number = strtol(text, &end, 10);
    return *end != '@' || count >= strtol(end + 1, NULL, 10) ? (int)number : 0;
}

/* Print a message as the real library does: 'E' to stderr, and 'W', 'I' and 'D' to stdout if RKNN_LOG_LEVEL is at least
 * 1, 2 and 3 (seen with librknnrt 1.4.0). */
__attribute__((format(printf, 2, 3))) static void say(char level, const char *format, ...) {
    const char *wanted = getenv("RKNN_LOG_LEVEL");
    int least = level == 'W' ? 1 : level == 'I' ? 2 : 3;
    if (level != 'E' && (!wanted || atoi(wanted) < least)) return;
    FILE *stream = level == 'E' ? stderr : stdout;
    va_list values;
    va_start(values, format);
    fprintf(stream, "%c RKNN: [00:00:00.000] ", level);
    vfprintf(stream, format, values);
    fputc('\n', stream);
    va_end(values);
}

static void chatter(const char *call) {
    char text[128];
    if (!fault("chatter")) return;
    int length = snprintf(text, sizeof text, "twin: chatter of %s by write(2)\n", call);
    if (write(STDOUT_FILENO, text, (size_t)length) < 0) return; /* nobody reads stdout any more */
    printf("twin: chatter of %s by printf(3)\n", call); /* stays in the buffer of a pipe until the program ends */
}

static void *chatter_of_a_thread(void *nothing) {
    chatter("a thread of the library");
    return nothing;
}

static void start_chatter(void) {
    pthread_t thread;
    if (fault("chatter") && !pthread_create(&thread, NULL, chatter_of_a_thread, NULL)) pthread_detach(thread);
}

/* A board's message and code for an NPU that hangs (airockchip/rknn-toolkit2 #38). */
static int fail_as_hung(void) {
    say('E', "failed to submit!, op id: 1, op name: Conv:twin, flags: 0x5, task start: 0, task number: 1, "
        "run task counter: 0, int status: 0");
    return FAIL;
}

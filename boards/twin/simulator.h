/* Outputs for any input: those of the toolkit's simulator, which another process keeps (rkface twin serve). It listens at
 * a Unix socket for each model, RKFACE_TWIN_SIMULATOR/HASH. A run sends the input's bytes and closes its direction; the
 * answer is all outputs as float32, one after another. No answer closes the connection. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

enum { PATIENCE_MS = 120000 }; /* several cores wait for one simulator, and the workstation may be busy */

/* The folder with the sockets, or "" if only golden inputs have an answer. */
static const char *simulator_folder(void) {
    const char *folder = getenv("RKFACE_TWIN_SIMULATOR");
    return folder ? folder : "";
}

/* A connection to the simulator of this model, or -1. */
static int connect_simulator(const Model *model) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%016llx", simulator_folder(),
                          (unsigned long long)model->hash);
    if (length >= (int)sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0) return -1;
    const char *patience = fault("patience");
    long wait = patience ? atol(patience) : PATIENCE_MS;
    struct timeval limit = {wait / 1000, wait % 1000 * 1000};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (!connect(connection, (struct sockaddr *)&address, sizeof address)) return connection;
    int reason = errno;
    close(connection);
    errno = reason;
    return -1;
}

static int send_all(int connection, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t sent = send(connection, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return shutdown(connection, SHUT_WR);
}

static int receive_all(int connection, uint8_t *data, size_t size) {
    while (size) {
        ssize_t received = recv(connection, data, size, 0);
        if (received < 0 && errno == EINTR) continue;
        if (!received) errno = ECONNRESET;
        if (received <= 0) return -1;
        data += received;
        size -= (size_t)received;
    }
    return 0;
}

/* The int8 of a float that the simulator gives for a quantized output: those are whole steps, up to float32 rounding. */
static int8_t quantize(float value, const OutputInfo *output) {
    float steps = value / output->scale;
    return (int8_t)((int)(steps + (steps < 0 ? -0.5f : 0.5f)) + output->zero_point);
}

/* Ask the simulator for the outputs for `input`, as float32. Returns 0, or -1 with errno. */
static int ask(const Model *model, const uint8_t *input, uint8_t *floats) {
    int connection = connect_simulator(model);
    if (connection < 0) return -1;
    int failed = send_all(connection, input, input_size(model)) ||
                 receive_all(connection, floats, sizeof(float) * elements(model));
    int reason = errno;
    close(connection);
    errno = reason;
    return failed;
}

/* Let the simulator compute the outputs for `input`, and write them to `answer` in the form of the file with answers:
 * int8 where an output is quantized. `answer` has space for all outputs as float32. A simulator that is too slow is like
 * an NPU that hangs, and one that is gone like an NPU that is gone. */
static int simulate(const Model *model, const uint8_t *input, uint8_t *answer) {
    if (ask(model, input, answer)) {
        int slow = errno == EAGAIN || errno == EWOULDBLOCK;
        fprintf(stderr, "twin: no answer from the simulator in %s: %s\n", simulator_folder(),
                slow ? "it takes too long" : strerror(errno));
        return slow ? fail_as_hung() : DEVICE_UNAVAILABLE;
    }
    const uint8_t *next = answer; /* what is written never overtakes it */
    for (uint32_t i = 0; i < model->head.outputs; i++)
        for (uint32_t k = 0; k < model->outputs[i].n_elems; k++, next += sizeof(float)) {
            const OutputInfo *output = model->outputs + i;
            float value;
            memcpy(&value, next, sizeof value);
            if (output->type == INT8) *(int8_t *)answer = quantize(value, output);
            else memcpy(answer, &value, sizeof value);
            answer += width_of(output);
        }
    return OK;
}

/* A stand-in for Rockchip's librknnrt.so, without an NPU: the calls of rknn_api that rknn-toolkit-lite2 makes.
 *
 * It identifies models and inputs by the hash of their bytes, and answers with the output that the simulator computed
 * for that input when the bundle was converted (answers.py writes the answers). An unknown input is an error,
 * INPUT_INVALID; it never invents an answer. It tests the binding, struct layouts, types and error paths. It measures
 * no speed, and it cannot tell what a real NPU computes.
 *
 * RKFACE_TWIN_ANSWERS  the folder with the answers
 * RKFACE_TWIN_FAULTS   faults, separated by commas:
 *                      init=CODE, mask=CODE, run=CODE, outputs=CODE   the call returns this error
 *                      run=CODE@N                                      the Nth and later runs of a context return it
 *                      wrong=1                                         outputs have the wrong sign
 *                      slow=MS                                         a run takes this long
 *                      version=TEXT                                    the version that the library reports
 *
 * The declarations are written for this file; offsets and sizes are those that the binding uses on LP64, and are
 * checked below. The compiler gets the version to report: -DTOOLKIT='"2.5.0"' (ingredients.py does that).
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, FAIL = -1, MALLOC_FAIL = -4, PARAM_INVALID = -5, MODEL_INVALID = -6, CTX_INVALID = -7,
       INPUT_INVALID = -8, OUTPUT_INVALID = -9 };
enum { IN_OUT_NUM = 0, INPUT_ATTR = 1, OUTPUT_ATTR = 2, SDK_VERSION = 5, CUSTOM_STRING = 7 };
enum { FLOAT32 = 0, INT8 = 2, UINT8 = 3 };
enum { FORMAT_NHWC = 1, FORMAT_UNDEFINED = 3 };
enum { QUANTIZED_NONE = 0, QUANTIZED_AFFINE = 2 };

typedef struct { uint32_t inputs, outputs; } Counts;
typedef struct {
    uint32_t index; void *data; uint32_t size; uint8_t pass_through; int32_t type; int32_t format;
} InputBuffer;
typedef struct { uint8_t want_float, preallocated; uint32_t index; void *data; uint32_t size; } OutputBuffer;
typedef struct {
    uint32_t index, n_dims, dims[16]; char name[256]; uint32_t n_elems, size; int32_t format, type, quantized;
    int8_t fraction; int32_t zero_point; float scale; uint32_t w_stride, size_with_stride; uint8_t pass_through;
    uint32_t h_stride;
} Attribute;
typedef struct { char api[256], driver[256]; } Version;

_Static_assert(sizeof(InputBuffer) == 32 && offsetof(InputBuffer, data) == 8 && offsetof(InputBuffer, format) == 28, "input");
_Static_assert(sizeof(OutputBuffer) == 24 && offsetof(OutputBuffer, index) == 4 && offsetof(OutputBuffer, size) == 16, "output");
_Static_assert(sizeof(Attribute) == 376 && offsetof(Attribute, n_elems) == 328, "attribute");
_Static_assert(offsetof(Attribute, zero_point) == 352 && offsetof(Attribute, scale) == 356, "attribute");
_Static_assert(sizeof(Version) == 512, "version");

/* A file of answers: this head, the outputs, then for each input its hash and the data of every output. */
typedef struct { char magic[8]; uint32_t height, width, outputs, answers; char input[256]; } Head;
typedef struct { char name[256]; uint32_t n_dims, dims[16], n_elems; int32_t type, zero_point; float scale; } OutputInfo;

typedef struct { Head head; OutputInfo *outputs; uint8_t *answers; const uint8_t *answer; char contract[1024]; long runs; }
    Context;

#define VERSION_TEXT TOOLKIT " (rkface's stand-in: no NPU)"

/* The text that rkface doctor searches for in the file. */
const char rkface_twin_banner[] = "librknnrt version: " VERSION_TEXT;

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash(const void *data, size_t size) {
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) value = (value ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return value;
}

/* The text after NAME= in RKFACE_TWIN_FAULTS, or NULL. */
static const char *fault(const char *name) {
    const char *faults = getenv("RKFACE_TWIN_FAULTS");
    size_t length = strlen(name);
    for (; faults && *faults; faults = strchr(faults, ',') ? strchr(faults, ',') + 1 : NULL)
        if (!strncmp(faults, name, length) && faults[length] == '=') return faults + length + 1;
    return NULL;
}

/* The error that call number COUNT returns: OK without a fault. */
static int broken(const char *name, long count) {
    const char *text = fault(name);
    char *end;
    if (!text) return OK;
    long code = strtol(text, &end, 10);
    return *end != '@' || count >= strtol(end + 1, NULL, 10) ? (int)code : OK;
}

/* The number of open contexts: a test reads it to check that all were closed. */
int rkface_twin_contexts;

static uint32_t width_of(const OutputInfo *output) { return output->type == INT8 ? 1 : 4; }

static size_t answer_size(const Context *context) {
    size_t size = sizeof(uint64_t);
    for (uint32_t i = 0; i < context->head.outputs; i++)
        size += (size_t)context->outputs[i].n_elems * width_of(context->outputs + i);
    return size;
}

static void free_context(Context *context) {
    free(context->outputs);
    free(context->answers);
    free(context);
}

static int read_answers(Context *context, FILE *file) {
    if (fread(&context->head, sizeof(Head), 1, file) != 1 || memcmp(context->head.magic, "RKTWIN1", 8)) return FAIL;
    context->outputs = calloc(context->head.outputs, sizeof(OutputInfo));
    if (!context->outputs || fread(context->outputs, sizeof(OutputInfo), context->head.outputs, file) != context->head.outputs)
        return FAIL;
    size_t size = answer_size(context);
    context->answers = malloc(size * context->head.answers);
    return context->answers && fread(context->answers, size, context->head.answers, file) == context->head.answers
        ? OK : FAIL;
}

int rknn_init(uint64_t *handle, void *model, uint32_t size, uint32_t flag, void *extend) {
    (void)flag; (void)extend;
    int error = broken("init", 1);
    if (error) return error;
    if (size < 4 || memcmp(model, "RKNN", 4)) return MODEL_INVALID;
    char path[4096];
    const char *folder = getenv("RKFACE_TWIN_ANSWERS");
    snprintf(path, sizeof path, "%s/%016llx", folder ? folder : ".", (unsigned long long)hash(model, size));
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "twin: no answers for this model: %s\n", path);
        return MODEL_INVALID;
    }
    Context *context = calloc(1, sizeof(Context));
    error = context ? read_answers(context, file) : MALLOC_FAIL;
    fclose(file);
    if (error) {
        if (context) free_context(context);
        return MODEL_INVALID;
    }
    const char *contract = memmem(model, size < 4096 ? size : 4096, "{\"rkface\":", 10);
    if (contract) snprintf(context->contract, sizeof context->contract, "%.1023s", contract);
    *handle = (uint64_t)(uintptr_t)context;
    rkface_twin_contexts++;
    return OK;
}

int rknn_destroy(uint64_t handle) {
    if (!handle) return CTX_INVALID;
    free_context((Context *)(uintptr_t)handle);
    rkface_twin_contexts--;
    return OK;
}

static int output_attribute(const Context *context, Attribute *one) {
    if (one->index >= context->head.outputs) return PARAM_INVALID;
    const OutputInfo *output = context->outputs + one->index;
    one->n_dims = output->n_dims;
    memcpy(one->dims, output->dims, sizeof one->dims);
    memcpy(one->name, output->name, sizeof one->name);
    one->n_elems = output->n_elems;
    one->size = one->size_with_stride = output->n_elems * width_of(output);
    one->format = FORMAT_UNDEFINED;
    one->type = output->type;
    one->quantized = output->type == INT8 ? QUANTIZED_AFFINE : QUANTIZED_NONE;
    one->zero_point = output->zero_point;
    one->scale = output->scale;
    return OK;
}

static int input_attribute(const Context *context, Attribute *one) {
    const Head *head = &context->head;
    if (one->index) return PARAM_INVALID;
    one->n_dims = 4;
    one->dims[0] = 1, one->dims[1] = head->height, one->dims[2] = head->width, one->dims[3] = 3;
    memcpy(one->name, head->input, sizeof one->name);
    one->n_elems = one->size = one->size_with_stride = head->height * head->width * 3;
    one->format = FORMAT_NHWC;
    one->type = INT8;
    one->quantized = QUANTIZED_AFFINE;
    one->w_stride = head->width;
    one->scale = 1;
    return OK;
}

int rknn_query(uint64_t handle, int command, void *info, uint32_t size) {
    const Context *context = (const Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    if (command == IN_OUT_NUM && size >= sizeof(Counts)) {
        *(Counts *)info = (Counts){1, context->head.outputs};
        return OK;
    }
    if (command == INPUT_ATTR && size >= sizeof(Attribute)) return input_attribute(context, info);
    if (command == OUTPUT_ATTR && size >= sizeof(Attribute)) return output_attribute(context, info);
    if (command == SDK_VERSION && size >= sizeof(Version)) {
        const char *version = fault("version");
        int length = version ? (int)strcspn(version, ",") : 255;
        snprintf(((Version *)info)->api, 256, "%.*s", length, version ? version : VERSION_TEXT);
        snprintf(((Version *)info)->driver, 256, "0.9.8");
        return OK;
    }
    if (command == CUSTOM_STRING && size >= 1024) {
        memcpy(info, context->contract, 1024);
        return OK;
    }
    return PARAM_INVALID; /* the real library answers like this to a query for dynamic ranges of a static model */
}

/* Whether the board has several cores. With a single core, the library refuses a mask. */
static int several_cores(void) {
    char text[1024] = {0};
    FILE *file = fopen("/proc/device-tree/compatible", "rb");
    if (!file) return 0;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    return memmem(text, size, "rk3588", 6) || memmem(text, size, "rk3576", 6);
}

int rknn_set_core_mask(uint64_t handle, int mask) {
    int error = broken("mask", 1);
    if (error) return error;
    return !handle ? CTX_INVALID : mask && !several_cores() ? PARAM_INVALID : OK;
}

int rknn_set_input_shapes(uint64_t handle, uint32_t count, void *shapes) {
    (void)handle; (void)count; (void)shapes;
    return PARAM_INVALID;
}

int rknn_inputs_set(uint64_t handle, uint32_t count, InputBuffer *given) {
    Context *context = (Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    const Head *head = &context->head;
    context->answer = NULL;
    if (count != 1 || given->index || given->pass_through || given->type != UINT8 || given->format != FORMAT_NHWC ||
        given->size != head->height * head->width * 3) {
        fprintf(stderr, "twin: the input is not uint8 NHWC of the model's size\n");
        return INPUT_INVALID;
    }
    uint64_t key = hash(given->data, given->size);
    size_t size = answer_size(context);
    for (uint32_t i = 0; i < head->answers; i++)
        if (!memcmp(context->answers + i * size, &key, sizeof key)) {
            context->answer = context->answers + i * size + sizeof key;
            return OK;
        }
    fprintf(stderr, "twin: not a golden input of this model: the stand-in has no answer to it\n");
    return INPUT_INVALID;
}

int rknn_run(uint64_t handle, void *extend) {
    (void)extend;
    Context *context = (Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    const char *slow = fault("slow");
    if (slow) usleep((useconds_t)atoi(slow) * 1000);
    int error = broken("run", ++context->runs);
    return error ? error : context->answer ? OK : INPUT_INVALID;
}

/* Make an output wrong, like that of a model that the NPU computes wrongly. */
static void make_wrong(OutputBuffer *output, int is_float) {
    if (is_float) for (uint32_t k = 0; k < output->size / 4; k++) ((float *)output->data)[k] *= -1;
    else for (uint32_t k = 0; k < output->size; k++) ((int8_t *)output->data)[k] ^= -1;
}

int rknn_outputs_get(uint64_t handle, uint32_t count, OutputBuffer *wanted, void *extend) {
    (void)extend;
    const Context *context = (const Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    int error = broken("outputs", context->runs);
    if (error) return error;
    if (!context->answer || count != context->head.outputs) return OUTPUT_INVALID;
    const uint8_t *raw = context->answer;
    for (uint32_t i = 0; i < count; raw += (size_t)context->outputs[i].n_elems * width_of(context->outputs + i), i++) {
        const OutputInfo *output = context->outputs + i;
        int as_float = wanted[i].want_float && output->type == INT8;
        uint32_t size = output->n_elems * (as_float ? 4 : width_of(output));
        if (wanted[i].preallocated && wanted[i].size < size) return OUTPUT_INVALID;
        if (!wanted[i].preallocated) wanted[i].data = malloc(size);
        if (!wanted[i].data) return MALLOC_FAIL;
        wanted[i].index = i;
        wanted[i].size = size;
        if (!as_float) memcpy(wanted[i].data, raw, size);
        else for (uint32_t k = 0; k < output->n_elems; k++)
            ((float *)wanted[i].data)[k] = (float)((int8_t)raw[k] - output->zero_point) * output->scale;
        if (fault("wrong")) make_wrong(wanted + i, as_float || output->type == FLOAT32);
    }
    return OK;
}

int rknn_outputs_release(uint64_t handle, uint32_t count, OutputBuffer *wanted) {
    if (!handle) return CTX_INVALID;
    for (uint32_t i = 0; i < count; i++)
        if (!wanted[i].preallocated) free(wanted[i].data), wanted[i].data = NULL;
    return OK;
}

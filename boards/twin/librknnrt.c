/* A stand-in for Rockchip's librknnrt.so, without an NPU: the calls of rknn_api that rkface and rknn-toolkit-lite2 make.
 *
 * It identifies models and inputs by the hash of their bytes, and answers with the output that the simulator computed
 * for that input when the bundle was converted (answers.py writes the answers). An unknown input is an error,
 * INPUT_INVALID; it never invents an answer. With RKFACE_TWIN_SIMULATOR, it has every input computed by the toolkit's
 * simulator, in another process (simulator.h). It tests the bindings, struct layouts, types and error paths. It
 * measures no speed, and it cannot tell what a real NPU computes.
 *
 * RKFACE_TWIN_ANSWERS    the folder with the answers, which also say what outputs a model has
 * RKFACE_TWIN_SIMULATOR  the folder with the sockets of the simulators; without it, only golden inputs have an answer
 * RKFACE_TWIN_FAULTS     faults, separated by commas:
 *                      init=CODE, query=CODE, mask=CODE, dup=CODE, run=CODE, outputs=CODE   the call returns this error
 *                      destroy=CODE   likewise, after it has destroyed the context
 *                      core2=CODE     core 2 cannot be chosen; likewise core0 and core1
 *                      together=CODE  a run fails while another context runs
 *                      run=CODE@N     the Nth and later runs of a context return it
 *                      hang=MS@N      the Nth and later runs of a context take this long, then fail as on a board
 *                      wrong=1        outputs have the wrong sign
 *                      wrong=A+B      the outputs A and B have the wrong sign
 *                      steps=N        those outputs, if INT8, differ by N steps instead
 *                      oncore=N       only on core N
 *                      own=1          outputs are always in memory of the library
 *                      slow=MS        a run takes this long
 *                      patience=MS    how long a run waits for the simulator
 *                      chatter=1      every call and a thread print to stdout
 *                      version=TEXT   the version that the library reports
 *
 * The compiler gets the version to report: -DTOOLKIT='"2.5.0"' (ingredients.py does that).
 */
#define _GNU_SOURCE
#include "rknn_declarations.h"
#include "faults.h"
#include "answers.h"
#include "simulator.h"

/* input and computed: only with a simulator, the bytes to compute, and space for the answer. */
enum { SHARED_OUTPUTS = 16 }; /* at most, of a context (zero_copy.h) */
typedef struct {
    Model *model; const uint8_t *answer; uint8_t *input, *computed; long runs; int mask;
    TensorMemory *shared_input, *shared_outputs[SHARED_OUTPUTS];
} Context;

#define VERSION_TEXT TOOLKIT " (rkface's stand-in: no NPU)"

/* The text that rkface doctor searches for in the file. */
const char rkface_twin_banner[] = "librknnrt version: " VERSION_TEXT;

/* What tests read: open contexts, copies of weights in memory, and the most copies since a test set this to 0. */
int rkface_twin_contexts, rkface_twin_weights, rkface_twin_most_weights;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int running; /* contexts that run at this moment */

#include "zero_copy.h"

static int open_context(uint64_t *handle, Model *model) {
    Context *context = calloc(1, sizeof(Context));
    if (!context) return MALLOC_FAIL;
    context->model = model;
    if (*simulator_folder()) {
        context->input = malloc(input_size(model));
        context->computed = malloc(sizeof(float) * elements(model));
    }
    pthread_mutex_lock(&counting);
    rkface_twin_contexts++;
    if (!model->users++) rkface_twin_weights++;
    if (rkface_twin_weights > rkface_twin_most_weights) rkface_twin_most_weights = rkface_twin_weights;
    pthread_mutex_unlock(&counting);
    *handle = (uint64_t)(uintptr_t)context;
    return OK;
}

int rknn_init(uint64_t *handle, void *bytes, uint32_t size, uint32_t flag, void *extend) {
    (void)flag; (void)extend;
    chatter("rknn_init");
    start_chatter();
    say('I', "RKNN Runtime Information, librknnrt version: " VERSION_TEXT);
    say('I', "RKNN Driver Information, version: 0.9.8");
    int error = broken("init", 1);
    if (error) return error;
    if (size < 4 || memcmp(bytes, "RKNN", 4)) return MODEL_INVALID;
    Model *model = load_model(bytes, size);
    if (!model) return MODEL_INVALID;
    say('I', "RKNN Model Information, version: 6, model inference type: static_shape");
    return open_context(handle, model);
}

int rknn_dup_context(uint64_t *from, uint64_t *handle) {
    chatter("rknn_dup_context");
    int error = broken("dup", 1);
    return error ? error : *from ? open_context(handle, ((Context *)(uintptr_t)*from)->model) : CTX_INVALID;
}

int rknn_destroy(uint64_t handle) {
    chatter("rknn_destroy");
    Context *context = (Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    pthread_mutex_lock(&counting);
    rkface_twin_contexts--;
    if (!--context->model->users) {
        rkface_twin_weights--;
        free_model(context->model);
    }
    pthread_mutex_unlock(&counting);
    free(context->input);
    free(context->computed);
    free(context);
    return broken("destroy", 1);
}

static int output_attribute(const Model *model, Attribute *one) {
    if (one->index >= model->head.outputs) return PARAM_INVALID;
    const OutputInfo *output = model->outputs + one->index;
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

static int input_attribute(const Model *model, Attribute *one) {
    const Head *head = &model->head;
    if (one->index) return PARAM_INVALID;
    one->n_dims = 4;
    one->dims[0] = 1, one->dims[1] = head->height, one->dims[2] = head->width, one->dims[3] = 3;
    memcpy(one->name, head->input, sizeof one->name);
    one->n_elems = one->size = head->height * head->width * 3;
    one->size_with_stride = head->height * row_stride(head->width) * 3;
    one->format = FORMAT_NHWC;
    one->type = INT8;
    one->quantized = QUANTIZED_AFFINE;
    one->w_stride = row_stride(head->width);
    one->scale = 1;
    return OK;
}

int rknn_query(uint64_t handle, int command, void *info, uint32_t size) {
    const Context *context = (const Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    int error = broken("query", 1);
    if (error) return error;
    const Model *model = context->model;
    if (command == IN_OUT_NUM && size >= sizeof(Counts)) {
        *(Counts *)info = (Counts){1, model->head.outputs};
        return OK;
    }
    if (command == INPUT_ATTR && size >= sizeof(Attribute)) return input_attribute(model, info);
    if (command == OUTPUT_ATTR && size >= sizeof(Attribute)) return output_attribute(model, info);
    if (command == SDK_VERSION && size >= sizeof(Version)) {
        const char *version = fault("version");
        int length = version ? (int)strcspn(version, ",") : 255;
        snprintf(((Version *)info)->api, 256, "%.*s", length, version ? version : VERSION_TEXT);
        snprintf(((Version *)info)->driver, 256, "0.9.8");
        return OK;
    }
    if (command == CUSTOM_STRING && size >= 1024) {
        memcpy(info, model->contract, 1024);
        return OK;
    }
    if (command == INPUT_DYNAMIC_RANGE) { /* as on boards: airockchip/rknn-toolkit2 #448 */
        say('W', "query RKNN_QUERY_INPUT_DYNAMIC_RANGE error, rknn model is static shape type");
        return MODEL_INVALID;
    }
    return PARAM_INVALID;
}

/* Whether the board has several cores. */
static int several_cores(void) {
    char text[1024] = {0};
    FILE *file = fopen("/proc/device-tree/compatible", "rb");
    if (!file) return 0;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    return memmem(text, size, "rk3588", 6) || memmem(text, size, "rk3576", 6);
}

int rknn_set_core_mask(uint64_t handle, int mask) {
    chatter("rknn_set_core_mask");
    char core[8] = "mask";
    int error = broken(core, 1);
    for (int number = 0; number < 3 && !error; number++) {
        snprintf(core, sizeof core, "core%d", number);
        if (mask == 1 << number) error = broken(core, 1);
    }
    if (error) return error;
    /* A chip with one core: reported for an RK3566 (happyme531/ztu_somemodelruntime_ez_rknn_async #1). */
    if (!handle || (mask && !several_cores())) return handle ? TARGET_PLATFORM_UNMATCH : CTX_INVALID;
    ((Context *)(uintptr_t)handle)->mask = mask;
    return OK;
}

int rknn_set_input_shapes(uint64_t handle, uint32_t count, void *shapes) {
    (void)handle; (void)count; (void)shapes;
    return MODEL_INVALID;
}

/* Take an image of the model's size as the input of the next run. */
static int take_input(Context *context, const void *image) {
    uint32_t size = (uint32_t)input_size(context->model);
    if (context->input) { /* the run computes it */
        memcpy(context->input, image, size);
        return OK;
    }
    context->answer = find_answer(context->model, image, size);
    if (context->answer) return OK;
    fprintf(stderr, "twin: not a golden input of this model, and no simulator runs (rkface twin serve): no answer\n");
    return INPUT_INVALID;
}

int rknn_inputs_set(uint64_t handle, uint32_t count, InputBuffer *given) {
    chatter("rknn_inputs_set");
    Context *context = (Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    context->answer = NULL;
    if (count != 1 || given->index || given->pass_through || given->type != UINT8 || given->format != FORMAT_NHWC ||
        given->size != input_size(context->model)) {
        fprintf(stderr, "twin: the input is not uint8 NHWC of the model's size\n");
        return INPUT_INVALID;
    }
    count_copied(given->size);
    return take_input(context, given->data);
}

/* Let the simulator compute the answer. */
static int compute(Context *context) {
    int error = context->computed ? simulate(context->model, context->input, context->computed) : MALLOC_FAIL;
    context->answer = error ? NULL : context->computed;
    return error;
}

int rknn_run(uint64_t handle, void *extend) {
    (void)extend;
    chatter("rknn_run");
    Context *context = (Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    context->runs++;
    if (context->shared_input) {
        uint8_t *image = read_shared_input(context);
        int unknown = image ? take_input(context, image) : MALLOC_FAIL;
        free(image);
        if (unknown) return unknown;
    }
    const char *slow = fault("slow");
    int error = ++running > 1 ? broken("together", 1) : OK;
    if (slow) usleep((useconds_t)atoi(slow) * 1000);
    if (!error && context->input) error = compute(context);
    running--;
    if (error) return error;
    int hang = broken("hang", context->runs);
    if (hang) { /* on a board it takes the kernel's 6 s */
        usleep((useconds_t)hang * 1000);
        return fail_as_hung();
    }
    error = broken("run", context->runs);
    if (!error) write_shared_outputs(context);
    return error ? error : context->answer ? OK : INPUT_INVALID;
}

/* Whether the output NAME of this context is to be wrong. */
static int is_wrong(const Context *context, const char *name) {
    const char *names = fault("wrong"), *core = fault("oncore");
    if (!names || (core && context->mask != 1 << atoi(core))) return 0;
    if (names[0] == '1' && (!names[1] || names[1] == ',')) return 1;
    for (size_t length; *names && *names != ','; names += length + (names[length] == '+')) {
        length = strcspn(names, "+,");
        if (length == strlen(name) && !strncmp(names, name, length)) return 1;
    }
    return 0;
}

/* Make an output wrong, like that of a model that the NPU computes wrongly. */
static void make_wrong(OutputBuffer *output, int is_float) {
    const char *text = fault("steps");
    int steps = text ? atoi(text) : 0;
    if (is_float) for (uint32_t k = 0; k < output->size / 4; k++) ((float *)output->data)[k] *= -1;
    else for (uint32_t k = 0; k < output->size; k++) {
        int8_t *value = (int8_t *)output->data + k;
        *value = !steps ? ~*value : *value > 127 - steps ? *value - steps : *value + steps;
    }
}

int rknn_outputs_get(uint64_t handle, uint32_t count, OutputBuffer *wanted, void *extend) {
    (void)extend;
    chatter("rknn_outputs_get");
    const Context *context = (const Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    const Model *model = context->model;
    int error = broken("outputs", context->runs);
    if (error) return error;
    if (!context->answer || count != model->head.outputs) return OUTPUT_INVALID;
    const uint8_t *raw = context->answer;
    for (uint32_t i = 0; i < count; raw += (size_t)model->outputs[i].n_elems * width_of(model->outputs + i), i++) {
        const OutputInfo *output = model->outputs + i;
        int as_float = wanted[i].want_float && output->type == INT8;
        uint32_t size = output->n_elems * (as_float ? 4 : width_of(output));
        if (wanted[i].preallocated && wanted[i].size < size) return OUTPUT_INVALID;
        if (fault("own")) wanted[i].preallocated = 0;
        if (!wanted[i].preallocated) wanted[i].data = malloc(size);
        if (!wanted[i].data) return MALLOC_FAIL;
        wanted[i].index = i;
        wanted[i].size = size;
        count_copied(size);
        if (!as_float) memcpy(wanted[i].data, raw, size);
        else for (uint32_t k = 0; k < output->n_elems; k++)
            ((float *)wanted[i].data)[k] = (float)((int8_t)raw[k] - output->zero_point) * output->scale;
        if (is_wrong(context, output->name)) make_wrong(wanted + i, as_float || output->type == FLOAT32);
    }
    return OK;
}

int rknn_outputs_release(uint64_t handle, uint32_t count, OutputBuffer *wanted) {
    if (!handle) return CTX_INVALID;
    for (uint32_t i = 0; i < count; i++)
        if (!wanted[i].preallocated) free(wanted[i].data), wanted[i].data = NULL;
    return OK;
}

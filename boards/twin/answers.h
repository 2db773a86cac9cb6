/* The answers of one model, from the file that answers.py writes. Contexts that share weights share them. */

/* The head of the file; then come the outputs, then for each input its hash and the data of every output. */
typedef struct { char magic[8]; uint32_t height, width, outputs, answers; char input[256]; } Head;
typedef struct { char name[256]; uint32_t n_dims, dims[16], n_elems; int32_t type, zero_point; float scale; } OutputInfo;
typedef struct { int users; uint64_t hash; Head head; OutputInfo *outputs; uint8_t *answers; char contract[1024]; } Model;

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash(const void *data, size_t size) {
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) value = (value ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return value;
}

static uint32_t width_of(const OutputInfo *output) { return output->type == INT8 ? 1 : 4; }

/* The number of values of all outputs. */
static size_t elements(const Model *model) {
    size_t count = 0;
    for (uint32_t i = 0; i < model->head.outputs; i++) count += model->outputs[i].n_elems;
    return count;
}

static size_t input_size(const Model *model) { return (size_t)model->head.height * model->head.width * 3; }

static size_t answer_size(const Model *model) {
    size_t size = sizeof(uint64_t);
    for (uint32_t i = 0; i < model->head.outputs; i++)
        size += (size_t)model->outputs[i].n_elems * width_of(model->outputs + i);
    return size;
}

static void free_model(Model *model) {
    free(model->outputs);
    free(model->answers);
    free(model);
}

static int read_answers(Model *model, FILE *file) {
    if (fread(&model->head, sizeof(Head), 1, file) != 1 || memcmp(model->head.magic, "RKTWIN1", 8)) return FAIL;
    model->outputs = calloc(model->head.outputs, sizeof(OutputInfo));
    if (!model->outputs || fread(model->outputs, sizeof(OutputInfo), model->head.outputs, file) != model->head.outputs)
        return FAIL;
    size_t size = answer_size(model);
    model->answers = malloc(size * model->head.answers);
    return model->answers && fread(model->answers, size, model->head.answers, file) == model->head.answers ? OK : FAIL;
}

/* The model with these bytes, or NULL. */
static Model *load_model(const void *bytes, uint32_t size) {
    char path[4096];
    const char *folder = getenv("RKFACE_TWIN_ANSWERS");
    uint64_t key = hash(bytes, size);
    snprintf(path, sizeof path, "%s/%016llx", folder ? folder : ".", (unsigned long long)key);
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "twin: no answers for this model: %s\n", path);
        return NULL;
    }
    Model *model = calloc(1, sizeof(Model));
    if (model && read_answers(model, file)) {
        free_model(model);
        model = NULL;
    }
    fclose(file);
    if (model) model->hash = key;
    const char *contract = memmem(bytes, size < 4096 ? size : 4096, "{\"rkface\":", 10);
    if (model && contract) snprintf(model->contract, sizeof model->contract, "%.1023s", contract);
    return model;
}

/* The outputs for these bytes, one after another; NULL if they are not a golden input. */
static const uint8_t *find_answer(const Model *model, const void *input, uint32_t bytes) {
    uint64_t key = hash(input, bytes);
    size_t size = answer_size(model);
    for (uint32_t i = 0; i < model->head.answers; i++)
        if (!memcmp(model->answers + i * size, &key, sizeof key)) return model->answers + i * size + sizeof key;
    return NULL;
}

/* Memory that a program shares with the NPU (rknn_create_mem, rknn_set_io_mem), and what the library copies without it.
 * make bench-copies counts with these; rkface does not use them (docs/cores.md says why). */

uint64_t rkface_twin_copied; /* bytes that rknn_inputs_set and rknn_outputs_get have copied; tests set it to 0 */

static void count_copied(size_t bytes) {
    pthread_mutex_lock(&counting);
    rkface_twin_copied += bytes;
    pthread_mutex_unlock(&counting);
}

/* The NPU reads the rows of an image at multiples of 16 pixels. */
static uint32_t row_stride(uint32_t width) { return (width + 15) / 16 * 16; }

TensorMemory *rknn_create_mem(uint64_t handle, uint32_t size) {
    TensorMemory *memory = handle ? calloc(1, sizeof(TensorMemory)) : NULL;
    if (!memory) return NULL;
    memory->address = calloc(1, size);
    memory->fd = -1;
    memory->size = size;
    return memory;
}

int rknn_destroy_mem(uint64_t handle, TensorMemory *memory) {
    if (!handle || !memory) return PARAM_INVALID;
    free(memory->address);
    free(memory);
    return OK;
}

int rknn_mem_sync(uint64_t handle, TensorMemory *memory, int mode) {
    return handle && memory && mode >= 1 && mode <= 3 ? OK : PARAM_INVALID;
}

int rknn_set_io_mem(uint64_t handle, TensorMemory *memory, Attribute *attribute) {
    Context *context = (Context *)(uintptr_t)handle;
    if (!context) return CTX_INVALID;
    const Model *model = context->model;
    if (!strcmp(attribute->name, model->head.input)) {
        uint32_t bytes = model->head.height * row_stride(model->head.width) * 3;
        if (attribute->type != UINT8 || attribute->format != FORMAT_NHWC || memory->size < bytes) return PARAM_INVALID;
        context->shared_input = memory;
        return OK;
    }
    if (attribute->index >= model->head.outputs || attribute->index >= SHARED_OUTPUTS) return PARAM_INVALID;
    const OutputInfo *output = model->outputs + attribute->index;
    if (attribute->type != output->type || memory->size < output->n_elems * width_of(output)) return PARAM_INVALID;
    context->shared_outputs[attribute->index] = memory;
    return OK;
}

/* The rows of the shared input without what lies between them; the caller frees it. */
static uint8_t *read_shared_input(const Context *context) {
    uint32_t row = context->model->head.width * 3, stride = row_stride(context->model->head.width) * 3;
    uint8_t *image = malloc((size_t)row * context->model->head.height);
    for (uint32_t y = 0; image && y < context->model->head.height; y++)
        memcpy(image + (size_t)y * row, (const uint8_t *)context->shared_input->address + (size_t)y * stride, row);
    return image;
}

/* What the NPU writes: the outputs of a run into the memory that was set for them. */
static void write_shared_outputs(const Context *context) {
    const Model *model = context->model;
    const uint8_t *raw = context->answer;
    for (uint32_t i = 0; raw && i < model->head.outputs && i < SHARED_OUTPUTS; i++) {
        size_t size = (size_t)model->outputs[i].n_elems * width_of(model->outputs + i);
        if (context->shared_outputs[i]) memcpy(context->shared_outputs[i]->address, raw, size);
        raw += size;
    }
}

/* The part of Rockchip's rknn_api that the stand-in implements. Written for this project; sizes and offsets are those of
 * rknn_api.h 2.3.2 and of rknn-toolkit-lite2 2.5.0 on LP64, and are checked below. */
#include <stddef.h>
#include <stdint.h>

enum { OK = 0, FAIL = -1, DEVICE_UNAVAILABLE = -3, MALLOC_FAIL = -4, PARAM_INVALID = -5, MODEL_INVALID = -6,
       CTX_INVALID = -7, INPUT_INVALID = -8, OUTPUT_INVALID = -9, TARGET_PLATFORM_UNMATCH = -13 };
enum { IN_OUT_NUM = 0, INPUT_ATTR = 1, OUTPUT_ATTR = 2, SDK_VERSION = 5, CUSTOM_STRING = 7, INPUT_DYNAMIC_RANGE = 13 };
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
typedef struct {
    void *address; uint64_t physical; int32_t fd, offset; uint32_t size, flags; void *private_data;
} TensorMemory;

_Static_assert(sizeof(InputBuffer) == 32 && offsetof(InputBuffer, data) == 8 && offsetof(InputBuffer, format) == 28, "input");
_Static_assert(sizeof(OutputBuffer) == 24 && offsetof(OutputBuffer, index) == 4 && offsetof(OutputBuffer, size) == 16, "output");
_Static_assert(sizeof(Attribute) == 376 && offsetof(Attribute, n_elems) == 328, "attribute");
_Static_assert(offsetof(Attribute, zero_point) == 352 && offsetof(Attribute, scale) == 356, "attribute");
_Static_assert(sizeof(Version) == 512, "version");
_Static_assert(sizeof(TensorMemory) == 40 && offsetof(TensorMemory, size) == 24, "memory");

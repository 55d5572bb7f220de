/* The runtime: one card, its memory, streams that do everything at once. */
#include "internal.h"

#include <map>
#include <stdio.h>
#include <time.h>

enum { PLAIN_SHARED = 48 << 10, MOST_SHARED = 227 << 10 };

struct qk_emulation_stream {
    unsigned flags;
};
struct qk_emulation_event {
    double at;
    unsigned flags;
    bool recorded;
};

static std::map<uintptr_t, size_t> on_card, pinned; /* where allocations begin, their bytes */
static std::map<const void *, int> most_shared;     /* kernels that may have more than 48 KB */
static int64_t used, memory;
static cudaError_t last;

static cudaError_t keep(cudaError_t status)
{
    if (status != cudaSuccess)
        last = status;
    return status;
}

/* ---- errors ---- */

static const struct {
    cudaError_t status;
    const char *name, *text;
} ERRORS[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};

const char *cudaGetErrorString(cudaError_t status)
{
    for (const auto &e : ERRORS)
        if (e.status == status)
            return e.text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t status)
{
    for (const auto &e : ERRORS)
        if (e.status == status)
            return e.name;
    return "unrecognized error code";
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t status = last;
    last = cudaSuccess;
    return status;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last;
}

/* ---- the card ---- */

static int64_t number_from(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);
    if (!text || !*text)
        return otherwise;
    char *end;
    const long long x = strtoll(text, &end, 10);
    if (*end || x < 0)
        qk_emulation_fail("%s is %s: a number is wanted", variable, text);
    return x;
}

void qk_emulation_memory(int64_t bytes)
{
    memory = bytes ? bytes : number_from("QK_EMULATION_MEMORY", (int64_t)4 << 30);
}

static int64_t card_memory(void)
{
    if (!memory)
        qk_emulation_memory(0);
    return memory;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = (int)number_from("QK_EMULATION_CARDS", 1);
    return keep(*count ? cudaSuccess : cudaErrorNoDevice);
}

static bool there_is(int device)
{
    return device >= 0 && device < number_from("QK_EMULATION_CARDS", 1);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device)
{
    if (!there_is(device))
        return keep(cudaErrorInvalidDevice);
    *prop = {};
    snprintf(prop->name, sizeof prop->name, "emulated card");
    prop->totalGlobalMem = (size_t)card_memory();
    prop->sharedMemPerBlock = PLAIN_SHARED;
    prop->sharedMemPerBlockOptin = MOST_SHARED;
    prop->sharedMemPerMultiprocessor = 228 << 10;
    prop->regsPerBlock = 65536;
    prop->warpSize = 32;
    prop->maxThreadsPerBlock = 1024;
    prop->maxThreadsPerMultiProcessor = 2048;
    prop->maxThreadsDim[0] = prop->maxThreadsDim[1] = 1024;
    prop->maxThreadsDim[2] = 64;
    prop->maxGridSize[0] = INT32_MAX;
    prop->maxGridSize[1] = prop->maxGridSize[2] = 65535;
    prop->major = 9;
    prop->minor = 0;
    prop->multiProcessorCount = 132;
    prop->l2CacheSize = 50 << 20;
    prop->memoryBusWidth = 5120;
    prop->asyncEngineCount = 3;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return keep(there_is(device) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    *all = (size_t)card_memory();
    *left = used < card_memory() ? (size_t)(card_memory() - used) : 0;
    return cudaSuccess;
}

/* ---- memory ---- */

static void *take(std::map<uintptr_t, size_t> *where, size_t bytes)
{
    void *at = NULL;
    if (qk_races_watched && where == &on_card)
        at = qk_races_take(bytes);
    else if (posix_memalign(&at, 256, bytes) != 0)
        at = NULL;
    if (!at)
        return NULL;
    memset(at, 0xff, bytes); /* not a number, as float32 and as bfloat16 */
    (*where)[(uintptr_t)at] = bytes;
    return at;
}

cudaError_t cudaMalloc(void **at, size_t bytes)
{
    *at = NULL;
    if (!bytes)
        return cudaSuccess;
    if (bytes > (size_t)card_memory() || used + (int64_t)bytes > card_memory())
        return keep(cudaErrorMemoryAllocation);
    *at = take(&on_card, bytes);
    if (!*at)
        return keep(cudaErrorMemoryAllocation);
    used += (int64_t)bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void *at)
{
    if (!at)
        return cudaSuccess;
    const auto found = on_card.find((uintptr_t)at);
    if (found == on_card.end())
        return keep(cudaErrorInvalidValue);
    used -= (int64_t)found->second;
    if (qk_races_watched)
        qk_races_give(at, found->second);
    else
        free(at);
    on_card.erase(found);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **at, size_t bytes)
{
    *at = bytes ? take(&pinned, bytes) : NULL;
    return keep(*at || !bytes ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaHostAlloc(void **at, size_t bytes, unsigned)
{
    return cudaMallocHost(at, bytes);
}

cudaError_t cudaFreeHost(void *at)
{
    if (!at)
        return cudaSuccess;
    if (!pinned.erase((uintptr_t)at))
        return keep(cudaErrorInvalidValue);
    free(at);
    return cudaSuccess;
}

/* The bytes from `at` to the end of the allocation on the card it lies in; 0: in none. */
static size_t room_at(const void *at)
{
    auto next = on_card.upper_bound((uintptr_t)at);
    if (next == on_card.begin())
        return 0;
    --next;
    const size_t inside = (uintptr_t)at - next->first;
    return inside < next->second ? next->second - inside : 0;
}

/* The card's side must lie in one allocation, the host's side in none. */
static bool side_fits(const void *at, size_t bytes, bool on_device)
{
    return on_device ? room_at(at) >= bytes : at && !room_at(at);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t)
{
    if (!bytes)
        return cudaSuccess;
    const bool any = kind == cudaMemcpyDefault;
    if (!any && (!side_fits(to, bytes, kind & 1) || !side_fits(from, bytes, kind & 2)))
        return keep(cudaErrorInvalidValue);
    memmove(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(to, from, bytes, kind, NULL);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (width > to_pitch || width > from_pitch)
        return keep(cudaErrorInvalidValue);
    for (size_t row = 0; row < height; row++) {
        const cudaError_t status =
            cudaMemcpyAsync((char *)to + row * to_pitch, (const char *)from + row * from_pitch,
                            width, kind, stream);
        if (status != cudaSuccess)
            return status;
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t)
{
    if (!bytes)
        return cudaSuccess;
    if (!side_fits(at, bytes, true))
        return keep(cudaErrorInvalidValue);
    memset(at, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *at, int value, size_t bytes)
{
    return cudaMemsetAsync(at, value, bytes, NULL);
}

/* ---- streams and events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    *stream = new qk_emulation_stream{flags};
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream)
        return keep(cudaErrorInvalidResourceHandle);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned)
{
    return keep(event ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = new qk_emulation_event{0, flags, false};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (!event)
        return keep(cudaErrorInvalidResourceHandle);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    if (!event)
        return keep(cudaErrorInvalidResourceHandle);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    event->at = (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
    event->recorded = true;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    return keep(event ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return keep(event ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    if (!from || !to || !from->recorded || !to->recorded ||
        (from->flags | to->flags) & cudaEventDisableTiming)
        return keep(cudaErrorInvalidResourceHandle);
    *milliseconds = (float)(to->at - from->at);
    return cudaSuccess;
}

/* ---- launches ---- */

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value)
{
    if (what != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return cudaSuccess;
    if (!kernel || value < 0 || value > MOST_SHARED)
        return keep(cudaErrorInvalidValue);
    most_shared[kernel] = value;
    return cudaSuccess;
}

cudaError_t qk_emulation_launch(const cudaLaunchConfig_t *config, const void *kernel,
                                void (*call)(void *), void *what)
{
    const dim3 g = config->gridDim, b = config->blockDim;
    if (!g.x || !g.y || !g.z || g.x > INT32_MAX || g.y > 65535 || g.z > 65535 || !b.x || !b.y ||
        !b.z || b.x > 1024 || b.y > 1024 || b.z > 64 || b.x * b.y * b.z > 1024)
        return keep(cudaErrorInvalidConfiguration);
    const auto raised = most_shared.find(kernel);
    const int most = raised == most_shared.end() ? (int)PLAIN_SHARED : raised->second;
    if (config->dynamicSmemBytes > (size_t)max(most, (int)PLAIN_SHARED))
        return keep(cudaErrorInvalidValue);
    if (config->numAttrs)
        return keep(cudaErrorNotSupported);
    qk_emulation_grid(config, kernel, call, what);
    return cudaSuccess;
}

/* A libnvidia-ml.so.1 that says what the file `script` beside it tells, read anew at every call:
 *
 *   init CODE           what nvmlInit answers
 *   gpus N              how many GPUs there are
 *   lost GPU            its every call answers NVML_ERROR_GPU_IS_LOST
 *   mig GPU N           it is cut into N instances, numbers 0, 2, 4 and so on
 *   fail CALL GPU CODE  this call of this GPU answers CODE
 *
 * Types, names and codes are those of nvml.h; only what Sonde calls is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
enum { GPUS = 8, INSTANCES = 7 };

typedef struct { unsigned gpu; int instance; } Device;
static Device devices[GPUS][INSTANCES + 1];

typedef int (*Line)(const char *line, const void *wanted);

/* What the first line says that `line` understands; -1 without one. */
static int script(Line line, const void *wanted) {
    char path[4096], text[256];
    Dl_info self;
    int found = -1;
    if (!dladdr((void *)script, &self)) return -1;
    snprintf(path, sizeof path, "%s", self.dli_fname);
    char *slash = strrchr(path, '/');
    if (!slash) return -1;
    snprintf(slash, sizeof path - (slash - path), "/script");
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    while (found < 0 && fgets(text, sizeof text, file)) found = line(text, wanted);
    fclose(file);
    return found;
}

static int number(const char *line, const void *key) {
    char word[32];
    int value;
    return sscanf(line, "%31s %d", word, &value) == 2 && !strcmp(word, key) ? value : -1;
}

static int lost(const char *line, const void *gpu) {
    unsigned index;
    return sscanf(line, "lost %u", &index) == 1 && index == *(const unsigned *)gpu ? 1 : -1;
}

static int instances(const char *line, const void *gpu) {
    unsigned index;
    int count;
    return sscanf(line, "mig %u %d", &index, &count) == 2 && index == *(const unsigned *)gpu ? count : -1;
}

typedef struct { const char *call; unsigned gpu; } Call;

static int failing(const char *line, const void *wanted) {
    const Call *call = wanted;
    char name[32];
    unsigned gpu;
    int code;
    int read = sscanf(line, "fail %31s %u %d", name, &gpu, &code);
    return read == 3 && gpu == call->gpu && !strcmp(name, call->call) ? code : -1;
}

static int count(void) {
    int gpus = script(number, "gpus");
    return gpus < 0 ? 0 : gpus > GPUS ? GPUS : gpus;
}

static int cut(unsigned gpu) {
    int found = script(instances, &gpu);
    return found < 0 ? 0 : found;
}

/* What a call of a device answers before it says anything. */
static int answer(const char *name, const Device *device) {
    Call call = {name, device->gpu};
    if (script(lost, &device->gpu) == 1) return GPU_IS_LOST;
    int code = script(failing, &call);
    return code < 0 ? SUCCESS : code;
}

/* The same of a call that instances do not support. */
static int board(const char *name, const Device *device) {
    return device->instance >= 0 ? NOT_SUPPORTED : answer(name, device);
}

#define ANSWER(kind, name) do { int code = kind(name, device); if (code) return code; } while (0)

int nvmlInit_v2(void) {
    int code = script(number, "init");
    return code < 0 ? SUCCESS : code;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) { (void)code; return "stub"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "580.82.07");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *out) { *out = (unsigned)count(); return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out) {
    if ((int)index >= count()) return INVALID_ARGUMENT;
    Device *device = &devices[index][INSTANCES];
    device->gpu = index;
    device->instance = -1;
    ANSWER(answer, "handle");
    *out = device;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(const Device *device, unsigned *current, unsigned *pending) {
    ANSWER(board, "mig_mode");
    if (device->gpu == 0 && !cut(0)) return NOT_SUPPORTED; /* an older GPU */
    *current = *pending = cut(device->gpu) > 0;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(const Device *device, unsigned *out) {
    ANSWER(board, "mig_count");
    *out = INSTANCES;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const Device *device, unsigned index, Device **out) {
    ANSWER(board, "mig_handle");
    if (index >= INSTANCES) return INVALID_ARGUMENT;
    if (index % 2 || (int)(index / 2) >= cut(device->gpu)) return NOT_FOUND;
    Device *found = &devices[device->gpu][index];
    found->gpu = device->gpu;
    found->instance = (int)index;
    *out = found;
    return SUCCESS;
}

int nvmlDeviceGetUUID(const Device *device, char *out, unsigned length) {
    ANSWER(answer, "uuid");
    if (device->instance < 0) snprintf(out, length, "GPU-%u", device->gpu);
    else snprintf(out, length, "MIG-%u-%d", device->gpu, device->instance);
    return SUCCESS;
}

int nvmlDeviceGetName(const Device *device, char *out, unsigned length) {
    ANSWER(answer, "name");
    snprintf(out, length, device->instance < 0 ? "NVIDIA A100" : "NVIDIA A100 MIG 1g.5gb");
    return SUCCESS;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;

int nvmlDeviceGetMemoryInfo_v2(const Device *device, Memory *out) {
    ANSWER(answer, "memory");
    if (out->version != (sizeof *out | 2u << 24)) return 25; /* NVML_ERROR_ARGUMENT_VERSION_MISMATCH */
    out->total = device->instance < 0 ? 40ull << 30 : 5ull << 30;
    out->used = device->instance < 0 ? 3ull << 30 : 1ull << 30;
    out->reserved = 1ull << 29;
    out->free = out->total - out->used - out->reserved;
    return SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilization;

int nvmlDeviceGetUtilizationRates(const Device *device, Utilization *out) {
    ANSWER(board, "utilization");
    if (cut(device->gpu)) return NOT_SUPPORTED;
    *out = (Utilization){37, 12};
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(const Device *device, unsigned *out) {
    ANSWER(board, "power");
    *out = 250500;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(const Device *device, unsigned *out) {
    ANSWER(board, "power_limit");
    *out = 400000;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(const Device *device, unsigned long long *out) {
    ANSWER(board, "energy");
    *out = 5000000123ull;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(const Device *device, int sensor, unsigned *out) {
    ANSWER(board, "temperature");
    if (sensor != 0) return INVALID_ARGUMENT;
    *out = 61;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(const Device *device, int clock, unsigned *out) {
    ANSWER(board, "clock");
    if (clock != 1 && clock != 2) return INVALID_ARGUMENT;
    *out = clock == 1 ? 1410 : 1215;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(const Device *device, unsigned long long *out) {
    ANSWER(board, "throttle");
    *out = 0x4 | 0x20 | 1ull << 40;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(const Device *device, int type, int counter, unsigned long long *out) {
    ANSWER(board, "ecc");
    if (counter != 0) return INVALID_ARGUMENT; /* only since the driver was loaded */
    *out = type == 0 ? 3 : 1;
    return SUCCESS;
}

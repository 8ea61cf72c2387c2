/* A libnvidia-ml.so.1 for tests: answers from a state file, read anew at every call.
 *
 * GRID_FAKE_NVML names the file. DEVICE is the index of a GPU, or GPU/INDEX for an instance of it under MIG. Lines,
 * where VALUE may be !N to make the call return NVML error N:
 *   init VALUE                          what nvmlInit returns (0 when the line is missing)
 *   gpu DEVICE FIELD VALUE              handle uuid name util memory_total memory_used temperature power mig ecc0 ecc1
 *                                       processes; of an instance also gi and ci
 *   process DEVICE PID BYTES            a compute process; BYTES of -1: not available; a GPU lists its instances' too
 *   mps DEVICE PID BYTES                a client of the MPS server
 *   used GPU PID TIMESTAMP PERCENT      a utilisation sample; "used GPU !N" makes the call fail
 *   slot GPU PID TIMESTAMP PERCENT      the same, but comes back at every call however old: a slot full of garbage
 *   hang SECONDS                        every sampling call of utilisation sleeps so long
 *   old DRIVER                          a driver without the third version of the process lists
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process_info;
typedef struct { unsigned pid; unsigned long long when; unsigned sm, memory, encoder, decoder; } used_sample;
typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned gpu, memory; } rates;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, FUNCTION_NOT_FOUND = 13 };
enum { GPUS = 16, INSTANCES = 7 };
static char names[GPUS][1 + INSTANCES][8]; /* a handle is the device's name in the file; the first is the GPU's own */

static FILE *state(void) {
    const char *path = getenv("GRID_FAKE_NVML");
    return path ? fopen(path, "r") : NULL;
}

/* The rest of the line that begins with `prefix`, or "" */
static void find(const char *prefix, char *value, size_t size) {
    char line[512];
    size_t length = strlen(prefix);
    FILE *file = state();
    value[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, prefix, length) == 0 && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            break;
        }
    }
    if (file) fclose(file);
}

static int field(const char *device, const char *name, char *value, size_t size) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "gpu %s %s", device, name);
    find(prefix, value, size);
    if (value[0] == '!') return atoi(value + 1);
    return value[0] ? SUCCESS : NOT_SUPPORTED;
}

static int number(const char *device, const char *name, unsigned long long *out) {
    char value[128];
    int status = field(device, name, value, sizeof value);
    if (status == SUCCESS) *out = strtoull(value, NULL, 10);
    return status;
}

static int small(const char *device, const char *name, unsigned *out) {
    unsigned long long value = 0;
    int status = number(device, name, &value);
    *out = (unsigned)value;
    return status;
}

/* The error that the file demands for something that has no value in it */
static int refused(const char *device, const char *name) {
    char value[32];
    int status = field(device, name, value, sizeof value);
    return value[0] == '!' ? status : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    char value[64];
    (void)flags;
    find("init", value, sizeof value);
    for (int gpu = 0; gpu < GPUS; gpu++) {
        snprintf(names[gpu][0], sizeof names[gpu][0], "%d", gpu);
        for (int i = 0; i < INSTANCES; i++) snprintf(names[gpu][1 + i], sizeof names[gpu][1 + i], "%d/%d", gpu, i);
    }
    return value[0] == '!' ? atoi(value + 1) : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == NOT_SUPPORTED ? "Not Supported" : "Fake error"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    char prefix[32], value[128];
    for (*count = 0; *count < GPUS; ++*count) {
        snprintf(prefix, sizeof prefix, "gpu %u uuid", *count);
        find(prefix, value, sizeof value);
        if (!value[0]) break;
    }
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = names[index][0];
    return refused(*handle, "handle");
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) { return field(handle, "uuid", text, size); }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { return field(handle, "name", text, size); }

int nvmlDeviceGetUtilizationRates(void *handle, rates *out) {
    char value[32];
    find("hang", value, sizeof value);
    if (value[0]) sleep((unsigned)atoi(value));
    out->memory = 0;
    return small(handle, "util", &out->gpu);
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_info *out) {
    int status = number(handle, "memory_total", &out->total);
    if (status == SUCCESS) status = number(handle, "memory_used", &out->used);
    out->free = out->total - out->used;
    return status;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *out) {
    (void)sensor;
    return small(handle, "temperature", out);
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *out) { return small(handle, "power", out); }
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    int status = small(handle, "mig", current);
    *pending = *current;
    return status;
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *out) {
    (void)counter;
    return number(handle, type ? "ecc1" : "ecc0", out);
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    unsigned enabled = 0;
    *count = small(handle, "mig", &enabled) == SUCCESS && enabled ? INSTANCES : 0;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *gpu, unsigned index, void **handle) {
    char value[128];
    *handle = (char *)gpu + (1 + index) * sizeof names[0][0];
    if (field(*handle, "uuid", value, sizeof value) == NOT_SUPPORTED) return NOT_FOUND;
    return refused(*handle, "handle");
}
int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *id) { return small(handle, "gi", id); }
int nvmlDeviceGetComputeInstanceId(void *handle, unsigned *id) { return small(handle, "ci", id); }

/* Whether a line about `device` belongs in the list of `handle`: its own, and a GPU's instances' */
static int listed(const char *handle, const char *device) {
    size_t length = strlen(handle);
    return strncmp(handle, device, length) == 0 && (!device[length] || device[length] == '/');
}

static int processes(const char *handle, const char *wanted, unsigned *count, process_info *out) {
    char line[512];
    unsigned room = out ? *count : 0, found = 0;
    int status = refused(handle, "processes");
    if (status != SUCCESS) return status;
    FILE *file = state();
    while (file && fgets(line, sizeof line, file)) {
        char kind[16], device[8];
        process_info info = {0, 0, ~0u, ~0u};
        long long bytes;
        if (sscanf(line, "%15s %7s %u %lld", kind, device, &info.pid, &bytes) != 4) continue;
        if (strcmp(kind, wanted) || !listed(handle, device)) continue;
        info.memory = (unsigned long long)bytes;
        if (found < room) out[found] = info;
        found++;
    }
    if (file) fclose(file);
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

static int processes_v3(const char *handle, const char *wanted, unsigned *count, process_info *out) {
    char value[32];
    find("old", value, sizeof value);
    return value[0] ? FUNCTION_NOT_FOUND : processes(handle, wanted, count, out);
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *out) {
    return processes_v3(handle, "process", count, out);
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, process_info *out) {
    return processes(handle, "process", count, out);
}
int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *out) {
    return processes_v3(handle, "mps", count, out);
}
int nvmlDeviceGetMPSComputeRunningProcesses_v2(void *handle, unsigned *count, process_info *out) {
    return processes(handle, "mps", count, out);
}

int nvmlDeviceGetProcessUtilization(void *handle, used_sample *out, unsigned *count, unsigned long long since) {
    char line[512], prefix[32];
    unsigned room = out ? *count : 0, found = 0;
    snprintf(prefix, sizeof prefix, "used %s", (char *)handle);
    find(prefix, line, sizeof line);
    if (line[0] == '!') return atoi(line + 1);
    FILE *file = state();
    while (file && fgets(line, sizeof line, file)) {
        used_sample sample = {0};
        char kind[8], device[8];
        if (sscanf(line, "%7s %7s %u %llu %u", kind, device, &sample.pid, &sample.when, &sample.sm) != 5) continue;
        if (strcmp(handle, device) || (strcmp(kind, "slot") && (strcmp(kind, "used") || sample.when <= since))) continue;
        if (found < room) out[found] = sample;
        found++;
    }
    if (file) fclose(file);
    *count = found;
    if (!found) return NOT_FOUND;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

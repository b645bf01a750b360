/* The kernel's object file on one platform, without Python and without Mojo's runtime.

   Writes the vector width, then reads jobs from standard input until it ends, and writes what each one gave. All words are
   int64. A job:

       entry     which function prepares, see there
       tokens    T
       y_bytes   size of the output
       n, m      how many sizes and arrays follow
       n words   sizes
       m arrays  each a word that says its bytes, and its contents; the last one is x, another of no bytes is absent

   Its answer: how many threads it runs on, and the y_bytes of the output. */

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the object needs of Mojo's runtime. New memory is NaN, so that what is read before it is written shows. */

void *KGEN_CompilerRT_AlignedAlloc(size_t alignment, size_t bytes) {
    void *memory = NULL;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    if (posix_memalign(&memory, alignment, bytes) != 0) abort();
    return memset(memory, 0xff, bytes);
}

void KGEN_CompilerRT_AlignedFree(void *memory) { free(memory); }

int64_t KGEN_CompilerRT_GetStackTrace(void *trace, int64_t depth) {
    (void)trace, (void)depth;
    return 0;
}

int KGEN_CompilerRT_fprintf(FILE *file, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int written = vfprintf(file, format, values);
    va_end(values);
    return written;
}

/* The kernel's own functions; every argument is an address, a handle or a size. */

intptr_t moe_vector_width(void);
intptr_t moe_prepare(intptr_t gate, intptr_t w1, intptr_t w2, intptr_t d, intptr_t f, intptr_t experts, intptr_t k,
                     intptr_t threads, intptr_t form);
intptr_t moe_prepare_form(intptr_t description);
void moe_forward(intptr_t handle, intptr_t x, intptr_t y, intptr_t tokens);
intptr_t moe_threads(intptr_t handle);
void moe_release(intptr_t handle);

enum { MOST = 32 };

/* Entry 0 is moe_prepare; 1 is moe_prepare_form, whose description is the addresses of all arrays but x, then sizes. */
static intptr_t prepare(int64_t entry, const int64_t *s, int64_t n, const intptr_t *a, int64_t m) {
    int64_t description[2 * MOST];
    switch (entry) {
    case 0: return moe_prepare(a[0], a[1], a[2], s[0], s[1], s[2], s[3], s[4], s[5]);
    case 1:
        for (int64_t i = 0; i < m - 1; i++) description[i] = a[i];
        memcpy(description + m - 1, s, (size_t)n * sizeof *s);
        return moe_prepare_form((intptr_t)description);
    default: return 0;
    }
}

static void fail(const char *what, int64_t value) {
    fprintf(stderr, "driver: %s (%lld)\n", what, (long long)value);
    exit(1);
}

static void get(void *target, size_t bytes) {
    if (fread(target, 1, bytes, stdin) != bytes) fail("a job ends early, bytes missing of", (int64_t)bytes);
}

static void put(const void *source, size_t bytes) {
    if (fwrite(source, 1, bytes, stdout) != bytes) fail("nobody takes the answer, bytes", (int64_t)bytes);
}

static void run(const int64_t *job) {
    int64_t entry = job[0], tokens = job[1], n = job[3], m = job[4], sizes[MOST];
    size_t y_bytes = (size_t)job[2];
    intptr_t arrays[MOST];
    if (n > MOST || m > MOST || m < 1) fail("more sizes or arrays than expected, or no x; arrays", m);
    get(sizes, (size_t)n * sizeof *sizes);
    for (int64_t i = 0; i < m; i++) {
        uint64_t bytes;
        get(&bytes, sizeof bytes);
        arrays[i] = 0;
        if (bytes == 0 && i < m - 1) continue;
        void *array = KGEN_CompilerRT_AlignedAlloc(1, bytes);
        get(array, bytes);
        arrays[i] = (intptr_t)array;
    }
    void *y = KGEN_CompilerRT_AlignedAlloc(1, y_bytes);
    void *again = KGEN_CompilerRT_AlignedAlloc(1, y_bytes);

    intptr_t handle = prepare(entry, sizes, n, arrays, m);
    if (handle == 0) fail("no handle from entry", entry);
    moe_forward(handle, arrays[m - 1], (intptr_t)y, tokens);
    moe_forward(handle, arrays[m - 1], (intptr_t)again, tokens);
    if (memcmp(y, again, y_bytes) != 0) fail("a second forward gives other bits, tokens", tokens);
    int64_t threads = moe_threads(handle);
    moe_release(handle);

    put(&threads, sizeof threads);
    put(y, y_bytes);
    fflush(stdout);
    for (int64_t i = 0; i < m; i++) free((void *)arrays[i]);
    free(y);
    free(again);
}

int main(void) {
    int64_t width = moe_vector_width(), job[5];
    put(&width, sizeof width);
    while (fread(job, sizeof *job, 1, stdin) == 1) {
        get(job + 1, 4 * sizeof *job);
        run(job);
    }
    return 0;
}

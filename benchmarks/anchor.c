/*
 * The kernel's loop over its patch sites (Linux 2.6.23, arch/i386/kernel/alternative.c, apply_paravirt), in user space.
 *
 *     anchor TEXT SITES OPS REPS IMAGE
 *
 * TEXT lies at address BASE. SITES are records { u32 addr; u8 type, len; u16 clobber; }, sorted and disjoint. OPS are 256
 * records { u32 target; u16 clobber; u8 kind, size; u8 code[8]; }. Prints the median of REPS runs, in ns of CPU time a
 * site, and writes the patched text to IMAGE.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BASE 0xc0100000u
#define MAX_PATCH_LEN 254

enum kind { KEEP, CODE, BRANCH };

struct site { uint32_t addr; uint8_t type, len; uint16_t clobber; };
struct op { uint32_t target; uint16_t clobber; uint8_t kind, size, code[8]; };

static struct op ops[256];

static const uint8_t nops[9][8] = {
	{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0}, {0x0f, 0x1f, 0x40, 0}, {0x0f, 0x1f, 0x44, 0, 0},
	{0x66, 0x0f, 0x1f, 0x44, 0, 0}, {0x0f, 0x1f, 0x80, 0, 0, 0, 0}, {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
};

static unsigned patch(uint8_t type, uint16_t clobber, uint8_t *insnbuf, uint32_t addr, unsigned len)
{
	const struct op *op = &ops[type];

	if (op->kind == KEEP || op->size > len || (op->clobber & ~clobber))
		return len;
	memcpy(insnbuf, op->code, op->size);
	if (op->kind == BRANCH) {
		uint32_t distance = op->target - (addr + 5);
		memcpy(insnbuf + 1, &distance, 4);
	}
	return op->size;
}

/* through a pointer, as paravirt_ops.patch is, so that it is not inlined */
static unsigned (*volatile hook)(uint8_t, uint16_t, uint8_t *, uint32_t, unsigned) = patch;

static void pad(uint8_t *insnbuf, unsigned used, unsigned len)
{
	while (used < len) {
		unsigned size = len - used > 8 ? 8 : len - used;
		memcpy(insnbuf + used, nops[size], size);
		used += size;
	}
}

static void apply(uint8_t *text, size_t size, const struct site *sites, size_t count)
{
	uint8_t insnbuf[MAX_PATCH_LEN];
	uint32_t end = BASE;

	for (const struct site *site = sites; site < sites + count; site++) {
		uint8_t *instr = text + (site->addr - BASE);
		unsigned used;

		if (site->addr < end || site->len > MAX_PATCH_LEN || site->addr - BASE + site->len > size)
			abort();
		end = site->addr + site->len;
		memcpy(insnbuf, instr, site->len);
		used = hook(site->type, site->clobber, insnbuf, site->addr, site->len);
		if (used > site->len)
			abort();
		pad(insnbuf, used, site->len);
		memcpy(instr, insnbuf, site->len);
	}
}

static void *load(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	void *data;

	if (!file || fseek(file, 0, SEEK_END))
		exit(2);
	*size = ftell(file);
	rewind(file);
	data = malloc(*size + 1);
	if (!data || fread(data, 1, *size, file) != *size)
		exit(2);
	fclose(file);
	return data;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int ascending(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	size_t size, bytes, unused;

	if (argc != 6)
		return 2;
	uint8_t *original = load(argv[1], &size), *text = malloc(size);
	struct site *sites = load(argv[2], &bytes);
	void *rules = load(argv[3], &unused);
	size_t count = bytes / sizeof *sites;
	int reps = atoi(argv[4]);
	double *times = malloc(reps * sizeof *times);

	if (unused != sizeof ops || reps < 1)
		return 2;
	memcpy(ops, rules, sizeof ops);
	for (int rep = -1; rep < reps; rep++) { /* the first one warms the caches */
		memcpy(text, original, size);
		double start = now();
		apply(text, size, sites, count);
		if (rep >= 0)
			times[rep] = (now() - start) / count;
	}
	qsort(times, reps, sizeof *times, ascending);
	FILE *image = fopen(argv[5], "wb");
	if (!image || fwrite(text, 1, size, image) != size || fclose(image))
		return 2;
	printf("%f\n", times[reps / 2]);
	return 0;
}

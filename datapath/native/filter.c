/*
 * Filters in the words of tcpdump, as an N-API addon: libpcap's compiler, where libpcap is installed. It is looked for
 * when the first filter comes (dlopen), so that nothing else needs it. What comes out is classic BPF, which tunwall
 * runs itself; nothing here sees a packet.
 *
 *     compile(text, link type) ──▶ [code, jt, jf, k, code, …]   Uint32Array
 *                              ──▶ "syntax error in filter expression: …"
 *                              ──▶ null: there is no libpcap
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <node_api.h>

/* The parts of libpcap's ABI that are used (pcap/pcap.h, pcap/bpf.h); its headers need not be installed. */
struct bpf_insn {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};
struct bpf_program {
	unsigned int length;
	struct bpf_insn *instructions;
};
#define NETMASK_UNKNOWN 0xffffffffu
#define SNAP_LENGTH 262144

static struct {
	void *(*open_dead)(int link_type, int snap_length);
	int (*compile)(void *pcap, struct bpf_program *program, const char *text, int optimize, uint32_t netmask);
	char *(*error)(void *pcap);
	void (*free_code)(struct bpf_program *program);
	void (*close)(void *pcap);
} pcap;

static int load(void)
{
	static const char *const names[] = { "libpcap.so.0.8", "libpcap.so.1", "libpcap.so" };
	void *library = NULL;

	if (pcap.compile != NULL)
		return 1;
	for (unsigned i = 0; library == NULL && i < sizeof(names) / sizeof(names[0]); i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return 0;
	/* ISO C has no cast from a data pointer to a function's: POSIX's way around. */
	*(void **)&pcap.open_dead = dlsym(library, "pcap_open_dead");
	*(void **)&pcap.error = dlsym(library, "pcap_geterr");
	*(void **)&pcap.free_code = dlsym(library, "pcap_freecode");
	*(void **)&pcap.close = dlsym(library, "pcap_close");
	*(void **)&pcap.compile = dlsym(library, "pcap_compile");
	if (pcap.open_dead && pcap.error && pcap.free_code && pcap.close && pcap.compile)
		return 1;
	pcap.compile = NULL;
	dlclose(library);
	return 0;
}

static napi_value text_of(napi_env env, const char *text)
{
	napi_value out = NULL;

	napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &out);
	return out;
}

static napi_value words_of(napi_env env, const struct bpf_program *program)
{
	napi_value buffer, out = NULL;
	uint32_t *words;
	size_t count = (size_t)program->length * 4;

	if (napi_create_arraybuffer(env, count * sizeof(*words), (void **)&words, &buffer) != napi_ok)
		return NULL;
	for (unsigned i = 0; i < program->length; i++) {
		const struct bpf_insn *insn = &program->instructions[i];

		words[i * 4] = insn->code;
		words[i * 4 + 1] = insn->jt;
		words[i * 4 + 2] = insn->jf;
		words[i * 4 + 3] = insn->k;
	}
	napi_create_typedarray(env, napi_uint32_array, count, buffer, 0, &out);
	return out;
}

/* compile(text, link type as libpcap numbers it) */
static napi_value js_compile(napi_env env, napi_callback_info info)
{
	napi_value argv[2], out = NULL;
	size_t argc = 2, length;
	int32_t link_type;
	char *text;
	void *handle;
	struct bpf_program program;

	if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
	    napi_get_value_string_utf8(env, argv[0], NULL, 0, &length) != napi_ok ||
	    napi_get_value_int32(env, argv[1], &link_type) != napi_ok) {
		napi_throw_type_error(env, NULL, "compile(text, link type)");
		return NULL;
	}
	if (!load()) {
		napi_get_null(env, &out);
		return out;
	}
	text = malloc(length + 1);
	handle = pcap.open_dead(link_type, SNAP_LENGTH);
	if (text == NULL || handle == NULL) {
		free(text);
		if (handle != NULL)
			pcap.close(handle);
		return text_of(env, "out of memory");
	}
	napi_get_value_string_utf8(env, argv[0], text, length + 1, NULL);
	if (pcap.compile(handle, &program, text, 1, NETMASK_UNKNOWN) != 0) {
		out = text_of(env, pcap.error(handle));
	} else {
		out = words_of(env, &program);
		pcap.free_code(&program);
	}
	pcap.close(handle);
	free(text);
	return out;
}

static napi_value init(napi_env env, napi_value exports)
{
	const napi_property_descriptor function = { "compile", NULL, js_compile, NULL, NULL, NULL, napi_enumerable, NULL };

	napi_define_properties(env, exports, 1, &function);
	return exports;
}

NAPI_MODULE(tunwall_filter, init)

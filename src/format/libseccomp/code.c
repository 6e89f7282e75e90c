/* Which call a name is on an ABI is not always what libseccomp says: some have a number besides socketcall(2) or ipc(2),
 * some are newer than the library. */
static int number_of(uint32_t arch, const char *name)
{
	for (size_t i = 0; numbers[i].name; i++)
		if (numbers[i].arch == arch && !strcmp(numbers[i].name, name))
			return numbers[i].nr;
	return -1;
}

/* Adds a rule for one call to the filter of one ABI. */
static int add_call(scmp_filter_ctx ctx, uint32_t arch, const struct rule *rule, const char *name)
{
	int known = number_of(arch, name);
	int nr = seccomp_syscall_resolve_name_arch(arch, name);
	int native = seccomp_syscall_resolve_name(name);
	struct scmp_arg_cmp first = { 0, SCMP_CMP_EQ, 0, 0 };
	const char *multiplexer;

	if (nr == __NR_SCMP_ERROR) {
		if (known >= 0 && arch == seccomp_arch_native())
			return seccomp_rule_add_array(ctx, rule->action, known, rule->count, rule->args);
		fprintf(stderr, "this libseccomp does not know %s\n", name);
		return -ENOSYS;
	}
	if (nr >= 0)
		return seccomp_rule_add_array(ctx, rule->action, native, rule->count, rule->args);
	/* Pseudo numbers: of calls in socketcall(2), in ipc(2), and of those that the ABI does not have. */
	if (nr <= -101 && nr >= -199) {
		multiplexer = "socketcall";
		first.datum_a = (scmp_datum_t)(-nr - 100);
	} else if (nr <= -201 && nr >= -299) {
		multiplexer = "ipc";
		first.datum_a = (scmp_datum_t)(-nr - 200);
	} else {
		return 0;
	}
	if (seccomp_syscall_resolve_name_arch(arch, multiplexer) < 0)
		return 0;
	if (known >= 0)
		return seccomp_rule_add_array(ctx, rule->action, native, rule->count, rule->args);
	return seccomp_rule_add_array(ctx, rule->action, seccomp_syscall_resolve_name(multiplexer), 1, &first);
}

/* The filter of one ABI. */
static int filter_of(uint32_t arch, scmp_filter_ctx *made)
{
	scmp_filter_ctx ctx = seccomp_init(DEFAULT_ACTION);
	int error = ctx ? 0 : -ENOMEM;

	if (!error)
		error = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!error && arch != seccomp_arch_native()) {
		error = seccomp_arch_add(ctx, arch);
		if (!error)
			error = seccomp_arch_remove(ctx, seccomp_arch_native());
	}
	for (size_t i = 0; !error && rules[i].names; i++) {
		if (rules[i].action == DEFAULT_ACTION)
			continue;
		for (size_t j = 0; !error && rules[i].names[j]; j++)
			error = add_call(ctx, arch, &rules[i], rules[i].names[j]);
	}
	if (error && ctx)
		seccomp_release(ctx);
	else
		*made = ctx;
	return error;
}

/* Makes the filter. Returns 0, or the negative of an errno. */
static int make_filter(scmp_filter_ctx *made)
{
	scmp_filter_ctx ctx, other;
	int error = filter_of(seccomp_arch_native(), &ctx);

	if (error)
		return error;
	for (size_t i = 0; !error && architectures[i]; i++) {
		if (architectures[i] == seccomp_arch_native())
			continue;
		error = filter_of(architectures[i], &other);
		if (error)
			break;
		error = seccomp_merge(ctx, other);
		if (error)
			seccomp_release(other);
	}
	for (size_t i = 0; !error && attributes[i].attribute; i++)
		error = seccomp_attr_set(ctx, attributes[i].attribute, attributes[i].value);
	if (error)
		seccomp_release(ctx);
	else
		*made = ctx;
	return error;
}

/* Puts the calling thread under the profile, with no_new_privs. Returns 0, or the negative of an errno. */
int sc_record_load(void)
{
	scmp_filter_ctx ctx;
	int error = make_filter(&ctx);

	if (error)
		return error;
	error = seccomp_load(ctx);
	seccomp_release(ctx);
	return error;
}

#ifndef SC_RECORD_NO_MAIN
/* PROGRAM CMD [ARG]... runs a command under the profile; PROGRAM --export-bpf writes the filter to stdout. */
int main(int argc, char *argv[])
{
	int error;

	if (argc < 2) {
		fprintf(stderr, "usage: %s CMD [ARG]... | --export-bpf\n", argv[0]);
		return 125;
	}
	if (!strcmp(argv[1], "--export-bpf")) {
		scmp_filter_ctx ctx;

		error = make_filter(&ctx);
		if (!error)
			error = seccomp_export_bpf(ctx, STDOUT_FILENO);
	} else {
		error = sc_record_load();
		if (!error) {
			execvp(argv[1], argv + 1);
			error = -errno;
		}
	}
	if (!error)
		return 0;
	fprintf(stderr, "%s: %s\n", argv[0], strerror(-error));
	return 125;
}
#endif

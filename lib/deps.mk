# What has to be there: Debian's names, one list, and the sentence said when something is not.

PACKAGES := gcc g++ libc6-dev pkg-config \
    libhdf5-dev hdf5-tools libzstd-dev zlib1g-dev liblzma-dev libcjson-dev libpcre2-dev libutf8proc-dev libssl-dev \
    libopenblas-openmp-dev gnuplot-nox fonts-dejavu-core jq libcmocka-dev bats xz-utils zstd
# Only for these goals, and only installed when they are asked for together with deps.
PACKAGES_lint := clang-format cppcheck
PACKAGES_check-valgrind := valgrind

# header:package of everything the compiler needs
NEEDS := stdio.h:libc6-dev hdf5.h:libhdf5-dev zstd.h:libzstd-dev zlib.h:zlib1g-dev lzma.h:liblzma-dev \
    cjson/cJSON.h:libcjson-dev pcre2.h:libpcre2-dev utf8proc.h:libutf8proc-dev openssl/evp.h:libssl-dev cblas.h:libopenblas-openmp-dev

.PHONY: deps
deps: private wanted = $(PACKAGES) $(foreach goal,$(MAKECMDGOALS),$(PACKAGES_$(goal)))
deps:
	@if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then \
	    echo "make deps: no apt-get here; install by hand what Debian calls: $(wanted)" >&2; exit 0; fi; \
	missing=; for p in $(wanted); do \
	    dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -x installed >/dev/null || missing="$$missing $$p"; done; \
	[ -n "$$missing" ] || exit 0; \
	as=; if [ $$(id -u) != 0 ]; then as=sudo; command -v sudo >/dev/null || { \
	    echo "make deps: root must run: apt-get update && apt-get install$$missing" >&2; exit 1; }; fi; \
	echo "make deps: installing$$missing"; \
	install() { $$as env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
	    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 $$missing </dev/null; }; \
	if ! apt-cache --quiet=0 show $$missing >/dev/null 2>&1 || ! install; then \
	    $$as apt-get update -q -o DPkg::Lock::Timeout=120 && install; fi

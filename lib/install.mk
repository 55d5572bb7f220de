# Below PREFIX: bin, share/man/man1 and lib/qk/hdf5 (for HDF5_PLUGIN_PATH).  DESTDIR comes before all.

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(DESTDIR)$(PREFIX)/bin
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man1
PLUGINDIR = $(DESTDIR)$(PREFIX)/lib/qk/hdf5
MAN_PAGES := $(sort $(wildcard tools/*.1))

.PHONY: install uninstall
install: all
	install -d "$(BINDIR)" "$(MANDIR)" "$(PLUGINDIR)"
	install -m 755 $(PROGRAMS) "$(BINDIR)"
	install -m 644 $(MAN_PAGES) "$(MANDIR)"
	install -m 755 $(PLUGIN) "$(PLUGINDIR)"

uninstall:
	rm -f $(patsubst %,"$(BINDIR)/%",$(notdir $(PROGRAMS))) $(patsubst %,"$(MANDIR)/%",$(notdir $(MAN_PAGES))) \
	    $(patsubst %,"$(PLUGINDIR)/%",$(notdir $(PLUGIN)))
	-rmdir -p --ignore-fail-on-non-empty "$(PLUGINDIR)" 2>/dev/null

# The same commit gives the same bytes: names sorted, one time for all files, no owner, no gzip clock.
.PHONY: dist
dist:
	@mkdir -p dist; name=qk-$(VERSION); \
	if git rev-parse -q --verify HEAD >/dev/null 2>&1; then git archive --format=tar --prefix=$$name/ HEAD; \
	else tar -c --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go+u,go-w --transform "s,^,$$name/," \
	    --exclude=data/cache GNUmakefile LICENSE README.md .clang-format .gitignore .ci tools lib pipelines data tests; fi \
	| gzip -9n > dist/$$name.tar.gz.tmp; mv dist/$$name.tar.gz.tmp dist/$$name.tar.gz; echo dist/$$name.tar.gz

# The data rules: from sources to text (data/cache/SCALE/*.txt or *.jsonl) to tokens.h5.
# What is downloaded is kept in data/cache and never downloaded twice.

include data/sources.mk

CACHE := data/cache

# ---- mini: text that Debian packages carry; they are unpacked here and not installed ----
$(CACHE)/debian/%/unpacked:
	@command -v apt-get >/dev/null && command -v dpkg >/dev/null || { \
	    echo "make: the mini corpus is made from Debian packages and there is no apt-get here: give text of your own with DATA=FILE" >&2; exit 1; }
	@mkdir -p $(@D)
	@apt-cache show $* >/dev/null 2>&1 || [ $$(id -u) != 0 ] || apt-get update -q
	@apt-cache show $* >/dev/null 2>&1 || { \
	    echo "make: apt-get does not know the package $*: run 'apt-get update' as root once, or give text of your own with DATA=FILE" >&2; exit 1; }
	cd $(@D) && rm -rf *.deb root && apt-get download -q -o APT::Sandbox::User=root $* && dpkg -x *.deb root
	touch $@

unpacked = $(patsubst %,$(CACHE)/debian/%/unpacked,$(1))
prose = $(2) | LC_ALL=C xargs -d "\n" awk -v form=$(1) -f data/prose.awk | iconv -c -f UTF-8 -t UTF-8
listed = find $(CACHE)/debian/$(1)/root -type f $(2) | LC_ALL=C sort

$(CACHE)/mini/plain.txt: data/prose.awk | $(call unpacked,$(MINI_PLAIN))
	@mkdir -p $(@D)
	{ $(call prose,fortune,$(call listed,fortunes,-path '*/games/fortunes/*' ! -name '*.*' ! -name ascii-art ! -name ethnic ! -name drugs)); \
	  $(call prose,gloss,$(call listed,wordnet-base,-name 'data.*')); } >$@.tmp
	mv $@.tmp $@

$(CACHE)/mini/technical.txt: data/prose.awk | $(call unpacked,$(MINI_TECHNICAL))
	@mkdir -p $(@D)
	{ $(call prose,pod,$(call listed,perl-doc,-name '*.pod' ! -name perltoc.pod ! -name perluniprops.pod)); \
	  $(call prose,asciidoc,$(call listed,git-doc,-name '*.txt')); } >$@.tmp
	mv $@.tmp $@

# ---- full: 70 % FineWeb-Edu (dedup), 30 % Cosmopedia v2, by bytes of text; SmolLM2's tokenizer ----
FULL_TEXT_BYTES ?= 300000000
fetch = mkdir -p $(@D) && if command -v curl >/dev/null; then curl -fL --retry 5 -C - -o $@.download $(1); \
	elif command -v wget >/dev/null; then wget -c -O $@.download $(1); \
	else echo "make: neither curl nor wget is here to fetch $(1): install one of them" >&2; exit 1; fi && mv $@.download $@

$(CACHE)/full/%.parquet:
	$(call fetch,$(SMOLLM_CORPUS)/$(if $(filter fineweb,$*),$(FINEWEB_PART),$(COSMOPEDIA_PART)))

$(CACHE)/full/tokenizer.json:
	$(call fetch,$(SMOLLM2_TOKENIZER))

$(CACHE)/full/fineweb.jsonl: share := 70
$(CACHE)/full/cosmopedia.jsonl: share := 30
$(CACHE)/full/%.jsonl: $(CACHE)/full/%.parquet data/parquet
	data/parquet $< $$(($(FULL_TEXT_BYTES) * $(share) / 100)) >$@.tmp
	mv $@.tmp $@

# The data rules: from sources to text (data/cache/SCALE/*.txt or *.jsonl) to tokens.h5.
# What is downloaded is kept in data/cache and never downloaded twice.

include data/sources.mk

CACHE := data/cache

# ---- mini: text that Debian packages carry; they are unpacked here and not installed ----
$(CACHE)/debian/%/unpacked:
	data/unpack $* $(@D)

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

# ---- full: FineWeb-Edu (dedup) and Cosmopedia v2, so many bytes of text of each; SmolLM2's tokenizer ----
$(CACHE)/full/fineweb.parquet: | data/fetch
	data/fetch $(SMOLLM_CORPUS)/$(FINEWEB_PART) $@

$(CACHE)/full/cosmopedia.parquet: | data/fetch
	data/fetch $(SMOLLM_CORPUS)/$(COSMOPEDIA_PART) $@

$(CACHE)/full/tokenizer.json: | data/fetch
	data/fetch $(SMOLLM2_TOKENIZER) $@

$(CACHE)/full/fineweb-%.jsonl: $(CACHE)/full/fineweb.parquet data/parquet
	data/parquet $< $* >$@.tmp
	mv $@.tmp $@

$(CACHE)/full/cosmopedia-%.jsonl: $(CACHE)/full/cosmopedia.parquet data/parquet
	data/parquet $< $* >$@.tmp
	mv $@.tmp $@

# ---- full: the test sets of downstream evaluation ----
$(CACHE)/full/hellaswag.jsonl: | data/fetch
	data/fetch $(HELLASWAG)/hellaswag_val.jsonl $@

$(CACHE)/full/hellaswag_train.jsonl: | data/fetch
	data/fetch $(HELLASWAG)/hellaswag_train.jsonl $@

$(CACHE)/full/lambada.jsonl: | data/fetch
	data/fetch $(LAMBADA) $@

# A row a line of the file, its line end included.
$(CACHE)/full/wiki.test.parquet: | data/fetch
	data/fetch $(WIKITEXT) $@

$(CACHE)/full/wiki.test.raw: $(CACHE)/full/wiki.test.parquet data/parquet
	data/parquet $< 10M | jq -j .text >$@.tmp
	mv $@.tmp $@

# ---- mini and smoke: a few items of the same form.  $(call few_items,DIR,TEXT,HOW MANY) ----
# Real ones where QK_SHARED/data has them (hellaswag_val.jsonl.zst, lambada_test.jsonl, wiki.test.raw), else made up from
# the text: good for running the study through, not for judging a model.
QK_SHARED ?= ../shared
real = $(if $(filter-out smoke,$(SCALE)),$(wildcard $(QK_SHARED)/data/$(1)))
define few_items
$(1)/hellaswag.jsonl: $(or $(call real,hellaswag_val.jsonl.zst),$(2)) data/items
	@mkdir -p $$(@D)
	data/items hellaswag $(3) $$(filter-out data/items,$$^) >$$@.tmp && mv $$@.tmp $$@
$(1)/lambada.jsonl: $(or $(call real,lambada_test.jsonl),$(2)) data/items
	@mkdir -p $$(@D)
	data/items lambada $(3) $$(filter-out data/items,$$^) >$$@.tmp && mv $$@.tmp $$@
$(1)/wiki.test.raw: $(or $(call real,wiki.test.raw),$(2)) data/items
	@mkdir -p $$(@D)
	data/items wikitext $(3) $$(filter-out data/items,$$^) >$$@.tmp && mv $$@.tmp $$@
endef

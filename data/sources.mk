# Where text comes from, and under what terms.  data/README.md has the words; here are the names.

# mini: text that Debian packages carry.  Plain: sayings and anecdotes, short glosses in everyday words.
# Technical: the manuals of Perl and Git.
MINI_PLAIN := fortunes wordnet-base
MINI_TECHNICAL := perl-doc git-doc

# full: SmolLM corpus, one published part of each of two subsets is far more than 50 M tokens.
SMOLLM_REVISION := 3ba9d605774198c5868892d7a8deda78031a781f
SMOLLM_CORPUS := https://huggingface.co/datasets/HuggingFaceTB/smollm-corpus/resolve/$(SMOLLM_REVISION)
FINEWEB_PART := fineweb-edu-dedup/train-00000-of-00234.parquet
COSMOPEDIA_PART := cosmopedia-v2/train-00000-of-00104.parquet
SMOLLM2_TOKENIZER := https://huggingface.co/HuggingFaceTB/SmolLM2-135M/resolve/main/tokenizer.json

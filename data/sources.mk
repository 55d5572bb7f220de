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

# full: test sets of downstream evaluation, in the form lm-evaluation-harness reads.
HELLASWAG := https://raw.githubusercontent.com/rowanz/hellaswag/a29ff8e9a04bba4bd6588223785ce105328adc57/data
LAMBADA := https://huggingface.co/datasets/EleutherAI/lambada_openai/resolve/main/data/lambada_test_en.jsonl
WIKITEXT := https://huggingface.co/datasets/Salesforce/wikitext/resolve/main/wikitext-2-raw-v1/test-00000-of-00001.parquet

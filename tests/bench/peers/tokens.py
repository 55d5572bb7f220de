"""MB of text per second on one core, inside the process, the best of PASSES.

    tokens.py tiktoken|tokenizers TOKENIZER TEXT [PASSES]

TOKENIZER: a tokenizer.json, or a folder with encoder.json and vocab.bpe.  TEXT: documents with two blank
lines between them.  Both libraries get the documents as a batch, which they are fastest at.
"""
import json
import os
import sys
import time

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
DIGITS = r"""\p{N}|\s+(?=\p{N})|""" + GPT2.replace(r" ?\p{N}+|", "")


def bytes_of_letters():
    """GPT-2's letters that stand for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in plain}
    table.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)})
    return table


def use_tokenizers(path):
    import tokenizers
    if os.path.isdir(path):
        model = tokenizers.models.BPE.from_file(f"{path}/encoder.json", f"{path}/vocab.bpe")
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer = tokenizers.Tokenizer.from_file(path)
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    return lambda documents: [e.ids for e in encode(documents, add_special_tokens=False)]


def use_tiktoken(path):
    import tiktoken
    if os.path.isdir(path):
        vocabulary, pattern = json.load(open(f"{path}/encoder.json")), GPT2
    else:
        whole = json.load(open(path))
        vocabulary, pattern = whole["model"]["vocab"], DIGITS if "Digits" in json.dumps(whole["pre_tokenizer"]) else GPT2
    letters = bytes_of_letters()
    ranks = {bytes(letters[c] for c in token): i for token, i in vocabulary.items() if all(c in letters for c in token)}
    # It insists on all single bytes; what a vocabulary lacks gets ids behind its end.
    for byte in range(256):
        ranks.setdefault(bytes([byte]), len(vocabulary) + byte)
    encoding = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda documents: encoding.encode_ordinary_batch(documents, num_threads=1)


def main():
    which, path, text = sys.argv[1:4]
    passes = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    with open(text, encoding="utf-8", newline="") as f:
        whole = f.read()
    documents = [d for d in whole.split("\n\n\n") if d]
    encode = {"tiktoken": use_tiktoken, "tokenizers": use_tokenizers}[which](path)
    best = None
    for _ in range(passes):
        start = time.perf_counter()
        ids = encode(documents)
        seconds = time.perf_counter() - start
        best = min(best or seconds, seconds)
    size = sum(len(d.encode()) for d in documents)
    print(json.dumps({"value": size / best / 1e6, "tokens": sum(map(len, ids)), "documents": len(documents), "bytes": size}))


main()

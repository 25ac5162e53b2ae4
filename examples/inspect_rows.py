"""Builds the one-pass row of a scene and shows which tokens are trained.

python examples/inspect_rows.py outputs/base/smollm2-135m
"""

import sys

from her_hf import HERProcessor, load_scenes
from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED

tokenizer = HERProcessor.attach(sys.argv[1]).tokenizer
scene = load_scenes("dataset_cards/her-mini", "test")[0]
rows = build(scene.messages_for("Hannah"), tokenizer, max_length=4096)

for number, row in enumerate(rows):
    print(f"row {number}: {len(row['input_ids'])} tokens, of which {row['trunk_len']} are the trunk")
    for (start, end, sees), reply in zip(row["branches"], row["reply_ids"], strict=True):
        trained = [
            token
            for token, label in zip(row["input_ids"][start:end], row["labels"][start:end], strict=True)
            if label != IGNORED
        ]
        print(
            f"  reply {reply} sees {sees} tokens of the trunk; {len(trained)} of its {end - start} tokens are trained:"
        )
        print(f"    {tokenizer.decode(trained)!r}")

report = rows.report
print(f"{report.replies} replies, {report.tokens} tokens; as samples of their own {report.per_reply_tokens} tokens")

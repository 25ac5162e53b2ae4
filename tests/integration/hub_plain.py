"""A downstream user's program, with a Hub and without her_hf: a model's tokens, or the rows of a dataset.

    python hub_plain.py tokens SOURCE... < request.json > answer.json
    python hub_plain.py rows ID > answer.json

A source is a Hub id or a folder. The request holds `messages` and `max_new_tokens`. test_hub.py checks the answers.
"""

import importlib.util
import json
import sys
from typing import Any


def main() -> None:
    task, *sources = sys.argv[1:]
    answer: dict[str, Any] = {"her_hf_found": importlib.util.find_spec("her_hf") is not None}
    if task == "tokens":
        request = json.load(sys.stdin)
        answer["sources"] = {source: generate(source, request) for source in sources}
    else:
        answer["splits"] = rows(sources[0])
    json.dump(answer, sys.stdout, ensure_ascii=False)


def generate(source: str, request: dict[str, Any]) -> dict[str, Any]:
    """Prompt, a greedy reply, one drawn as the checkpoint says, and that as the tokenizer parses it where it can."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    inputs = tokenizer.apply_chat_template(
        request["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    prompt = inputs["input_ids"][0]
    greedy = model.generate(**inputs, max_new_tokens=request["max_new_tokens"], do_sample=False)[0, len(prompt) :]
    torch.manual_seed(0)
    drawn = model.generate(**inputs, max_new_tokens=request["max_new_tokens"], do_sample=True)[0, len(prompt) :]
    parsed = None
    if getattr(tokenizer, "response_template", None):
        parsed = tokenizer.parse_response(drawn, prefix=prompt)
    return {"prompt": prompt.tolist(), "greedy": greedy.tolist(), "drawn": drawn.tolist(), "parsed": parsed}


def rows(dataset: str) -> dict[str, Any]:
    """All rows by split, and the first of each as it is streamed."""
    from datasets import load_dataset

    whole, streamed = load_dataset(dataset), load_dataset(dataset, streaming=True)
    return {name: {"rows": list(split), "first": next(iter(streamed[name]))} for name, split in whole.items()}


if __name__ == "__main__":
    main()

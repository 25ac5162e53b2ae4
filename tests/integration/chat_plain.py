"""A downstream user's program: transformers and a checkpoint folder, nothing else.

    python chat_plain.py CHECKPOINT < request.json > answer.json

The request holds `scene` (variables of the checkpoint's template "scene"), `said` (for each turn the messages of the
others, thoughts included), `known` (a conversation to render) and `max_new_tokens`. The answer holds every prompt, raw
reply and parsed reply; test_transformers_only.py checks it.
"""

import importlib.util
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer


def main() -> None:
    checkpoint = sys.argv[1]
    request = json.load(sys.stdin)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()

    torch.manual_seed(0)
    nothing = [{"role": "system", "content": ""}]  # the scene prompt needs no messages, but the call does
    system = tokenizer.apply_chat_template(nothing, chat_template="scene", tokenize=False, **request["scene"]).strip()
    messages = [{"role": "system", "content": system}]
    turns = []
    for texts in request["said"]:
        messages += [{"role": "user", "content": text} for text in texts]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        output = model.generate(**inputs, max_new_tokens=request["max_new_tokens"])  # sampled as the checkpoint says
        reply_ids = output[0, inputs["input_ids"].shape[1] :].tolist()
        raw = tokenizer.decode(reply_ids, skip_special_tokens=False)
        reply = tokenizer.parse_response(raw, prefix=prompt)
        turns.append(
            {
                "prompt": prompt,
                "prompt_ids": inputs["input_ids"][0].tolist(),
                "raw": raw,
                "reply": reply,
                "tokens": len(reply_ids),
                "ended": reply_ids[-1] == tokenizer.eos_token_id,
            }
        )
        # Users keep history in either form: as parsed, and as one text with the thinking in it.
        thinking, content = reply.get("thinking", ""), reply.get("content", "")
        if len(turns) % 2:
            content = f"<system_thinking>\n{thinking}\n</system_thinking>\n{content}"
            messages.append({"role": "assistant", "content": content})
        else:
            messages.append({"role": "assistant", "content": content, "reasoning_content": thinking})

    answer = {
        "her_hf_found": importlib.util.find_spec("her_hf") is not None,
        "transformers": transformers.__version__,
        "tokenizer": type(tokenizer).__name__,
        "processor": type(AutoProcessor.from_pretrained(checkpoint)).__name__,
        "eos": tokenizer.eos_token,
        "system": system,
        "turns": turns,
        "known_prompt": tokenizer.apply_chat_template(request["known"], tokenize=False, add_generation_prompt=True),
        "last_prompt": tokenizer.apply_chat_template(messages, tokenize=False),
        "without_thinking": tokenizer.apply_chat_template(
            messages[:-1], tokenize=False, add_generation_prompt=True, enable_thinking=False
        ),
    }
    json.dump(answer, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()

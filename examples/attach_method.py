"""Gives a base the HER chat template, and shows the prompt that its tokenizer then writes.

python examples/attach_method.py outputs/base/smollm2-135m outputs/her-tokenizer
"""

import sys

from transformers import AutoTokenizer

from her_hf import HERProcessor, load_scenes

base, out = sys.argv[1:]
HERProcessor.attach(base).save_pretrained(out)  # `her-hf attach` writes weights and generation defaults as well

tokenizer = AutoTokenizer.from_pretrained(out)  # from here on her_hf is not needed
scene = load_scenes("dataset_cards/her-mini", "test")[0]
messages = scene.messages_for("Meg", turns=5)
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
print(prompt)

first, second = scene.dialogue[0], scene.dialogue[1]
print(f"{first.name}'s plan is in the prompt: {str(first.system_thinking) in prompt}")
print(f"{second.name}'s own plan is in the prompt: {str(second.system_thinking) in prompt}")
print(f"{second.name}'s own thought is in the prompt: {second.segments[0].text in prompt}")

plain = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, enable_thinking=False)
print(f"the reply opens with {prompt[len(plain) :]!r}, without thinking with nothing")

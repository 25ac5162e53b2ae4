"""Reads a reply in HER's form: its layers, what is wrong with it, and who sees what of it.

python examples/parse_reply.py
"""

from her_hf import TurnStream, parse_turn

REPLY = """<system_thinking>
Ann hides the letter. She should play for time, politely.
</system_thinking>
Ann: <role_thinking>Not the drawer.</role_thinking> <role_action>pours tea</role_action> Sugar, Mr. Bell?"""

turn = parse_turn(REPLY)
print(f"{turn.name} plays the pattern {turn.pattern}; well-formed: {turn.well_formed}")
for segment in turn.segments:
    print(f"  {segment.layer.name:14} {segment.text}")
for view in ("full", "self", "others"):
    print(f"view {view}: {turn.render(view=view)!r}")

broken = parse_turn("Ann: <role_thinking>Not the drawer. Sugar, Mr. Bell?")
print(f"a thought that never closes: {[issue.value for issue in broken.issues]}")
print(f"others see {broken.render(view='others')!r}")

# A server streams the reply behind a prompt that ends in "<system_thinking>\n": the stream begins inside that block.
stream = TurnStream(speaker="Ann")
streamed = REPLY.removeprefix("<system_thinking>\n")
for start in range(0, len(streamed), 40):
    for event in stream.feed(streamed[start : start + 40]):
        print(f"  {event.layer.name if event.layer else 'label':14} + {event.text!r}")
print(f"the streamed turn is the same: {stream.close() == turn}")

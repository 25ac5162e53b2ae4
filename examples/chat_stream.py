"""Plays a scene against a model and prints both layers as they arrive.

python examples/chat_stream.py outputs/quickstart/her-sft      (or a Hub id, or http://127.0.0.1:8000/v1)
"""

import asyncio
import sys

from her_hf import load_scenes
from her_hf.inference import Sampling, open_model
from her_hf.session import Delta, Failed, Session, TurnFinished

SAID = ("(folds her gloves) There is a very quiet man on Summer Street.", "What would you do, Jo?")


async def main(spec: str, max_tokens: int) -> None:
    """Two exchanges between Meg (typed here) and Jo (the model)."""
    scene = load_scenes("dataset_cards/her-mini", "test")[0]
    model = open_model(spec)
    sampling = Sampling(temperature=0.7, max_tokens=max_tokens, seed=1)
    session = Session(scene, "Jo", model, visitor="Meg", opening=scene.dialogue[:1], sampling=sampling)
    try:
        for said in SAID:
            print(f"\n{session.say(said).render(view='others')}")
            layer = None
            async for event in session.reply():
                if isinstance(event, Delta):
                    print(event.text if event.layer is layer else f"\n[{event.layer.name}] {event.text}", end="")
                    layer = event.layer
                elif isinstance(event, TurnFinished):
                    print(
                        f"\n-- pattern {event.turn.pattern!r}, issues {[issue.value for issue in event.turn.issues]}"
                    )
                elif isinstance(event, Failed):
                    print(f"\n-- no turn: {event.message}")
    finally:
        await model.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 256))
